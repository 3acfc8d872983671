#include "kernels/reference_matrix.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/status_macros.h"
#include "kernels/aligned_buffer.h"
#include "kernels/finite.h"
#include "kernels/isa.h"
#include "kernels/onednn_matmul.h"

namespace linnet::kernels {
namespace {

class ReferenceMatrix : public Matrix {
 public:
  // `type`: as stored in the file; `weights`: [rows, cols] f32.
  ReferenceMatrix(DType type, int64_t rows, int64_t cols, AlignedBuffer weights, Isa isa)
      : Matrix(type, rows, cols), weights_(std::move(weights)), scalar_(isa == Isa::kScalar) {
    if (!scalar_) LimitOnednn(isa);
  }

  int64_t bytes() const override { return weights_.bytes(); }

  void DequantizeRow(int64_t row, float* out) const override { std::copy_n(Row(row), cols(), out); }

 private:
  const float* Row(int64_t row) const { return reinterpret_cast<const float*>(weights_.data()) + row * cols(); }

  void PrepareForms(Activations&, ThreadPool&) const override {}

  int64_t SliceRows(int64_t bytes) const override {
    // oneDNN likes large ones.
    return std::max<int64_t>(64, 4 * bytes / BytesFor(DType::kF32, cols()) / 16 * 16);
  }

  void MultiplySlice(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const override {
    if (scalar_) return MultiplyScalar(out, x, begin, end);
    const bool accumulate = out.bias != nullptr || out.residual != nullptr;
    if (accumulate) Start(out, x.rows(), end - begin);
    OnednnMultiply({.weights = Row(begin),
                    .x = x.data(),
                    .y = out.y,
                    .m = x.rows(),
                    .n = end - begin,
                    .k = cols(),
                    .y_stride = out.stride,
                    .accumulate = accumulate});
  }

  // y = bias + residual, to which the product is added.
  static void Start(const OutputSlice& out, int64_t x_rows, int64_t width) {
    for (int64_t r = 0; r < x_rows; ++r) {
      for (int64_t i = 0; i < width; ++i) {
        const float start = out.residual != nullptr ? out.residual[r * out.stride + i] : 0.0f;
        out.y[r * out.stride + i] = start + (out.bias != nullptr ? out.bias[i] : 0.0f);
      }
    }
  }

  void MultiplyScalar(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const {
    for (int64_t n = begin; n < end; ++n) {
      const float* const w = Row(n);
      for (int64_t r = 0; r < x.rows(); ++r) {
        const float* const in = x.data() + r * cols();
        double sum = 0;
        for (int64_t k = 0; k < cols(); ++k) sum += static_cast<double>(w[k]) * in[k];
        out.Store(r, n - begin, sum);
      }
    }
  }

  const AlignedBuffer weights_;
  const bool scalar_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Matrix>> CreateReferenceMatrix(const Matrix::Source& source, ThreadPool& pool) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const int64_t row_bytes = BytesFor(source.type, source.cols);
  LINNET_ASSIGN_OR_RETURN(AlignedBuffer weights,
                          AlignedBuffer::Create(source.rows * source.cols * static_cast<int64_t>(sizeof(float))));
  std::atomic<bool> finite = true;
  pool.ParallelFor(source.rows, 64, [&](int64_t begin, int64_t end, int) {
    const std::byte* const rows = source.data + begin * row_bytes;
    if (source.check_finite && !AllFinite(source.type, rows, (end - begin) * source.cols)) finite = false;
    Dequantize(source.type, rows, (end - begin) * source.cols,
               reinterpret_cast<float*>(weights.data()) + begin * source.cols);
  });
  if (!finite) return NotFinite();
  return std::make_unique<ReferenceMatrix>(source.type, source.rows, source.cols, std::move(weights), isa);
}

}  // namespace linnet::kernels
