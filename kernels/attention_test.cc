#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/attention_part.h"
#include "kernels/attention_test_util.h"
#include "kernels/float16.h"
#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::ScopedIsa;
using testing::Sequence;

// Heads of head_dim elements as they are stored.
std::vector<float> Stored(std::vector<float> x, DType type, int head_dim) {
  if (type == DType::kF16) {
    for (float& v : x) v = F32FromF16(F16FromF32(v));
  }
  if (type != DType::kQ8_0) return x;
  for (size_t head = 0; head < x.size(); head += static_cast<size_t>(head_dim)) {
    for (int begin = 0; begin < head_dim; begin += 32) {
      const std::span<float> group(x.data() + head + begin, static_cast<size_t>(std::min(32, head_dim - begin)));
      float amax = 0;
      for (const float v : group) amax = std::max(amax, std::fabs(v));
      const float scale = F32FromF16(F16FromF32(amax / 127));
      for (float& v : group) v = amax == 0 ? 0 : scale * std::nearbyint(v * (127 / amax));
    }
  }
  return x;
}

// In double, straight from the formula and from what was stored, not through the cache. Over Q8_0, vectors multiply
// with queries in 8 bits too (whose scale is not rounded).
std::vector<double> Exact(const Sequence& s, int64_t first, int tokens, const AttentionParams& params,
                          bool quantized_queries) {
  std::vector<double> out;
  const std::vector<float> keys = Stored(s.k, s.kv.type, s.head_dim), values = Stored(s.v, s.kv.type, s.value_dim);
  for (int64_t position = first; position < first + tokens; ++position) {
    for (int h = 0; h < s.q_heads; ++h) {
      const int kv_head = h / (s.q_heads / s.kv_heads);
      const int64_t begin = params.window > 0 ? std::max<int64_t>(0, position + 1 - params.window) : 0;
      std::vector<double> p;
      double max = -INFINITY, sum = 0;
      std::vector<double> query;
      for (int d = 0; d < s.head_dim; ++d)
        query.push_back(s.q[(position * s.q_heads + h) * s.head_dim + d] * params.scale);
      for (int begin = 0; quantized_queries && begin < s.head_dim; begin += 32) {
        const std::span<double> group(query.data() + begin, static_cast<size_t>(std::min(32, s.head_dim - begin)));
        float amax = 0;
        for (const double v : group) amax = std::max(amax, std::fabs(static_cast<float>(v)));
        for (double& v : group) v = amax / 127 * std::nearbyint(static_cast<float>(v) * (127 / amax));
      }
      for (int64_t t = begin; t <= position; ++t) {
        double score = 0;
        for (int d = 0; d < s.head_dim; ++d) {
          score += query[static_cast<size_t>(d)] * keys[(t * s.kv_heads + kv_head) * s.head_dim + d];
        }
        if (params.slopes != nullptr) score += params.slopes[h] * static_cast<double>(t - position);
        if (params.softcap > 0) score = params.softcap * std::tanh(score / params.softcap);
        p.push_back(score);
        max = std::max(max, score);
      }
      for (double& x : p) sum += x = std::exp(x - max);
      for (int d = 0; d < s.value_dim; ++d) {
        double value = 0;
        for (int64_t t = begin; t <= position; ++t)
          value += p[t - begin] / sum * values[(t * s.kv_heads + kv_head) * s.value_dim + d];
        out.push_back(value);
      }
    }
  }
  return out;
}

void ExpectNear(const std::vector<float>& got, const std::vector<double>& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(got[i] - expected[i]);
    worst = std::max(worst, std::isnan(difference) ? INFINITY : difference);
  }
  EXPECT_LT(worst, 1e-5) << what;
}

struct Geometry {
  DType type;
  int kv_heads, q_heads, head_dim;
  int64_t window;
  float softcap;
  int value_dim = 0;  // 0: head_dim
};
constexpr Geometry kGeometries[] = {
    {DType::kF16, 3, 9, 64, 0, 0},
    {DType::kF32, 3, 9, 64, 0, 0},
    {DType::kF16, 2, 2, 40, 0, 0},
    {DType::kF16, 1, 12, 72, 0, 0},
    {DType::kF16, 2, 10, 128, 50, 0},
    {DType::kF32, 1, 4, 32, 33, 5.0f},
    {DType::kF16, 2, 4, 256, 0, 20.0f},
    {DType::kF16, 1, 64, 8, 0, 0},
    {DType::kQ8_0, 3, 9, 64, 0, 0},
    {DType::kQ8_0, 1, 7, 128, 0, 0},
    {DType::kQ8_0, 2, 4, 40, 50, 5},
    {DType::kQ8_0, 1, 64, 8, 0, 0},
    // Latent attention: values are a part of the key.
    {DType::kF16, 1, 7, 288, 0, 0, 256},
    {DType::kF32, 1, 6, 44, 0, 0, 36},
    {DType::kQ8_0, 1, 16, 96, 0, 0, 64},
    {DType::kF16, 2, 6, 40, 50, 0, 17},
};

