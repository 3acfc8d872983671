// Random calls of attention, on every instruction set: compared with plain loops, within a tolerance, and bit for bit
// with the same tokens computed one by one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/strings.h"
#include "kernels/attention.h"
#include "kernels/attention_test_util.h"
#include "kernels/differential_test_util.h"
#include "kernels/kernel_test_util.h"

namespace linnet::kernels {
namespace {

using testing::Draw;
using testing::ForEachDraw;
using testing::ScopedIsa;
using testing::Sequence;

constexpr int64_t kMostSpans = 4, kMostTokens = 40, kMostLength = 500, kMostKvHeads = 3, kMostGroup = 12,
                  kMostHalfHead = 64;
// Values are of unit size; sums of f32 over the longest context.
constexpr double kTolerance = 2e-5;

// Queries that 8 bits hold, so that they stay what they are over a Q8_0 cache.
void MakeEightBit(std::vector<float>& q, int head_dim, std::mt19937& random) {
  for (size_t head = 0; head < q.size(); head += static_cast<size_t>(head_dim)) {
    for (int d = 0; d < head_dim; ++d) {
      const int value = d % 32 == 0 ? 127 : static_cast<int>(random() % 255) - 127;
      q[head + static_cast<size_t>(d)] = static_cast<float>(value) / 32;
    }
  }
}

class DrawnCall {
 public:
  explicit DrawnCall(Draw draw) : threads_(static_cast<int>(1 + draw.Below(3))) {
    constexpr DType kTypes[] = {DType::kF16, DType::kF32, DType::kQ8_0};
    const DType type = kTypes[draw.Below(3)];
    const int kv_heads = static_cast<int>(draw.Size(kMostKvHeads));
    const int q_heads = kv_heads * static_cast<int>(draw.Size(kMostGroup));
    const int head_dim = 2 * static_cast<int>(draw.Size(kMostHalfHead));
    const int value_dim = draw.OneIn(3) ? static_cast<int>(draw.Size(head_dim)) : head_dim;
    for (int64_t i = draw.Size(kMostSpans); i > 0; --i) {
      Sequence& s = sequences_.emplace_back(type, kv_heads, q_heads, head_dim, draw.Size(kMostLength),
                                            static_cast<uint32_t>(draw.random()()), draw.OneIn(2) ? 16 : 32, value_dim);
      if (type == DType::kQ8_0) MakeEightBit(s.q, head_dim, draw.random());
      const int64_t tokens = std::min(s.length, draw.Size(kMostTokens));
      tokens_.push_back(static_cast<int>(tokens));
      // Where a sequence ends, more often than not.
      first_.push_back(draw.OneIn(3) ? draw.Below(s.length - tokens + 1) : s.length - tokens);
    }
    for (int h = 0; h < q_heads; ++h) slopes_.push_back(0.5f / static_cast<float>(1 + draw.Below(100)));
    params_ = {.q_heads = q_heads, .scale = 1 / std::sqrt(static_cast<float>(head_dim))};
    if (draw.OneIn(3)) params_.window = draw.Size(200);
    if (draw.OneIn(3)) params_.softcap = static_cast<float>(1 + draw.Below(30));
    if (params_.softcap == 0 && draw.OneIn(3)) params_.slopes = slopes_.data();
  }

  // The outputs of each span.
  std::vector<std::vector<float>> Together(bool reference) const {
    ThreadPool pool(threads_);
    std::vector<std::vector<float>> out(sequences_.size());
    std::vector<AttentionSpan> spans;
    for (size_t i = 0; i < sequences_.size(); ++i) spans.push_back(sequences_[i].Span(first_[i], tokens_[i], out[i]));
    AttentionParams params = params_;
    params.reference = reference;
    Attention(spans, params, pool);
    return out;
  }
  std::vector<std::vector<float>> TokenByToken() const {
    ThreadPool pool(1);
    std::vector<std::vector<float>> out(sequences_.size());
    for (size_t i = 0; i < sequences_.size(); ++i) {
      for (int t = 0; t < tokens_[i]; ++t) {
        const std::vector<float> one = sequences_[i].Run(first_[i] + t, 1, params_, pool);
        out[i].insert(out[i].end(), one.begin(), one.end());
      }
    }
    return out;
  }

  void Compare(Isa isa, const std::vector<std::vector<float>>& expected) const {
    const ScopedIsa scoped(isa);
    const auto together = Together(false), alone = TokenByToken();
    for (size_t i = 0; i < sequences_.size(); ++i) {
      const auto differ = [](float a, float b) { return !(std::abs(double{a} - b) <= kTolerance); };
      const auto [e, g] =
          std::mismatch(expected[i].begin(), expected[i].end(), together[i].begin(), std::not_fn(differ));
      EXPECT_TRUE(e == expected[i].end()) << What(isa, i) << ": " << *g << " for " << *e;
      EXPECT_EQ(0, std::memcmp(together[i].data(), alone[i].data(), alone[i].size() * sizeof(float)))
          << What(isa, i) << ", token by token";
    }
  }

 private:
  std::string What(Isa isa, size_t i) const {
    const Sequence& s = sequences_[i];
    return base::StrCat(IsaName(isa), ", span ", i, " of ", sequences_.size(), ": ", tokens_[i], " tokens from ",
                        first_[i], ", ", Info(s.kv.type).name, ", ", s.q_heads, " heads over ", s.kv_heads, " of ",
                        s.head_dim, " and ", s.value_dim, ", window ", params_.window, ", soft cap ", params_.softcap,
                        params_.slopes != nullptr ? ", slopes" : "", ", ", threads_, " threads");
  }

  const int threads_;
  std::vector<Sequence> sequences_;  // one for each span
  std::vector<int> tokens_;
  std::vector<int64_t> first_;
  std::vector<float> slopes_;
  AttentionParams params_;
};

TEST(AttentionDifferential, EveryIsaIsNearThePlainLoopsHoweverTokensAreGrouped) {
  ForEachDraw([](const Draw& draw) {
    const DrawnCall call(draw);
    const auto expected = call.Together(true);
    for (const Isa isa : SupportedIsas()) {
      if (isa != Isa::kScalar) call.Compare(isa, expected);
    }
  });
}

}  // namespace
}  // namespace linnet::kernels
