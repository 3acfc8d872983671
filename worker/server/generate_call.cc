#include "worker/server/generate_call.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/server/prompt.h"
#include "worker/server/request_rules.h"

namespace linnet::worker {
namespace {

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  const int64_t ns = std::max<int64_t>(0, absl::ToInt64Nanoseconds(from));
  to->set_seconds(ns / 1'000'000'000);
  to->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& server) {
  const std::chrono::system_clock::time_point deadline = server.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture() : absl::FromChrono(deadline);
}

linnet::v1::FinishReason ReasonOf(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfTurn:
      return linnet::v1::FINISH_REASON_STOP;
    case StopReason::kStopText:
      return linnet::v1::FINISH_REASON_STOP_TEXT;
    case StopReason::kMaxTokens:
      return linnet::v1::FINISH_REASON_LENGTH;
    case StopReason::kContextFull:
      return linnet::v1::FINISH_REASON_CONTEXT;
  }
  return linnet::v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace

// --- the table ---

void CallTable::Add(std::shared_ptr<GenerateCall> call) {
  base::MutexLock lock(&mu_);
  calls_.insert(std::move(call));
}

void CallTable::Remove(const std::shared_ptr<GenerateCall>& call) {
  base::MutexLock lock(&mu_);
  calls_.erase(call);
  removed_.NotifyAll();
}

size_t CallTable::size() const {
  base::MutexLock lock(&mu_);
  return calls_.size();
}

std::vector<std::shared_ptr<GenerateCall>> CallTable::All() const {
  base::MutexLock lock(&mu_);
  return {calls_.begin(), calls_.end()};
}

void CallTable::CheckReaders() {
  for (const auto& call : All()) call->CheckReader();
}

void CallTable::Abort(const std::string& variant) {
  for (const auto& call : All()) {
    if (variant.empty() || call->variant() == variant) call->Abort();
  }
}

bool CallTable::WaitUntilEmpty(absl::Duration timeout) {
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
  base::MutexLock lock(&mu_);
  while (!calls_.empty()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero() || !removed_.WaitFor(&mu_, left)) return calls_.empty();
  }
  return true;
}

// --- from the request to the engine ---

GenerateCall* GenerateCall::Start(CallContext* context, grpc::CallbackServerContext* server,
                                  const v1::GenerateRequest* request) {
  std::shared_ptr<GenerateCall> call(new GenerateCall(context, server, request));
  call->self_ = call;
  context->calls->Add(call);
  call->Admit();
  return call.get();  // OnDone comes only after gRPC has it
}

GenerateCall::GenerateCall(CallContext* context, grpc::CallbackServerContext* server,
                           const v1::GenerateRequest* request)
    : context_(context),
      server_(server),
      request_(request),
      name_(request->variant()),
      start_ns_(context->clock->MonotonicNs()) {}

void GenerateCall::Admit() {
  if (const absl::Status status = CheckGenerate(*request_); !status.ok()) return FailWith(status);
  absl::StatusOr<VariantRef> variant = context_->variants->Find(name_);
  if (!variant.ok()) return FailWith(variant.status());
  variant_ = *std::move(variant);
  metrics_ = &context_->metrics->For(name_);
  if (!context_->encoders->TryPost([call = shared_from_this()] { call->EncodeAndSubmit(); })) {
    FailWith(base::WithRetryAfter(
        base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "too many prompts wait to be tokenized"),
        absl::Seconds(1)));
  }
}

absl::StatusOr<EngineRequest> GenerateCall::MakeRequest() {
  const linnet::v1::GenerateRequest& request = request_->request();
  EngineRequest out;
  LINNET_ASSIGN_OR_RETURN(out.prompt, EncodePrompt(request.input(), "input", *variant_));
  const linnet::v1::Sampling& sampling = request.sampling();
  out.sampling.temperature = sampling.has_temperature() ? sampling.temperature() : 1.0f;
  out.sampling.top_k = sampling.top_k();
  out.sampling.top_p = sampling.has_top_p() ? sampling.top_p() : 1.0f;
  out.sampling.min_p = sampling.min_p();
  seed_ = sampling.has_seed() ? sampling.seed() : context_->draw_seed();
  out.sampling.seed = seed_;
  out.max_tokens = request.max_tokens();
  out.stop_texts.assign(request.stop().begin(), request.stop().end());
  out.ignore_eos = request.ignore_eos();
  out.deadline = DeadlineOf(*server_);
  return out;
}

