// Attention over the paged cache: decode is bound by reading keys and values, prefill by f32 arithmetic. See
// bench_yardsticks.h.
#include <algorithm>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/bench_yardsticks.h"
#include "kernels/kernel_test_data.h"

namespace linnet::kernels {
namespace {

using testing::BenchLimits;
using testing::BenchPool;

constexpr int kBlockTokens = 32;

// The same keys and values in several places: as many layers as it takes that a pass over them reads from memory.
class Caches {
 public:
  Caches(int kv_heads, int head_dim, int64_t tokens) {
    kv_ = {.type = DType::kF16,
           .block_tokens = kBlockTokens,
           .kv_heads = kv_heads,
           .head_dim = head_dim,
           .value_dim = head_dim};
    const int64_t blocks = (tokens + kBlockTokens - 1) / kBlockTokens;
    bytes_ = blocks * kv_.BytesPerBlock();
    const size_t layers = static_cast<size_t>(std::max<int64_t>(1, testing::kStreamBytes / bytes_));
    auto memory = AlignedBuffer::Create(static_cast<int64_t>(layers) * bytes_);
    CHECK_OK(memory.status());
    memory_ = *std::move(memory);
    pointers_.resize(layers);
    for (size_t layer = 0; layer < layers; ++layer) {
      std::byte* const first = At(layer);
      for (int64_t b = 0; b < blocks; ++b) pointers_[layer].push_back(first + b * kv_.BytesPerBlock());
    }
    std::mt19937 random(3);
    const int64_t row = int64_t{kv_heads} * head_dim;
    const auto k = testing::RandomFloats(tokens * row, random), v = testing::RandomFloats(tokens * row, random);
    StoreKv(Layer(0), 0, static_cast<int>(tokens), k.data(), row, v.data(), row);
    for (size_t layer = 1; layer < layers; ++layer) std::copy_n(At(0), bytes_, At(layer));
  }
  KvBlocks Layer(size_t i) const {
    KvBlocks kv = kv_;
    kv.blocks = pointers_[i % pointers_.size()];
    return kv;
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* At(size_t layer) const {
    return reinterpret_cast<std::byte*>(memory_.data()) + static_cast<int64_t>(layer) * bytes_;
  }

  KvBlocks kv_;
  int64_t bytes_ = 0;
  AlignedBuffer memory_;
  std::vector<std::vector<std::byte*>> pointers_;
};

// The last `tokens` of a context of `context`.
void Run(benchmark::State& state, int q_heads, int kv_heads, int head_dim, int64_t context, int tokens, bool decode) {
  const Caches caches(kv_heads, head_dim, context);
  const int64_t row = int64_t{q_heads} * head_dim;
  std::mt19937 random(4);
  const auto q = testing::RandomFloats(tokens * row, random);
  std::vector<float> out(static_cast<size_t>(tokens * row));
  const AttentionParams params = {.q_heads = q_heads, .scale = 0.1f};
  size_t layer = 0;
  for (auto _ : state) {
    const AttentionSpan span = {.kv = caches.Layer(layer++),
                                .q = q.data(),
                                .q_stride = row,
                                .out = out.data(),
                                .out_stride = row,
                                .tokens = tokens,
                                .first_position = context - tokens};
    Attention({&span, 1}, params, BenchPool());
  }
  const double visible = static_cast<double>(tokens) * static_cast<double>(context - tokens) +
                         static_cast<double>(tokens) * (tokens + 1) / 2;
  if (decode) testing::ReportBytes(state, static_cast<double>(caches.bytes()));
  testing::ReportOperations(state, 4.0 * visible * static_cast<double>(row), BenchLimits().f32);
}

void Decode(benchmark::State& state, int q_heads, int kv_heads, int head_dim) {
  Run(state, q_heads, kv_heads, head_dim, state.range(0), 1, true);
}
void Prefill(benchmark::State& state, int q_heads, int kv_heads, int head_dim) {
  Run(state, q_heads, kv_heads, head_dim, state.range(0), 512, false);
}
BENCHMARK_CAPTURE(Decode, 12_heads_2_kv_of_128, 12, 2, 128)
    ->ArgName("context")
    ->Arg(512)
    ->Arg(2048)
    ->Arg(8192)
    ->UseRealTime();
BENCHMARK_CAPTURE(Decode, 14_heads_2_kv_of_64, 14, 2, 64)->ArgName("context")->Arg(2048)->UseRealTime();
BENCHMARK_CAPTURE(Decode, 9_heads_3_kv_of_64, 9, 3, 64)
    ->ArgName("context")
    ->Arg(512)
    ->Arg(2048)
    ->Arg(8192)
    ->UseRealTime();
BENCHMARK_CAPTURE(Decode, 32_heads_8_kv_of_64, 32, 8, 64)->ArgName("context")->Arg(2048)->UseRealTime();
BENCHMARK_CAPTURE(Prefill, 12_heads_2_kv_of_128, 12, 2, 128)->ArgName("context")->Arg(512)->Arg(2048)->UseRealTime();
BENCHMARK_CAPTURE(Prefill, 9_heads_3_kv_of_64, 9, 3, 64)->ArgName("context")->Arg(512)->Arg(2048)->UseRealTime();

}  // namespace
}  // namespace linnet::kernels
