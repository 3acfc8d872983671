#include "registry/server/watch_hub.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/grpc_status.h"
#include "base/strings.h"
#include "base/thread.h"

namespace linnet::registry {

// IDLE -> WRITING -> IDLE ... -> FINISHED. Only Pump starts writes and finishes, first in Watch(), then on the hub's
// thread, never on two at once: so Finish comes once.
class WatchHub::Stream final : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  Stream(WatchHub* hub, int64_t since, absl::Status refusal) : hub_(hub), sent_(since), refusal_(std::move(refusal)) {}

  // Writes or finishes where that is due.
  void Pump(bool draining) {
    {
      base::MutexLock lock(&mu_);
      if (state_ != State::kIdle) return;
      if (gone_) refusal_ = base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED", "the client left");
    }
    if (refusal_.ok() && draining) {
      refusal_ = base::Error(absl::StatusCode::kUnavailable, "DRAINING", "the registry is stopping; watch again soon");
    }
    if (!refusal_.ok()) return End(refusal_);

    Store& store = *hub_->options_.store;
    const int64_t now = hub_->options_.clock->MonotonicNs();
    const bool due = first_ || now - last_write_ns_ >= absl::ToInt64Nanoseconds(hub_->options_.heartbeat);
    response_.Clear();
    int64_t last = sent_;
    if (first_ || store.revision() != sent_) {
      absl::StatusOr<std::vector<v1::Event>> events = store.ReadLog(sent_, hub_->options_.max_message_bytes, &last);
      if (!events.ok()) return End(events.status());
      for (v1::Event& event : *events) *response_.add_events() = std::move(event);
    }
    if (response_.events().empty() && !due) return;
    first_ = false;
    sent_ = last;
    last_write_ns_ = now;
    response_.set_revision(last);
    response_.set_store_id(store.id());
    {
      base::MutexLock lock(&mu_);
      state_ = State::kWriting;
    }
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    {
      base::MutexLock lock(&mu_);
      state_ = State::kIdle;
      if (!ok) gone_ = true;
    }
    hub_->Wake();
  }
  void OnCancel() override {
    {
      base::MutexLock lock(&mu_);
      gone_ = true;
    }
    hub_->Wake();
  }
  void OnDone() override { hub_->Remove(this); }

 private:
  enum class State { kIdle, kWriting, kFinished };

  void End(const absl::Status& status) {
    {
      base::MutexLock lock(&mu_);
      state_ = State::kFinished;
    }
    const grpc::Status result = base::ToGrpc(status);
    hub_->options_.metrics->CountRpc("Watch", result.error_code());
    Finish(result);
  }

  WatchHub* const hub_;
  // Pump's only; response_ is gRPC's while state_ is kWriting.
  int64_t sent_;
  absl::Status refusal_;
  bool first_ = true;
  int64_t last_write_ns_ = 0;
  v1::WatchResponse response_;

  base::Mutex mu_;
  State state_ ABSL_GUARDED_BY(mu_) = State::kIdle;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;  // the client left
};

WatchHub::WatchHub(Options options) : options_(options) {
  thread_ = base::StartThread("registry-watch", [this] { Loop(); });
}

WatchHub::~WatchHub() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

grpc::ServerWriteReactor<v1::WatchResponse>* WatchHub::Watch(const v1::WatchRequest& request) {
  absl::Status refusal;
  if (request.since_revision() < 0) refusal = base::FieldErrors({{"since_revision", "must not be negative"}});
  if (!request.store_id().empty() && request.store_id() != options_.store->id()) {
    refusal = absl::OutOfRangeError(
        "the revision is of another database than this registry has now; list everything and watch from the list's "
        "revision");
  }
  bool draining = false;
  {
    base::MutexLock lock(&mu_);
    draining = draining_;
    if (streams_.size() >= options_.max_watchers) {
      refusal = base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                                                 base::StrCat(streams_.size(),
                                                              " clients watch this registry, the most "
                                                              "it serves; try again later")),
                                     absl::Seconds(10));
    }
  }
  auto owned = std::make_shared<Stream>(this, request.since_revision(), std::move(refusal));
  Stream* const stream = owned.get();
  // The first message goes out from here, so that the hub's thread meets the stream only when gRPC has it; its OnDone
  // cannot come before this returns.
  stream->Pump(draining);
  base::MutexLock lock(&mu_);
  streams_.insert(std::move(owned));
  options_.metrics->watchers.Set(static_cast<double>(streams_.size()));
  return stream;
}

void WatchHub::Wake() {
  base::MutexLock lock(&mu_);
  woken_ = true;
  wake_.NotifyOne();  // under the lock: the hub may end as soon as that is free
}

void WatchHub::Drain() {
  {
    base::MutexLock lock(&mu_);
    draining_ = true;
    woken_ = true;
  }
  wake_.NotifyOne();
}

size_t WatchHub::watchers() {
  base::MutexLock lock(&mu_);
  return streams_.size();
}

void WatchHub::Remove(Stream* stream) {
  // Destroyed after the lock is released, or later by the hub's thread if that holds it too.
  std::shared_ptr<Stream> removed;
  base::MutexLock lock(&mu_);
  for (auto it = streams_.begin(); it != streams_.end(); ++it) {
    if (it->get() != stream) continue;
    removed = *it;
    streams_.erase(it);
    break;
  }
  options_.metrics->watchers.Set(static_cast<double>(streams_.size()));
}

void WatchHub::Loop() {
  const auto tick = absl::ToChronoMilliseconds(std::max(absl::Milliseconds(5), options_.heartbeat / 4));
  for (;;) {
    std::vector<std::shared_ptr<Stream>> streams;
    bool draining = false;
    {
      base::MutexLock lock(&mu_);
      while (!woken_ && !stopping_) {
        if (!wake_.WaitFor(&mu_, tick)) break;  // heartbeats may be due
      }
      if (stopping_) return;
      woken_ = false;
      draining = draining_;
      streams.assign(streams_.begin(), streams_.end());
    }
    for (const std::shared_ptr<Stream>& stream : streams) stream->Pump(draining);
  }
}

}  // namespace linnet::registry
