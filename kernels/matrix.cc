#include "kernels/matrix.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/dense_matrix.h"
#include "kernels/quant_block.h"
#include "kernels/quant_matrix.h"
#include "kernels/reference_matrix.h"

namespace linnet::kernels {

namespace {

absl::Status CheckShape(DType type, int64_t rows, int64_t cols) {
  const DTypeInfo& info = Info(type);
  // An element of the largest kept form takes 4 bytes.
  constexpr int64_t kMostElements = std::numeric_limits<int64_t>::max() / 8;
  if (rows < 1 || cols < 1 || rows > kMostElements / cols) {
    return absl::InvalidArgumentError(absl::StrCat("a matrix of ", rows, " x ", cols, " is not possible"));
  }
  if (cols % info.block_elements != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a ", std::string(info.name), " matrix of ", rows, " x ", cols,
                                                   ": columns must be a multiple of ", info.block_elements));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t Matrix::PackedBytes(PackedType type, int64_t rows, int64_t cols, Precision precision) {
  if (precision == Precision::kReference) return 0;
  return IsGroupQuantized(type.type) ? QuantMatrixBytes(type, rows, cols) : DenseMatrixBytes(type.type, rows, cols);
}

absl::StatusOr<std::unique_ptr<Matrix>> Matrix::Create(const Source& source, Precision precision, ThreadPool& pool,
                                                       PackedPlace place) {
  LINNET_RETURN_IF_ERROR(CheckShape(source.type, source.rows, source.cols));
  if (precision == Precision::kReference) return CreateReferenceMatrix(source, pool);
  if (IsGroupQuantized(source.type)) return CreateQuantMatrix(source, pool, std::move(place));
  return CreateDenseMatrix(source, pool, std::move(place));
}

absl::StatusOr<std::unique_ptr<Matrix>> Matrix::FromPacked(PackedType type, int64_t rows, int64_t cols,
                                                           PackedPlace place) {
  LINNET_RETURN_IF_ERROR(CheckShape(type.type, rows, cols));
  if (IsGroupQuantized(type.type)) return PackedQuantMatrix(type, rows, cols, std::move(place));
  return PackedDenseMatrix(type.type, rows, cols, std::move(place));
}

int64_t SliceBytes(int64_t total, int threads) {
  // Some slices for each thread, because threads run at different speeds.
  constexpr int64_t kSlicesPerThread = 8, kLeastBytes = 4096;
  return std::max(kLeastBytes, total / (threads * kSlicesPerThread));
}

void Multiply(std::span<const Product> products, Activations& x, ThreadPool& pool) {
  if (x.rows() == 0) return;
  int64_t bytes = 0;
  for (const Product& product : products) {
    bytes += product.weights->bytes() + (product.gate != nullptr ? product.gate->bytes() : 0);
  }
  const int64_t slice_bytes = SliceBytes(bytes, pool.threads());
  const auto slice_rows = [&](const Product& product) {
    return product.weights->SliceRows(product.gate != nullptr ? slice_bytes / 2 : slice_bytes);
  };
  // Slices of all products are numbered through.
  int64_t slices = 0;
  for (const Product& product : products) {
    const Matrix& w = *product.weights;
    CHECK_EQ(w.cols(), x.cols());
    w.PrepareForms(x, pool);
    CHECK(product.residual == nullptr || (product.activation == ActivationKind::kNone && product.softcap == 0));
    if (product.gate != nullptr) {
      CHECK(product.gate->rows() == w.rows() && product.gate->cols() == w.cols());
      product.gate->PrepareForms(x, pool);
    }
    const int64_t rows = slice_rows(product);
    slices += (w.rows() + rows - 1) / rows;
  }
  const auto multiply = [&x](const Product& product, int64_t begin, int64_t end) {
    const Matrix& w = *product.weights;
    const int64_t stride = product.y_stride != 0 ? product.y_stride : w.rows();
    const OutputSlice out = {.y = product.y + begin,
                             .stride = stride,
                             .bias = product.bias != nullptr ? product.bias + begin : nullptr,
                             .residual = product.residual != nullptr ? product.residual + begin : nullptr};
    const int64_t width = end - begin;
    if (product.gate == nullptr) {
      w.MultiplySlice(out, x, begin, end);
      for (int64_t r = 0; r < x.rows(); ++r) {
        float* const y = out.y + r * stride;
        if (product.activation != ActivationKind::kNone) Activate(product.activation, y, width, product.reference);
        if (product.softcap > 0) SoftCap(product.softcap, y, width, product.reference);
      }
      return;
    }
    product.gate->MultiplySlice(
        {.y = out.y, .stride = stride, .bias = product.gate_bias != nullptr ? product.gate_bias + begin : nullptr}, x,
        begin, end);
    thread_local std::vector<float> up;
    if (const auto needed = static_cast<size_t>(x.rows() * width); up.size() < needed) up.resize(needed);
    w.MultiplySlice({.y = up.data(), .stride = width, .bias = out.bias}, x, begin, end);
    for (int64_t r = 0; r < x.rows(); ++r) {
      GateMul(product.activation, out.y + r * stride, up.data() + r * width, width, product.reference);
    }
  };
  pool.ParallelFor(slices, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t slice = begin; slice < end; ++slice) {
      int64_t left = slice;
      for (const Product& product : products) {
        const Matrix& w = *product.weights;
        const int64_t rows = slice_rows(product);
        const int64_t count = (w.rows() + rows - 1) / rows;
        if (left >= count) {
          left -= count;
          continue;
        }
        multiply(product, left * rows, std::min(w.rows(), (left + 1) * rows));
        break;
      }
    }
  });
}

}  // namespace linnet::kernels
