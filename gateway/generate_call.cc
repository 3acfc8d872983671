#include "gateway/generate_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <utility>

#include "absl/log/log.h"
#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/strings.h"
#include "gateway/validation.h"

namespace linnet::gateway {
namespace {

constexpr int kMaxAttempts = 2;
// Tokens of one message that the inter-token histogram counts one by one.
constexpr int kMaxObservedTokens = 32;

std::string NewRequestId() {
  static thread_local absl::BitGen bitgen;
  return absl::StrFormat("%016x%016x", absl::Uniform<uint64_t>(bitgen), absl::Uniform<uint64_t>(bitgen));
}

// Another worker may do better: this one is gone, going, full, or has just unloaded the variant.
bool WorthRetrying(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || base::ErrorReason(status) == "QUEUE_FULL" ||
         base::ErrorReason(status) == "MODEL_NOT_FOUND";
}

absl::Status Cancelled() {
  return base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED", "the client left before the request was done");
}
absl::Status DeadlinePassed() {
  return base::Error(absl::StatusCode::kDeadlineExceeded, "DEADLINE_PASSED",
                     "the request's deadline passed before it was done");
}

}  // namespace

// A stream from one worker. Owned by the call and by itself until gRPC is done with it. The hold lets Next() start a
// read from outside the reactor's own callbacks; the read that fails, as the last one of every stream does, gives it
// up.
class GenerateCall::Attempt : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  Attempt(std::shared_ptr<GenerateCall> call, RouteChoice choice)
      : call_(std::move(call)), handle_(choice.worker->handle), address_(choice.worker->address) {
    if (call_->deadline_ != absl::InfiniteFuture()) context_.set_deadline(absl::ToChronoTime(call_->deadline_));
  }

  void Start(std::shared_ptr<Attempt> self) {
    self_ = std::move(self);
    handle_->Begin();
    handle_->stub().async()->Generate(&context_, &call_->request_, this);
    AddHold();
    StartRead(&message_);
    StartCall();
  }
  void Read() {
    message_.Clear();
    StartRead(&message_);
  }
  void Cancel() { context_.TryCancel(); }
  const std::string& address() const { return address_; }

  void OnReadDone(bool ok) override {
    if (ok) {
      call_->OnMessage(message_);
    } else {
      RemoveHold();
    }
  }
  // The attempt ends here, its context included, before the call goes on: when that finishes, the gateway, and with it
  // gRPC, may go. The handle goes after the context, whose channel would else end here: see WorkerLink.
  void OnDone(const grpc::Status& status) override {
    const absl::Status error = base::FromGrpc(status);
    const std::shared_ptr<GenerateCall> call = std::move(call_);
    std::shared_ptr<WorkerHandle> handle = std::move(handle_);
    handle->End();
    call->ForgetAttempt();
    std::exchange(self_, nullptr).reset();  // deletes this
    handle = nullptr;
    call->OnAttemptDone(error);
  }

 private:
  std::shared_ptr<GenerateCall> call_;
  std::shared_ptr<WorkerHandle> handle_;
  const std::string address_;
  std::shared_ptr<Attempt> self_;
  grpc::ClientContext context_;
  v1::GenerateResponse message_;
};

std::shared_ptr<GenerateCall> GenerateCall::Create(Gateway& gateway, Front front, v1::GenerateRequest request,
                                                   absl::Time deadline, GenerateSink* sink) {
  return std::shared_ptr<GenerateCall>(new GenerateCall(gateway, front, std::move(request), deadline, sink));
}

GenerateCall::GenerateCall(Gateway& gateway, Front front, v1::GenerateRequest request, absl::Time deadline,
                           GenerateSink* sink)
    : gateway_(gateway), front_(front), deadline_(deadline), sink_(sink), start_ns_(gateway.clock().MonotonicNs()) {
  *request_.mutable_request() = std::move(request);
  if (request_.request().request_id().empty()) request_.mutable_request()->set_request_id(NewRequestId());
}

GenerateCall::~GenerateCall() = default;

void GenerateCall::Start() {
  const v1::GenerateRequest& request = request_.request();
  if (absl::Status s = ValidateGenerate(request, gateway_.options().max_request_bytes); !s.ok()) return Finish(s);
  if (deadline_ <= gateway_.clock().WallNow()) return Finish(DeadlinePassed());
  if (absl::Status s = gateway_.Admit(); !s.ok()) return Finish(s);
  {
    base::MutexLock lock(&mu_);
    admitted_ = true;
  }
  absl::StatusOr<RouteChoice> choice = gateway_.RouteFor(request.model());
  if (!choice.ok()) return Finish(choice.status());
  StartAttempt(*std::move(choice));
}

void GenerateCall::StartAttempt(RouteChoice choice) {
  request_.set_variant(choice.variant);
  auto attempt = std::make_shared<Attempt>(shared_from_this(), choice);
  bool cancelled = false;
  {
    base::MutexLock lock(&mu_);
    cancelled = cancelled_;
    if (!cancelled) {
      ++attempts_;
      attempt_ = attempt;
      model_ = choice.model;
      worker_ = choice.worker->status.worker().empty() ? choice.worker->address : choice.worker->status.worker();
    }
  }
  if (cancelled) return Finish(Cancelled());
  // A Cancel() between here and StartCall is kept by the client context and applied when the call starts.
  attempt->Start(attempt);
}

