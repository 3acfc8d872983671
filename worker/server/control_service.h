// linnet.worker.v1.WorkerControl: what gateways ask of this worker. Its methods only validate and enqueue, and return
// the reactor that answers (generate_call.h, status_hub.h).
#pragma once

#include <atomic>
#include <memory>

#include "linnet/worker/v1/worker.grpc.pb.h"
#include "worker/server/generate_call.h"
#include "worker/server/status_hub.h"

namespace linnet::worker {

// Thread-safe. Context and hub must outlive it, and it the server that it is registered with.
class ControlService final : public v1::WorkerControl::CallbackService {
 public:
  ControlService(CallContext* context, StatusHub* hub) : context_(context), hub_(hub) {}

  grpc::ServerWriteReactor<linnet::v1::GenerateResponse>* Generate(grpc::CallbackServerContext* server,
                                                                   const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* server, const v1::CountTokensRequest* request,
                                        linnet::v1::CountTokensResponse* response) override;
  grpc::ServerWriteReactor<v1::WorkerStatus>* WatchStatus(grpc::CallbackServerContext* server,
                                                          const v1::WatchStatusRequest* request) override;

 private:
  CallContext* const context_;
  StatusHub* const hub_;
};

}  // namespace linnet::worker
