#include "gateway/generation_service.h"

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/time/time.h"
#include "base/grpc_status.h"
#include "base/mutex.h"
#include "gateway/generate_call.h"

namespace linnet::gateway {
namespace {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

// Belongs to gRPC: deletes itself when the RPC is over. One message is on its way at a time, straight from the worker's
// stream: the call keeps it until Next().
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>, public GenerateSink {
 public:
  GenerateReactor(Gateway& gateway, const grpc::CallbackServerContext& context, const v1::GenerateRequest& request)
      : call_(GenerateCall::Create(gateway, Front::kGrpc, request, DeadlineOf(context), this)) {}
  void Start() { call_->Start(); }

  void OnMessage(const v1::GenerateResponse& message) override { StartWrite(&message); }
  void OnFinish(const absl::Status& status) override { Finish(base::ToGrpc(status)); }

  void OnWriteDone(bool ok) override {
    if (!ok) call_->Cancel();
    call_->Next();
  }
  void OnCancel() override { call_->Cancel(); }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<GenerateCall> call_;
};

class CountReactor final : public grpc::ServerUnaryReactor {
 public:
  void Start(Gateway& gateway, const grpc::CallbackServerContext& context, const v1::CountTokensRequest& request,
             v1::CountTokensResponse* response) {
    std::function<void()> cancel = gateway.CountTokens(
        request, DeadlineOf(context), [this, response](absl::StatusOr<v1::CountTokensResponse> counted) {
          const absl::Status status = counted.status();
          if (status.ok()) *response = *std::move(counted);
          Finish(base::ToGrpc(status));
        });
    base::MutexLock lock(&mu_);
    cancel_ = std::move(cancel);
  }
  void OnCancel() override {
    std::function<void()> cancel;
    {
      base::MutexLock lock(&mu_);
      cancel = cancel_;
    }
    if (cancel) cancel();
  }
  void OnDone() override { delete this; }

 private:
  base::Mutex mu_;
  std::function<void()> cancel_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                                            const v1::GenerateRequest* request) {
  auto* reactor = new GenerateReactor(gateway_, *context, *request);
  reactor->Start();
  return reactor;  // its OnDone cannot come before gRPC has it
}

grpc::ServerUnaryReactor* GenerationService::CountTokens(grpc::CallbackServerContext* context,
                                                         const v1::CountTokensRequest* request,
                                                         v1::CountTokensResponse* response) {
  auto* reactor = new CountReactor();
  reactor->Start(gateway_, *context, *request, response);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::ListModels(grpc::CallbackServerContext* context,
                                                        const v1::ListModelsRequest* request,
                                                        v1::ListModelsResponse* response) {
  *response = gateway_.ListModels();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace linnet::gateway
