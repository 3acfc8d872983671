// One timed generation call, to a gateway or directly to a worker.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "linnet/v1/generation.grpc.pb.h"
#include "linnet/worker/v1/worker.grpc.pb.h"

namespace linnet::loadgen {

struct CallTimes {
  double first_token_s = 0;  // from the call's start to the first message with tokens
  double total_s = 0;
  uint32_t tokens = 0;
};

// Thread-safe.
class Target {
 public:
  // `variant` empty: a gateway, which is asked for `model`. Otherwise a worker, which is asked for that variant.
  Target(const std::string& address, std::string model, std::string variant);

  absl::StatusOr<CallTimes> Generate(const std::string& prompt, uint32_t max_tokens) const;

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Generation::Stub> gateway_;
  const std::unique_ptr<worker::v1::WorkerControl::Stub> worker_;
  const std::string model_, variant_;
};

}  // namespace linnet::loadgen
