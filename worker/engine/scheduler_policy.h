// What the next step computes: a pure function of a snapshot, so that tests and simulations run the real policy.
//
// Decoding sequences come first, a token each. What is left of the token budget goes to prefill, shared evenly among
// the sequences that still have prompt tokens to compute, so that a short prompt does not wait behind a long one;
// beside decoding sequences prefill gets a smaller share, which bounds the time between their tokens. Queued requests
// are admitted in order while a place and all KV blocks that they may ever need are free: whoever runs can finish, and
// nothing has to be preempted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace linnet::worker {

struct RunningView {
  // Prompt tokens not yet computed; 0: decoding.
  uint32_t prefill_tokens = 0;
};

struct QueuedView {
  uint32_t prompt_tokens = 0;
  int64_t kv_blocks = 0;  // for the prompt and everything that it may generate
};

struct SchedulerSnapshot {
  std::span<const RunningView> running;  // in the order of admission
  std::span<const QueuedView> queued;    // in the order of arrival
  int64_t free_kv_blocks = 0;
  uint32_t max_running = 0;
  uint32_t token_budget = 0;           // of one step; at least max_running
  uint32_t prefill_beside_decode = 0;  // the most prefill tokens of a step in which something decodes; at least 1
};

struct StepPlan {
  // The first `admit` of the queue join the end of the running ones, and may be computed in this step already.
  size_t admit = 0;
  // For each running sequence (admitted ones included): how many tokens this step computes. Decoding: 0 or 1.
  std::vector<uint32_t> tokens;
};

StepPlan PlanStep(const SchedulerSnapshot& snapshot);

}  // namespace linnet::worker
