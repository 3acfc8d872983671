// Quantized products at the shapes of a small model, beside the limits of the machine measured in the same run: read
// bandwidth for one row, 8-bit multiply-adds for many. GOPs counts a multiply-add as two operations;
// LINNET_BENCH_THREADS sets the threads (2).
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "kernels/kernel_bench_limits.h"
#include "kernels/kernel_test_data.h"
#include "kernels/matrix.h"

namespace linnet::kernels {
namespace {

ThreadPool& Pool() {
  static ThreadPool* const pool = [] {
    const char* const threads = std::getenv("LINNET_BENCH_THREADS");
    return new ThreadPool(threads != nullptr ? std::atoi(threads) : 2);
  }();
  return *pool;
}

void ReadBandwidth(benchmark::State& state) {
  std::vector<uint64_t> data(static_cast<size_t>(state.range(0)) << 17);  // MiB of 8-byte words
  for (size_t i = 0; i < data.size(); ++i) data[i] = i;
  for (auto _ : state) {
    Pool().ParallelFor(static_cast<int64_t>(data.size()), 1 << 15, [&](int64_t begin, int64_t end, int) {
      benchmark::DoNotOptimize(LimitsTableFor(*ActiveIsa()).sum(data.data() + begin, end - begin));
    });
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(data.size()) * 8 * static_cast<double>(state.iterations()) * 1e-9,
                         benchmark::Counter::kIsRate);
}
BENCHMARK(ReadBandwidth)->Arg(64)->Arg(512)->UseRealTime();

void Int8Peak(benchmark::State& state) {
  double operations = 0;
  for (auto _ : state) {
    Pool().Run([&](int thread) {
      const int64_t done = LimitsTableFor(*ActiveIsa()).dot_products(1 << 16);
      if (thread == 0) operations += static_cast<double>(done) * Pool().threads();
    });
  }
  state.counters["GOP/s"] = benchmark::Counter(operations * 1e-9, benchmark::Counter::kIsRate);
}
BENCHMARK(Int8Peak)->UseRealTime();

void Product(benchmark::State& state, DType type, int64_t n, int64_t k) {
  const int64_t m = state.range(0);
  std::mt19937 random(1);
  const auto bytes = testing::RandomWeights(type, n, k, random);
  auto w =
      Matrix::Create({.type = type, .rows = n, .cols = k, .data = reinterpret_cast<const std::byte*>(bytes.data())},
                     Precision::kFast, Pool());
  CHECK_OK(w.status());
  const auto x = testing::RandomFloats(m * k, random);
  std::vector<float> y(static_cast<size_t>(m * n));
  Activations activations;
  for (auto _ : state) {
    activations.Set(x.data(), m, k);
    const kernels::Product product{.weights = w->get(), .y = y.data()};
    Multiply({&product, 1}, activations, Pool());
  }
  const auto rate = [&](double per_iteration) {
    return benchmark::Counter(per_iteration * static_cast<double>(state.iterations()) * 1e-9,
                              benchmark::Counter::kIsRate);
  };
  state.counters["GB/s"] = rate(static_cast<double>((*w)->bytes()));
  state.counters["GOP/s"] = rate(2.0 * static_cast<double>(m * n * k));
}
BENCHMARK_CAPTURE(Product, q4_1_up, DType::kQ4_1, 1536, 576)->Arg(1)->Arg(4)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, q4_1_down, DType::kQ4_1, 576, 1536)->Arg(1)->Arg(4)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, q4_1_attention, DType::kQ4_1, 576, 576)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, q8_0_up, DType::kQ8_0, 1536, 576)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, q8_0_vocabulary, DType::kQ8_0, 49152, 576)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(Product, q4_k_up, DType::kQ4_K, 1536, 768)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, q6_k_up, DType::kQ6_K, 1536, 768)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, f16_up, DType::kF16, 1536, 576)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, bf16_up, DType::kBF16, 1536, 576)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK_CAPTURE(Product, f32_up, DType::kF32, 1536, 576)->Arg(1)->Arg(512)->UseRealTime();

void EmptyRegion(benchmark::State& state) {
  for (auto _ : state) Pool().Run([](int) {});
}
BENCHMARK(EmptyRegion)->UseRealTime();

}  // namespace
}  // namespace linnet::kernels
