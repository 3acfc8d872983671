#include "worker/server/control_service.h"

#include <gmock/gmock.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <latch>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/grpc_status.h"
#include "base/testing.h"
#include "worker/server/fake_variant.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr char kVariant[] = "models/tiny/variants/local";

std::vector<std::string> BadFields(const grpc::Status& status) { return base::InvalidFields(base::FromGrpc(status)); }

std::string Reason(const grpc::Status& status) { return base::ErrorReason(base::FromGrpc(status)); }

// A server in this process with one variant whose engine the test plays.
class ControlServiceTest : public ::testing::Test {
 protected:
  ControlServiceTest() {
    path_ = ::testing::TempDir() + "/control_service_test_" + std::to_string(getpid()) + ".gguf";
    EXPECT_TRUE(base::WriteFileDurably(path_, "not read by the fake loader").ok());
    VariantManager::Options options;
    options.loader = &loader_;
    options.local_models = {{"tiny", path_}};
    options.clock = &clock_;
    options.engine.max_running_requests = 3;
    variants_ = std::make_unique<VariantManager>(std::move(options));
    variants_->Step();
    engine_ = loader_.engines.at(kVariant);

    context_.worker = "workers/w1";
    context_.variants = variants_.get();
    context_.encoders = encoders_.get();
    context_.calls = &calls_;
    context_.metrics = &metrics_;
    context_.clock = &clock_;
    context_.draw_seed = [] { return uint64_t{4242}; };
    context_.max_pending_tokens = 64;
    StatusHub::Options hub;
    hub.status = [this] { return MakeStatus(); };
    hub.clock = &clock_;
    hub_ = std::make_unique<StatusHub>(std::move(hub));
    service_ = std::make_unique<ControlService>(&context_, hub_.get());
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::WorkerControl::NewStub(server_->InProcessChannel({}));
  }

  ~ControlServiceTest() override {
    hub_->Close();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
    encoders_.reset();
    variants_.reset();
    std::filesystem::remove(path_);
  }

  v1::WorkerStatus MakeStatus() {
    v1::WorkerStatus status;
    status.set_worker("workers/w1");
    for (v1::VariantStatus& variant : variants_->Statuses()) *status.add_variants() = std::move(variant);
    return status;
  }

  static v1::GenerateRequest Request(const std::string& text = "Hi") {
    v1::GenerateRequest request;
    request.set_variant(kVariant);
    request.mutable_request()->mutable_input()->set_text(text);
    return request;
  }

  static EngineFinish Stopped() {
    EngineFinish finish;
    finish.reason = StopReason::kEndOfTurn;
    finish.prompt_tokens = 2;
    finish.completion_tokens = 3;
    finish.prefill = absl::Milliseconds(1500);
    return finish;
  }

  std::string path_;
  base::FakeClock clock_;
  FakeLoader loader_;
  WorkerMetrics metrics_;
  CallTable calls_;
  std::unique_ptr<VariantManager> variants_;
  std::unique_ptr<WorkQueue> encoders_ = std::make_unique<WorkQueue>("encode", 1, 4);
  CallContext context_;
  std::unique_ptr<StatusHub> hub_;
  std::unique_ptr<ControlService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::WorkerControl::Stub> stub_;
  FakeEngine* engine_ = nullptr;
};

TEST_F(ControlServiceTest, StreamsTokensAndEndsWithWhatItTook) {
  grpc::ClientContext client;
  v1::GenerateRequest request = Request("Hi");
  request.mutable_request()->mutable_sampling()->set_top_p(0.9f);
  request.mutable_request()->add_stop("\n");
  request.mutable_request()->set_max_tokens(7);
  auto stream = stub_->Generate(&client, request);
  const EngineRequest seen = engine_->AwaitRequest(1);
  EXPECT_THAT(seen.prompt, ElementsAre('H', 'i'));
  EXPECT_FLOAT_EQ(seen.sampling.temperature, 1.0f);
  EXPECT_FLOAT_EQ(seen.sampling.top_p, 0.9f);
  EXPECT_EQ(seen.sampling.seed, 4242u);
  EXPECT_EQ(seen.max_tokens, 7u);
  EXPECT_THAT(seen.stop_texts, ElementsAre("\n"));
  EXPECT_EQ(seen.deadline, absl::InfiniteFuture());

  linnet::v1::GenerateResponse response;
  engine_->Emit(1, {5, 6}, "ab");
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.text(), "ab");
  EXPECT_THAT(response.token_ids(), ElementsAre(5, 6));
  EXPECT_FALSE(response.has_finish());
  engine_->Finish(1, Stopped());
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.finish().reason(), linnet::v1::FINISH_REASON_STOP);
  EXPECT_EQ(response.finish().usage().prompt_tokens(), 2u);
  EXPECT_EQ(response.finish().usage().completion_tokens(), 3u);
  EXPECT_EQ(response.finish().timings().prefill().seconds(), 1);
  EXPECT_EQ(response.finish().timings().prefill().nanos(), 500'000'000);
  EXPECT_EQ(response.finish().variant(), kVariant);
  EXPECT_THAT(response.finish().variant_digest(), HasSubstr("sha256:"));
  EXPECT_EQ(response.finish().numerics_id(), "fake-r1");
  EXPECT_EQ(response.finish().seed(), 4242u);
  EXPECT_EQ(response.finish().worker(), "workers/w1");
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ControlServiceTest, ClientThatLeavesCancels) {
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, Request());
  engine_->AwaitRequest(1);
  client.TryCancel();
  engine_->FinishCancelled(1);  // hangs if nobody tells the engine
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmpty(absl::Seconds(10)));
}

