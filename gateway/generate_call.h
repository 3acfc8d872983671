// One generation, from a front (gRPC, HTTP) to a worker and back: validate, admit, route, relay, finish.
//
//   call = GenerateCall::Create(gateway, Front::kGrpc, request, deadline, &sink);
//   call->Start();
//   -> sink.OnMessage(m)   call->Next()      (one Next for each message, when the client has taken it)
//   -> sink.OnMessage(m)   call->Next()
//   -> sink.OnFinish(status)                 exactly once, last
//
// At most one message is under way at a time, so a slow client slows its worker's stream and nothing piles up here.
// A worker that fails before its first message is replaced by another once; after it, the call ends with WORKER_LOST.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "gateway/gateway.h"
#include "linnet/v1/generation.pb.h"
#include "linnet/worker/v1/worker.pb.h"

namespace linnet::gateway {

// Where a generation goes. Called on gRPC's threads, one call at a time; must not block.
class GenerateSink {
 public:
  virtual ~GenerateSink() = default;
  // `message` stays until the Next() that answers it. That must come, also when the client is gone.
  virtual void OnMessage(const v1::GenerateResponse& message) = 0;
  // After it the call does not touch the sink.
  virtual void OnFinish(const absl::Status& status) = 0;
};

// Thread-safe. Keeps itself alive from Start() until OnFinish() has returned.
class GenerateCall : public std::enable_shared_from_this<GenerateCall> {
 public:
  // `sink` must live until OnFinish. An empty request_id is replaced by a new one.
  static std::shared_ptr<GenerateCall> Create(Gateway& gateway, Front front, v1::GenerateRequest request,
                                              absl::Time deadline, GenerateSink* sink);
  ~GenerateCall();

  // Sink calls may come before it returns. Once.
  void Start();
  void Next();
  // Stops the worker at once. OnFinish follows (CANCELLED, unless the call had ended). Idempotent.
  void Cancel();

  const std::string& request_id() const { return request_.request().request_id(); }

 private:
  class Attempt;

  GenerateCall(Gateway& gateway, Front front, v1::GenerateRequest request, absl::Time deadline, GenerateSink* sink);
  // Opens the stream to the chosen worker.
  void StartAttempt(RouteChoice choice);
  // From the attempt's reactor; the last two in this order when it is done.
  void OnMessage(v1::GenerateResponse& message);
  void ForgetAttempt();
  void OnAttemptDone(const absl::Status& status);
  void Observe(const v1::GenerateResponse& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(absl::Status status);

  Gateway& gateway_;
  const Front front_;
  const absl::Time deadline_;
  GenerateSink* const sink_;
  const int64_t start_ns_;
  // Its request is constant; its variant is set per attempt, when no stream is open.
  worker::v1::GenerateRequest request_;

  base::Mutex mu_;
  bool admitted_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<Attempt> attempt_ ABSL_GUARDED_BY(mu_);
  int attempts_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<std::string> failed_workers_ ABSL_GUARDED_BY(mu_);
  bool sent_ ABSL_GUARDED_BY(mu_) = false;      // something went to the client: no other worker can take over
  bool finished_ ABSL_GUARDED_BY(mu_) = false;  // the message with `finish` went
  v1::Usage usage_ ABSL_GUARDED_BY(mu_);
  std::string model_ ABSL_GUARDED_BY(mu_);   // as routed
  std::string worker_ ABSL_GUARDED_BY(mu_);  // "workers/{worker}" of the current attempt
  int64_t first_token_ns_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t last_token_ns_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace linnet::gateway
