// Products with weights of every format, at the shape of a 1.5-billion-parameter model's feed-forward matrix, beside
// the limits of the machine: few rows are bound by reading the weights, many by arithmetic. See bench_yardsticks.h.
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "kernels/bench_yardsticks.h"
#include "kernels/kernel_test_data.h"
#include "kernels/matrix.h"

namespace linnet::kernels {
namespace {

using testing::BenchLimits;
using testing::BenchPool;

constexpr int64_t kOutputs = 8960, kInputs = 1536;

// As many matrices as it takes that a pass over them reads from memory. One format at a time is kept.
const std::vector<std::unique_ptr<Matrix>>& Matrices(PackedType type) {
  static PackedType current = DType::kF32;
  static auto* const matrices = new std::vector<std::unique_ptr<Matrix>>();
  if (current == type && !matrices->empty()) return *matrices;
  matrices->clear();
  current = type;
  std::mt19937 random(1);
  const auto bytes = testing::RandomWeights(type, kOutputs, kInputs, random);
  do {
    auto made = Matrix::Create({.type = type.type,
                                .rows = kOutputs,
                                .cols = kInputs,
                                .data = reinterpret_cast<const std::byte*>(bytes.data()),
                                .shared = type.shared},
                               Precision::kFast, BenchPool());
    CHECK_OK(made.status());
    matrices->push_back(*std::move(made));
  } while (matrices->front()->bytes() * static_cast<int64_t>(matrices->size()) < testing::kStreamBytes);
  return *matrices;
}

void Product(benchmark::State& state, PackedType type) {
  const int64_t m = state.range(0);
  const auto& matrices = Matrices(type);
  std::mt19937 random(2);
  const auto x = testing::RandomFloats(m * kInputs, random);
  std::vector<float> y(static_cast<size_t>(m * kOutputs));
  Activations activations;
  size_t next = 0;
  for (auto _ : state) {
    activations.Set(x.data(), m, kInputs);
    const kernels::Product product{.weights = matrices[next].get(), .y = y.data()};
    Multiply({&product, 1}, activations, BenchPool());
    next = (next + 1) % matrices.size();
  }
  testing::ReportBytes(state, static_cast<double>(matrices.front()->bytes()));
  testing::ReportOperations(state, 2.0 * static_cast<double>(m * kOutputs * kInputs), BenchLimits().ForType(type.type));
}

void EmptyRegion(benchmark::State& state) {
  for (auto _ : state) BenchPool().Run([](int) {});
}
BENCHMARK(EmptyRegion)->UseRealTime();

// The limits themselves, so that a table of results has them beside.
void Limits(benchmark::State& state) {
  const MachineLimits& limits = BenchLimits();
  for (auto _ : state) {
  }
  state.counters["read_GB/s"] = limits.read.median * 1e-9;
  state.counters["int4_GOP/s"] = limits.int4.median * 1e-9;
  state.counters["int5_GOP/s"] = limits.int5.median * 1e-9;
  state.counters["int6_GOP/s"] = limits.int6.median * 1e-9;
  state.counters["int8_GOP/s"] = limits.int8.median * 1e-9;
  state.counters["f32_GOP/s"] = limits.f32.median * 1e-9;
}
BENCHMARK(Limits)->Iterations(1);

const bool kRegistered = [] {
  std::vector<PackedType> types(std::begin(testing::kPackedTypes), std::end(testing::kPackedTypes));
  types.insert(types.end(), {DType::kF16, DType::kBF16, DType::kF32});
  for (const PackedType type : types) {
    const std::string name = "Product/" + std::string(PackedTypeName(type));
    auto* const registered =
        benchmark::RegisterBenchmark(name.c_str(), [type](benchmark::State& state) { Product(state, type); });
    registered->ArgName("rows")->UseRealTime();
    for (const int rows : {1, 4, 8, 16, 64, 512}) registered->Arg(rows);
  }
  return true;
}();

}  // namespace
}  // namespace linnet::kernels
