#include "registry/client/watcher.h"

#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <random>
#include <thread>
#include <utility>

#include "absl/log/log.h"
#include "base/backoff.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"

namespace linnet::registry {
namespace {

constexpr uint64_t kMaxSnapshotBytes = uint64_t{1} << 30;

// When a lease ends changes with every renewal and means nothing to those who route.
bool SameWorkers(const std::map<std::string, v1::Worker>& a, const std::map<std::string, v1::Worker>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return google::protobuf::util::MessageDifferencer::Equals(x.second, y.second);
  });
}

class WatcherImpl final : public Watcher {
 public:
  explicit WatcherImpl(Options options)
      : options_(std::move(options)), snapshot_(std::make_shared<const RegistrySnapshot>()) {}
  ~WatcherImpl() override {
    {
      base::MutexLock lock(&mu_);
      stopping_ = true;
      for (grpc::ClientContext* context : {watch_context_, poll_context_}) {
        if (context != nullptr) context->TryCancel();
      }
    }
    wake_.NotifyAll();
    if (watch_thread_.joinable()) watch_thread_.join();
    if (poll_thread_.joinable()) poll_thread_.join();
  }

  void Start() {
    LoadFromDisk();
    watch_thread_ = base::StartThread("registry-watch", [this] { WatchLoop(); });
    if (options_.worker_poll_interval > absl::ZeroDuration()) {
      poll_thread_ = base::StartThread("registry-poll", [this] { PollLoop(); });
    }
  }

