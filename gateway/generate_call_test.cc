// Calls from a gRPC client through the gateway to fake workers, over real connections.
#include "gateway/generate_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "base/error.h"
#include "base/grpc_status.h"
#include "gateway/gateway_fixture.h"

namespace linnet::gateway {
namespace {

using Writer = FakeWorker::Writer;

struct Outcome {
  std::string text;
  v1::Finish finish;
  int messages = 0;
  absl::Status status;
};

class GenerateCallTest : public GatewayFixture {
 protected:
  Outcome Generate(const v1::GenerateRequest& request, absl::Duration timeout = absl::Seconds(30)) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    auto reader = stub_->Generate(&context, request);
    Outcome outcome;
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      ++outcome.messages;
      outcome.text += response.text();
      if (response.has_finish()) outcome.finish = response.finish();
    }
    outcome.status = base::FromGrpc(reader->Finish());
    return outcome;
  }
};

TEST_F(GenerateCallTest, AnAnswerIsRelayedWordForWord) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request = Request();
  request.set_max_tokens(9);
  request.mutable_sampling()->set_seed(3);
  const Outcome outcome = Generate(request);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.text, "Hello, world");
  EXPECT_EQ(outcome.messages, 4);
  EXPECT_EQ(outcome.finish.worker(), "workers/a");
  EXPECT_EQ(outcome.finish.usage().completion_tokens(), 3u);
  EXPECT_EQ(outcome.finish.numerics_id(), "fake-1");
  EXPECT_EQ(worker.last_request().variant(), "models/smol/variants/q4_1");
  EXPECT_EQ(worker.last_request().request().max_tokens(), 9u);
  EXPECT_EQ(worker.last_request().request().sampling().seed(), 3u);
  EXPECT_EQ(worker.last_request().request().request_id().size(), 32u) << "assigned by the gateway";
}

TEST_F(GenerateCallTest, AClientsRequestIdIsKept) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request = Request();
  request.set_request_id("order 66");
  ASSERT_TRUE(Generate(request).status.ok());
  EXPECT_EQ(worker.last_request().request().request_id(), "order 66");
}

TEST_F(GenerateCallTest, CancellingReachesTheWorkerAtOnce) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hello"));
    return worker.WaitUntilCancelled(context);
  });
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request());
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(GenerateCallTest, CancellingBeforeTheFirstTokenReachesTheWorkerToo) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate(
      [&](grpc::ServerContext& context, const auto&, Writer&) { return worker.WaitUntilCancelled(context); });
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request());
  ASSERT_TRUE(worker.WaitForCalls(1));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(GenerateCallTest, TheDeadlineTravelsToTheWorkerAndEndsTheCall) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hello"));
    return worker.WaitUntilCancelled(context);
  });
  StartGateway();
  const auto before = std::chrono::system_clock::now();
  const Outcome outcome = Generate(Request(), absl::Milliseconds(700));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(worker.WaitForCancelled(1));
  EXPECT_LT(worker.last_deadline() - before, std::chrono::seconds(2));
}

TEST_F(GenerateCallTest, AWorkerLostBeforeItsFirstTokenIsReplaced) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddWorker("b");
  std::atomic<int> failures = 0;
  for (FakeWorker* worker : {&a, &b}) {  // whichever comes first fails as a broken connection does
    worker->OnGenerate([&, worker](grpc::ServerContext&, const auto&, Writer& writer) {
      if (failures.fetch_add(1) == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
      return worker->Answer(writer, {"Hello"});
    });
  }
  StartGateway();
  const Outcome outcome = Generate(Request());
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.text, "Hello");
  EXPECT_EQ(a.calls(), 1);
  EXPECT_EQ(b.calls(), 1);
  EXPECT_EQ(metrics_.retries().Value(), 1);
}

TEST_F(GenerateCallTest, AKilledWorkerBeforeItsFirstTokenCostsNoError) {
  FakeWorker& a = AddWorker("a");
  a.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer&) { return a.WaitUntilCancelled(context); });
  FakeWorker& b = AddWorker("b");
  b.ChangeStatus([](auto& status) { status.mutable_variants(0)->set_running_requests(3); });
  StartGateway();
  ASSERT_TRUE(WaitForFleet([](const FleetSnapshot& fleet) {
    for (const auto& worker : fleet.workers) {
      if (worker->status.worker() == "workers/b") return worker->status.variants(0).running_requests() == 3;
    }
    return false;
  }));
  std::thread killer([&] {
    a.WaitForCalls(1);
    a.Kill();
  });
  const Outcome outcome = Generate(Request());
  killer.join();
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.finish.worker(), "workers/b");
}

