#include "kernels/matrix.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/dense_matrix.h"
#include "kernels/quant_block.h"
#include "kernels/quant_matrix.h"

namespace linnet::kernels {

absl::StatusOr<std::unique_ptr<Matrix>> Matrix::Create(const Source& source, Precision precision, ThreadPool& pool) {
  const DTypeInfo& info = Info(source.type);
  // An element of the largest kept form takes 4 bytes.
  constexpr int64_t kMostElements = std::numeric_limits<int64_t>::max() / 8;
  if (source.rows < 1 || source.cols < 1 || source.rows > kMostElements / source.cols) {
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix of ", source.rows, " x ", source.cols, " is not possible"));
  }
  if (source.cols % info.block_elements != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a ", std::string(info.name), " matrix of ", source.rows, " x ",
                                                   source.cols, ": columns must be a multiple of ",
                                                   info.block_elements));
  }
  if (IsGroupQuantized(source.type) && precision == Precision::kFast) return CreateQuantMatrix(source, pool);
  return CreateDenseMatrix(source, precision, pool);
}

void Multiply(std::span<const Product> products, Activations& x, ThreadPool& pool) {
  if (x.rows() == 0) return;
  // Slices of all products are numbered through.
  int64_t slices = 0;
  for (const Product& product : products) {
    CHECK_EQ(product.weights->cols(), x.cols());
    product.weights->PrepareForms(x, pool);
    const int64_t rows = product.weights->SliceRows(x.rows(), pool.threads());
    slices += (product.weights->rows() + rows - 1) / rows;
  }
  pool.ParallelFor(slices, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t slice = begin; slice < end; ++slice) {
      int64_t left = slice;
      for (const Product& product : products) {
        const Matrix& w = *product.weights;
        const int64_t rows = w.SliceRows(x.rows(), pool.threads());
        const int64_t count = (w.rows() + rows - 1) / rows;
        if (left >= count) {
          left -= count;
          continue;
        }
        w.MultiplySlice(product, product.y_stride != 0 ? product.y_stride : w.rows(), x, left * rows,
                        std::min(w.rows(), (left + 1) * rows));
        break;
      }
    }
  });
}

}  // namespace linnet::kernels