TEST_F(ControlServiceTest, SlowReaderIsBounded) {
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, Request());
  engine_->AwaitRequest(1);
  // Nobody reads: what does not go out is gathered, up to max_pending_tokens.
  for (int i = 0; i < 1000; ++i) engine_->Emit(1, {7}, std::string(4096, 'x'));
  engine_->FinishCancelled(1);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(metrics_.slow_readers().Value(), 1);
}

TEST_F(ControlServiceTest, ReaderThatStopsIsCancelledInTime) {
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, Request());
  engine_->AwaitRequest(1);
  engine_->Emit(1, {7}, "never read");
  engine_->Emit(1, {7}, "nor this");
  clock_.Advance(context_.max_write_time - absl::Milliseconds(1));
  calls_.CheckReaders();
  EXPECT_EQ(metrics_.slow_readers().Value(), 0);
  clock_.Advance(absl::Milliseconds(2));
  calls_.CheckReaders();
  engine_->FinishCancelled(1);
  EXPECT_EQ(metrics_.slow_readers().Value(), 1);
  EXPECT_TRUE(calls_.WaitUntilEmpty(absl::Seconds(10)));
}

TEST_F(ControlServiceTest, DeadlineEndsTheRequest) {
  grpc::ClientContext client;
  client.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  auto stream = stub_->Generate(&client, Request());
  const EngineRequest seen = engine_->AwaitRequest(1);
  EXPECT_LT(seen.deadline, absl::Now() + absl::Seconds(1));
  engine_->FinishCancelled(1);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(calls_.WaitUntilEmpty(absl::Seconds(10)));
}

TEST_F(ControlServiceTest, BadFieldsAreAllNamed) {
  v1::GenerateRequest request;
  request.set_variant("tiny");
  auto* r = request.mutable_request();
  r->mutable_sampling()->set_temperature(-1);
  r->mutable_sampling()->set_top_p(0);
  r->mutable_sampling()->set_min_p(std::numeric_limits<float>::quiet_NaN());
  r->add_stop("");
  r->add_stop(std::string(257, 's'));
  r->set_request_id("tab\there");
  grpc::ClientContext client;
  const grpc::Status status = stub_->Generate(&client, request)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Reason(status), "INVALID_FIELD");
  EXPECT_THAT(BadFields(status), UnorderedElementsAre("variant", "input", "sampling.temperature", "sampling.top_p",
                                                      "sampling.min_p", "stop[0]", "stop[1]", "request_id"));
}

TEST_F(ControlServiceTest, InputsThatNeverWorkAreRefused) {
  std::vector<std::pair<v1::GenerateRequest, std::string>> cases;
  v1::GenerateRequest r = Request();
  r.mutable_request()->mutable_input()->mutable_conversation();
  cases.emplace_back(r, "input.conversation.messages");
  r.mutable_request()->mutable_input()->mutable_conversation()->add_messages()->set_content("no role");
  cases.emplace_back(r, "input.conversation.messages[0].role");
  r.mutable_request()->mutable_input()->mutable_tokens();
  cases.emplace_back(r, "input.tokens.ids");
  r.mutable_request()->mutable_input()->mutable_tokens()->add_ids(0xffffffffu);
  cases.emplace_back(r, "input.tokens.ids[0]");
  cases.emplace_back(Request(""), "input.text");
  for (const auto& [request, field] : cases) {
    grpc::ClientContext client;
    const grpc::Status status = stub_->Generate(&client, request)->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_THAT(BadFields(status), ElementsAre(field));
  }
}

TEST_F(ControlServiceTest, UnknownVariantIsNotFound) {
  v1::GenerateRequest request = Request();
  request.set_variant("models/other/variants/q8_0");
  grpc::ClientContext client;
  const grpc::Status status = stub_->Generate(&client, request)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Reason(status), "MODEL_NOT_FOUND");
}

TEST_F(ControlServiceTest, EnginesRefusalKeepsItsDetails) {
  engine_->Refuse(base::WithRetryAfter(
      base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "64 requests wait already"), absl::Seconds(3)));
  grpc::ClientContext client;
  const grpc::Status status = stub_->Generate(&client, Request())->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  EXPECT_EQ(base::RetryAfter(base::FromGrpc(status)), absl::Seconds(3));
}

