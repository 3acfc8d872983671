// One Generate call: from validation to the last message of its stream.
//
//   Start ──▶ ENCODING ──────────▶ RUNNING ──────────────▶ ENDING ──▶ (done)
//             "encode" thread       engine's thread          the last message and the status are on their way
//
// Whoever owns the phase ends it: a cancel in ENCODING or RUNNING only marks the call (and tells the engine), so that
// Finish comes exactly once. What the engine produces while a write is on its way is gathered into one pending message;
// a client that reads too slowly is cancelled, so that what is pending stays bounded.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "linnet/v1/generation.pb.h"
#include "linnet/worker/v1/worker.pb.h"
#include "worker/engine/engine.h"
#include "worker/server/metrics.h"
#include "worker/server/variant_manager.h"
#include "worker/server/work_queue.h"

namespace linnet::worker {

class GenerateCall;

// The calls that run. Thread-safe.
class CallTable {
 public:
  void Add(std::shared_ptr<GenerateCall> call);
  void Remove(const std::shared_ptr<GenerateCall>& call);
  size_t size() const;
  // Cancels those whose client has not read for too long.
  void CheckReaders();
  // Ends all calls, or those on one variant, with UNAVAILABLE DRAINING, at the engine's next step.
  void Abort(const std::string& variant = "");
  // False where some are left after `timeout`.
  bool WaitUntilEmpty(absl::Duration timeout);

 private:
  std::vector<std::shared_ptr<GenerateCall>> All() const;

  mutable base::Mutex mu_;
  base::CondVar removed_;
  std::set<std::shared_ptr<GenerateCall>> calls_ ABSL_GUARDED_BY(mu_);
};

// What calls work with; all of it outlives them.
struct CallContext {
  std::string worker;  // "workers/{worker}"
  VariantManager* variants = nullptr;
  WorkQueue* encoders = nullptr;
  CallTable* calls = nullptr;
  WorkerMetrics* metrics = nullptr;
  base::Clock* clock = base::Clock::Real();
  // For requests that bring no seed.
  std::function<uint64_t()> draw_seed;
  // A slow reader: more tokens than this wait for it, or one message for longer than this.
  uint32_t max_pending_tokens = 1024;
  absl::Duration max_write_time = absl::Seconds(30);
};

class GenerateCall final : public grpc::ServerWriteReactor<linnet::v1::GenerateResponse>,
                           public EngineSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  // `server` and `request` live until OnDone, as gRPC has it.
  static GenerateCall* Start(CallContext* context, grpc::CallbackServerContext* server,
                             const v1::GenerateRequest* request);

  // EngineSink.
  void OnTokens(std::vector<TokenId> tokens, std::string text) override;
  void OnFinish(const EngineFinish& finish) override;

  // ServerWriteReactor.
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  const std::string& variant() const { return name_; }
  // Ends it with UNAVAILABLE DRAINING at the engine's next step.
  void Abort();
  // Cancels it where its client has not read for too long.
  void CheckReader();

 private:
  GenerateCall(CallContext* context, grpc::CallbackServerContext* server, const v1::GenerateRequest* request);

  void Admit();
  void EncodeAndSubmit();
  absl::StatusOr<EngineRequest> MakeRequest();
  void FailWith(const absl::Status& status);
  void Observe(const EngineFinish& finish, const absl::Status& status);
  absl::Status EndStatus(const absl::Status& engine_status);
  void CancelSlowReader();
  void Pump();

  CallContext* const context_;
  grpc::CallbackServerContext* const server_;
  const v1::GenerateRequest* const request_;
  const std::string name_;  // of the variant
  const int64_t start_ns_;
  WorkerMetrics::Variant* metrics_ = nullptr;  // set before the engine knows of the call
  VariantRef variant_;                         // likewise
  uint64_t seed_ = 0;                          // likewise
  std::shared_ptr<GenerateCall> self_;         // from Start to OnDone

  // The message on its way: gRPC's between StartWrite and OnWriteDone, else of whoever holds mu_.
  linnet::v1::GenerateResponse writing_;

  base::Mutex mu_;
  linnet::v1::GenerateResponse pending_ ABSL_GUARDED_BY(mu_);
  bool has_pending_ ABSL_GUARDED_BY(mu_) = false;
  bool write_in_flight_ ABSL_GUARDED_BY(mu_) = false;
  int64_t write_start_ns_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t last_token_ns_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<uint64_t> engine_id_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
  bool slow_ ABSL_GUARDED_BY(mu_) = false;
  // The status to end with, once the engine (or a refusal) has said it.
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mu_);
  // Finish was called, or is about to be: server_ may go.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // How many threads are between taking and giving back the right to call gRPC outside the lock: nobody touches
  // writing_ or finishes meanwhile.
  int users_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace linnet::worker
