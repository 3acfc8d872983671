// The engine without its thread: whoever calls Step() is the engine's thread. Engine::Create wraps it in one; tests
// step it themselves, with a FakeClock.
//
//   inbox_ (any thread, under mutex_) ──Step──▶ queued_ ──PlanStep──▶ running_ ──▶ finished: sink hears OnFinish
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "worker/engine/engine.h"
#include "worker/engine/scheduler_policy.h"
#include "worker/engine/sequence.h"
#include "worker/model/batch.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model.h"

namespace linnet::worker {

class EngineCore : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<EngineCore>> Create(Model* model, const Options& options);
  ~EngineCore() override;

  // Engine; thread-safe.
  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) override;
  void Cancel(uint64_t id) override;
  void Drain(std::function<void()> done) override;
  EngineLoad Load() const override;
  uint32_t context_tokens() const override { return context_tokens_; }

  // The rest is for the one thread that runs the engine.

  // Takes in what is new, ends what is cancelled or late, computes one batch. False: there was nothing to compute.
  bool Step();
  // Blocks until there is something for Step, or Stop was called. False: stopped.
  bool WaitForWork();
  // Any thread: WaitForWork returns false from now on.
  void Stop();
  // Ends everything with UNAVAILABLE DRAINING. After Stop.
  void FailAll();

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  EngineCore(Model* model, const Options& options, uint32_t context_tokens, std::unique_ptr<KvCache> cache);

  absl::Status Validate(const EngineRequest& request, int64_t time_left_ns) const;
  absl::Status QueueFull() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeInbox();
  void EndCancelledAndLate();
  StepPlan Plan() const;
  void Admit(size_t count);
  void Compute(const StepPlan& plan);
  // Chooses tokens of the sequences listed, whose spans `output` is of, in order.
  void Choose(const std::vector<Sequence*>& choosing, const StepOutput& output);
  // Appends a chosen token. False: the sequence has finished.
  bool Append(Sequence& sequence, TokenId token);
  // Frees its blocks and tells the sink. The sequence's place in its list is the caller's business.
  void Finish(Sequence& sequence, absl::Status status, StopReason reason);
  void UpdateAverages(uint32_t prefill_tokens, uint32_t decode_tokens, absl::Duration step);
  void PublishLoad();
  void NotifyIfDrained();

  // Constant after construction.
  Model* const model_;
  const Options options_;
  const uint32_t context_tokens_;
  base::Clock* const clock_;

  // Of the engine's thread.
  const std::unique_ptr<KvCache> cache_;
  std::deque<SequencePtr> queued_;
  std::vector<SequencePtr> running_;
  std::vector<BatchSpan> batch_;
  std::vector<TokenId> chosen_;

  // Shared.
  mutable base::Mutex mutex_;
  base::CondVar work_;
  std::deque<SequencePtr> inbox_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  uint32_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // requests not yet admitted: inbox_ and queued_
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;     // queued_ or running_ has something
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> drained_ ABSL_GUARDED_BY(mutex_);
  EngineLoad load_ ABSL_GUARDED_BY(mutex_);
  double request_seconds_ ABSL_GUARDED_BY(mutex_) = 0;  // moving average, of admitted requests
};

}  // namespace linnet::worker
