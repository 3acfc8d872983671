#include "registry/client/lease_keeper.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "base/backoff.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/thread.h"
#include "registry/client/names.h"

namespace linnet::registry {
namespace {

constexpr absl::Duration kMaxDuration = absl::Seconds(60);
constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr absl::Duration kReleaseTimeout = absl::Seconds(1);

class Keeper final : public LeaseKeeper {
 public:
  explicit Keeper(Options options) : options_(std::move(options)), worker_(options_.worker) {
    thread_ = base::StartThread("registry-lease", [this] { Loop(); });
  }
  ~Keeper() override {
    {
      base::MutexLock lock(&mu_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    wake_.NotifyAll();
    thread_.join();
    grpc::ClientContext context;
    (void)Renew(&context, kReleaseTimeout, options_.worker, true);
  }

  void Update(const v1::Worker& worker) override {
    {
      base::MutexLock lock(&mu_);
      const std::string name = worker_.name();
      worker_ = worker;
      worker_.set_name(name);
      updated_ = true;
    }
    wake_.NotifyAll();
  }

  absl::Status last_status() const override {
    base::MutexLock lock(&mu_);
    return last_status_;
  }

 private:
  absl::StatusOr<absl::Duration> Renew(grpc::ClientContext* context, absl::Duration timeout, const v1::Worker& worker,
                                       bool release) {
    context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
    v1::RenewLeaseRequest request;
    *request.mutable_worker() = worker;
    request.set_release(release);
    const int64_t ms = absl::ToInt64Milliseconds(options_.duration);
    request.mutable_duration()->set_seconds(ms / 1000);
    request.mutable_duration()->set_nanos(static_cast<int32_t>(ms % 1000 * 1'000'000));
    v1::RenewLeaseResponse response;
    const absl::Status status =
        options_.client->ToStatus(options_.client->registry_stub()->RenewLease(context, request, &response));
    if (!status.ok()) return status;
    return absl::Seconds(response.renew_after().seconds()) + absl::Nanoseconds(response.renew_after().nanos());
  }

  void Loop() {
    base::Backoff backoff({.initial = absl::Milliseconds(100), .max = options_.duration / 3}, std::random_device()());
    for (;;) {
      v1::Worker worker;
      grpc::ClientContext context;
      {
        base::MutexLock lock(&mu_);
        if (stopping_) return;
        worker = worker_;
        updated_ = false;
        context_ = &context;
      }
      const absl::StatusOr<absl::Duration> renew_after = Renew(&context, kCallTimeout, worker, false);
      absl::Duration wait;
      if (renew_after.ok()) {
        backoff.Reset();
        wait = std::clamp(*renew_after, absl::Milliseconds(10), options_.duration / 2);
      } else {
        wait = backoff.Next();
      }
      base::MutexLock lock(&mu_);
      context_ = nullptr;
      if (renew_after.status().code() != last_status_.code() && !stopping_) {
        LOG(INFO) << base::LogFields(
            "worker lease", {{"worker", worker.name()}, {"status", std::string(renew_after.status().ToString())}});
      }
      last_status_ = renew_after.status();
      const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(wait);
      while (!stopping_ && !updated_) {
        const auto left = until - std::chrono::steady_clock::now();
        if (left <= std::chrono::steady_clock::duration::zero()) break;
        wake_.WaitFor(&mu_, left);
      }
    }
  }

  const Options options_;
  mutable base::Mutex mu_;
  base::CondVar wake_;
  v1::Worker worker_ ABSL_GUARDED_BY(mu_);
  bool updated_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;  // of the renewal in progress
  absl::Status last_status_ ABSL_GUARDED_BY(mu_) = absl::UnavailableError("the lease was not renewed yet");
  std::jthread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LeaseKeeper>> LeaseKeeper::Create(Options options) {
  std::vector<std::pair<std::string, std::string>> violations;
  if (options.client == nullptr) return absl::InvalidArgumentError("a lease keeper needs a client");
  if (!ParseWorkerName(options.worker.name()).ok()) {
    violations.emplace_back("worker.name", base::StrCat("must be workers/{worker}, is '", options.worker.name(), "'"));
  }
  if (!base::ParseHostPort(options.worker.address()).ok())
    violations.emplace_back("worker.address", "must be host:port");
  if (options.duration <= absl::ZeroDuration() || options.duration > kMaxDuration) {
    violations.emplace_back("duration", "must be above 0 and at most 60 s");
  }
  if (!violations.empty()) return base::FieldErrors(violations);
  return std::make_unique<Keeper>(std::move(options));
}

}  // namespace linnet::registry