void GenerateCall::EncodeAndSubmit() {
  bool cancel;
  {
    base::MutexLock lock(&mu_);
    cancel = cancelled_ || aborted_;
  }
  if (cancel) return FailWith(absl::CancelledError("the call was cancelled before it began"));
  absl::StatusOr<EngineRequest> request = MakeRequest();
  if (!request.ok()) return FailWith(request.status());
  const absl::StatusOr<uint64_t> id = variant_->engine->Submit(*std::move(request), shared_from_this());
  if (!id.ok()) return FailWith(id.status());
  {
    base::MutexLock lock(&mu_);
    engine_id_ = *id;
    cancel = cancelled_ || aborted_;
  }
  if (cancel) variant_->engine->Cancel(*id);
}

void GenerateCall::FailWith(const absl::Status& status) {
  const absl::Status end = EndStatus(status);
  Observe({}, end);
  {
    base::MutexLock lock(&mu_);
    ending_ = end;
  }
  Pump();
}

// --- from the engine to the client ---

void GenerateCall::OnTokens(std::vector<TokenId> tokens, std::string text) {
  const int64_t now = context_->clock->MonotonicNs();
  int64_t previous;
  bool slow = false;
  {
    base::MutexLock lock(&mu_);
    previous = std::exchange(last_token_ns_, now);
    if (!cancelled_) {
      for (const TokenId id : tokens) pending_.add_token_ids(static_cast<uint32_t>(id));
      pending_.mutable_text()->append(text);
      has_pending_ = true;
      slow = pending_.token_ids_size() > static_cast<int>(context_->max_pending_tokens);
    }
  }
  if (previous == 0) {
    metrics_->time_to_first_token.Observe((now - start_ns_) * 1e-9);
  } else if (!tokens.empty()) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      metrics_->inter_token_latency.Observe((now - previous) * 1e-9 / static_cast<double>(tokens.size()));
    }
  }
  if (slow) CancelSlowReader();
  Pump();
}

absl::Status GenerateCall::EndStatus(const absl::Status& engine_status) {
  if (engine_status.code() != absl::StatusCode::kCancelled) return engine_status;
  // The engine knows only that it was told to stop; we know why.
  base::MutexLock lock(&mu_);
  if (slow_) {
    return base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED",
                       "the client did not read the stream for too long");
  }
  if (aborted_) {
    return base::WithRetryAfter(base::Error(absl::StatusCode::kUnavailable, "DRAINING", "this worker is stopping"),
                                absl::Seconds(1));
  }
  if (DeadlineOf(*server_) <= context_->clock->WallNow()) {
    return base::Error(absl::StatusCode::kDeadlineExceeded, "DEADLINE_PASSED", "the call's deadline passed");
  }
  return engine_status;
}

void GenerateCall::OnFinish(const EngineFinish& finish) {
  const absl::Status end = EndStatus(finish.status);
  Observe(finish, end);
  {
    base::MutexLock lock(&mu_);
    if (end.ok()) {
      linnet::v1::Finish* out = pending_.mutable_finish();
      out->set_reason(ReasonOf(finish.reason));
      out->mutable_usage()->set_prompt_tokens(finish.prompt_tokens);
      out->mutable_usage()->set_completion_tokens(finish.completion_tokens);
      out->mutable_usage()->set_cached_prompt_tokens(finish.cached_prompt_tokens);
      SetDuration(finish.queued, out->mutable_timings()->mutable_queued());
      SetDuration(finish.prefill, out->mutable_timings()->mutable_prefill());
      SetDuration(finish.decode, out->mutable_timings()->mutable_decode());
      out->set_variant(variant_->name);
      out->set_variant_digest(variant_->digest);
      out->set_numerics_id(variant_->numerics_id);
      out->set_seed(seed_);
      out->set_worker(context_->worker);
      has_pending_ = true;
    }
    ending_ = end;
  }
  Pump();
}

