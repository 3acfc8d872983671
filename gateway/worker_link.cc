#include "gateway/worker_link.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/log.h"
#include "absl/random/random.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace linnet::gateway {

namespace {

constexpr absl::Duration kMaxBackoff = absl::Seconds(5);

uint64_t RandomSeed() {
  absl::BitGen bitgen;
  return absl::Uniform<uint64_t>(bitgen);
}

using Stub = worker::v1::WorkerControl::StubInterface;

// Ends channels on a thread of its own, "channels". Where a channel is the last user of gRPC's callback threads, ending
// it waits for them: on one of them, which may well be where the last reference goes, it would wait for itself.
class ChannelReaper {
 public:
  // Never destroyed: calls that outlive everything else may still come to it.
  static ChannelReaper& Get() {
    static auto* reaper = new ChannelReaper;
    return *reaper;
  }
  // The stub, in such a way that its last reference hands it to the reaper.
  static std::shared_ptr<Stub> Guard(std::shared_ptr<Stub> stub) {
    Stub* const raw = stub.get();
    return std::shared_ptr<Stub>(raw, [stub = std::move(stub)](Stub*) mutable { Get().Take(std::move(stub)); });
  }

 private:
  ChannelReaper() : thread_(base::StartThread("channels", [this] { Run(); })) {}

  void Take(std::shared_ptr<Stub> stub) {
    base::MutexLock lock(&mu_);
    stubs_.push_back(std::move(stub));
    some_.NotifyOne();
  }
  void Run() {
    while (true) {
      std::vector<std::shared_ptr<Stub>> stubs;  // ended under no lock
      base::MutexLock lock(&mu_);
      while (stubs_.empty()) some_.Wait(&mu_);
      stubs.swap(stubs_);
    }
  }

  base::Mutex mu_;
  base::CondVar some_;
  std::vector<std::shared_ptr<Stub>> stubs_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;  // last: it uses the others
};

}  // namespace

using worker::v1::WatchStatusRequest;
using worker::v1::WorkerControl;
using worker::v1::WorkerStatus;

struct WorkerLink::State {
  base::Mutex mu;
  base::CondVar ended;
  // Which stream the state speaks of; an older stream's late messages are dropped.
  uint64_t generation ABSL_GUARDED_BY(mu) = 0;
  int running ABSL_GUARDED_BY(mu) = 0;        // streams that gRPC is not done with, older ones included
  bool open ABSL_GUARDED_BY(mu) = false;      // the current stream exists
  bool live ABSL_GUARDED_BY(mu) = false;      // and has said something
  bool was_live ABSL_GUARDED_BY(mu) = false;  // the last stream that ended had been
  int64_t opened_ns ABSL_GUARDED_BY(mu) = 0;
  int64_t heard_ns ABSL_GUARDED_BY(mu) = 0;  // when this or an earlier one last did, or when the link was made
  std::shared_ptr<const WorkerStatus> status ABSL_GUARDED_BY(mu) = std::make_shared<WorkerStatus>();
  absl::Status error ABSL_GUARDED_BY(mu);
};

// Owned by the link, which keeps it until gRPC is done with it: so its channel ends on the link's thread. (A channel
// that ends on one of gRPC's own threads, as the last one that uses them, makes that thread wait for itself.)
class WorkerLink::Stream : public grpc::ClientReadReactor<WorkerStatus> {
 public:
  Stream(State& state, std::shared_ptr<WorkerHandle> handle, uint64_t generation, const Options& options)
      : state_(state),
        handle_(std::move(handle)),
        generation_(generation),
        clock_(options.clock),
        on_change_(options.on_change) {}

  void Start() {
    handle_->stub().async()->WatchStatus(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }
  bool done() const { return done_.load(std::memory_order_acquire); }

  void OnReadDone(bool ok) override {
    if (!ok) return;  // OnDone follows
    auto status = std::make_shared<const WorkerStatus>(std::move(message_));
    bool heard = false;
    {
      base::MutexLock lock(&state_.mu);
      heard = state_.generation == generation_;
      if (heard) {
        state_.live = true;
        state_.heard_ns = clock_->MonotonicNs();
        state_.status = std::move(status);
      }
    }
    if (heard && on_change_) on_change_();
    message_.Clear();
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    const absl::Status error = base::FromGrpc(status);
    const std::function<void()> on_change = on_change_;
    {
      base::MutexLock lock(&state_.mu);
      if (state_.generation == generation_) {
        state_.was_live = state_.live;
        state_.open = false;
        state_.live = false;
        state_.error = error;
      }
      --state_.running;
      state_.ended.NotifyAll();
      done_.store(true, std::memory_order_release);
    }
    // The link may be gone by now, and this stream with it.
    if (on_change) on_change();
  }

 private:
  State& state_;
  const std::shared_ptr<WorkerHandle> handle_;
  const uint64_t generation_;
  base::Clock* const clock_;
  const std::function<void()> on_change_;
  std::atomic<bool> done_{false};
  grpc::ClientContext context_;
  const WatchStatusRequest request_;
  WorkerStatus message_;
};

WorkerLink::WorkerLink(Options options)
    : options_(std::move(options)), backoff_({.max = kMaxBackoff}, RandomSeed()), state_(std::make_unique<State>()) {
  base::MutexLock lock(&state_->mu);
  state_->heard_ns = options_.clock->MonotonicNs();
}

WorkerLink::~WorkerLink() {
  for (const auto& stream : streams_) stream->Cancel();
  base::MutexLock lock(&state_->mu);
  ++state_->generation;
  while (state_->running > 0) state_->ended.Wait(&state_->mu);
}

void WorkerLink::Tick() {
  const int64_t now_ns = options_.clock->MonotonicNs();
  std::erase_if(streams_, [](const std::unique_ptr<Stream>& stream) { return stream->done(); });
  bool silent = false;
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
      silent = true;
      lost = state_->live;
      state_->open = false;
      state_->live = false;
      error = absl::UnavailableError("nothing heard for 3 s");
    } else if (!state_->error.ok()) {
      lost = state_->was_live;
      error = std::exchange(state_->error, absl::OkStatus());
    }
  }
  if (silent) {
    for (const auto& stream : streams_) stream->Cancel();
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
  if (handle_ == nullptr)
    handle_ = std::make_shared<WorkerHandle>(ChannelReaper::Guard(options_.make_stub(options_.address)));
  uint64_t generation = 0;
  {
    base::MutexLock lock(&state_->mu);
    generation = ++state_->generation;
    ++state_->running;
    state_->open = true;
    state_->live = false;
    state_->opened_ns = options_.clock->MonotonicNs();
  }
  streams_.push_back(std::make_unique<Stream>(*state_, handle_, generation, options_));
  streams_.back()->Start();
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
