#include "tools/linnet/device_detect.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/status_macros.h"
#include "kernels/matrix.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/home.h"
#include "worker/server/device_profile.h"

namespace linnet::cli {
namespace {

constexpr int64_t kMeasureNs = 700'000'000;

// 8-bit multiply-adds per second, each counted as two operations, in the product that prefill is made of.
absl::StatusOr<double> MeasureInt8() {
  kernels::ThreadPool pool(base::DetectCpuBudget().threads);
  constexpr int64_t kRows = 1024, kCols = 1024, kTokens = 128;
  const std::vector<std::byte> data(static_cast<size_t>(kernels::BytesFor(kernels::DType::kQ8_0, kRows * kCols)));
  LINNET_ASSIGN_OR_RETURN(const auto matrix, kernels::Matrix::Create({kernels::DType::kQ8_0, kRows, kCols, data.data()},
                                                                     kernels::Precision::kFast, pool));
  const std::vector<float> x(kTokens * kCols, 0.5f);
  std::vector<float> y(kTokens * kRows);
  kernels::Activations activations;
  base::Clock* clock = base::Clock::Real();
  double best = 0;
  for (const int64_t start = clock->MonotonicNs(); clock->MonotonicNs() - start < kMeasureNs;) {
    const int64_t pass_ns = clock->MonotonicNs();
    activations.Set(x.data(), kTokens, kCols);
    const kernels::Product product = {.weights = matrix.get(), .y = y.data()};
    kernels::Multiply({&product, 1}, activations, pool);
    best = std::max(best, 2.0 * kRows * kCols * kTokens / (static_cast<double>(clock->MonotonicNs() - pass_ns) * 1e-9));
  }
  return best;
}

// $LINNET_HOME, or the first folder above it that exists.
std::string StorageFolder() {
  std::error_code ignored;
  std::filesystem::path path = LinnetHome();
  while (!std::filesystem::exists(path, ignored) && path.has_relative_path()) path = path.parent_path();
  return path.string();
}

}  // namespace

absl::StatusOr<registry::v1::DeviceProfile> DetectDevice(const std::string& id) {
  registry::v1::DeviceProfile profile =
      worker::DetectDeviceProfile({.name = id, .measure = absl::Nanoseconds(kMeasureNs), .storage = StorageFolder()});
  LINNET_ASSIGN_OR_RETURN(const double int8, MeasureInt8());
  profile.set_int8_ops_per_second(int8);
  return profile;
}

}  // namespace linnet::cli
