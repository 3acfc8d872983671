#include "worker/server/status_hub.h"

#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/grpc_status.h"
#include "base/thread.h"

namespace linnet::worker {
namespace {

// What routing should know at once: all but the moving averages, which move always.
std::string Essence(const v1::WorkerStatus& status) {
  v1::WorkerStatus essence = status;
  for (v1::VariantStatus& variant : *essence.mutable_variants()) {
    variant.clear_prefill_tokens_per_second();
    variant.clear_decode_tokens_per_second();
    variant.clear_step_time();
  }
  return essence.SerializeAsString();
}

}  // namespace

// One watcher's stream. At most one message is on its way; a newer status replaces the one that waits.
class WatchCall final : public grpc::ServerWriteReactor<v1::WorkerStatus>,
                        public std::enable_shared_from_this<WatchCall> {
 public:
  explicit WatchCall(StatusHub* hub) : hub_(hub) {}
  void KeepSelf() { self_ = shared_from_this(); }

  // Sends `status` where it is due for this watcher.
  void Offer(const v1::WorkerStatus& status, const std::string& essence, int64_t now_ns) {
    {
      base::MutexLock lock(&mu_);
      if (ending_.has_value()) return;
      const absl::Duration since = absl::Nanoseconds(now_ns - sent_ns_);
      const bool changed = essence != sent_essence_ && since >= StatusHub::kMinInterval;
      if (sent_ && !changed && since < StatusHub::kMaxInterval) return;
      waiting_ = status;
      sent_essence_ = essence;
      sent_ns_ = now_ns;
      sent_ = true;
    }
    Pump();
  }

  void End(absl::Status status) {
    {
      base::MutexLock lock(&mu_);
      if (!ending_.has_value()) ending_ = std::move(status);
    }
    Pump();
  }

  void OnWriteDone(bool ok) override {
    {
      base::MutexLock lock(&mu_);
      write_in_flight_ = false;
    }
    ok ? Pump() : End(absl::CancelledError("the watcher left"));
  }
  void OnCancel() override { End(absl::CancelledError("the watcher left")); }
  void OnDone() override {
    std::shared_ptr<WatchCall> keep;
    {
      base::MutexLock lock(&mu_);
      keep = std::move(self_);
    }
    hub_->Remove(keep);
  }

 private:
  void Pump() {
    const std::shared_ptr<WatchCall> keep = shared_from_this();
    for (;;) {
      bool finish = false;
      grpc::Status status;
      {
        base::MutexLock lock(&mu_);
        if (finished_ || write_in_flight_ || starting_) return;
        if (ending_.has_value()) {
          finish = finished_ = true;
          status = base::ToGrpc(*ending_);
        } else if (waiting_.has_value()) {
          writing_ = *std::move(waiting_);
          waiting_.reset();
          write_in_flight_ = starting_ = true;
        } else {
          return;
        }
      }
      if (finish) return Finish(std::move(status));
      StartWrite(&writing_);
      base::MutexLock lock(&mu_);
      starting_ = false;
    }
  }

  StatusHub* const hub_;
  v1::WorkerStatus writing_;  // gRPC's while write_in_flight_
  base::Mutex mu_;
  std::shared_ptr<WatchCall> self_;  // from KeepSelf to OnDone
  std::optional<v1::WorkerStatus> waiting_ ABSL_GUARDED_BY(mu_);
  std::string sent_essence_ ABSL_GUARDED_BY(mu_);
  int64_t sent_ns_ ABSL_GUARDED_BY(mu_) = 0;
  bool sent_ ABSL_GUARDED_BY(mu_) = false;
  bool write_in_flight_ ABSL_GUARDED_BY(mu_) = false;
  bool starting_ ABSL_GUARDED_BY(mu_) = false;  // StartWrite has not returned yet
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mu_);
};

StatusHub::StatusHub(Options options) : options_(std::move(options)) {}

StatusHub::~StatusHub() {
  Close();
  thread_.request_stop();
  {
    base::MutexLock lock(&mu_);
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void StatusHub::Start() {
  thread_ = std::jthread([this](std::stop_token stop) {
    base::SetThreadName("status");
    Run(stop);
  });
}

void StatusHub::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    options_.on_tick();
    Tick();
    base::MutexLock lock(&mu_);
    if (stop.stop_requested() || poked_) {
      poked_ = false;
      continue;
    }
    const absl::Duration wait = calls_.empty() ? kMaxInterval : kMinInterval;
    wake_.WaitFor(&mu_, absl::ToChronoNanoseconds(wait));
    poked_ = false;
  }
}

void StatusHub::Poke() {
  base::MutexLock lock(&mu_);
  poked_ = true;
  wake_.NotifyAll();
}

void StatusHub::Tick() {
  std::vector<std::shared_ptr<WatchCall>> calls;
  {
    base::MutexLock lock(&mu_);
    calls.assign(calls_.begin(), calls_.end());
  }
  if (calls.empty()) return;
  const v1::WorkerStatus status = options_.status();
  const std::string essence = Essence(status);
  const int64_t now_ns = options_.clock->MonotonicNs();
  for (const auto& call : calls) call->Offer(status, essence, now_ns);
}

void StatusHub::Close() {
  std::vector<std::shared_ptr<WatchCall>> calls;
  {
    base::MutexLock lock(&mu_);
    closed_ = true;
    calls.assign(calls_.begin(), calls_.end());
  }
  for (const auto& call : calls) {
    call->End(base::Error(absl::StatusCode::kUnavailable, "DRAINING", "this worker is stopping"));
  }
}

bool StatusHub::WaitUntilEmpty(absl::Duration timeout) {
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  base::MutexLock lock(&mu_);
  while (!calls_.empty()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    wake_.WaitFor(&mu_, left);
  }
  return true;
}

grpc::ServerWriteReactor<v1::WorkerStatus>* StatusHub::Watch() {
  auto call = std::make_shared<WatchCall>(this);
  call->KeepSelf();
  bool closed;
  {
    base::MutexLock lock(&mu_);
    calls_.insert(call);
    closed = closed_;
  }
  if (closed) {
    call->End(base::Error(absl::StatusCode::kUnavailable, "DRAINING", "this worker is stopping"));
    return call.get();
  }
  const v1::WorkerStatus status = options_.status();
  call->Offer(status, Essence(status), options_.clock->MonotonicNs());
  return call.get();
}

void StatusHub::Remove(const std::shared_ptr<WatchCall>& call) {
  base::MutexLock lock(&mu_);
  calls_.erase(call);
  wake_.NotifyAll();
}

}  // namespace linnet::worker
