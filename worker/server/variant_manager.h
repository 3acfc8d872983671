// Brings the variants that this worker should serve into memory and out of it again, following the registry.
//
//   snapshot ─▶ PlanServing ─▶ unload what is not wanted ─▶ fetch ─▶ load ─▶ ready        (one thread: "loader")
//                    ▲                                        │ error: FAILED, and again later where it may pass
//                    └──────── next snapshot, retry due ◀─────┘
//
// The registry may be away: what is loaded stays, and a restart plans with the snapshot from disk and the cached blobs.
// A variant that is removed, or replaced by other bytes, takes no new requests, finishes those that it has, and goes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "linnet/registry/v1/registry.pb.h"
#include "registry/client/snapshot.h"
#include "worker/server/blob_cache.h"
#include "worker/server/lifecycle.h"
#include "worker/server/loaded_variant.h"
#include "worker/server/serving_plan.h"

namespace linnet::worker {

// A GGUF file served without a registry, as models/{model}/variants/local.
struct LocalModel {
  std::string model;
  std::string path;
};

// Thread-safe, but for Step, which the loader's thread (or a test without one) calls.
class VariantManager {
 public:
  struct Options {
    VariantLoader* loader = nullptr;  // must outlive the manager
    std::optional<BlobCache> cache;   // none: without a registry
    std::vector<std::string> wanted;  // as ServingInputs::wanted
    std::vector<LocalModel> local_models;
    bool stub_model = false;
    Engine::Options engine;
    kernels::DType kv_type = kernels::DType::kF16;
    registry::v1::DeviceProfile profile;
    // For all variants together: what is free now, with what this process holds already.
    std::function<uint64_t()> memory_bytes;
    // The registry's ranking for one reference; empty function or an error: the plan uses its own.
    std::function<absl::StatusOr<registry::v1::ResolveResponse>(const registry::v1::ResolveRequest&)> resolve;
    // Something that WatchStatus, the lease or readiness shows has changed. Called without a lock; must not block.
    std::function<void()> on_change = [] {};
    // Fails the requests that still run on a variant, soon: an unload waited for them for `drain`.
    std::function<void(const std::string& variant)> abort_calls = [](const std::string&) {};
    absl::Duration drain = absl::Seconds(25);
    base::Clock* clock = base::Clock::Real();
  };
  explicit VariantManager(Options options);
  ~VariantManager();  // Stop()

  // Starts the loader's thread.
  void Start();
  // From now on the registry says this.
  void SetSnapshot(std::shared_ptr<const registry::RegistrySnapshot> snapshot);
  // From now on `Find` refuses with DRAINING; nothing more is loaded.
  void StopServing();
  // StopServing, ends a fetch and the thread, drains for at most Options::drain, unloads. A second call does nothing.
  void Stop();

  // A ready variant. NOT_FOUND MODEL_NOT_FOUND; UNAVAILABLE LOADING or DRAINING (with RetryInfo), NO_READY_WORKER
  // (failed).
  absl::StatusOr<VariantRef> Find(const std::string& variant) const;
  // All variants that this worker serves, is about to, or failed to, with the load of those that are ready.
  std::vector<v1::VariantStatus> Statuses() const;
  std::vector<VariantRef> Ready() const;
  // OK when one variant at least is ready; else why none is.
  absl::Status readiness() const;

  // One pass: plan, unload, load. Returns when the next one is due at the latest (a retry), counted from now.
  absl::Duration Step();

 private:
  // What an unload waits for: nobody holds the variant, and its engine has nothing left.
  struct Departure {
    base::Mutex mu;
    base::CondVar changed;
    bool released ABSL_GUARDED_BY(mu) = false;
    bool drained ABSL_GUARDED_BY(mu) = false;
  };
  struct Entry {
    VariantLifecycle lifecycle;
    ServingChoice choice;
    bool fixed = false;  // a local file or the stub: not the registry's
    std::unique_ptr<LoadedVariant> loaded;
    VariantRef ref;  // handed out while READY
    std::shared_ptr<Departure> departure;
    int attempts = 0;
    int64_t retry_at_ns = 0;  // of a FAILED one; 0: not before the registry says something else
  };
  // Where the file of a choice is, and how to verify it (empty: it just was).
  struct FetchedFile {
    std::string path;
    std::function<absl::Status()> verify;
  };
  using FetchFile = std::function<absl::StatusOr<FetchedFile>(ServingChoice&)>;

  void Run(std::stop_token stop);
  void LoadFixed();
  ServingPlan Plan(const registry::RegistrySnapshot& snapshot) const;
  void Rank(const std::string& reference, ServingInputs* inputs) const;
  void UnloadUnplanned(const ServingPlan& plan);
  void NoteRefusals(const ServingPlan& plan);
  void LoadPlanned(const ServingPlan& plan, const registry::RegistrySnapshot& snapshot);
  void Load(ServingChoice choice, bool fixed, const FetchFile& fetch);
  absl::Status LoadFile(const ServingChoice& choice, const FetchedFile& file);
  void FinishLoads();
  void Adopt(const ServingChoice& choice, std::unique_ptr<LoadedVariant> loaded);
  void Unload(const std::string& name);
  void Fail(const std::string& name, const absl::Status& why);
  bool BeginAttempt(const ServingChoice& choice, bool fixed);
  void MoveTo(const std::string& name, v1::VariantState state);
  absl::Duration UntilRetry() const;
  bool interrupted() const;

  Options options_;
  std::stop_source stop_;
  std::map<std::string, std::string> logged_refusals_;  // by reference; loader's thread only

  mutable base::Mutex mu_;
  base::CondVar wake_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const registry::RegistrySnapshot> snapshot_ ABSL_GUARDED_BY(mu_);
  bool snapshot_changed_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_serving_ ABSL_GUARDED_BY(mu_) = false;
  std::string refusal_text_ ABSL_GUARDED_BY(mu_);

  std::jthread thread_;
};

}  // namespace linnet::worker
