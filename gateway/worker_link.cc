#include "gateway/worker_link.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/log/log.h"
#include "absl/random/random.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/mutex.h"

namespace linnet::gateway {

namespace {

constexpr absl::Duration kMaxBackoff = absl::Seconds(5);

uint64_t RandomSeed() {
  absl::BitGen bitgen;
  return absl::Uniform<uint64_t>(bitgen);
}

}  // namespace

using worker::v1::WatchStatusRequest;
using worker::v1::WorkerControl;
using worker::v1::WorkerStatus;

struct WorkerLink::State {
  base::Mutex mu;
  // Which stream the state speaks of; an older stream's late events are dropped.
  uint64_t generation ABSL_GUARDED_BY(mu) = 0;
  bool open ABSL_GUARDED_BY(mu) = false;      // a stream exists
  bool live ABSL_GUARDED_BY(mu) = false;      // and has said something
  bool was_live ABSL_GUARDED_BY(mu) = false;  // the last stream that ended had been
  int64_t opened_ns ABSL_GUARDED_BY(mu) = 0;
  int64_t heard_ns ABSL_GUARDED_BY(mu) = 0;  // when this or an earlier one last did, or when the link was made
  std::shared_ptr<const WorkerStatus> status ABSL_GUARDED_BY(mu) = std::make_shared<WorkerStatus>();
  absl::Status error ABSL_GUARDED_BY(mu);
  std::shared_ptr<Stream> stream ABSL_GUARDED_BY(mu);
  // Null once the link is gone.
  std::function<void()> on_change ABSL_GUARDED_BY(mu);
};

// Keeps itself alive until gRPC is done with it.
class WorkerLink::Stream : public grpc::ClientReadReactor<WorkerStatus> {
 public:
  Stream(std::shared_ptr<State> state, std::shared_ptr<WorkerHandle> handle, uint64_t generation, base::Clock* clock)
      : state_(std::move(state)), handle_(std::move(handle)), generation_(generation), clock_(clock) {}

  void Start(std::shared_ptr<Stream> self) {
    self_ = std::move(self);
    handle_->stub().async()->WatchStatus(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    auto status = std::make_shared<const WorkerStatus>(std::move(message_));
    if (std::function<void()> on_change; Heard(std::move(status), &on_change) && on_change) on_change();
    message_.Clear();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Stream> self = std::move(self_);
    if (std::function<void()> on_change; Ended(status, &on_change) && on_change) on_change();
  }

 private:
  // False where the link has gone on to another stream.
  bool Heard(std::shared_ptr<const WorkerStatus> status, std::function<void()>* on_change) {
    base::MutexLock lock(&state_->mu);
    if (state_->generation != generation_) return false;
    state_->live = true;
    state_->heard_ns = clock_->MonotonicNs();
    state_->status = std::move(status);
    *on_change = state_->on_change;
    return true;
  }
  bool Ended(const grpc::Status& status, std::function<void()>* on_change) {
    std::shared_ptr<Stream> stream;  // this one; released under no lock
    base::MutexLock lock(&state_->mu);
    if (state_->generation != generation_) return false;
    state_->was_live = state_->live;
    state_->open = false;
    state_->live = false;
    state_->error = base::FromGrpc(status);
    stream = std::move(state_->stream);
    *on_change = state_->on_change;
    return true;
  }

  const std::shared_ptr<State> state_;
  const std::shared_ptr<WorkerHandle> handle_;
  const uint64_t generation_;
  base::Clock* const clock_;
  std::shared_ptr<Stream> self_;
  grpc::ClientContext context_;
  const WatchStatusRequest request_;
  WorkerStatus message_;
};

WorkerLink::WorkerLink(Options options)
    : options_(std::move(options)), backoff_({.max = kMaxBackoff}, RandomSeed()), state_(std::make_shared<State>()) {
  base::MutexLock lock(&state_->mu);
  state_->on_change = options_.on_change;
  state_->heard_ns = options_.clock->MonotonicNs();
}

WorkerLink::~WorkerLink() {
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(&state_->mu);
    ++state_->generation;
    state_->on_change = nullptr;
    stream = std::move(state_->stream);
  }
  if (stream != nullptr) stream->Cancel();
}

void WorkerLink::Tick() {
  const int64_t now_ns = options_.clock->MonotonicNs();
  std::shared_ptr<Stream> silent;
  absl::Status error;
  bool lost = false;
  {
    base::MutexLock lock(&state_->mu);
    if (state_->open) {
      if (absl::Nanoseconds(now_ns - std::max(state_->heard_ns, state_->opened_ns)) <= options_.silence) {
        if (state_->live) backoff_.Reset();
        return;
      }
      ++state_->generation;  // what it still says is not listened to
      silent = std::move(state_->stream);
      lost = state_->live;
      state_->open = false;
      state_->live = false;
      error = absl::UnavailableError("nothing heard for 3 s");
    } else if (!state_->error.ok()) {
      lost = state_->was_live;
      error = std::exchange(state_->error, absl::OkStatus());
    }
  }
  if (silent != nullptr) {
    silent->Cancel();
    handle_ = nullptr;
  }
  if (lost) {
    LOG(WARNING) << base::LogFields("worker lost",
                                    {{"address", options_.address}, {"error", std::string(error.message())}});
  }
  if (!error.ok()) {
    next_attempt_ns_ = now_ns + absl::ToInt64Nanoseconds(backoff_.Next());
    if (options_.on_change) options_.on_change();
  }
  if (now_ns >= next_attempt_ns_) Open();
}

void WorkerLink::Open() {
  if (handle_ == nullptr) handle_ = std::make_shared<WorkerHandle>(options_.make_stub(options_.address));
  std::shared_ptr<Stream> stream;
  {
    base::MutexLock lock(&state_->mu);
    ++state_->generation;
    state_->open = true;
    state_->live = false;
    state_->opened_ns = options_.clock->MonotonicNs();
    stream = std::make_shared<Stream>(state_, handle_, state_->generation, options_.clock);
    state_->stream = stream;
  }
  stream->Start(stream);
}

std::shared_ptr<const WorkerView> WorkerLink::View() const {
  bool live = false;
  std::shared_ptr<const WorkerStatus> status;
  {
    base::MutexLock lock(&state_->mu);
    live = state_->live;
    status = state_->status;
  }
  if (view_ == nullptr || view_status_ != status || view_->reachable != live || view_->handle != handle_) {
    auto view = std::make_shared<WorkerView>();
    view->address = options_.address;
    view->reachable = live;
    view->status = *status;
    view->handle = handle_;
    view_ = std::move(view);
    view_status_ = std::move(status);
  }
  return view_;
}

absl::Duration WorkerLink::Unheard() const {
  base::MutexLock lock(&state_->mu);
  if (state_->live) return absl::ZeroDuration();
  return absl::Nanoseconds(options_.clock->MonotonicNs() - state_->heard_ns);
}

std::shared_ptr<WorkerControl::StubInterface> MakeWorkerStub(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Ends calls on a connection whose other side is gone. The status stream carries data at least once a second, so that
  // a server does not take the pings for abuse.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetMaxReceiveMessageSize(4 << 20);
  return WorkerControl::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args));
}

}  // namespace linnet::gateway
