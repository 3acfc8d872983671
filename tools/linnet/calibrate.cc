#include "tools/linnet/calibrate.h"

#include <map>
#include <vector>

#include "base/status_macros.h"
#include "kernels/quantize.h"

namespace linnet::cli {
namespace {

// Sums of squares over all rows that a matrix was multiplied with, per column.
class SquareSums : public MatrixObserver {
 public:
  void OnRows(const worker::TensorBinding& matrix, const float* x, int64_t rows) override {
    std::vector<double>& sums = sums_[matrix.tensor->name];
    sums.resize(static_cast<size_t>(matrix.cols));
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = x + r * matrix.cols;
      for (size_t c = 0; c < sums.size(); ++c) sums[c] += double{row[c]} * row[c];
    }
  }

  const std::map<std::string, std::vector<double>>& sums() const { return sums_; }

 private:
  std::map<std::string, std::vector<double>> sums_;
};

}  // namespace

absl::StatusOr<Calibration> Calibrate(const worker::GgufFile& file, const ObservedText& text,
                                      kernels::ThreadPool& pool) {
  SquareSums squares;
  Calibration calibration;
  LINNET_ASSIGN_OR_RETURN(calibration.tokens, RunObserved(file, text, squares, pool));
  for (const auto& [name, sums] : squares.sums()) calibration.importances[name] = kernels::ImportanceFrom(sums);
  return calibration;
}

}  // namespace linnet::cli
