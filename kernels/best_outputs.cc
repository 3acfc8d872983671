#include "kernels/best_outputs.h"

#include <algorithm>

#include "absl/log/check.h"
#include "kernels/rows.h"

namespace linnet::kernels {
namespace {

// Puts an output into the list of the best, which has room for `wanted`.
void Insert(ScoredOutput output, int32_t wanted, ScoredOutput* best, int32_t* count) {
  if (*count == wanted && !output.Before(best[wanted - 1])) return;
  if (*count < wanted) ++*count;
  ScoredOutput* at = best + *count - 1;
  for (; at > best && output.Before(at[-1]); --at) *at = at[-1];
  *at = output;
}

}  // namespace

void BestOutputs::Multiply(const Product& product, Activations& x, std::span<const int32_t> wanted, ThreadPool& pool) {
  const Matrix& weights = *product.weights;
  const int64_t rows = x.rows(), outputs = weights.rows();
  CHECK_EQ(static_cast<int64_t>(wanted.size()), rows);
  CHECK_EQ(weights.cols(), x.cols());
  first_.assign(1, 0);
  for (const int32_t k : wanted) first_.push_back(first_.back() + k);
  if (first_.back() == 0) {
    kernels::Multiply({&product, 1}, x, pool);
    return;
  }
  weights.PrepareForms(x, pool);
  const int64_t slice = std::min(outputs, weights.SliceRows(SliceBytes(weights.bytes(), pool.threads())));
  scratch_.resize(static_cast<size_t>(pool.threads()));
  for (Scratch& s : scratch_) {
    s.y.resize(static_cast<size_t>(rows * slice));
    s.best.resize(static_cast<size_t>(first_.back()));
    s.count.assign(static_cast<size_t>(rows), 0);
  }
  pool.ParallelFor((outputs + slice - 1) / slice, 1, [&](int64_t begin_slice, int64_t end_slice, int thread) {
    Scratch& s = scratch_[static_cast<size_t>(thread)];
    for (int64_t begin = begin_slice * slice; begin < std::min(outputs, end_slice * slice); begin += slice) {
      const int64_t width = std::min(slice, outputs - begin);
      weights.MultiplySlice(
          {.y = s.y.data(), .stride = width, .bias = product.bias != nullptr ? product.bias + begin : nullptr}, x,
          begin, begin + width);
      if (product.softcap > 0) SoftCap(product.softcap, s.y.data(), rows * width, product.reference);
      int64_t whole_row = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const float* const y = s.y.data() + r * width;
        const auto row = static_cast<size_t>(r);
        if (wanted[row] == 0) {
          std::copy_n(y, width, product.y + whole_row++ * outputs + begin);
          continue;
        }
        ScoredOutput* const best = s.best.data() + first_[row];
        int32_t& count = s.count[row];
        // A thread's slices come in order, so that of equals the first one is in the list already.
        for (int64_t i = 0; i < width; ++i) {
          const bool full = count == wanted[row];
          if (full) i += FirstAbove(y + i, width - i, best[count - 1].value);
          if (i < width && y[i] == y[i]) {
            Insert({.value = y[i], .index = static_cast<int32_t>(begin + i)}, wanted[row], best, &count);
          }
        }
      }
    }
  });
  // Into the first thread's lists.
  for (size_t t = 1; t < scratch_.size(); ++t) {
    for (size_t r = 0; r < wanted.size(); ++r) {
      for (int32_t i = 0; i < scratch_[t].count[r]; ++i) {
        Insert(scratch_[t].best[static_cast<size_t>(first_[r] + i)], wanted[r],
               &scratch_[0].best[static_cast<size_t>(first_[r])], &scratch_[0].count[r]);
      }
    }
  }
}

std::span<const ScoredOutput> BestOutputs::Of(int64_t row) const {
  const auto r = static_cast<size_t>(row);
  return {scratch_[0].best.data() + first_[r], static_cast<size_t>(scratch_[0].count[r])};
}

}  // namespace linnet::kernels
