#include "gateway/gateway.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "base/error.h"
#include "base/grpc_status.h"
#include "base/strings.h"
#include "gateway/validation.h"

namespace linnet::gateway {
namespace {

// Models whose first sight is remembered.
constexpr size_t kMaxFirstSeen = 4096;

uint64_t RandomBits() {
  static thread_local absl::BitGen bitgen;
  return absl::Uniform<uint64_t>(bitgen);
}

// One CountTokens call on a worker. Owns itself until gRPC is done with it; then it ends, its context included, before
// `done` is called: from there on the gateway, and with it gRPC, may go.
class CountCall : public grpc::ClientUnaryReactor {
 public:
  using Done = std::function<void(absl::StatusOr<v1::CountTokensResponse>)>;
  CountCall(std::shared_ptr<WorkerHandle> handle, worker::v1::CountTokensRequest request, absl::Time deadline,
            Done done)
      : handle_(std::move(handle)), request_(std::move(request)), done_(std::move(done)) {
    if (deadline != absl::InfiniteFuture()) context_.set_deadline(absl::ToChronoTime(deadline));
  }

  void Start(std::shared_ptr<CountCall> self) {
    self_ = std::move(self);
    handle_->stub().async()->CountTokens(&context_, &request_, &response_, this);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnDone(const grpc::Status& status) override {
    absl::StatusOr<v1::CountTokensResponse> counted = std::move(response_);
    if (!status.ok()) counted = base::FromGrpc(status);
    const Done done = std::move(done_);
    // The handle after the context, whose channel would else end here: see WorkerLink.
    std::shared_ptr<WorkerHandle> handle = std::move(handle_);
    std::exchange(self_, nullptr).reset();  // deletes this
    handle = nullptr;
    done(std::move(counted));
  }

 private:
  std::shared_ptr<WorkerHandle> handle_;
  const worker::v1::CountTokensRequest request_;
  Done done_;
  std::shared_ptr<CountCall> self_;
  grpc::ClientContext context_;
  v1::CountTokensResponse response_;
};

}  // namespace

absl::Status FromWorker(const absl::Status& status, std::string_view worker) {
  if (status.ok() || !base::ErrorReason(status).empty()) return status;
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      return base::Error(status.code(), "DEADLINE_PASSED", "the request's deadline passed before it was done");
    case absl::StatusCode::kUnavailable:  // the connection broke, or could not be made
    case absl::StatusCode::kCancelled:    // by the worker, on its way out: our own cancels never come here
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return base::WithRetryAfter(
          base::Error(absl::StatusCode::kUnavailable, "WORKER_LOST",
                      base::StrCat("the connection to ", worker, " was lost: ", status.message(), "; try again")),
          absl::Seconds(1));
    default:
      return status;
  }
}

absl::Status Gateway::Admit() {
  base::MutexLock lock(&mu_);
  if (draining_) {
    return base::WithRetryAfter(base::Error(absl::StatusCode::kUnavailable, "DRAINING", "the gateway is stopping"),
                                absl::Seconds(1));
  }
  if (active_ >= options_.max_concurrent_requests) {
    return base::WithRetryAfter(
        base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                    base::StrCat("the gateway runs ", active_,
                                 " requests already, the most that it may (max_concurrent_requests); try again")),
        absl::Seconds(1));
  }
  ++active_;
  metrics().active_requests().Set(active_);
  return absl::OkStatus();
}

void Gateway::Leave() {
  base::MutexLock lock(&mu_);
  --active_;
  metrics().active_requests().Set(active_);
  if (active_ == 0) idle_.NotifyAll();
}

absl::StatusOr<RouteChoice> Gateway::RouteFor(std::string_view model, const std::set<std::string>& excluded,
                                              bool ignore_queue) {
  const std::shared_ptr<const FleetSnapshot> fleet = options_.workers->Snapshot();
  RouteRequest request{.model = model, .excluded = excluded, .random = RandomBits(), .ignore_queue = ignore_queue};
  request.in_flight.reserve(fleet->workers.size());
  for (const auto& worker : fleet->workers) {
    request.in_flight.push_back(worker->handle == nullptr ? 0 : worker->handle->in_flight());
  }
  return Route(request, *fleet);
}

std::function<void()> Gateway::CountTokens(const v1::CountTokensRequest& request, absl::Time deadline,
                                           std::function<void(absl::StatusOr<v1::CountTokensResponse>)> done) {
  const auto nothing_to_cancel = [] {};
  if (absl::Status valid = ValidateCountTokens(request, options_.max_request_bytes); !valid.ok()) {
    done(valid);
    return nothing_to_cancel;
  }
  absl::StatusOr<RouteChoice> choice = RouteFor(request.model(), {}, /*ignore_queue=*/true);
  if (!choice.ok()) {
    done(choice.status());
    return nothing_to_cancel;
  }
  if (absl::Status admitted = Admit(); !admitted.ok()) {
    done(admitted);
    return nothing_to_cancel;
  }
  worker::v1::CountTokensRequest worker_request;
  worker_request.set_variant(choice->variant);
  *worker_request.mutable_input() = request.input();
  auto call =
      std::make_shared<CountCall>(choice->worker->handle, std::move(worker_request), deadline,
                                  [this, worker = choice->worker->status.worker(),
                                   done = std::move(done)](absl::StatusOr<v1::CountTokensResponse> counted) {
                                    done(counted.ok() ? std::move(counted) : FromWorker(counted.status(), worker));
                                    Leave();
                                  });
  call->Start(call);
  return [call = std::weak_ptr(call)] {
    if (const auto running = call.lock()) running->Cancel();
  };
}

v1::ListModelsResponse Gateway::ListModels() {
  v1::ListModelsResponse response;
  const int64_t now_seconds = absl::ToUnixSeconds(clock().WallNow());
  std::vector<v1::ServedModel> models = ServedModels(*options_.workers->Snapshot());
  base::MutexLock lock(&mu_);
  for (v1::ServedModel& model : models) {
    const auto seen = first_seen_.find(model.model());
    if (seen != first_seen_.end()) {
      model.set_created_seconds(seen->second);
    } else {
      model.set_created_seconds(now_seconds);
      if (first_seen_.size() < kMaxFirstSeen) first_seen_.emplace(model.model(), now_seconds);
    }
    *response.add_models() = std::move(model);
  }
  return response;
}

void Gateway::Drain() {
  base::MutexLock lock(&mu_);
  draining_ = true;
}

bool Gateway::draining() const {
  base::MutexLock lock(&mu_);
  return draining_;
}

absl::Status Gateway::Ready() const {
  if (draining()) return absl::UnavailableError("draining");
  if (ServedModels(*options_.workers->Snapshot()).empty()) return absl::UnavailableError("no worker serves a model");
  return absl::OkStatus();
}

bool Gateway::WaitUntilIdle(absl::Duration timeout) {
  const int64_t end_ns = clock().MonotonicNs() + absl::ToInt64Nanoseconds(timeout);
  base::MutexLock lock(&mu_);
  while (active_ > 0) {
    const int64_t left_ns = end_ns - clock().MonotonicNs();
    if (left_ns <= 0) return false;
    idle_.WaitFor(&mu_, std::chrono::nanoseconds(left_ns));
  }
  return true;
}

}  // namespace linnet::gateway
