// For tests: a variant whose engine the test plays, step by step, with a tokenizer of bytes. No thread, no time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "worker/server/loaded_variant.h"
#include "worker/server/stub_model.h"

namespace linnet::worker {

// Thread-safe. The test is the engine's thread: it calls Emit and Finish.
class FakeEngine : public Engine {
 public:
  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) override {
    base::MutexLock lock(&mu_);
    if (!refusal_.ok()) return refusal_;
    const uint64_t id = ++last_id_;
    requests_[id] = {std::move(request), std::move(sink)};
    changed_.NotifyAll();
    return id;
  }
  void Cancel(uint64_t id) override {
    base::MutexLock lock(&mu_);
    cancelled_.insert(id);
    changed_.NotifyAll();
  }
  void Drain(std::function<void()> done) override {
    {
      base::MutexLock lock(&mu_);
      refusal_ = base::Error(absl::StatusCode::kUnavailable, "DRAINING", "draining");
      if (!requests_.empty()) {
        drained_ = std::move(done);
        changed_.NotifyAll();
        return;
      }
    }
    done();
  }
  EngineLoad Load() const override {
    base::MutexLock lock(&mu_);
    EngineLoad load = load_;
    load.running_requests = static_cast<uint32_t>(requests_.size());
    return load;
  }
  uint32_t context_tokens() const override { return 128; }

  // --- the test's side ---
  void Refuse(absl::Status status) {
    base::MutexLock lock(&mu_);
    refusal_ = std::move(status);
  }
  void SetLoad(const EngineLoad& load) {
    base::MutexLock lock(&mu_);
    load_ = load;
  }
  // Waits until a request with this id (1, 2, ...) was submitted.
  EngineRequest AwaitRequest(uint64_t id) {
    base::MutexLock lock(&mu_);
    while (!requests_.contains(id)) changed_.Wait(&mu_);
    return requests_.at(id).first;
  }
  void AwaitCancel(uint64_t id) {
    base::MutexLock lock(&mu_);
    while (!cancelled_.contains(id)) changed_.Wait(&mu_);
  }
  bool draining() const {
    base::MutexLock lock(&mu_);
    return drained_ != nullptr;
  }
  void AwaitDrain() {
    base::MutexLock lock(&mu_);
    while (drained_ == nullptr) changed_.Wait(&mu_);
  }
  void Emit(uint64_t id, std::vector<TokenId> tokens, std::string text) {
    Sink(id)->OnTokens(std::move(tokens), std::move(text));
  }
  void Finish(uint64_t id, EngineFinish finish) {
    std::shared_ptr<EngineSink> sink = Sink(id);
    std::function<void()> drained;
    {
      base::MutexLock lock(&mu_);
      requests_.erase(id);
      if (requests_.empty()) drained = std::exchange(drained_, nullptr);
    }
    sink->OnFinish(finish);
    sink.reset();
    if (drained) drained();
  }
  void FinishCancelled(uint64_t id) {
    AwaitCancel(id);
    EngineFinish finish;
    finish.status = base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED", "cancelled");
    Finish(id, finish);
  }

 private:
  std::shared_ptr<EngineSink> Sink(uint64_t id) const {
    base::MutexLock lock(&mu_);
    return requests_.at(id).second;
  }

  mutable base::Mutex mu_;
  base::CondVar changed_;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, std::pair<EngineRequest, std::shared_ptr<EngineSink>>> requests_ ABSL_GUARDED_BY(mu_);
  std::set<uint64_t> cancelled_ ABSL_GUARDED_BY(mu_);
  std::function<void()> drained_ ABSL_GUARDED_BY(mu_);
  absl::Status refusal_ ABSL_GUARDED_BY(mu_);
  EngineLoad load_ ABSL_GUARDED_BY(mu_);
};

// Loads fakes, and remembers what it was asked for. One thread at a time.
class FakeLoader : public VariantLoader {
 public:
  absl::StatusOr<std::unique_ptr<LoadedVariant>> Load(const LoadRequest& request) override {
    requests.push_back(request);
    if (request.verify && !vouched) {
      LINNET_RETURN_IF_ERROR(request.verify());
    }
    if (!status.ok()) return status;
    std::unique_ptr<LoadedVariant> loaded = MakeStubVariant();  // for its tokenizer and template
    auto engine = std::make_unique<FakeEngine>();
    engines[request.variant] = engine.get();
    loaded->name = request.variant;
    loaded->digest = request.digest;
    loaded->numerics_id = "fake-r1";
    loaded->max_running_requests = request.engine.max_running_requests;
    loaded->max_queued_requests = request.engine.max_queued_requests;
    loaded->engine = std::move(engine);
    return loaded;
  }

  void Finish(LoadedVariant& variant, const std::function<bool()>& interrupted) override {
    finished.push_back(variant.name);
    if (on_finish) on_finish(interrupted);
  }

  absl::Status status;   // of the next loads
  bool vouched = false;  // as if packed weights vouched for the next files
  std::vector<std::string> finished;
  std::function<void(const std::function<bool()>& interrupted)> on_finish;
  std::vector<LoadRequest> requests;
  std::map<std::string, FakeEngine*> engines;  // of what was loaded last under that name
};

}  // namespace linnet::worker
