// For the *_bench.cc files: compute threads, the machine's limits measured in the same run, and counters that relate a
// benchmark to them. LINNET_BENCH_THREADS sets the threads (default: 2).
//
//   GB/s, GOP/s    what was read and computed; a multiply-add counts as two operations
//   of_read        of the read bandwidth of all threads, for a buffer of kStreamBytes
//   of_peak        of the arithmetic peak of the instructions that the format allows
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "kernels/machine_limits.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels::testing {

// What a benchmark of reading goes through before it comes back to the beginning, so that it reads from memory as a
// model's weights do.
inline constexpr int64_t kStreamBytes = int64_t{256} << 20;

inline ThreadPool& BenchPool() {
  static ThreadPool* const pool = [] {
    const char* const threads = std::getenv("LINNET_BENCH_THREADS");
    const int wanted = threads != nullptr ? std::atoi(threads) : 2;
    CHECK(wanted >= 1 && wanted <= 1024) << "LINNET_BENCH_THREADS=" << threads << " must be from 1 to 1024";
    return new ThreadPool(wanted);
  }();
  return *pool;
}

inline const MachineLimits& BenchLimits() {
  static const MachineLimits* const limits = [] {
    const auto measured = MeasureMachineLimits({.read_bytes = kStreamBytes}, BenchPool());
    CHECK_OK(measured.status());
    return new MachineLimits(*measured);
  }();
  return *limits;
}

inline benchmark::Counter PerSecond(const benchmark::State& state, double per_iteration) {
  return benchmark::Counter(per_iteration * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
inline void ReportBytes(benchmark::State& state, double per_iteration) {
  state.counters["GB/s"] = PerSecond(state, per_iteration * 1e-9);
  state.counters["of_read"] = PerSecond(state, per_iteration / BenchLimits().read.median);
}
inline void ReportOperations(benchmark::State& state, double per_iteration, const Rate& peak) {
  state.counters["GOP/s"] = PerSecond(state, per_iteration * 1e-9);
  state.counters["of_peak"] = PerSecond(state, per_iteration / peak.median);
}

}  // namespace linnet::kernels::testing
