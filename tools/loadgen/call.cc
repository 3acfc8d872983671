#include "tools/loadgen/call.h"

#include <chrono>
#include <utility>

#include "base/grpc_status.h"

namespace linnet::loadgen {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Target::Target(const std::string& address, std::string model, std::string variant)
    : channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
      gateway_(v1::Generation::NewStub(channel_)),
      worker_(worker::v1::WorkerControl::NewStub(channel_)),
      model_(std::move(model)),
      variant_(std::move(variant)) {}

absl::StatusOr<CallTimes> Target::Generate(const std::string& prompt, uint32_t max_tokens) const {
  v1::GenerateRequest request;
  request.set_model(model_);
  request.mutable_input()->set_text(prompt);
  request.mutable_sampling()->set_temperature(0);
  request.set_max_tokens(max_tokens);
  request.set_ignore_eos(true);

  grpc::ClientContext context;
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  if (variant_.empty()) {
    reader = gateway_->Generate(&context, request);
  } else {
    worker::v1::GenerateRequest direct;
    direct.set_variant(variant_);
    *direct.mutable_request() = request;
    reader = worker_->Generate(&context, direct);
  }
  CallTimes times;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    if (times.tokens == 0 && response.token_ids_size() > 0) times.first_token_s = SecondsSince(start);
    times.tokens += response.token_ids_size();
  }
  times.total_s = SecondsSince(start);
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return base::FromGrpc(status);
  return times;
}

}  // namespace linnet::loadgen
