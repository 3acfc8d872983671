// For tests: a WorkerControl server in this process whose answers are scripted.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "linnet/worker/v1/worker.grpc.pb.h"

namespace linnet::gateway {

class FakeWorker final : public worker::v1::WorkerControl::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateResponse>;
  using GenerateFn = std::function<grpc::Status(grpc::ServerContext&, const worker::v1::GenerateRequest&, Writer&)>;

  // Serves `variants` ("smol/q4_1"), ready, at a free port of 127.0.0.1.
  explicit FakeWorker(const std::string& name, const std::vector<std::string>& variants = {"smol/q4_1"}) {
    status_.set_worker("workers/" + name);
    for (const std::string& v : variants) {
      worker::v1::VariantStatus& s = *status_.add_variants();
      s.set_variant("models/" + v.substr(0, v.find('/')) + "/variants/" + v.substr(v.find('/') + 1));
      s.set_state(worker::v1::VARIANT_STATE_READY);
      s.set_max_running_requests(4);
      s.set_max_queued_requests(8);
      s.set_context_tokens(2048);
    }
    Start(0);
  }
  ~FakeWorker() override { Kill(); }

  const std::string& address() const { return address_; }

  // Stops at once: connections break, calls end. Start() comes back at the same address.
  void Kill() {
    {
      base::MutexLock lock(&mu_);
      stopping_ = true;
    }
    changed_.NotifyAll();
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_ = nullptr;
  }
  void Restart() { Start(port_); }

  void OnGenerate(GenerateFn generate) {
    base::MutexLock lock(&mu_);
    generate_ = std::move(generate);
  }
  void ChangeStatus(const std::function<void(worker::v1::WorkerStatus&)>& change) {
    {
      base::MutexLock lock(&mu_);
      change(status_);
      ++version_;
    }
    changed_.NotifyAll();
  }
  // From now on the status stream says nothing, although it stays open.
  void FallSilent() {
    base::MutexLock lock(&mu_);
    silent_ = true;
  }

  // Calls of Generate so far, and those of them that ended cancelled.
  bool WaitForCalls(int n) {
    return WaitFor([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return calls_ >= n; });
  }
  bool WaitForCancelled(int n) {
    return WaitFor([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return cancelled_ >= n; });
  }
  bool WaitForWrites(int n) {
    return WaitFor([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return writes_ >= n; });
  }
  int calls() const {
    base::MutexLock lock(&mu_);
    return calls_;
  }
  int writes() const {
    base::MutexLock lock(&mu_);
    return writes_;
  }
  worker::v1::GenerateRequest last_request() const {
    base::MutexLock lock(&mu_);
    return last_request_;
  }
  std::chrono::system_clock::time_point last_deadline() const {
    base::MutexLock lock(&mu_);
    return last_deadline_;
  }

  // --- pieces of scripts ---

  static v1::GenerateResponse Token(const std::string& text) {
    v1::GenerateResponse response;
    response.set_text(text);
    response.add_token_ids(7);
    return response;
  }
  static v1::GenerateResponse Finish(int tokens, v1::FinishReason reason = v1::FINISH_REASON_STOP) {
    v1::GenerateResponse response;
    response.mutable_finish()->set_reason(reason);
    response.mutable_finish()->mutable_usage()->set_prompt_tokens(5);
    response.mutable_finish()->mutable_usage()->set_completion_tokens(tokens);
    response.mutable_finish()->set_variant("models/smol/variants/q4_1");
    response.mutable_finish()->set_numerics_id("fake-1");
    response.mutable_finish()->set_seed(42);
    return response;
  }
  // False once nobody listens.
  bool Write(Writer& writer, const v1::GenerateResponse& response) {
    if (!writer.Write(response)) return false;
    {
      base::MutexLock lock(&mu_);
      ++writes_;
    }
    changed_.NotifyAll();
    return true;
  }
  grpc::Status Answer(Writer& writer, const std::vector<std::string>& tokens) {
    for (const std::string& token : tokens) Write(writer, Token(token));
    Write(writer, Finish(static_cast<int>(tokens.size())));
    return grpc::Status::OK;
  }
  // Until the call is cancelled or the worker killed.
  grpc::Status WaitUntilCancelled(grpc::ServerContext& context) {
    base::MutexLock lock(&mu_);
    while (!context.IsCancelled() && !stopping_) changed_.WaitFor(&mu_, std::chrono::milliseconds(2));
    return grpc::Status::CANCELLED;
  }

 private:
  void Start(int port) {
    {
      base::MutexLock lock(&mu_);
      stopping_ = false;
    }
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(base::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = base::StrCat("127.0.0.1:", port_);
  }

  bool WaitFor(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    base::MutexLock lock(&mu_);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) return false;
      changed_.WaitFor(&mu_, std::chrono::milliseconds(20));
    }
    return true;
  }

  grpc::Status Generate(grpc::ServerContext* context, const worker::v1::GenerateRequest* request,
                        Writer* writer) override {
    GenerateFn generate;
    {
      base::MutexLock lock(&mu_);
      ++calls_;
      last_request_ = *request;
      last_deadline_ = context->deadline();
      generate = generate_;
    }
    changed_.NotifyAll();
    const grpc::Status status =
        generate ? generate(*context, *request, *writer) : Answer(*writer, {"Hello", ",", " world"});
    {
      base::MutexLock lock(&mu_);
      if (context->IsCancelled()) ++cancelled_;
    }
    changed_.NotifyAll();
    return status;
  }

  grpc::Status CountTokens(grpc::ServerContext*, const worker::v1::CountTokensRequest* request,
                           v1::CountTokensResponse* response) override {
    response->set_tokens(static_cast<uint32_t>(request->input().text().size()));
    response->set_context_tokens(2048);
    return grpc::Status::OK;
  }

  grpc::Status WatchStatus(grpc::ServerContext* context, const worker::v1::WatchStatusRequest*,
                           grpc::ServerWriter<worker::v1::WorkerStatus>* writer) override {
    while (true) {
      worker::v1::WorkerStatus status;
      int version = 0;
      bool silent = false;
      {
        base::MutexLock lock(&mu_);
        if (stopping_) return grpc::Status::OK;
        status = status_;
        version = version_;
        silent = silent_;
      }
      if (!silent && !writer->Write(status)) return grpc::Status::CANCELLED;
      const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
      base::MutexLock lock(&mu_);
      while (version == version_ && !stopping_ && std::chrono::steady_clock::now() < until) {
        if (context->IsCancelled()) return grpc::Status::CANCELLED;
        changed_.WaitFor(&mu_, std::chrono::milliseconds(20));
      }
    }
  }

  mutable base::Mutex mu_;
  base::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  worker::v1::WorkerStatus status_ ABSL_GUARDED_BY(mu_);
  int version_ ABSL_GUARDED_BY(mu_) = 0;
  GenerateFn generate_ ABSL_GUARDED_BY(mu_);
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  int cancelled_ ABSL_GUARDED_BY(mu_) = 0;
  int writes_ ABSL_GUARDED_BY(mu_) = 0;
  worker::v1::GenerateRequest last_request_ ABSL_GUARDED_BY(mu_);
  std::chrono::system_clock::time_point last_deadline_ ABSL_GUARDED_BY(mu_);
  int port_ = 0;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace linnet::gateway