TEST_F(GenerateCallTest, AfterTheFirstTokenALostWorkerEndsTheCall) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddWorker("b");
  for (FakeWorker* worker : {&a, &b}) {
    worker->OnGenerate([worker](grpc::ServerContext&, const auto&, Writer& writer) {
      worker->Write(writer, FakeWorker::Token("Hel"));
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
    });
  }
  StartGateway();
  const Outcome outcome = Generate(Request());
  EXPECT_EQ(outcome.text, "Hel");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ErrorReason(outcome.status), "WORKER_LOST");
  EXPECT_EQ(a.calls() + b.calls(), 1) << "no other worker may repeat what was sent";
}

TEST_F(GenerateCallTest, WithoutAnotherWorkerALostOneIsAnError) {
  FakeWorker& a = AddWorker("a");
  a.OnGenerate(
      [&](auto&, const auto&, Writer&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed"); });
  StartGateway();
  const Outcome outcome = Generate(Request());
  EXPECT_EQ(base::ErrorReason(outcome.status), "WORKER_LOST");
  EXPECT_GT(base::RetryAfter(outcome.status), absl::ZeroDuration());
  EXPECT_EQ(a.calls(), 1);
}

TEST_F(GenerateCallTest, ARequestIsRetriedOnlyOnce) {
  std::vector<FakeWorker*> workers = {&AddWorker("a"), &AddWorker("b"), &AddWorker("c")};
  for (FakeWorker* worker : workers) {
    worker->OnGenerate(
        [](auto&, const auto&, Writer&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed"); });
  }
  StartGateway();
  EXPECT_EQ(base::ErrorReason(Generate(Request()).status), "WORKER_LOST");
  EXPECT_EQ(workers[0]->calls() + workers[1]->calls() + workers[2]->calls(), 2);
}

TEST_F(GenerateCallTest, AWorkersOwnErrorPassesUnchangedAndIsNotRetried) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddWorker("b");
  for (FakeWorker* worker : {&a, &b}) {
    worker->OnGenerate([](auto&, const auto&, Writer&) {
      return base::ToGrpc(base::Error(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG", "9000 tokens, 2048 fit",
                                      {{"prompt_tokens", "9000"}, {"context_tokens", "2048"}}));
    });
  }
  StartGateway();
  const Outcome outcome = Generate(Request());
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(base::ErrorReason(outcome.status), "PROMPT_TOO_LONG");
  EXPECT_EQ(base::ErrorMetadata(outcome.status, "prompt_tokens"), "9000");
  EXPECT_EQ(a.calls() + b.calls(), 1);
}

TEST_F(GenerateCallTest, AWorkersFullQueueIsTriedElsewhere) {
  FakeWorker& a = AddWorker("a");
  FakeWorker& b = AddWorker("b");
  std::atomic<int> refusals = 0;
  for (FakeWorker* worker : {&a, &b}) {
    worker->OnGenerate([&, worker](auto&, const auto&, Writer& writer) {
      if (refusals.fetch_add(1) > 0) return worker->Answer(writer, {"Hello"});
      return base::ToGrpc(base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "64 requests wait"));
    });
  }
  StartGateway();
  EXPECT_EQ(Generate(Request()).text, "Hello");
}

TEST_F(GenerateCallTest, AStreamWithoutAFinishIsAnErrorOfOurs) {
  FakeWorker& a = AddWorker("a");
  a.OnGenerate([&](auto&, const auto&, Writer& writer) {
    a.Write(writer, FakeWorker::Token("Hello"));
    return grpc::Status::OK;
  });
  StartGateway();
  EXPECT_EQ(Generate(Request()).status.code(), absl::StatusCode::kInternal);
}

TEST_F(GenerateCallTest, ASlowReaderSlowsTheWorkerInsteadOfFillingTheGateway) {
  FakeWorker& a = AddWorker("a");
  const std::string big(64 << 10, 'x');
  constexpr int kMessages = 512;  // 32 MiB
  a.OnGenerate([&](auto&, const auto&, Writer& writer) {
    for (int i = 0; i < kMessages; ++i) {
      if (!a.Write(writer, FakeWorker::Token(big))) return grpc::Status::CANCELLED;
    }
    a.Write(writer, FakeWorker::Finish(kMessages));
    return grpc::Status::OK;
  });
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request());
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  // While nobody reads, the worker comes to a stop: its count of messages stands still.
  int writes = a.writes();
  int still = 0;
  for (int i = 0; i < 2000 && still < 20; ++i) {
    absl::SleepFor(absl::Milliseconds(10));  // bounded polling: a standstill has no event
    still = a.writes() == writes ? still + 1 : 0;
    writes = a.writes();
  }
  EXPECT_EQ(still, 20);
  EXPECT_LT(writes, kMessages / 2) << "the messages went somewhere";
  int read = 1;
  while (reader->Read(&response)) ++read;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(read, kMessages + 1);
}

TEST_F(GenerateCallTest, BeyondTheMostConcurrentRequestsCallsAreRefusedAtOnce) {
  FakeWorker& a = AddWorker("a");
  a.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer&) { return a.WaitUntilCancelled(context); });
  options_.max_concurrent_requests = 1;
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request());
  ASSERT_TRUE(a.WaitForCalls(1));
  const Outcome refused = Generate(Request());
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ErrorReason(refused.status), "QUEUE_FULL");
  EXPECT_GT(base::RetryAfter(refused.status), absl::ZeroDuration());
  context.TryCancel();
  reader->Finish();
  ASSERT_TRUE(gateway_->WaitUntilIdle(absl::Seconds(10)));
  a.OnGenerate(nullptr);
  EXPECT_TRUE(Generate(Request()).status.ok()) << "the place is free again";
}

