#include "worker/server/control_service.h"

#include <utility>

#include "base/error.h"
#include "base/grpc_status.h"
#include "worker/server/prompt.h"
#include "worker/server/request_rules.h"

namespace linnet::worker {

grpc::ServerWriteReactor<linnet::v1::GenerateResponse>* ControlService::Generate(grpc::CallbackServerContext* server,
                                                                                 const v1::GenerateRequest* request) {
  return GenerateCall::Start(context_, server, request);
}

grpc::ServerUnaryReactor* ControlService::CountTokens(grpc::CallbackServerContext* server,
                                                      const v1::CountTokensRequest* request,
                                                      linnet::v1::CountTokensResponse* response) {
  grpc::ServerUnaryReactor* reactor = server->DefaultReactor();
  if (const absl::Status status = CheckCountTokens(*request); !status.ok()) {
    reactor->Finish(base::ToGrpc(status));
    return reactor;
  }
  absl::StatusOr<VariantRef> variant = context_->variants->Find(request->variant());
  if (!variant.ok()) {
    reactor->Finish(base::ToGrpc(variant.status()));
    return reactor;
  }
  const bool posted =
      context_->encoders->TryPost([variant = *std::move(variant), request, response, reactor]() mutable {
        const absl::StatusOr<std::vector<TokenId>> tokens = EncodePrompt(request->input(), "input", *variant);
        if (tokens.ok()) {
          response->set_tokens(static_cast<uint32_t>(tokens->size()));
          response->set_context_tokens(variant->engine->context_tokens());
        }
        variant.reset();
        reactor->Finish(base::ToGrpc(tokens.status()));
      });
  if (!posted) {
    reactor->Finish(base::ToGrpc(base::WithRetryAfter(
        base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "too many prompts wait to be tokenized"),
        absl::Seconds(1))));
  }
  return reactor;
}

grpc::ServerWriteReactor<v1::WorkerStatus>* ControlService::WatchStatus(grpc::CallbackServerContext* server,
                                                                        const v1::WatchStatusRequest* request) {
  return hub_->Watch();
}

}  // namespace linnet::worker
