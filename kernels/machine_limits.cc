#include "kernels/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/aligned_buffer.h"
#include "kernels/kernel_bench_limits.h"

namespace linnet::kernels {
namespace {

constexpr int64_t kDefaultReadBytes = int64_t{1} << 30;
constexpr int64_t kLeastReadBytes = int64_t{1} << 20;
// A thread takes so much at a time: long enough for the prefetchers, short enough to share the end.
constexpr int64_t kChunkWords = (256 << 10) / 8;

Rate RateOf(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t n = samples.size();
  return {.median = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2,
          .least = samples.front(),
          .most = samples.back()};
}

double SecondsOf(const std::function<void()>& work) {
  const int64_t start = base::Clock::Real()->MonotonicNs();
  work();
  return std::max(1e-9, absl::ToDoubleSeconds(base::Clock::Real()->Since(start)));
}

// Words with a page behind every address.
absl::StatusOr<AlignedBuffer> ReadableBuffer(int64_t bytes, ThreadPool& pool) {
  absl::StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(bytes);
  if (!buffer.ok()) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat("no ", bytes >> 20, " MiB to measure reads with; give a smaller size"));
  }
  uint64_t* const words = reinterpret_cast<uint64_t*>(buffer->data());
  pool.ParallelFor(bytes / 8, kChunkWords,
                   [words](int64_t begin, int64_t end, int) { std::fill(words + begin, words + end, uint64_t{1}); });
  return buffer;
}

Rate MeasureRead(const AlignedBuffer& buffer, const MachineLimitsOptions& options, ThreadPool& pool) {
  const uint64_t* const words = reinterpret_cast<const uint64_t*>(buffer.data());
  const int64_t count = buffer.bytes() / 8;
  const auto sum = LimitsTableFor(*ActiveIsa()).sum;
  std::atomic<uint64_t> total{0};  // keeps the sums from being dropped
  const auto pass = [&](int64_t begin, int64_t end, int) {
    total.fetch_add(sum(words + begin, end - begin), std::memory_order_relaxed);
  };
  const auto run = [&](int passes) {
    return SecondsOf([&] {
      for (int i = 0; i < passes; ++i) pool.ParallelFor(count, kChunkWords, pass);
    });
  };
  const int passes = std::max(1, static_cast<int>(absl::ToDoubleSeconds(options.sample) / run(1)));
  std::vector<double> rates(static_cast<size_t>(options.samples));
  for (double& rate : rates) {
    rate = static_cast<double>(count) * 8 * passes / run(passes);
  }
  return RateOf(std::move(rates));
}

Rate MeasureArithmetic(LimitLoop loop, const MachineLimitsOptions& options, ThreadPool& pool) {
  std::atomic<int64_t> operations{0};
  const auto run = [&](int64_t rounds) {
    operations = 0;
    return SecondsOf([&] { pool.Run([&](int) { operations.fetch_add(loop(rounds), std::memory_order_relaxed); }); });
  };
  const double wanted = absl::ToDoubleSeconds(options.sample);
  int64_t rounds = 1 << 10;
  while (run(rounds) < wanted && rounds < int64_t{1} << 40) rounds *= 2;
  std::vector<double> rates;
  for (int i = 0; i < options.samples; ++i) {
    const double seconds = run(rounds);
    rates.push_back(static_cast<double>(operations.load()) / seconds);
  }
  return RateOf(std::move(rates));
}

}  // namespace

const Rate& MachineLimits::ForType(DType type) const {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ4_K:
      return int4;
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ5_K:
      return int5;
    case DType::kQ6_K:
      return int6;
    case DType::kQ8_0:
      return int8;
    default:
      return f32;
  }
}

absl::StatusOr<MachineLimits> MeasureMachineLimits(const MachineLimitsOptions& options, ThreadPool& pool) {
  MachineLimits limits;
  LINNET_ASSIGN_OR_RETURN(limits.isa, ActiveIsa());
  limits.threads = pool.threads();
  const auto available = static_cast<int64_t>(base::DetectMemoryBudget().available_bytes);
  if (options.read_bytes > available) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat("reading ", options.read_bytes >> 20, " MiB needs as much memory; ",
                                    available >> 20, " MiB are free"));
  }
  limits.read_bytes = options.read_bytes > 0 ? options.read_bytes : std::min(kDefaultReadBytes, available / 4);
  limits.read_bytes = std::max(kLeastReadBytes, limits.read_bytes / 64 * 64);
  {
    LINNET_ASSIGN_OR_RETURN(const AlignedBuffer buffer, ReadableBuffer(limits.read_bytes, pool));
    ThreadPool one(1);
    limits.read_one_thread = MeasureRead(buffer, options, one);
    limits.read = MeasureRead(buffer, options, pool);
  }
  const LimitsTable& loops = LimitsTableFor(limits.isa);
  limits.f32 = MeasureArithmetic(loops.f32, options, pool);
  limits.int8 = MeasureArithmetic(loops.int8, options, pool);
  limits.int6 = MeasureArithmetic(loops.int6, options, pool);
  limits.int5 = MeasureArithmetic(loops.int5, options, pool);
  limits.int4 = MeasureArithmetic(loops.int4, options, pool);
  return limits;
}

}  // namespace linnet::kernels
