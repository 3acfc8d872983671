#include "worker/engine/engine_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "worker/engine/fake_model.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct RecordingSink : public EngineSink {
  void OnTokens(std::vector<TokenId> more, std::string text_part) override {
    EXPECT_FALSE(finished) << "nothing comes after the end";
    tokens.insert(tokens.end(), more.begin(), more.end());
    text += text_part;
  }
  void OnFinish(const EngineFinish& f) override {
    EXPECT_FALSE(finished) << "OnFinish comes once";
    finished = true;
    finish = f;
  }
  std::vector<TokenId> tokens;
  std::string text;
  bool finished = false;
  EngineFinish finish;
};

class EngineCoreTest : public ::testing::Test {
 protected:
  void Start(Engine::Options options = {}, FakeModel::Options model = {}) {
    model_ = std::make_unique<FakeModel>(model);
    options.clock = &clock_;
    if (options.max_running_requests == 16) options.max_running_requests = 4;
    auto engine = EngineCore::Create(model_.get(), options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  std::shared_ptr<RecordingSink> Submit(EngineRequest request) {
    auto sink = std::make_shared<RecordingSink>();
    auto id = engine_->Submit(std::move(request), sink);
    EXPECT_TRUE(id.ok()) << id.status();
    last_id_ = id.value_or(0);
    return sink;
  }
  absl::Status SubmitStatus(EngineRequest request) {
    return engine_->Submit(std::move(request), std::make_shared<RecordingSink>()).status();
  }
  static EngineRequest Request(int prompt_tokens, uint32_t max_tokens, TokenId first = 1) {
    EngineRequest request = {.sampling = {.temperature = 0}, .max_tokens = max_tokens};
    for (int i = 0; i < prompt_tokens; ++i) request.prompt.push_back(first + i % 50);
    return request;
  }
  void RunUntilIdle() {
    for (int i = 0; i < 10000 && engine_->Step(); ++i) clock_.Advance(absl::Milliseconds(10));
  }

  base::FakeClock clock_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<EngineCore> engine_;
  uint64_t last_id_ = 0;
};

TEST_F(EngineCoreTest, RequestsHoldTheWindowAndAStep) {
  // 40 blocks of 32 would be one context of a model without a window.
  Start({.max_running_requests = 4, .kv_cache_tokens = 1280, .step_token_budget = 64}, {.window = 100});
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 4; ++i) {
    EngineRequest request = Request(900, 100);
    request.ignore_eos = true;
    sinks.push_back(Submit(std::move(request)));
  }
  engine_->Step();
  EXPECT_EQ(engine_->Load().running_requests, 4u);
  // 163 tokens in at most 7 blocks.
  EXPECT_EQ(engine_->Load().kv_blocks_used, 4u * 7);
  RunUntilIdle();
  for (const auto& sink : sinks) EXPECT_EQ(sink->tokens.size(), 100u);
  EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
}

TEST_F(EngineCoreTest, LogitsThatAreNoNumbersEndTheirRequestAlone) {
  for (const float temperature : {0.0f, 1e-3f}) {  // of the best token, and of all logits
    Start({}, {.broken = 13});
    const auto request = [&](TokenId first) {
      EngineRequest made = Request(1, 6, first);
      made.sampling.temperature = temperature;
      return made;
    };
    const auto broken = Submit(request(10)), other = Submit(request(50));
    RunUntilIdle();
    EXPECT_THAT(broken->tokens, ElementsAre(11, 12, 13));
    EXPECT_EQ(broken->finish.status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(broken->finish.status.message()), HasSubstr("logits are not numbers"));
    EXPECT_EQ(other->finish.status, absl::OkStatus());
    EXPECT_EQ(other->tokens.size(), 6u);
    EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
  }
}

TEST_F(EngineCoreTest, PositionsByLengthGoByThePrompt) {
  Start({.step_token_budget = 8});
  auto sink = Submit(Request(21, 4));
  RunUntilIdle();
  ASSERT_TRUE(sink->finished);
  EXPECT_THAT(model_->sequence_tokens, ElementsAre(21)) << "in each chunk, and while it is generated";
}

TEST_F(EngineCoreTest, GeneratesUpToMaxTokens) {
  Start();
  auto sink = Submit(Request(3, 4));
  RunUntilIdle();
  ASSERT_TRUE(sink->finished);
  EXPECT_TRUE(sink->finish.status.ok());
  EXPECT_EQ(sink->finish.reason, StopReason::kMaxTokens);
  EXPECT_THAT(sink->tokens, ElementsAre(4, 5, 6, 7));
  EXPECT_EQ(sink->text, "defg");
  EXPECT_EQ(sink->finish.prompt_tokens, 3u);
  EXPECT_EQ(sink->finish.completion_tokens, 4u);
  EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
  EXPECT_THAT(model_->steps, ElementsAre(ElementsAre(3), ElementsAre(1), ElementsAre(1), ElementsAre(1)));
}

TEST_F(EngineCoreTest, EndsWithTheTurnUnlessToldOtherwise) {
  Start({}, {.vocab = 10});
  auto sink = Submit(Request(5, 100));
  EngineRequest on = Request(5, 8);
  on.ignore_eos = true;
  auto goes_on = Submit(std::move(on));
  RunUntilIdle();
  EXPECT_EQ(sink->finish.reason, StopReason::kEndOfTurn);
  EXPECT_THAT(sink->tokens, ElementsAre(6, 7, 8, 9)) << "the ending token itself is not told";
  EXPECT_EQ(sink->finish.completion_tokens, 4u);
  EXPECT_THAT(goes_on->tokens, ElementsAre(6, 7, 8, 9, 0, 1, 2, 3));
}

TEST_F(EngineCoreTest, StopsAtAStopTextAcrossTokens) {
  Start();
  EngineRequest request = Request(1, 50);
  request.stop_texts = {"xyz", "fgh"};
  auto sink = Submit(std::move(request));
  RunUntilIdle();
  EXPECT_EQ(sink->finish.reason, StopReason::kStopText);
  EXPECT_EQ(sink->text, "bcde");
}

TEST_F(EngineCoreTest, TextThatOnlyLooksLikeAStopTextComesAtTheEnd) {
  Start();
  EngineRequest request = Request(1, 3);
  request.stop_texts = {"cde"};
  request.max_tokens = 2;
  auto sink = Submit(std::move(request));
  RunUntilIdle();
  EXPECT_EQ(sink->text, "bc");
}

TEST_F(EngineCoreTest, FillsTheContextAndSaysSo) {
  Start({.context_tokens = 40}, {.context_tokens = 64});
  auto sink = Submit(Request(30, 0));
  auto bounded = Submit(Request(30, 100));
  RunUntilIdle();
  EXPECT_EQ(sink->finish.reason, StopReason::kContextFull);
  EXPECT_EQ(sink->finish.completion_tokens, 10u);
  EXPECT_EQ(bounded->finish.reason, StopReason::kContextFull);
}

TEST_F(EngineCoreTest, PrefillsInChunksBesideDecoding) {
  Start({.step_token_budget = 16}, {.max_step_tokens = 64});
  auto first = Submit(Request(2, 20));
  engine_->Step();
  model_->steps.clear();
  auto second = Submit(Request(10, 2));
  RunUntilIdle();
  // A quarter of the budget is for prefill beside a decoding sequence.
  ASSERT_GE(model_->steps.size(), 4u);
  EXPECT_THAT(model_->steps[0], ElementsAre(1, 4));
  EXPECT_THAT(model_->steps[1], ElementsAre(1, 4));
  EXPECT_THAT(model_->steps[2], ElementsAre(1, 2));
  EXPECT_THAT(model_->steps[3], ElementsAre(1, 1));
  EXPECT_THAT(second->tokens, ElementsAre(11, 12));
  EXPECT_EQ(first->finish.completion_tokens, 20u);
}

TEST_F(EngineCoreTest, WaitsForBlocksRatherThanOvercommitting) {
  // Room for one request of 64 tokens at a time.
  Start({.context_tokens = 64, .kv_cache_tokens = 64});
  auto first = Submit(Request(40, 20));
  auto second = Submit(Request(40, 20));
  engine_->Step();
  EXPECT_EQ(engine_->Load().running_requests, 1u);
  EXPECT_EQ(engine_->Load().queued_requests, 1u);
  EXPECT_EQ(engine_->Load().pending_prefill_tokens, 40u);
  RunUntilIdle();
  EXPECT_EQ(first->finish.completion_tokens, 20u);
  EXPECT_EQ(second->finish.completion_tokens, 20u);
  EXPECT_GT(second->finish.queued, first->finish.queued);
}

TEST_F(EngineCoreTest, CancelWhileRunningFreesItsBlocks) {
  Start();
  auto sink = Submit(Request(40, 100));
  engine_->Step();
  EXPECT_GT(engine_->Load().kv_blocks_used, 0u);
  engine_->Cancel(last_id_);
  engine_->Step();
  ASSERT_TRUE(sink->finished);
  EXPECT_EQ(sink->finish.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(base::ErrorReason(sink->finish.status), "CLIENT_CANCELLED");
  EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
  EXPECT_EQ(engine_->Load().running_requests, 0u);
}

TEST_F(EngineCoreTest, CancelWhileQueuedFreesItsBlocks) {
  Start({.context_tokens = 64, .kv_cache_tokens = 64});
  auto running = Submit(Request(40, 20));
  auto queued = Submit(Request(40, 20));
  const uint64_t queued_id = last_id_;
  auto behind = Submit(Request(4, 2));
  engine_->Step();
  engine_->Cancel(queued_id);
  engine_->Step();
  ASSERT_TRUE(queued->finished);
  EXPECT_EQ(queued->finish.status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(queued->tokens.empty());
  EXPECT_EQ(engine_->Load().queued_requests, 1u);
  RunUntilIdle();
  EXPECT_TRUE(running->finish.status.ok());
  EXPECT_EQ(behind->finish.completion_tokens, 2u);
  EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
}

TEST_F(EngineCoreTest, CancelOfWhatHasFinishedHasNoEffect) {
  Start();
  auto sink = Submit(Request(3, 1));
  RunUntilIdle();
  ASSERT_TRUE(sink->finish.status.ok());
  engine_->Cancel(last_id_);
  engine_->Cancel(12345);
  EXPECT_TRUE(engine_->WaitForWork());
  EXPECT_FALSE(engine_->Step());
  auto next = Submit(Request(3, 1));
  RunUntilIdle();
  EXPECT_TRUE(next->finish.status.ok());
}

TEST_F(EngineCoreTest, DeadlinesEndRequestsAtStepBorders) {
  Start();
  EngineRequest late = Request(3, 1000);
  late.deadline = clock_.WallNow() + absl::Milliseconds(35);
  auto sink = Submit(std::move(late));
  auto other = Submit(Request(3, 8));
  RunUntilIdle();  // 10 ms a step
  EXPECT_EQ(sink->finish.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(base::ErrorReason(sink->finish.status), "DEADLINE_PASSED");
  EXPECT_EQ(sink->finish.completion_tokens, 4u) << "what came in time stays";
  EXPECT_TRUE(other->finish.status.ok());
  EXPECT_EQ(engine_->Load().kv_blocks_used, 0u);
}

TEST_F(EngineCoreTest, RefusesADeadlineThatHasPassed) {
  Start();
  EngineRequest late = Request(3, 10);
  late.deadline = clock_.WallNow() - absl::Milliseconds(1);
  EXPECT_EQ(SubmitStatus(std::move(late)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineCoreTest, FullQueueRefusesWithRetryInfo) {
  Start({.max_running_requests = 1, .max_queued_requests = 2});
  auto running = Submit(Request(3, 50));
  engine_->Step();
  Submit(Request(3, 1));
  Submit(Request(3, 1));
  const absl::Status status = SubmitStatus(Request(3, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ErrorReason(status), "QUEUE_FULL");
  EXPECT_GT(base::RetryAfter(status), absl::ZeroDuration());
  RunUntilIdle();
  EXPECT_TRUE(SubmitStatus(Request(3, 1)).ok());
}

TEST_F(EngineCoreTest, RequestsThatComeTogetherFindTheIdlePlacesToo) {
  Start({.max_running_requests = 2, .max_queued_requests = 1});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(SubmitStatus(Request(3, 5)).ok()) << "before the engine's thread ran, " << i;
  EXPECT_EQ(base::ErrorReason(SubmitStatus(Request(3, 5))), "QUEUE_FULL");
  engine_->Step();
  EXPECT_EQ(base::ErrorReason(SubmitStatus(Request(3, 5))), "QUEUE_FULL") << "two run, one waits";
  RunUntilIdle();
  EXPECT_TRUE(SubmitStatus(Request(3, 1)).ok());
}

TEST_F(EngineCoreTest, DrainFinishesWhatRunsAndTakesNothingNew) {
  Start();
  auto sink = Submit(Request(3, 5));
  engine_->Step();
  int drained = 0;
  engine_->Drain([&] { ++drained; });
  EXPECT_EQ(base::ErrorReason(SubmitStatus(Request(3, 1))), "DRAINING");
  engine_->Step();
  EXPECT_EQ(drained, 0);
  RunUntilIdle();
  EXPECT_TRUE(sink->finish.status.ok());
  EXPECT_EQ(drained, 1);
}

TEST_F(EngineCoreTest, DrainOfAnIdleEngineIsDoneAtTheNextStep) {
  Start();
  bool drained = false;
  engine_->Drain([&] { drained = true; });
  EXPECT_TRUE(engine_->WaitForWork());
  engine_->Step();
  EXPECT_TRUE(drained);
}

TEST_F(EngineCoreTest, DestructionFailsWhatIsLeft) {
  Start({.max_running_requests = 1});
  auto running = Submit(Request(3, 50));
  auto queued = Submit(Request(3, 50));
  engine_->Step();
  auto inbox = Submit(Request(3, 50));
  engine_.reset();
  for (const auto& sink : {running, queued, inbox}) {
    ASSERT_TRUE(sink->finished);
    EXPECT_EQ(base::ErrorReason(sink->finish.status), "DRAINING");
  }
}

TEST_F(EngineCoreTest, RefusesBadRequestsWithNumbers) {
  Start({.context_tokens = 64});
  absl::Status status = SubmitStatus(Request(64, 1));
  EXPECT_EQ(base::ErrorReason(status), "PROMPT_TOO_LONG");
  EXPECT_EQ(base::ErrorMetadata(status, "prompt_tokens"), "64");
  EXPECT_EQ(base::ErrorMetadata(status, "context_tokens"), "64");
  EXPECT_TRUE(SubmitStatus(Request(63, 1)).ok());
  EXPECT_EQ(base::ErrorReason(SubmitStatus(Request(0, 1))), "INVALID_FIELD");
  EngineRequest alien = Request(3, 1);
  alien.prompt[1] = 100;
  EXPECT_THAT(std::string(SubmitStatus(std::move(alien)).message()), HasSubstr("prompt[1]"));
  EngineRequest wild = Request(3, 1);
  wild.sampling.top_p = 2;
  EXPECT_EQ(base::ErrorReason(SubmitStatus(std::move(wild))), "INVALID_FIELD");
}

TEST_F(EngineCoreTest, RefusesOptionsThatDoNotGoTogether) {
  FakeModel model({.context_tokens = 128});
  EXPECT_FALSE(EngineCore::Create(&model, {.context_tokens = 256}).ok());
  EXPECT_FALSE(EngineCore::Create(&model, {.context_tokens = 128, .kv_cache_tokens = 64}).ok());
  EXPECT_FALSE(EngineCore::Create(&model, {.max_running_requests = 0}).ok());
  EXPECT_FALSE(EngineCore::Create(&model, {.max_running_requests = 16, .step_token_budget = 8}).ok());
}

TEST_F(EngineCoreTest, MeasuresItsRates) {
  Start();
  model_->on_step = [this] { clock_.Advance(absl::Milliseconds(20)); };
  auto sink = Submit(Request(50, 5));
  RunUntilIdle();
  EXPECT_NEAR(engine_->Load().prefill_tokens_per_s, 50 / 0.020, 1);
  EXPECT_NEAR(engine_->Load().decode_tokens_per_s, 1 / 0.020, 1);
  EXPECT_EQ(sink->finish.prefill, absl::Milliseconds(20));
}

}  // namespace
}  // namespace linnet::worker