TEST_F(GenerateCallTest, ADrainingGatewayRefusesWhatIsNewAndFinishesWhatRuns) {
  FakeWorker& a = AddWorker("a");
  std::atomic<bool> go_on = false;
  a.OnGenerate([&](grpc::ServerContext&, const auto&, Writer& writer) {
    a.Write(writer, FakeWorker::Token("Hel"));
    while (!go_on) std::this_thread::yield();
    a.Write(writer, FakeWorker::Token("lo"));
    a.Write(writer, FakeWorker::Finish(2));
    return grpc::Status::OK;
  });
  StartGateway();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Request());
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  gateway_->Drain();
  const absl::Status refused = Generate(Request()).status;
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ErrorReason(refused), "DRAINING");
  EXPECT_FALSE(gateway_->Ready().ok());
  go_on = true;
  std::string rest;
  while (reader->Read(&response)) rest += response.text();
  EXPECT_EQ(rest, "lo");
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerateCallTest, InvalidRequestsNeverReachAWorker) {
  FakeWorker& a = AddWorker("a");
  StartGateway();
  v1::GenerateRequest request = Request();
  request.mutable_sampling()->set_top_p(1.5);
  request.add_stop("");
  const absl::Status status = Generate(request).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
  EXPECT_EQ(base::ErrorReason(Generate(Request("nobody")).status), "MODEL_NOT_FOUND");
  EXPECT_EQ(a.calls(), 0);
}

TEST_F(GenerateCallTest, ManyCallsAtOnceAllComeThrough) {
  AddWorker("a");
  AddWorker("b");
  StartGateway();
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const Outcome outcome = Generate(Request());
        if (outcome.status.ok() && outcome.text == "Hello, world") ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 80);
  EXPECT_GT(fakes_[0]->calls(), 0);
  EXPECT_GT(fakes_[1]->calls(), 0);
}

TEST_F(GenerateCallTest, TokensAreCountedByAWorker) {
  AddWorker("a");
  StartGateway();
  v1::CountTokensRequest request;
  request.set_model("smol");
  request.mutable_input()->set_text("four");
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->CountTokens(&context, request, &response).ok());
  EXPECT_EQ(response.tokens(), 4u);
  request.set_model("nobody");
  grpc::ClientContext other;
  EXPECT_EQ(stub_->CountTokens(&other, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(GenerateCallTest, ModelsAreListedWithWhenTheyWereFirstSeen) {
  AddWorker("a", {"smol/q4_1", "qwen/q4_0"});
  StartGateway();
  v1::ListModelsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ListModels(&context, {}, &response).ok());
  ASSERT_EQ(response.models_size(), 2);
  EXPECT_EQ(response.models(0).model(), "qwen");
  EXPECT_GT(response.models(0).created_seconds(), 0);
}

}  // namespace
}  // namespace linnet::gateway