void GenerateCall::Next() {
  std::shared_ptr<Attempt> attempt;
  {
    base::MutexLock lock(&mu_);
    attempt = attempt_;
  }
  if (attempt != nullptr) attempt->Read();
}

void GenerateCall::Cancel() {
  std::shared_ptr<Attempt> attempt;
  {
    base::MutexLock lock(&mu_);
    cancelled_ = true;
    attempt = attempt_;
  }
  if (attempt != nullptr) attempt->Cancel();
}

void GenerateCall::OnMessage(v1::GenerateResponse& message) {
  {
    base::MutexLock lock(&mu_);
    sent_ = true;
    if (message.has_finish()) {
      finished_ = true;
      usage_ = message.finish().usage();
      if (message.finish().worker().empty()) message.mutable_finish()->set_worker(worker_);
    }
    Observe(message);
  }
  sink_->OnMessage(message);
}

void GenerateCall::Observe(const v1::GenerateResponse& message) {
  if (message.text().empty() && message.token_ids().empty()) return;
  const int64_t now_ns = gateway_.clock().MonotonicNs();
  if (first_token_ns_ == 0) {
    first_token_ns_ = now_ns;
    gateway_.metrics().ObserveFirstToken(model_, (now_ns - start_ns_) * 1e-9);
  } else if (const int tokens = message.token_ids_size(); tokens > 0) {
    const double each = (now_ns - last_token_ns_) * 1e-9 / tokens;
    for (int i = 0; i < std::min(tokens, kMaxObservedTokens); ++i) gateway_.metrics().ObserveInterToken(model_, each);
  }
  last_token_ns_ = now_ns;
}

void GenerateCall::ForgetAttempt() {
  base::MutexLock lock(&mu_);
  failed_workers_.insert(attempt_->address());
  attempt_ = nullptr;
}

void GenerateCall::OnAttemptDone(const absl::Status& worker_status) {
  std::set<std::string> failed;
  absl::Status status;
  bool retry = false;
  {
    base::MutexLock lock(&mu_);
    failed = failed_workers_;
    if (finished_) {
      status = absl::OkStatus();  // whatever became of the connection after the last message
    } else if (deadline_ <= gateway_.clock().WallNow()) {
      status = DeadlinePassed();
    } else if (cancelled_) {
      status = Cancelled();
    } else if (worker_status.ok()) {
      status = base::Error(absl::StatusCode::kInternal, "INTERNAL_ERROR",
                           base::StrCat(worker_, " ended its stream without a finish message"));
    } else {
      status = FromWorker(worker_status, worker_);
      retry = !sent_ && attempts_ < kMaxAttempts && WorthRetrying(status);
    }
  }
  if (!retry) return Finish(std::move(status));
  absl::StatusOr<RouteChoice> choice = gateway_.RouteFor(request_.request().model(), failed);
  if (!choice.ok()) return Finish(std::move(status));  // the first worker's error says more
  gateway_.metrics().retries().Increment();
  LOG(WARNING) << base::LogFields("trying another worker", {{"request_id", request_id()},
                                                            {"error", std::string(status.message())},
                                                            {"worker", choice->worker->status.worker()}});
  StartAttempt(*std::move(choice));
}

void GenerateCall::Finish(absl::Status status) {
  const int64_t now_ns = gateway_.clock().MonotonicNs();
  const std::shared_ptr<GenerateCall> self = shared_from_this();
  std::string model, worker;
  bool admitted = false;
  int64_t first_token_ns = 0;
  v1::Usage usage;
  {
    base::MutexLock lock(&mu_);
    model = model_;
    worker = worker_;
    admitted = std::exchange(admitted_, false);
    first_token_ns = first_token_ns_;
    usage = usage_;
  }
  gateway_.metrics().CountRequest(front_, model, status.code());
  if (status.ok()) gateway_.metrics().ObserveRequest(model, (now_ns - start_ns_) * 1e-9);
  sink_->OnFinish(status);
  LOG(INFO) << base::LogFields(
      "request",
      {{"request_id", request_id()},
       {"front", std::string(FrontName(front_))},
       {"model", model},
       {"worker", worker},
       {"code", absl::StatusCodeToString(status.code())},
       {"reason", base::ErrorReason(status)},
       {"prompt_tokens", base::StrCat(usage.prompt_tokens())},
       {"completion_tokens", base::StrCat(usage.completion_tokens())},
       {"first_token_ms", first_token_ns == 0 ? "" : absl::StrFormat("%.3f", (first_token_ns - start_ns_) * 1e-6)},
       {"total_ms", absl::StrFormat("%.3f", (now_ns - start_ns_) * 1e-6)}});
  if (admitted) gateway_.Leave();
}

}  // namespace linnet::gateway
