#include "worker/engine/scheduler_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

StepPlan Plan(std::vector<RunningView> running, std::vector<QueuedView> queued, SchedulerSnapshot limits = {}) {
  if (limits.max_running == 0) limits.max_running = 8;
  if (limits.token_budget == 0) limits.token_budget = 512;
  if (limits.prefill_beside_decode == 0) limits.prefill_beside_decode = 128;
  limits.running = running;
  limits.queued = queued;
  return PlanStep(limits);
}

TEST(SchedulerPolicy, NothingToDo) {
  const StepPlan plan = Plan({}, {});
  EXPECT_EQ(plan.admit, 0u);
  EXPECT_THAT(plan.tokens, IsEmpty());
}

TEST(SchedulerPolicy, DecodeFirstThenPrefillUpToItsShare) {
  EXPECT_THAT(Plan({{0}, {1000}, {0}}, {}).tokens, ElementsAre(1, 128, 1));
}

TEST(SchedulerPolicy, PrefillAloneGetsTheWholeBudget) { EXPECT_THAT(Plan({{1000}}, {}).tokens, ElementsAre(512)); }

TEST(SchedulerPolicy, AShortPromptDoesNotWaitBehindALongOne) {
  EXPECT_THAT(Plan({{5000}, {40}}, {}).tokens, ElementsAre(472, 40));
  EXPECT_THAT(Plan({{5000}, {4000}}, {}).tokens, ElementsAre(256, 256));
}

TEST(SchedulerPolicy, AdmitsInOrderWhileBlocksAreFree) {
  const std::vector<QueuedView> queued = {{10, 4}, {10, 4}, {10, 1}};
  const StepPlan plan = Plan({}, queued, {.free_kv_blocks = 7});
  EXPECT_EQ(plan.admit, 1u) << "the third would fit, but does not overtake the second";
  EXPECT_THAT(plan.tokens, ElementsAre(10));
  EXPECT_EQ(Plan({}, queued, {.free_kv_blocks = 9}).admit, 3u);
}

TEST(SchedulerPolicy, AdmitsAtMostMaxRunning) {
  const StepPlan plan = Plan({{0}, {0}}, {{5, 1}, {5, 1}}, {.free_kv_blocks = 100, .max_running = 3});
  EXPECT_EQ(plan.admit, 1u);
  EXPECT_THAT(plan.tokens, ElementsAre(1, 1, 5));
}

TEST(SchedulerPolicy, NeverExceedsTheBudgetAndAlwaysProgresses) {
  for (uint32_t budget = 1; budget < 40; ++budget) {
    for (uint32_t prefilling = 1; prefilling < 12; ++prefilling) {
      std::vector<RunningView> running(prefilling, RunningView{.prefill_tokens = 7});
      running.push_back({0});
      const StepPlan plan = Plan(running, {}, {.max_running = 16, .token_budget = budget});
      const uint32_t total = std::accumulate(plan.tokens.begin(), plan.tokens.end(), 0u);
      ASSERT_LE(total, budget);
      ASSERT_GT(total, 0u);
    }
  }
}

}  // namespace
}  // namespace linnet::worker
