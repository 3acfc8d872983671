#include "kernels/quant_matrix.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/activations.h"
#include "kernels/aligned_buffer.h"
#include "kernels/isa.h"
#include "kernels/quant_matmul.h"
#include "kernels/quant_pack.h"

namespace linnet::kernels {
namespace {

// Below so many activations one thread quantizes them faster than a region starts.
constexpr int64_t kQuantizeAlone = 8192;

absl::Status CheckPlace(const QuantLayout& layout, const PackedPlace& place) {
  if (static_cast<int64_t>(place.bytes.size()) != layout.bytes() ||
      reinterpret_cast<uintptr_t>(place.bytes.data()) % 64 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("packed weights need ", layout.bytes(), " bytes at a 64-byte border, not ", place.bytes.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<PackedPlace> OwnPlace(int64_t bytes) {
  LINNET_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Create(bytes));
  auto owner = std::make_shared<const AlignedBuffer>(std::move(buffer));
  return PackedPlace{.bytes = {owner->data(), static_cast<size_t>(bytes)}, .owner = owner};
}

class QuantMatrix : public Matrix {
 public:
  QuantMatrix(const QuantLayout& layout, PackedPlace packed, Isa isa)
      : Matrix(layout.type, layout.rows, layout.cols),
        layout_(layout),
        packed_(std::move(packed)),
        multiply_(QuantMatmulTableFor(isa).For(layout.type)),
        quantize_(QuantizeRowFor(isa)) {}

  int64_t bytes() const override { return static_cast<int64_t>(packed_.bytes.size()); }

  void DequantizeRow(int64_t row, float* out) const override {
    const uint8_t* const tile = packed_.bytes.data() + row / kTileRows * layout_.tile_bytes;
    QuantGroup group;
    for (int64_t g = 0; g < layout_.groups; ++g) {
      UnpackGroup(layout_, tile, static_cast<int>(row % kTileRows), g, group);
      DequantizeGroup(layout_.type, group, out + g * kGroup);
    }
  }

 private:
  void PrepareForms(Activations& x, ThreadPool& pool) const override {
    Activations::Forms& forms = x.forms();
    if (forms.quantized) return;
    const int64_t block_rows = std::min(kActivationBlock, x.rows());
    const int64_t padded_rows = (x.rows() + block_rows - 1) / block_rows * block_rows;
    const auto needed = static_cast<size_t>(padded_rows * layout_.groups);
    if (forms.storage.size() < needed) forms.storage.resize(needed);
    forms.blocks = {.block_rows = block_rows, .groups = layout_.groups, .data = forms.storage.data()};
    const auto quantize = [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        quantize_(x.data() + r * x.cols(), layout_.groups, block_rows, forms.blocks.Row(r));
      }
    };
    if (x.rows() * x.cols() <= kQuantizeAlone) {
      quantize(0, x.rows(), 0);
    } else {
      pool.ParallelFor(x.rows(), kActivationBlock, quantize);
    }
    forms.quantized = true;
  }

  void MultiplySlice(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const override {
    multiply_({.packed = packed_.bytes.data(),
               .layout = &layout_,
               .begin_tile = begin / kTileRows,
               .end_tile = (end + kTileRows - 1) / kTileRows,
               .x = x.forms().blocks,
               .x_rows = x.rows(),
               .out = out});
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
};

}  // namespace

int64_t QuantMatrixBytes(DType type, int64_t rows, int64_t cols) { return QuantLayout::For(type, rows, cols).bytes(); }

absl::StatusOr<std::unique_ptr<Matrix>> CreateQuantMatrix(const Matrix::Source& source, ThreadPool& pool,
                                                          PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const QuantLayout layout = QuantLayout::For(source.type, source.rows, source.cols);
  if (place.bytes.empty()) {
    LINNET_ASSIGN_OR_RETURN(place, OwnPlace(layout.bytes()));
  }
  LINNET_RETURN_IF_ERROR(CheckPlace(layout, place));
  const int64_t tile_source_bytes = kTileRows * BytesFor(source.type, source.cols);
  const int64_t source_bytes = source.rows * BytesFor(source.type, source.cols);
  const int64_t slab_tiles =
      std::max<int64_t>(1, static_cast<int64_t>(Matrix::kMostUnreleasedBytes) / tile_source_bytes);
  for (int64_t first = 0; first < layout.tiles; first += slab_tiles) {
    const int64_t tiles = std::min(slab_tiles, layout.tiles - first);
    pool.ParallelFor(tiles, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t tile = first + begin; tile < first + end; ++tile) {
        PackTile(layout, reinterpret_cast<const uint8_t*>(source.data), tile,
                 place.bytes.data() + tile * layout.tile_bytes);
      }
    });
    if (!source.release) continue;
    const int64_t from = first * tile_source_bytes, to = std::min(source_bytes, from + tiles * tile_source_bytes);
    source.release({source.data + from, static_cast<size_t>(to - from)});
  }
  return std::make_unique<QuantMatrix>(layout, std::move(place), isa);
}

absl::StatusOr<std::unique_ptr<Matrix>> PackedQuantMatrix(DType type, int64_t rows, int64_t cols, PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const QuantLayout layout = QuantLayout::For(type, rows, cols);
  LINNET_RETURN_IF_ERROR(CheckPlace(layout, place));
  return std::make_unique<QuantMatrix>(layout, std::move(place), isa);
}

}  // namespace linnet::kernels
