#include "worker/engine/scheduler_policy.h"

#include <algorithm>

namespace linnet::worker {

StepPlan PlanStep(const SchedulerSnapshot& snapshot) {
  StepPlan plan;
  std::vector<uint32_t> prefill;  // of each sequence
  for (const RunningView& running : snapshot.running) prefill.push_back(running.prefill_tokens);

  int64_t free_blocks = snapshot.free_kv_blocks;
  for (const QueuedView& queued : snapshot.queued) {
    // The first that does not fit stops admission: a large request is not overtaken for ever by small ones.
    if (prefill.size() >= snapshot.max_running || queued.kv_blocks > free_blocks) break;
    free_blocks -= queued.kv_blocks;
    prefill.push_back(queued.prompt_tokens);
    ++plan.admit;
  }

  plan.tokens.assign(prefill.size(), 0);
  uint32_t budget = snapshot.token_budget;
  uint32_t decoding = 0;
  std::vector<size_t> order;  // those that prefill
  for (size_t i = 0; i < prefill.size(); ++i) {
    if (prefill[i] > 0) {
      order.push_back(i);
    } else if (budget > 0) {
      plan.tokens[i] = 1;
      --budget;
      ++decoding;
    }
  }
  if (decoding > 0) budget = std::min(budget, snapshot.prefill_beside_decode);

  // Shortest first, each an even share of what is left: what a short one does not need goes to the longer ones. Of
  // equals the one admitted first.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return prefill[a] < prefill[b]; });
  for (size_t i = 0; i < order.size() && budget > 0; ++i) {
    const uint32_t left = static_cast<uint32_t>(order.size() - i);
    const uint32_t share = std::max<uint32_t>(1, budget / left);
    const uint32_t tokens = std::min(prefill[order[i]], share);
    plan.tokens[order[i]] = tokens;
    budget -= tokens;
  }
  return plan;
}

}  // namespace linnet::worker
