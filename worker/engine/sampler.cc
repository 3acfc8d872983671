#include "worker/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "kernels/rows.h"
#include "worker/engine/philox.h"

namespace linnet::worker {
namespace {

constexpr int32_t kMostBest = 64;
// Probabilities are summed in blocks of so many tokens, so that a draw looks into one of them only.
constexpr size_t kBlock = 4096;

struct Candidate {
  float probability;  // relative to the best token's: only ratios count
  TokenId id;
};

// Better first; of equals the lower id, so that the order does not depend on how it was sorted.
bool Better(const Candidate& a, const Candidate& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
}

double Sum(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.probability;
  return sum;
}

// Sorted, so that a draw finds the same token in them as in a list of the best that came sorted.
void KeepTopK(std::vector<Candidate>& candidates, size_t k) {
  if (k == 0) return;
  k = std::min(k, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<int64_t>(k), candidates.end(), Better);
  candidates.resize(k);
}

// The fewest best tokens whose probabilities reach `enough` together. Sorts only a beginning that is long enough.
void KeepTopP(std::vector<Candidate>& candidates, double enough) {
  double sum = 0;
  size_t sorted = 0;
  for (size_t want = 64; sorted < candidates.size(); want *= 8) {
    const size_t end = std::min(want, candidates.size());
    std::partial_sort(candidates.begin() + static_cast<int64_t>(sorted), candidates.begin() + static_cast<int64_t>(end),
                      candidates.end(), Better);
    for (; sorted < end; ++sorted) {
      sum += candidates[sorted].probability;
      if (sum >= enough) {
        candidates.resize(sorted + 1);
        return;
      }
    }
  }
}

// Tokens of a probability above `floor`.
void Gather(std::span<const float> probabilities, float floor, std::vector<Candidate>& candidates) {
  const int64_t n = static_cast<int64_t>(probabilities.size());
  candidates.clear();
  for (int64_t i = 0;; ++i) {
    i += kernels::FirstAbove(probabilities.data() + i, n - i, floor);
    if (i == n) return;
    candidates.push_back({.probability = probabilities[static_cast<size_t>(i)], .id = static_cast<TokenId>(i)});
  }
}

// One of the candidates, filtered. `total`: of all tokens, where candidates are not the top k.
TokenId Draw(std::vector<Candidate>& candidates, const SamplingParams& params, double total, int64_t position) {
  KeepTopK(candidates, params.top_k);
  if (params.top_p < 1) KeepTopP(candidates, params.top_p * (params.top_k > 0 ? Sum(candidates) : total));
  if (params.min_p > 0) std::erase_if(candidates, [&](const Candidate& c) { return c.probability < params.min_p; });
  double draw = CounterUniform(params.seed, static_cast<uint64_t>(position)) * Sum(candidates);
  for (const Candidate& c : candidates) {
    draw -= c.probability;
    if (draw < 0) return c.id;
  }
  return candidates.back().id;
}

// Any token, as often as its probability says.
TokenId DrawFromAll(std::span<const float> probabilities, std::span<const double> block_sums, double total,
                    const SamplingParams& params, int64_t position) {
  double draw = CounterUniform(params.seed, static_cast<uint64_t>(position)) * total;
  size_t block = 0;
  while (block + 1 < block_sums.size() && draw >= block_sums[block]) draw -= block_sums[block++];
  // A block's sum may differ from its parts added one by one in the last bits: then it is its last token, or the last
  // one before it.
  size_t last = 0;
  for (size_t i = block * kBlock; i < std::min(probabilities.size(), (block + 1) * kBlock); ++i) {
    if (!(probabilities[i] > 0)) continue;
    last = i;
    draw -= probabilities[i];
    if (draw < 0) break;
  }
  for (size_t i = block * kBlock; last == 0 && i > 0; --i) {
    if (probabilities[i - 1] > 0) last = i - 1;
  }
  return static_cast<TokenId>(last);
}

thread_local std::vector<Candidate> t_candidates;  // keeps its memory: vocabularies are large

}  // namespace

absl::Status ValidateSampling(const SamplingParams& params) {
  std::vector<std::pair<std::string, std::string>> violations;
  const auto check = [&](bool good, const char* field, const char* range, float value) {
    if (!good) violations.emplace_back(field, base::StrCat("must be ", range, ", is ", value));
  };
  check(params.temperature >= 0 && params.temperature <= 100, "sampling.temperature", "from 0 to 100",
        params.temperature);
  check(params.top_p > 0 && params.top_p <= 1, "sampling.top_p", "above 0 and at most 1", params.top_p);
  check(params.min_p >= 0 && params.min_p <= 1, "sampling.min_p", "from 0 to 1", params.min_p);
  return violations.empty() ? absl::OkStatus() : base::FieldErrors(violations);
}

int32_t TokensToChooseFrom(const SamplingParams& params) {
  if (params.temperature == 0) return 1;
  return params.top_k <= kMostBest ? static_cast<int32_t>(params.top_k) : 0;
}

TokenId SampleToken(std::span<const ScoredToken> best, const SamplingParams& params, int64_t position) {
  if (best.empty() || !std::isfinite(best[0].value)) return kNoToken;
  if (params.temperature == 0 || best.size() == 1) return best[0].index;
  std::vector<Candidate>& candidates = t_candidates;
  candidates.clear();
  for (const ScoredToken& token : best) {
    const float probability = std::exp((token.value - best[0].value) / params.temperature);
    // Those of no probability, forbidden ones (-inf) among them, cannot be drawn.
    if (probability > 0) candidates.push_back({.probability = probability, .id = token.index});
  }
  return candidates.empty() ? best[0].index : Draw(candidates, params, 0, position);
}

TokenId SampleToken(std::span<float> logits, const SamplingParams& params, int64_t position) {
  const int64_t n = static_cast<int64_t>(logits.size());
  const TokenId best = static_cast<TokenId>(kernels::ArgMax(logits.data(), n));
  if (!std::isfinite(logits[static_cast<size_t>(best)])) return kNoToken;
  if (params.temperature == 0 || params.top_k == 1) return best;

  const float inverse_temperature = 1.0f / params.temperature;
  for (float& logit : logits) logit *= inverse_temperature;
  const float max = logits[static_cast<size_t>(best)];
  thread_local std::vector<double> block_sums;
  block_sums.clear();
  double total = 0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - i);
    block_sums.push_back(kernels::ExpInPlace(logits.data() + i, max, static_cast<int64_t>(count)));
    total += block_sums.back();
  }
  const std::span<const float> probabilities = logits;
  if (!std::isfinite(total)) return kNoToken;
  const bool all = params.top_k == 0 || params.top_k >= logits.size();
  if (all && params.top_p >= 1 && params.min_p <= 0) {
    return DrawFromAll(probabilities, block_sums, total, params, position);
  }

  // Most tokens have next to no probability: only as many are looked at as the filters can keep.
  std::vector<Candidate>& candidates = t_candidates;
  for (float floor : {0x1p-10f, 0x1p-20f, 0.0f}) {
    Gather(probabilities, floor, candidates);
    const bool enough = !all               ? candidates.size() >= params.top_k
                        : params.top_p < 1 ? Sum(candidates) >= params.top_p * total
                                           : floor < params.min_p;
    if (enough) break;
  }
  return candidates.empty() ? best : Draw(candidates, params, total, position);
}

}  // namespace linnet::worker