TEST_F(ControlServiceTest, DrainFinishesRunning) {
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, Request());
  engine_->AwaitRequest(1);
  variants_->StopServing();
  grpc::ClientContext late;
  const grpc::Status refused = stub_->Generate(&late, Request())->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(refused), "DRAINING");
  EXPECT_GT(base::RetryAfter(base::FromGrpc(refused)), absl::ZeroDuration());

  engine_->Emit(1, {1, 2, 3}, "abc");
  engine_->Finish(1, Stopped());
  linnet::v1::GenerateResponse response;
  std::string text;
  while (stream->Read(&response)) text += response.text();
  EXPECT_EQ(text, "abc");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ControlServiceTest, StreamsThatOutlastTheDrainEndAsDraining) {
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, Request());
  engine_->AwaitRequest(1);
  calls_.Abort();
  engine_->FinishCancelled(1);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(status), "DRAINING");
}

TEST_F(ControlServiceTest, CountsTokensAsGenerateWould) {
  v1::CountTokensRequest request;
  request.set_variant(kVariant);
  auto* message = request.mutable_input()->mutable_conversation()->add_messages();
  message->set_role("user");
  message->set_content("four");
  linnet::v1::CountTokensResponse response;
  grpc::ClientContext client;
  ASSERT_TRUE(stub_->CountTokens(&client, request, &response).ok());
  EXPECT_EQ(response.tokens(), std::string("user: four\n").size());
  EXPECT_EQ(response.context_tokens(), 128u);

  request.clear_input();
  grpc::ClientContext again;
  EXPECT_THAT(BadFields(stub_->CountTokens(&again, request, &response)), ElementsAre("input"));
}

TEST_F(ControlServiceTest, PromptsBeyondTheQueueAreRefusedWhileOthersAnswer) {
  // The one encode thread is stuck and its queue is full.
  auto stuck = std::make_shared<std::latch>(1), started = std::make_shared<std::latch>(1);
  ASSERT_TRUE(encoders_->TryPost([stuck, started] {
    started->count_down();
    stuck->wait();
  }));
  started->wait();
  while (encoders_->TryPost([] {})) {
  }
  grpc::ClientContext client;
  const grpc::Status status = stub_->Generate(&client, Request())->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Reason(status), "QUEUE_FULL");
  EXPECT_GT(base::RetryAfter(base::FromGrpc(status)), absl::ZeroDuration());

  // Who asks how the worker is gets an answer all the same.
  grpc::ClientContext watcher;
  auto watch = stub_->WatchStatus(&watcher, {});
  v1::WorkerStatus worker;
  EXPECT_TRUE(watch->Read(&worker));
  watcher.TryCancel();
  watch->Finish();
  stuck->count_down();
}

TEST_F(ControlServiceTest, WatchStatusHeartbeats) {
  grpc::ClientContext client;
  auto watch = stub_->WatchStatus(&client, {});
  v1::WorkerStatus status;
  ASSERT_TRUE(watch->Read(&status));  // at once
  ASSERT_EQ(status.variants_size(), 1);
  EXPECT_EQ(status.variants(0).variant(), kVariant);
  EXPECT_EQ(status.variants(0).state(), v1::VARIANT_STATE_READY);
  EXPECT_EQ(status.variants(0).max_running_requests(), 3u);

  // A moving average alone is no news; after a second the watcher hears something anyway. Which tick a message is of
  // shows in the average.
  EngineLoad load;
  load.decode_tokens_per_s = 1;
  engine_->SetLoad(load);
  clock_.Advance(absl::Milliseconds(900));
  hub_->Tick();
  load.decode_tokens_per_s = 2;
  engine_->SetLoad(load);
  clock_.Advance(absl::Milliseconds(100));
  hub_->Tick();
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.variants(0).decode_tokens_per_second(), 2);

  // News come no sooner than 100 ms after the last message, and then at once.
  load.queued_requests = 5;
  load.decode_tokens_per_s = 3;
  engine_->SetLoad(load);
  clock_.Advance(absl::Milliseconds(99));
  hub_->Tick();
  load.decode_tokens_per_s = 4;
  engine_->SetLoad(load);
  clock_.Advance(absl::Milliseconds(1));
  hub_->Tick();
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.variants(0).queued_requests(), 5u);
  EXPECT_EQ(status.variants(0).decode_tokens_per_second(), 4);

  hub_->Close();
  EXPECT_FALSE(watch->Read(&status));
  EXPECT_EQ(Reason(watch->Finish()), "DRAINING");
}

TEST_F(ControlServiceTest, WatcherThatLeavesIsForgotten) {
  grpc::ClientContext client;
  auto watch = stub_->WatchStatus(&client, {});
  v1::WorkerStatus status;
  ASSERT_TRUE(watch->Read(&status));
  client.TryCancel();
  watch->Finish();
  EXPECT_TRUE(hub_->WaitUntilEmpty(absl::Seconds(10)));
}

}  // namespace
}  // namespace linnet::worker
