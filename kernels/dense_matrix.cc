#include "kernels/dense_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "kernels/aligned_buffer.h"
#include "kernels/isa.h"
#include "kernels/onednn_matmul.h"

namespace linnet::kernels {
namespace {

// Outputs whose weights are widened to f32 together, where oneDNN does not take the stored type.
constexpr int64_t kWidenRows = 64;

class DenseMatrix : public Matrix {
 public:
  // `source_type`: as stored in the file; `type`: as kept.
  DenseMatrix(DType source_type, DType type, int64_t rows, int64_t cols, AlignedBuffer weights, Isa isa)
      : Matrix(source_type, rows, cols),
        kept_(type),
        row_bytes_(BytesFor(type, cols)),
        weights_(std::move(weights)),
        scalar_(isa == Isa::kScalar),
        direct_(!scalar_ && (type == DType::kF32 || OnednnTakes(type, isa))) {
    if (type == DType::kF32 && !scalar_) (void)OnednnTakes(type, isa);
  }

  int64_t bytes() const override { return weights_.bytes(); }

  void DequantizeRow(int64_t row, float* out) const override { Dequantize(kept_, Row(row), cols(), out); }

 private:
  const uint8_t* Row(int64_t row) const { return weights_.data() + row * row_bytes_; }

  void PrepareForms(Activations&, ThreadPool&) const override {}

  int64_t SliceRows(int64_t bytes) const override {
    // oneDNN likes large ones.
    return std::max<int64_t>(64, 4 * bytes / row_bytes_ / 16 * 16);
  }

  void MultiplySlice(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const override {
    if (scalar_) return MultiplyScalar(out, x, begin, end);
    const bool accumulate = out.bias != nullptr || out.residual != nullptr;
    if (accumulate) Start(out, x.rows(), end - begin);
    DenseSlice slice{.weights_type = kept_,
                     .x = x.data(),
                     .m = x.rows(),
                     .k = cols(),
                     .y_stride = out.stride,
                     .accumulate = accumulate};
    if (direct_) {
      slice.weights = Row(begin);
      slice.n = end - begin;
      slice.y = out.y;
      OnednnMultiply(slice);
      return;
    }
    thread_local std::vector<float> wide;
    wide.resize(static_cast<size_t>(kWidenRows * cols()));
    slice.weights_type = DType::kF32;
    slice.weights = wide.data();
    for (int64_t n = begin; n < end; n += kWidenRows) {
      slice.n = std::min(kWidenRows, end - n);
      slice.y = out.y + (n - begin);
      Dequantize(kept_, Row(n), slice.n * cols(), wide.data());
      OnednnMultiply(slice);
    }
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
    std::vector<float> w(static_cast<size_t>(cols()));
    for (int64_t n = begin; n < end; ++n) {
      DequantizeRow(n, w.data());
      for (int64_t r = 0; r < x.rows(); ++r) {
        const float* const in = x.data() + r * cols();
        double sum = 0;
        for (int64_t k = 0; k < cols(); ++k) sum += static_cast<double>(w[static_cast<size_t>(k)]) * in[k];
        const int64_t i = n - begin, at = r * out.stride + i;
        if (out.bias != nullptr) sum += out.bias[i];
        if (out.residual != nullptr) sum += out.residual[at];
        out.y[at] = static_cast<float>(sum);
      }
    }
  }

  const DType kept_;
  const int64_t row_bytes_;
  const AlignedBuffer weights_;
  const bool scalar_;
  const bool direct_;  // oneDNN takes the weights as they are
};

}  // namespace

absl::StatusOr<std::unique_ptr<Matrix>> CreateDenseMatrix(const Matrix::Source& source, Precision precision,
                                                          ThreadPool& pool) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const DType kept = precision == Precision::kReference ? DType::kF32 : source.type;
  const int64_t source_bytes = BytesFor(source.type, source.cols), kept_bytes = BytesFor(kept, source.cols);
  LINNET_ASSIGN_OR_RETURN(AlignedBuffer weights, AlignedBuffer::Create(source.rows * kept_bytes));
  pool.ParallelFor(source.rows, 64, [&](int64_t begin, int64_t end, int) {
    const std::byte* const from = source.data + begin * source_bytes;
    uint8_t* const to = weights.data() + begin * kept_bytes;
    if (kept == source.type) {
      std::memcpy(to, from, static_cast<size_t>((end - begin) * kept_bytes));
    } else {
      Dequantize(source.type, from, (end - begin) * source.cols, reinterpret_cast<float*>(to));
    }
  });
  return std::make_unique<DenseMatrix>(source.type, kept, source.rows, source.cols, std::move(weights), isa);
}

}  // namespace linnet::kernels