void GenerateCall::Observe(const EngineFinish& finish, const absl::Status& status) {
  if (metrics_ == nullptr) return context_->metrics->CountFailure(nullptr, status.code());
  metrics_->prompt_tokens.Increment(finish.prompt_tokens);
  metrics_->generation_tokens.Increment(finish.completion_tokens);
  if (!status.ok()) return context_->metrics->CountFailure(metrics_, status.code());
  context_->metrics->CountSuccess(*metrics_, ReasonOf(finish.reason));
  metrics_->queue_time.Observe(absl::ToDoubleSeconds(finish.queued));
  metrics_->prefill_time.Observe(absl::ToDoubleSeconds(finish.prefill));
  metrics_->decode_time.Observe(absl::ToDoubleSeconds(finish.decode));
  metrics_->e2e_latency.Observe(absl::ToDoubleSeconds(context_->clock->Since(start_ns_)));
}

void GenerateCall::Pump() {
  const std::shared_ptr<GenerateCall> keep = shared_from_this();
  for (;;) {
    bool finish = false;
    grpc::Status status;
    {
      base::MutexLock lock(&mu_);
      if (finished_ || write_in_flight_ || users_ > 0) return;
      if (cancelled_) has_pending_ = false;  // nobody reads it
      if (has_pending_) {
        writing_.Clear();
        writing_.Swap(&pending_);
        has_pending_ = false;
        write_in_flight_ = true;
        write_start_ns_ = context_->clock->MonotonicNs();
        ++users_;
      } else if (ending_.has_value()) {
        finish = finished_ = true;
        status = base::ToGrpc(*ending_);
      } else {
        return;
      }
    }
    if (finish) return Finish(std::move(status));
    StartWrite(&writing_);
    base::MutexLock lock(&mu_);
    --users_;
  }
}

void GenerateCall::OnWriteDone(bool ok) {
  std::optional<uint64_t> id;
  {
    base::MutexLock lock(&mu_);
    write_in_flight_ = false;
    if (!ok) {
      cancelled_ = true;
      id = engine_id_;
    }
  }
  if (id.has_value()) variant_->engine->Cancel(*id);
  Pump();
}

// --- the end ---

void GenerateCall::OnCancel() {
  std::optional<uint64_t> id;
  {
    base::MutexLock lock(&mu_);
    cancelled_ = true;
    id = engine_id_;
  }
  if (id.has_value()) variant_->engine->Cancel(*id);
}

void GenerateCall::Abort() {
  std::optional<uint64_t> id;
  {
    base::MutexLock lock(&mu_);
    if (aborted_ || ending_.has_value()) return;
    aborted_ = true;
    id = engine_id_;
  }
  if (id.has_value()) variant_->engine->Cancel(*id);
}

void GenerateCall::CheckReader() {
  {
    base::MutexLock lock(&mu_);
    if (!write_in_flight_ || context_->clock->Since(write_start_ns_) < context_->max_write_time) return;
  }
  CancelSlowReader();
}

void GenerateCall::CancelSlowReader() {
  {
    base::MutexLock lock(&mu_);
    if (slow_ || finished_) return;
    slow_ = true;
    ++users_;
  }
  context_->metrics->slow_readers().Increment();
  LOG(WARNING) << base::LogFields("a client does not read its stream: cancelled", {{"variant", name_}});
  server_->TryCancel();
  {
    base::MutexLock lock(&mu_);
    --users_;
  }
  Pump();
}

void GenerateCall::OnDone() {
  std::shared_ptr<GenerateCall> keep;
  {
    base::MutexLock lock(&mu_);  // what other threads did before Finish is done before this
    keep = std::move(self_);
  }
  context_->calls->Remove(keep);
}

}  // namespace linnet::worker