  std::shared_ptr<const RegistrySnapshot> snapshot() const override {
    base::MutexLock lock(&mu_);
    return snapshot_;
  }
  bool connected() const override {
    base::MutexLock lock(&mu_);
    return connected_;
  }
  bool WaitForFirstAnswer(absl::Duration timeout) override {
    const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
    base::MutexLock lock(&mu_);
    while (!answered_) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= std::chrono::steady_clock::duration::zero()) return false;
      wake_.WaitFor(&mu_, left);
    }
    return true;
  }

 private:
  void LoadFromDisk() {
    if (options_.snapshot_path.empty()) return;
    const absl::StatusOr<std::string> bytes = base::ReadFile(options_.snapshot_path, kMaxSnapshotBytes);
    if (absl::IsNotFound(bytes.status())) return;
    absl::StatusOr<RegistrySnapshot> loaded = bytes.ok() ? ParseSnapshot(*bytes) : bytes.status();
    if (!loaded.ok()) {
      LOG(WARNING) << base::LogFields("snapshot file ignored", {{"path", options_.snapshot_path},
                                                                {"error", std::string(loaded.status().message())}});
      return;
    }
    loaded->from_disk = true;
    auto shared = std::make_shared<const RegistrySnapshot>(*std::move(loaded));
    {
      base::MutexLock lock(&mu_);
      snapshot_ = shared;
    }
    if (options_.on_change) options_.on_change(shared);
  }

  // Makes a new snapshot with `change` applied and publishes it. Both threads come here; whoever is publishing already
  // takes the other's change along, so on_change runs once at a time and last with the newest.
  template <class Change>
  void Publish(Change change) {
    base::MutexLock lock(&mu_);
    auto next = std::make_shared<RegistrySnapshot>(*snapshot_);
    change(*next);
    snapshot_ = std::move(next);
    pending_ = true;
    if (publishing_) return;
    publishing_ = true;
    while (pending_) {
      pending_ = false;
      const std::shared_ptr<const RegistrySnapshot> current = snapshot_;
      mu_.Unlock();
      Save(*current);
      if (options_.on_change) options_.on_change(current);
      mu_.Lock();
    }
    publishing_ = false;
  }

  void Save(const RegistrySnapshot& snapshot) {
    if (options_.snapshot_path.empty()) return;
    if (absl::Status status = base::WriteFileDurably(options_.snapshot_path, SerializeSnapshot(snapshot));
        !status.ok()) {
      LOG(WARNING) << base::LogFields("snapshot not saved",
                                      {{"path", options_.snapshot_path}, {"error", std::string(status.message())}});
    }
  }

  // False where the watcher is stopping.
  bool Wait(absl::Duration duration) {
    const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(duration);
    base::MutexLock lock(&mu_);
    while (!stopping_) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= std::chrono::steady_clock::duration::zero()) return true;
      wake_.WaitFor(&mu_, left);
    }
    return false;
  }

  void WatchLoop() {
    base::Backoff backoff({.initial = options_.initial_backoff, .max = options_.max_backoff}, std::random_device()());
    bool must_list = snapshot()->store_id.empty();
    for (;;) {
      bool opened = false;
      const absl::Status status = Follow(&must_list, &opened);
      if (opened) backoff.Reset();
      {
        base::MutexLock lock(&mu_);
        if (stopping_) return;
        if (connected_ || backoff.attempts() == 0) {
          LOG(INFO) << base::LogFields("registry watch ended", {{"address", options_.client->address()},
                                                                {"status", std::string(status.message())}});
        }
        connected_ = false;
      }
      if (!Wait(backoff.Next())) return;
    }
  }

  // `store_id`: of the database, empty as long as no watch has said it.
  absl::Status ListAll(const std::string& store_id) {
    RegistrySnapshot listed;
    listed.store_id = store_id;
    // The other lists are newer than the first one; what lies between comes again in the watch and changes nothing.
    LINNET_ASSIGN_OR_RETURN(const std::vector<v1::Model> models, options_.client->ListModels(&listed.revision));
    LINNET_ASSIGN_OR_RETURN(const std::vector<v1::Variant> variants, options_.client->ListVariants());
    LINNET_ASSIGN_OR_RETURN(const std::vector<v1::DeviceProfile> profiles, options_.client->ListDeviceProfiles());
    LINNET_ASSIGN_OR_RETURN(const std::vector<v1::Deployment> deployments, options_.client->ListDeployments());
    for (const v1::Model& model : models) listed.models[model.name()] = model;
    for (const v1::Variant& variant : variants) listed.variants[variant.name()] = variant;
    for (const v1::DeviceProfile& profile : profiles) listed.device_profiles[profile.name()] = profile;
    for (const v1::Deployment& deployment : deployments) listed.deployments[deployment.name()] = deployment;
    Publish([&](RegistrySnapshot& next) {
      listed.workers = std::move(next.workers);
      next = std::move(listed);
    });
    return absl::OkStatus();
  }

  // Lists where that is needed, then watches until the stream ends. *opened: it gave at least one message.
  absl::Status Follow(bool* must_list, bool* opened) {
    if (*must_list) {
      LINNET_RETURN_IF_ERROR(ListAll(""));
      *must_list = false;
    }
    v1::WatchRequest request;
    {
      const std::shared_ptr<const RegistrySnapshot> current = snapshot();
      request.set_since_revision(current->revision);
      request.set_store_id(current->store_id);
    }
    grpc::ClientContext context;
    {
      base::MutexLock lock(&mu_);
      if (stopping_) return absl::CancelledError("stopping");
      watch_context_ = &context;
    }
    const auto reader = options_.client->registry_stub()->Watch(&context, request);
    v1::WatchResponse response;
    while (reader->Read(&response)) {
      const bool first = !std::exchange(*opened, true);
      // A list does not say of which database it is: what this watch goes on from may be another's.
      if (first && request.store_id().empty() && !ListAll(response.store_id()).ok()) {
        *must_list = true;
        context.TryCancel();
        break;
      }
      if (first || !response.events().empty()) {
        Publish([&](RegistrySnapshot& next) {
          next.from_disk = false;
          next.store_id = response.store_id();
          for (const v1::Event& event : response.events()) ApplyEvent(event, &next);
          next.revision = response.revision();
        });
      }
      if (!first) continue;
      {
        base::MutexLock lock(&mu_);
        connected_ = answered_ = true;
      }
      wake_.NotifyAll();
    }
    const absl::Status status = options_.client->ToStatus(reader->Finish());
    if (absl::IsOutOfRange(status)) *must_list = true;
    base::MutexLock lock(&mu_);
    watch_context_ = nullptr;
    return status;
  }

  void PollLoop() {
    do {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
      {
        base::MutexLock lock(&mu_);
        if (stopping_) return;
        poll_context_ = &context;
      }
      v1::ListWorkersResponse response;
      const grpc::Status status =
          options_.client->registry_stub()->ListWorkers(&context, v1::ListWorkersRequest(), &response);
      std::map<std::string, v1::Worker> known;
      {
        base::MutexLock lock(&mu_);
        poll_context_ = nullptr;
        known = snapshot_->workers;
      }
      if (!status.ok()) continue;
      std::map<std::string, v1::Worker> workers;
      for (v1::Worker& worker : *response.mutable_workers()) {
        worker.clear_lease_expire_time();
        workers[worker.name()] = worker;
      }
      // A registry that has just started does not know all workers yet: those known from before stay meanwhile.
      if (response.settling()) workers.insert(known.begin(), known.end());
      if (!SameWorkers(workers, known)) {
        Publish([&](RegistrySnapshot& next) { next.workers = std::move(workers); });
      }
    } while (Wait(options_.worker_poll_interval));
  }

  const Options options_;
  mutable base::Mutex mu_;
  base::CondVar wake_;
  std::shared_ptr<const RegistrySnapshot> snapshot_ ABSL_GUARDED_BY(mu_);
  bool publishing_ ABSL_GUARDED_BY(mu_) = false;
  bool pending_ ABSL_GUARDED_BY(mu_) = false;
  bool connected_ ABSL_GUARDED_BY(mu_) = false;
  bool answered_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* watch_context_ ABSL_GUARDED_BY(mu_) = nullptr;
  grpc::ClientContext* poll_context_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::jthread watch_thread_;
  std::jthread poll_thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Watcher>> Watcher::Create(Options options) {
  if (options.client == nullptr) return absl::InvalidArgumentError("a watcher needs a client");
  auto watcher = std::make_unique<WatcherImpl>(std::move(options));
  watcher->Start();
  return watcher;
}

}  // namespace linnet::registry
