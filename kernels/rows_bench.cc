// Row operations, on one thread and from the cache, where they run between products: GB/s count what is read and
// written, and of_cache is that over what one thread reads from a buffer of 1 MiB.
#include <functional>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "kernels/bench_yardsticks.h"
#include "kernels/kernel_test_data.h"
#include "kernels/rows.h"

namespace linnet::kernels {
namespace {

constexpr int64_t kWidth = 1536, kFfn = 8960, kVocabulary = 151936;

double CacheBytesPerSecond() {
  static const double rate = [] {
    ThreadPool one(1);
    const auto limits = MeasureMachineLimits({.read_bytes = 1 << 20}, one);
    CHECK_OK(limits.status());
    return limits->read.median;
  }();
  return rate;
}

// `touched`: how many floats one call reads and writes.
void Run(benchmark::State& state, double touched, const std::function<void()>& call) {
  for (auto _ : state) {
    call();
    benchmark::ClobberMemory();
  }
  state.counters["GB/s"] = testing::PerSecond(state, touched * 4e-9);
  state.counters["of_cache"] = testing::PerSecond(state, touched * 4 / CacheBytesPerSecond());
}

std::vector<float> Random(int64_t n) {
  std::mt19937 random(5);
  return testing::RandomFloats(n, random);
}

void RmsNormRow(benchmark::State& state) {
  const auto x = Random(kWidth), weight = Random(kWidth);
  std::vector<float> y(kWidth);
  Run(state, 3.0 * kWidth, [&] { RmsNorm(x.data(), weight.data(), 1e-6f, kWidth, y.data()); });
}
BENCHMARK(RmsNormRow);

void LayerNormRow(benchmark::State& state) {
  const auto x = Random(kWidth), weight = Random(kWidth);
  std::vector<float> y(kWidth);
  Run(state, 4.0 * kWidth, [&] { LayerNorm(x.data(), weight.data(), weight.data(), 1e-6f, kWidth, y.data()); });
}
BENCHMARK(LayerNormRow);

void GateMulRow(benchmark::State& state) {
  const auto start = Random(kFfn), up = Random(kFfn);
  std::vector<float> gate = start;
  Run(state, 5.0 * kFfn, [&] {
    gate = start;  // else it would run to zero, or beyond the largest float
    GateMul(ActivationKind::kSilu, gate.data(), up.data(), kFfn);
  });
}
BENCHMARK(GateMulRow);

void RopeRow(benchmark::State& state) {
  constexpr int kHeads = 14, kHeadDim = 128;
  RopeTable table = {.rotary_dim = kHeadDim, .inv_freq = std::vector<float>(kHeadDim / 2, 0.1f)};
  std::vector<float> cos(kHeadDim / 2), sin(kHeadDim / 2), x = Random(kHeads * kHeadDim);
  RopeAngles(table, 100, cos.data(), sin.data());
  Run(state, 2.0 * kHeads * kHeadDim, [&] { RopeRotate(table, cos.data(), sin.data(), kHeads, kHeadDim, x.data()); });
}
BENCHMARK(RopeRow);

void ExpVocabulary(benchmark::State& state) {
  auto x = Random(kVocabulary);
  Run(state, 2.0 * kVocabulary, [&] { benchmark::DoNotOptimize(ExpInPlace(x.data(), 5.0f, kVocabulary)); });
}
BENCHMARK(ExpVocabulary);

void LogSumExpVocabulary(benchmark::State& state) {
  const auto x = Random(kVocabulary);
  double sum = 0;
  Run(state, 1.0 * kVocabulary, [&] {
    sum = LogSumExp(x.data(), kVocabulary);
    benchmark::DoNotOptimize(sum);
  });
}
BENCHMARK(LogSumExpVocabulary);

void ArgMaxVocabulary(benchmark::State& state) {
  const auto x = Random(kVocabulary);
  int64_t best = 0;
  Run(state, 1.0 * kVocabulary, [&] {
    best = ArgMax(x.data(), kVocabulary);
    benchmark::DoNotOptimize(best);
  });
}
BENCHMARK(ArgMaxVocabulary);

}  // namespace
}  // namespace linnet::kernels
