#include "kernels/quant_matrix.h"

#include <algorithm>
#include <utility>

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

class QuantMatrix : public Matrix {
 public:
  QuantMatrix(const QuantLayout& layout, AlignedBuffer packed, Isa isa)
      : Matrix(layout.type, layout.rows, layout.cols),
        layout_(layout),
        packed_(std::move(packed)),
        multiply_(QuantMatmulTableFor(isa).For(layout.type)),
        quantize_(QuantizeRowFor(isa)) {}

  int64_t bytes() const override { return packed_.bytes(); }

  void DequantizeRow(int64_t row, float* out) const override {
    const uint8_t* const tile = packed_.data() + row / kTileRows * layout_.tile_bytes;
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

  void MultiplySlice(const Product& product, int64_t stride, Activations& x, int64_t begin,
                     int64_t end) const override {
    multiply_({.packed = packed_.data(),
               .layout = &layout_,
               .begin_tile = begin / kTileRows,
               .end_tile = (end + kTileRows - 1) / kTileRows,
               .x = x.forms().blocks,
               .x_rows = x.rows(),
               .y = product.y,
               .stride = stride,
               .bias = product.bias,
               .residual = product.residual});
  }

  int64_t SliceRows(int64_t x_rows, int threads) const override {
    // Weights of a slice stay in the second-level cache while blocks of x's rows pass; and there are some slices for
    // each thread, because threads run at different speeds.
    constexpr int64_t kSliceBytes = 192 << 10;
    const int64_t in_cache = std::max<int64_t>(1, kSliceBytes / layout_.tile_bytes);
    const int64_t shared = std::max<int64_t>(1, layout_.tiles / (threads * (x_rows > 1 ? 8 : 4)));
    return std::min(in_cache, shared) * kTileRows;
  }

  const QuantLayout layout_;
  const AlignedBuffer packed_;
  const QuantMatmulFn multiply_;
  const QuantizeRowFn quantize_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Matrix>> CreateQuantMatrix(const Matrix::Source& source, ThreadPool& pool) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const QuantLayout layout = QuantLayout::For(source.type, source.rows, source.cols);
  LINNET_ASSIGN_OR_RETURN(AlignedBuffer packed, AlignedBuffer::Create(layout.bytes()));
  pool.ParallelFor(layout.tiles, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t tile = begin; tile < end; ++tile) {
      PackTile(layout, reinterpret_cast<const uint8_t*>(source.data), tile, packed.data() + tile * layout.tile_bytes);
    }
  });
  return std::make_unique<QuantMatrix>(layout, std::move(packed), isa);
}

}  // namespace linnet::kernels
