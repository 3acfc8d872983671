#include "worker/server/worker_process.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <future>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/grpc_status.h"
#include "base/strings.h"
#include "base/testing.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;

config::v1::WorkerConfig Config() {
  config::v1::WorkerConfig config;
  config.mutable_listen()->set_address("127.0.0.1:0");
  config.mutable_metrics()->set_address("127.0.0.1:0");
  config.set_name("w1");
  config.set_threads(1);
  config.set_drain_seconds(20);
  return config;
}

std::unique_ptr<v1::WorkerControl::Stub> Connect(const WorkerProcess& process) {
  return v1::WorkerControl::NewStub(
      grpc::CreateChannel(base::StrCat("127.0.0.1:", process.grpc_port()), grpc::InsecureChannelCredentials()));
}

std::string TestModel() {
  if (const char* path = std::getenv("LINNET_TEST_MODEL")) return path;
  return base::StrCat(std::getenv("HOME"), "/.cache/linnet/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

void AwaitReady(const WorkerProcess& process) {
  while (!process.readiness().ok()) {
    ASSERT_THAT(std::string(process.readiness().message()), ::testing::Not(HasSubstr("FAILED")));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

struct Answer {
  std::string text;
  std::vector<uint32_t> tokens;
  linnet::v1::Finish finish;
  grpc::Status status;
};
Answer Generate(v1::WorkerControl::Stub& stub, const v1::GenerateRequest& request) {
  Answer answer;
  grpc::ClientContext client;
  auto stream = stub.Generate(&client, request);
  linnet::v1::GenerateResponse response;
  while (stream->Read(&response)) {
    answer.text += response.text();
    answer.tokens.insert(answer.tokens.end(), response.token_ids().begin(), response.token_ids().end());
    if (response.has_finish()) answer.finish = response.finish();
  }
  answer.status = stream->Finish();
  return answer;
}

v1::GenerateRequest Chat(const std::string& variant, const std::string& text, uint32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_variant(variant);
  auto* message = request.mutable_request()->mutable_input()->mutable_conversation()->add_messages();
  message->set_role("user");
  message->set_content(text);
  request.mutable_request()->mutable_sampling()->set_temperature(0);
  request.mutable_request()->set_max_tokens(max_tokens);
  return request;
}

TEST(WorkerProcessTest, StubAnswersAtOnce) {
  config::v1::WorkerConfig config = Config();
  config.set_stub_model(true);
  auto process = WorkerProcess::Create(config);
  ASSERT_TRUE(process.ok()) << process.status();
  AwaitReady(**process);
  auto stub = Connect(**process);
  const Answer answer = Generate(*stub, Chat("models/stub/variants/stub", "hello", 3));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, " tok tok tok");
  EXPECT_EQ(answer.finish.reason(), linnet::v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finish.worker(), "workers/w1");
}

// grpc.health.v1.Health/Check: its messages have one field each, as these two have at the same place.
int Health(const WorkerProcess& process, const std::string& service) {
  auto channel =
      grpc::CreateChannel(base::StrCat("127.0.0.1:", process.grpc_port()), grpc::InsecureChannelCredentials());
  grpc::TemplatedGenericStub<v1::CountTokensRequest, linnet::v1::CountTokensResponse> stub(channel);
  v1::CountTokensRequest request;
  request.set_variant(service);
  linnet::v1::CountTokensResponse response;
  grpc::ClientContext client;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&client, "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  return status.ok() ? static_cast<int>(response.tokens()) : -static_cast<int>(status.error_code());
}

TEST(WorkerProcessTest, HealthNamesProcessAndModels) {
  constexpr int kServing = 1, kNotServing = 2;
  config::v1::WorkerConfig config = Config();
  config.set_stub_model(true);
  auto process = WorkerProcess::Create(config);
  ASSERT_TRUE(process.ok()) << process.status();
  AwaitReady(**process);
  while (Health(**process, "models/stub") != kServing) std::this_thread::yield();  // told a moment later
  for (const char* service : {"", "liveness", "readiness"}) EXPECT_EQ(Health(**process, service), kServing) << service;
  EXPECT_EQ(Health(**process, "models/other"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  (*process)->Drain();
  EXPECT_EQ(Health(**process, "liveness"), kServing);
  for (const char* service : {"", "readiness", "models/stub"}) {
    EXPECT_EQ(Health(**process, service), kNotServing) << service;
  }
}

TEST(WorkerProcessTest, PortInUseIsAClearError) {
  config::v1::WorkerConfig config = Config();
  config.set_stub_model(true);
  auto first = WorkerProcess::Create(config);
  ASSERT_TRUE(first.ok());
  config.mutable_listen()->set_address(base::StrCat("127.0.0.1:", (*first)->grpc_port()));
  const auto second = WorkerProcess::Create(config);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("port is in use"));
}

TEST(WorkerProcessTest, CacheFolderThatCannotBeWrittenIsAClearError) {
  base::FileTree files;
  config::v1::WorkerConfig config = Config();
  config.set_registry_address("127.0.0.1:1");
  config.set_cache_dir(files.Write("file", "in the way"));
  const auto process = WorkerProcess::Create(config);
  ASSERT_FALSE(process.ok());
  EXPECT_THAT(std::string(process.status().message()), HasSubstr(files.Path("file")));
}

TEST(WorkerProcessTest, WithoutItsRegistryItWaitsAndSaysSo) {
  base::FileTree files;
  config::v1::WorkerConfig config = Config();
  config.set_registry_address("127.0.0.1:1");
  config.set_cache_dir(files.root());
  auto process = WorkerProcess::Create(config);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_THAT(std::string((*process)->readiness().message()), HasSubstr("no variant ready"));
  v1::WorkerStatus status;
  grpc::ClientContext client;
  auto watch = Connect(**process)->WatchStatus(&client, {});
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.worker(), "workers/w1");
  EXPECT_EQ(status.variants_size(), 0);
}

// The real model, engine and text: what the rest of the tests fake.
class WorkerWithModelTest : public ::testing::Test {
 protected:
  WorkerWithModelTest() {
    config::v1::WorkerConfig config = Config();
    config.add_local_models(base::StrCat("smollm2=", TestModel()));
    config.mutable_engine()->set_context_tokens(512);
    config.set_threads(2);
    auto process = WorkerProcess::Create(config);
    EXPECT_TRUE(process.ok()) << process.status();
    if (process.ok()) process_ = *std::move(process);
  }
  void SetUp() override {
    ASSERT_NE(process_, nullptr);
    AwaitReady(*process_);
    stub_ = Connect(*process_);
  }

  static constexpr char kVariant[] = "models/smollm2/variants/local";
  std::unique_ptr<WorkerProcess> process_;
  std::unique_ptr<v1::WorkerControl::Stub> stub_;
};

TEST_F(WorkerWithModelTest, AnswersAndRepeatsItself) {
  const Answer one = Generate(*stub_, Chat(kVariant, "What is the capital of France? Answer in one word.", 16));
  ASSERT_TRUE(one.status.ok()) << one.status.error_message();
  EXPECT_THAT(one.text, HasSubstr("Paris"));
  EXPECT_EQ(one.finish.usage().completion_tokens(), one.tokens.size());
  EXPECT_EQ(one.finish.variant_digest(), "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
  EXPECT_FALSE(one.finish.numerics_id().empty());
  const Answer two = Generate(*stub_, Chat(kVariant, "What is the capital of France? Answer in one word.", 16));
  EXPECT_EQ(two.tokens, one.tokens);
}

TEST_F(WorkerWithModelTest, PromptBeyondTheContextSaysBothNumbers) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "word ";
  const Answer answer = Generate(*stub_, Chat(kVariant, text, 4));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const absl::Status status = base::FromGrpc(answer.status);
  EXPECT_EQ(base::ErrorReason(status), "PROMPT_TOO_LONG");
  EXPECT_EQ(base::ErrorMetadata(status, "context_tokens"), "512");
}

TEST_F(WorkerWithModelTest, DrainLetsStreamsFinish) {
  v1::GenerateRequest request = Chat(kVariant, "Count from one to fifty.", 24);
  request.mutable_request()->set_ignore_eos(true);
  grpc::ClientContext client;
  auto stream = stub_->Generate(&client, request);
  linnet::v1::GenerateResponse response;
  ASSERT_TRUE(stream->Read(&response));
  std::jthread drain([&] { process_->Drain(); });
  size_t tokens = response.token_ids_size();
  linnet::v1::Finish finish;
  while (stream->Read(&response)) {
    tokens += response.token_ids_size();
    finish = response.finish();
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(tokens, 24u);
  EXPECT_EQ(finish.reason(), linnet::v1::FINISH_REASON_LENGTH);
  drain.join();
  EXPECT_EQ(Generate(*stub_, request).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(WorkerWithModelTest, ManyStreamsAndSomeThatLeave) {
  std::vector<std::jthread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([this, i] {
      v1::GenerateRequest request = Chat(kVariant, base::StrCat("Tell me about the number ", i), 12);
      request.mutable_request()->set_ignore_eos(true);
      if (i % 2 == 0) {
        const Answer answer = Generate(*stub_, request);
        EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
        EXPECT_EQ(answer.tokens.size(), 12u);
        return;
      }
      grpc::ClientContext client;
      auto stream = stub_->Generate(&client, request);
      linnet::v1::GenerateResponse response;
      stream->Read(&response);
      client.TryCancel();
      stream->Finish();
    });
  }
  clients.clear();
  // Nothing is left behind: the status soon says that nothing runs and no block is in use.
  grpc::ClientContext client;
  auto watch = stub_->WatchStatus(&client, {});
  v1::WorkerStatus status;
  do {
    ASSERT_TRUE(watch->Read(&status));
  } while (status.variants(0).running_requests() > 0 || status.variants(0).kv_blocks_used() > 0);
}

}  // namespace
}  // namespace linnet::worker
