#include "kernels/quant_matrix.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/activations.h"
#include "kernels/isa.h"
#include "kernels/quant_matmul.h"
#include "kernels/quant_pack.h"
#include "kernels/shared_matmul.h"

namespace linnet::kernels {
namespace {

// Below so many activations one thread quantizes them faster than a region starts.
constexpr int64_t kQuantizeAlone = 8192;

class QuantMatrix : public Matrix {
 public:
  QuantMatrix(const QuantLayout& layout, PackedPlace packed, Isa isa)
      : Matrix(layout.type.type, layout.rows, layout.cols),
        layout_(layout),
        packed_(std::move(packed)),
        multiply_(IsShared() ? SharedMatmulTableFor(isa).For(layout.type)
                             : QuantMatmulTableFor(isa).For(layout.type.type)),
        quantize_(QuantizeRowFor(isa)),
        quantize_chunks_(QuantizeChunksFor(isa)) {}

  int64_t bytes() const override { return static_cast<int64_t>(packed_.bytes.size()); }

  void DequantizeRow(int64_t row, float* out) const override {
    const uint8_t* const tile = packed_.bytes.data() + row / kTileRows * layout_.tile_bytes;
    QuantGroup group;
    for (int64_t g = 0; g < layout_.groups; ++g) {
      UnpackGroup(layout_, tile, static_cast<int>(row % kTileRows), g, group);
      DequantizeGroup(layout_.type.type, group, out + g * kGroup);
    }
  }

 private:
  bool IsShared() const { return layout_.type.shared != SharedScales::kNone; }
  int64_t ChunksPerScale() const { return layout_.type == kInt8 ? kInt8ChunksPerScale : kInt4G64ChunksPerScale; }

  // Calls quantize(row) for all rows.
  static void ForRows(const Activations& x, ThreadPool& pool, absl::FunctionRef<void(int64_t row)> quantize) {
    const auto rows = [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) quantize(r);
    };
    if (x.rows() * x.cols() <= kQuantizeAlone) {
      rows(0, x.rows(), 0);
    } else {
      pool.ParallelFor(x.rows(), kActivationBlock, rows);
    }
  }

  void PrepareForms(Activations& x, ThreadPool& pool) const override {
    if (IsShared()) return PrepareChunks(x, pool);
    Activations::Forms& forms = x.forms();
    if (forms.quantized) return;
    const int64_t block_rows = std::min(kActivationBlock, x.rows());
    const int64_t padded_rows = (x.rows() + block_rows - 1) / block_rows * block_rows;
    const auto needed = static_cast<size_t>(padded_rows * layout_.groups);
    if (forms.storage.size() < needed) forms.storage.resize(needed);
    forms.blocks = {.block_rows = block_rows, .groups = layout_.groups, .data = forms.storage.data()};
    ForRows(x, pool,
            [&](int64_t r) { quantize_(x.data() + r * x.cols(), layout_.groups, block_rows, forms.blocks.Row(r)); });
    forms.quantized = true;
  }

  void PrepareChunks(Activations& x, ThreadPool& pool) const {
    Activations::Forms::Chunks& form = x.forms().chunks[ChunksPerScale()];
    if (form.quantized) return;
    const ActivationChunks shape = {.block_rows = std::min(kActivationBlock, x.rows()),
                                    .chunks = layout_.chunks,
                                    .chunks_per_scale = ChunksPerScale(),
                                    .scales = (layout_.chunks + ChunksPerScale() - 1) / ChunksPerScale()};
    form.chunks = form.storage.For(shape, x.rows());
    ForRows(x, pool, [&](int64_t r) { quantize_chunks_(x.data() + r * x.cols(), x.cols(), form.chunks, r); });
    form.quantized = true;
  }

  void MultiplySlice(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const override {
    QuantSlice slice = {.packed = packed_.bytes.data(),
                        .layout = &layout_,
                        .begin_tile = begin / kTileRows,
                        .end_tile = (end + kTileRows - 1) / kTileRows,
                        .x_rows = x.rows(),
                        .out = out};
    if (IsShared()) {
      slice.chunks = x.forms().chunks.at(ChunksPerScale()).chunks;
    } else {
      slice.x = x.forms().blocks;
    }
    multiply_(slice);
  }

  int64_t SliceRows(int64_t bytes) const override {
    // Weights of a slice stay in the second-level cache while blocks of x's rows pass.
    constexpr int64_t kMostBytes = 192 << 10;
    return std::max<int64_t>(1, std::min(kMostBytes, bytes) / layout_.tile_bytes) * kTileRows;
  }

  const QuantLayout layout_;
  const PackedPlace packed_;
  const QuantMatmulFn multiply_;
  const QuantizeRowFn quantize_;
  const QuantizeChunksFn quantize_chunks_;
};

}  // namespace

int64_t QuantMatrixBytes(PackedType type, int64_t rows, int64_t cols) {
  return QuantLayout::For(type, rows, cols).bytes();
}

absl::StatusOr<std::unique_ptr<Matrix>> CreateQuantMatrix(const Matrix::Source& source, ThreadPool& pool,
                                                          PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const QuantLayout layout = QuantLayout::For({source.type, source.shared}, source.rows, source.cols);
  std::atomic<bool> shared = true;
  LINNET_ASSIGN_OR_RETURN(place,
                          PackTiles(source, layout.tile_bytes, std::move(place), pool, [&](int64_t tile, uint8_t* out) {
                            if (!PackTile(layout, reinterpret_cast<const uint8_t*>(source.data), tile, out))
                              shared = false;
                          }));
  if (!shared) {
    return absl::FailedPreconditionError(
        absl::StrCat("groups do not share scales as in ", std::string(PackedTypeName(layout.type))));
  }
  return std::make_unique<QuantMatrix>(layout, std::move(place), isa);
}

absl::StatusOr<std::unique_ptr<Matrix>> PackedQuantMatrix(PackedType type, int64_t rows, int64_t cols,
                                                          PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const QuantLayout layout = QuantLayout::For(type, rows, cols);
  LINNET_RETURN_IF_ERROR(CheckPlace(place, layout.bytes()));
  return std::make_unique<QuantMatrix>(layout, std::move(place), isa);
}

}  // namespace linnet::kernels
