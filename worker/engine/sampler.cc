#include "worker/engine/sampler.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/strings.h"
#include "kernels/rows.h"
#include "worker/engine/philox.h"

namespace linnet::worker {
namespace {

struct Candidate {
  float probability;  // before the filters; afterwards only their ratios count
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

void KeepTopK(std::vector<Candidate>& candidates, size_t k) {
  if (k == 0 || k >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<int64_t>(k), candidates.end(), Better);
  candidates.resize(k);
}

// The fewest best tokens whose probabilities reach `p` together. Sorts only a beginning that is long enough.
void KeepTopP(std::vector<Candidate>& candidates, float p) {
  if (p >= 1) return;
  const double enough = double{p} * Sum(candidates);
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

// Those at least `min_p` times as likely as the best one.
void KeepMinP(std::vector<Candidate>& candidates, float min_p, float best_probability) {
  if (min_p <= 0) return;
  const float least = min_p * best_probability;
  std::erase_if(candidates, [least](const Candidate& c) { return c.probability < least; });
}

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

TokenId SampleToken(std::span<float> logits, const SamplingParams& params, int64_t position) {
  const int64_t n = static_cast<int64_t>(logits.size());
  const TokenId best = static_cast<TokenId>(kernels::ArgMax(logits.data(), n));
  if (params.temperature == 0 || params.top_k == 1) return best;

  const float inverse_temperature = 1.0f / params.temperature;
  for (float& logit : logits) logit *= inverse_temperature;
  kernels::Softmax(logits.data(), n);
  const std::span<const float> probabilities = logits;

  thread_local std::vector<Candidate> candidates;  // keeps its memory: vocabularies are large
  candidates.clear();
  for (size_t i = 0; i < probabilities.size(); ++i) {
    // Tokens of no probability, those forbidden (-inf) and broken logits (NaN) among them, cannot be drawn.
    if (probabilities[i] > 0) candidates.push_back({.probability = probabilities[i], .id = static_cast<TokenId>(i)});
  }
  if (candidates.empty()) return best;
  KeepTopK(candidates, params.top_k);
  KeepTopP(candidates, params.top_p);
  KeepMinP(candidates, params.min_p, probabilities[static_cast<size_t>(best)]);

  double draw = CounterUniform(params.seed, static_cast<uint64_t>(position)) * Sum(candidates);
  for (const Candidate& c : candidates) {
    draw -= c.probability;
    if (draw < 0) return c.id;
  }
  return candidates.back().id;
}

}  // namespace linnet::worker