TEST(Attention, AgreesWithTheFormulaOnEveryIsa) {
  ThreadPool pool(2);
  for (const Geometry& g : kGeometries) {
    const Sequence s(g.type, g.kv_heads, g.q_heads, g.head_dim, 300, 11, 32, g.value_dim);
    AttentionParams params{.q_heads = g.q_heads,
                           .scale = 1 / std::sqrt(static_cast<float>(g.head_dim)),
                           .window = g.window,
                           .softcap = g.softcap};
    for (const auto& [first, tokens] : {std::pair{0, 1}, {0, 37}, {127, 3}, {128, 1}, {255, 1}, {200, 100}, {299, 1}}) {
      const auto expected = Exact(s, first, tokens, params, false);
      const auto expected_of_vectors =
          g.type == DType::kQ8_0 ? Exact(s, first, tokens, params, true) : std::vector<double>();
      const std::string what = ::testing::PrintToString(first) + "+" + ::testing::PrintToString(tokens) + " head_dim " +
                               ::testing::PrintToString(g.head_dim);
      for (const Isa isa : SupportedIsas()) {
        const ScopedIsa scoped(isa);
        ExpectNear(s.Run(first, tokens, params, pool),
                   g.type == DType::kQ8_0 && isa != Isa::kScalar ? expected_of_vectors : expected,
                   std::string(IsaName(isa)) + " " + what);
      }
      params.reference = true;
      ExpectNear(s.Run(first, tokens, params, pool), expected, "reference " + what);
      params.reference = false;
    }
  }
}

TEST(Attention, AlibiAddsASlopePerHead) {
  ThreadPool pool(2);
  const Sequence s(DType::kF16, 2, 6, 64, 300, 14);
  const float slopes[] = {0.5f, 0.25f, 0.1f, 0.02f, 0.0f, 0.004f};
  const AttentionParams params = {.q_heads = 6, .scale = 0.125f, .slopes = slopes};
  const AttentionParams without = {.q_heads = 6, .scale = 0.125f};
  for (const auto& [first, tokens] : {std::pair{0, 40}, {255, 1}, {150, 150}}) {
    const auto expected = Exact(s, first, tokens, params, false);
    for (const Isa isa : SupportedIsas()) {
      const ScopedIsa scoped(isa);
      ExpectNear(s.Run(first, tokens, params, pool), expected, std::string(IsaName(isa)));
    }
    EXPECT_NE(s.Run(first, tokens, params, pool), s.Run(first, tokens, without, pool));
  }
}

TEST(Attention, ATokenDependsNeitherOnItsBatchNorOnThreads) {
  ThreadPool one(1), three(3);
  for (const Geometry& g : kGeometries) {
    const Sequence s(g.type, g.kv_heads, g.q_heads, g.head_dim, 420, 12, 32, g.value_dim),
        other(g.type, g.kv_heads, g.q_heads, g.head_dim, 150, 13, 32, g.value_dim);
    const AttentionParams params{.q_heads = g.q_heads, .scale = 0.1f, .window = g.window, .softcap = g.softcap};
    const int64_t row = g.q_heads * s.value_dim;
    for (const Isa isa : SupportedIsas()) {
      if (isa == Isa::kScalar) continue;  // one row at a time anyhow
      const ScopedIsa scoped(isa);
      const auto all = s.Run(0, 420, params, one);
      const auto same = [&](const std::vector<float>& out, int64_t first) {
        return std::memcmp(out.data(), all.data() + first * row, out.size() * sizeof(float)) == 0;
      };
      EXPECT_TRUE(same(s.Run(0, 420, params, three), 0)) << IsaName(isa);
      for (const auto& [first, tokens] : {std::pair{0, 1}, {100, 60}, {130, 4}, {383, 1}, {384, 1}, {419, 1}}) {
        EXPECT_TRUE(same(s.Run(first, tokens, params, three), first)) << IsaName(isa) << " " << first << "+" << tokens;
      }
      // Together with another sequence.
      std::vector<float> out[3];
      const AttentionSpan spans[] = {other.Span(149, 1, out[0]), s.Span(419, 1, out[1]), other.Span(0, 100, out[2])};
      Attention(spans, params, three);
      EXPECT_TRUE(same(out[1], 419)) << IsaName(isa);
    }
  }
}

TEST(StoreKv, SaturatesInsteadOfInfinity) {
  for (const Isa isa : SupportedIsas()) {
    const ScopedIsa scoped(isa);
    ThreadPool pool(1);
    Sequence s(DType::kF16, 1, 1, 8, 1, 1, 16);
    const std::vector<float> k(8, 0.0f), v(8, -1e9f);
    StoreKv(s.kv, 0, 1, k.data(), 8, v.data(), 8);
    for (const float x : s.Run(0, 1, {.q_heads = 1, .scale = 1}, pool)) EXPECT_EQ(x, -65504.0f) << IsaName(isa);
  }
}

}  // namespace
}  // namespace linnet::kernels
