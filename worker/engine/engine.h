// One loaded variant that generates: requests in, tokens out. The engine thread owns scheduler, KV blocks and
// sequences; callers only validate, enqueue and cancel.
//
//          Submit                 admitted                 last prefill chunk          stop, limit, cancel, deadline
//   (new) ────────▶ QUEUED ─────────────────▶ PREFILLING ─────────────────▶ DECODING ─────────────────▶ FINISHED
//
// Each step computes one batch: first a token of every decoding sequence, then prefill chunks up to the token budget.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "worker/engine/sampler.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

class Model;

enum class StopReason { kEndOfTurn, kStopText, kMaxTokens, kContextFull };

struct EngineRequest {
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  uint32_t max_tokens = 0;  // 0: until a stop or the context is full
  std::vector<std::string> stop_texts;
  bool ignore_eos = false;
  absl::Time deadline = absl::InfiniteFuture();  // compared with Clock::WallNow at the time of Submit, then monotonic
};

struct EngineFinish {
  absl::Status status;  // not OK: the request failed (CANCELLED, DEADLINE_EXCEEDED, ...); the rest is as far as it came
  StopReason reason = StopReason::kEndOfTurn;
  uint32_t prompt_tokens = 0, completion_tokens = 0, cached_prompt_tokens = 0;
  absl::Duration queued, prefill, decode;
};

// What a request's owner hears, on the engine's thread: must not block. OnFinish is called exactly once and last.
class EngineSink {
 public:
  virtual ~EngineSink() = default;
  // Tokens as they are chosen, and the text that has become final with them; either may be empty. The token that ends a
  // turn is not among them, nor counted.
  virtual void OnTokens(std::vector<TokenId> tokens, std::string text) = 0;
  virtual void OnFinish(const EngineFinish& finish) = 0;
};

struct EngineLoad {
  uint32_t queued_requests = 0, running_requests = 0, kv_blocks_used = 0, kv_blocks = 0, pending_prefill_tokens = 0;
  uint64_t kv_bytes = 0;  // of the KV cache, used or not
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;
  absl::Duration step_time;
};

// Thread-safe.
class Engine {
 public:
  struct Options {
    uint32_t max_running_requests = 16;
    uint32_t max_queued_requests = 64;
    uint32_t context_tokens = 0;       // 0: min(4096, the model's)
    uint64_t kv_cache_tokens = 0;      // 0: 4 × context
    uint32_t step_token_budget = 512;  // at most the model's max_step_tokens
    base::Clock* clock = nullptr;      // null: the real one
  };
  // Model and whatever it refers to must outlive the engine. INVALID_ARGUMENT: options that do not go together.
  // RESOURCE_EXHAUSTED OUT_OF_MEMORY: no room for the KV cache, with the numbers.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(Model* model, const Options& options);
  // Fails what is queued or running with UNAVAILABLE/DRAINING, then joins the thread.
  virtual ~Engine() = default;

  // INVALID_ARGUMENT PROMPT_TOO_LONG (numbers in message and metadata), INVALID_FIELD (token ids outside the
  // vocabulary, sampling out of range), DEADLINE_EXCEEDED DEADLINE_PASSED, RESOURCE_EXHAUSTED QUEUE_FULL with
  // RetryInfo, UNAVAILABLE DRAINING. After OK the sink hears OnFinish once; the id is for Cancel.
  virtual absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) = 0;
  // The request ends with CANCELLED at the next step, and its blocks are free. No effect on one that has finished.
  virtual void Cancel(uint64_t id) = 0;
  // No new requests from now on; calls `done` (once, on any thread) when the last running one has finished.
  virtual void Drain(std::function<void()> done) = 0;

  virtual EngineLoad Load() const = 0;
  virtual uint32_t context_tokens() const = 0;
};

}  // namespace linnet::worker
