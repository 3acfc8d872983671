// The gRPC front: linnet.v1.Generation, each method a thin shell over Gateway and GenerateCall.
#pragma once

#include "gateway/gateway.h"
#include "linnet/v1/generation.grpc.pb.h"

namespace linnet::gateway {

// Thread-safe. `gateway` must outlive the server that the service is registered with.
class GenerationService final : public v1::Generation::CallbackService {
 public:
  explicit GenerationService(Gateway& gateway) : gateway_(gateway) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context, const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

 private:
  Gateway& gateway_;
};

}  // namespace linnet::gateway
