#include "worker/engine/engine_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/model/memory_plan.h"

namespace linnet::worker {
namespace {

constexpr uint32_t kDefaultContext = 4096;
// Weight of the newest value in the moving averages.
constexpr double kNewest = 0.1;

void Average(double& average, double value) { average = average == 0 ? value : average + kNewest * (value - average); }

absl::Status DrainingError() {
  return base::Error(absl::StatusCode::kUnavailable, "DRAINING",
                     "the worker is shutting down; try again, another one will answer");
}

absl::Status LateError() {
  return base::Error(absl::StatusCode::kDeadlineExceeded, "DEADLINE_PASSED",
                     "the request's deadline passed before it was finished; allow more time or ask for fewer tokens");
}

}  // namespace

absl::StatusOr<std::unique_ptr<EngineCore>> EngineCore::Create(Model* model, const Options& options) {
  const int64_t model_context = model->description().context_tokens;
  const int64_t context =
      options.context_tokens == 0 ? std::min<int64_t>(kDefaultContext, model_context) : options.context_tokens;
  if (context > model_context) {
    return absl::InvalidArgumentError(base::StrCat("context_tokens ", context, " exceeds the model's ", model_context));
  }
  if (context < 2) return absl::InvalidArgumentError("context_tokens must be at least 2");
  Options checked = options;
  checked.step_token_budget = std::min(options.step_token_budget, static_cast<uint32_t>(model->max_step_tokens()));
  if (options.max_running_requests == 0 || checked.step_token_budget < options.max_running_requests) {
    return absl::InvalidArgumentError(base::StrCat("max_running_requests ", options.max_running_requests,
                                                   " must be from 1 to the step's token budget, ",
                                                   checked.step_token_budget));
  }
  const int64_t kv_tokens = options.kv_cache_tokens == 0 ? 4 * context : static_cast<int64_t>(options.kv_cache_tokens);
  if (kv_tokens < context) {
    return absl::InvalidArgumentError(
        base::StrCat("kv_cache_tokens ", kv_tokens, " cannot hold one context of ", context));
  }
  const int64_t blocks = KvCache::BlocksFor(kv_tokens);
  LINNET_ASSIGN_OR_RETURN(auto cache, KvCache::Create(model->description(), model->kv_type(), blocks,
                                                      {.sequences = checked.max_running_requests,
                                                       .step_tokens = checked.step_token_budget}));
  const base::MemoryBudget memory = base::DetectMemoryBudget();
  if (static_cast<uint64_t>(cache->bytes()) > memory.available_bytes) {
    return base::Error(
        absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
        base::StrCat("the KV cache of ", kv_tokens, " tokens needs ",
                     FormatBytes(static_cast<uint64_t>(cache->bytes())), ", ", FormatBytes(memory.available_bytes),
                     " are available; lower kv_cache_tokens or context_tokens"),
        {{"needed_bytes", base::StrCat(cache->bytes())}, {"available_bytes", base::StrCat(memory.available_bytes)}});
  }
  return std::unique_ptr<EngineCore>(new EngineCore(model, checked, static_cast<uint32_t>(context), std::move(cache)));
}

EngineCore::EngineCore(Model* model, const Options& options, uint32_t context_tokens, std::unique_ptr<KvCache> cache)
    : model_(model),
      options_(options),
      context_tokens_(context_tokens),
      clock_(options.clock != nullptr ? options.clock : base::Clock::Real()),
      cache_(std::move(cache)) {
  load_.kv_blocks = static_cast<uint32_t>(cache_->blocks());
  load_.kv_bytes = static_cast<uint64_t>(cache_->bytes());
}

EngineCore::~EngineCore() { FailAll(); }

absl::Status EngineCore::Validate(const EngineRequest& request, int64_t time_left_ns) const {
  if (request.prompt.empty()) return base::FieldErrors({{"prompt", "must have at least one token"}});
  if (request.prompt.size() >= context_tokens_) {
    return base::Error(
        absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG",
        base::StrCat("the prompt has ", request.prompt.size(), " tokens, the context holds ", context_tokens_,
                     " with at least one generated; shorten the prompt"),
        {{"prompt_tokens", base::StrCat(request.prompt.size())}, {"context_tokens", base::StrCat(context_tokens_)}});
  }
  const int vocab = model_->description().vocab_size;
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= vocab) {
      return base::FieldErrors(
          {{base::StrCat("prompt[", i, "]"),
            base::StrCat("must be a token id from 0 to ", vocab - 1, ", is ", request.prompt[i])}});
    }
  }
  LINNET_RETURN_IF_ERROR(ValidateSampling(request.sampling));
  return time_left_ns > 0 ? absl::OkStatus() : LateError();
}

absl::Status EngineCore::QueueFull() const {
  // A place in the queue is free when a running request has finished.
  const double seconds = request_seconds_ / options_.max_running_requests;
  return base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                                          base::StrCat("all ", options_.max_queued_requests,
                                                       " places in the worker's queue are taken; try again later")),
                              absl::Seconds(std::clamp(seconds, 0.1, 30.0)));
}

absl::StatusOr<uint64_t> EngineCore::Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) {
  const int64_t now = clock_->MonotonicNs();
  int64_t time_left = std::numeric_limits<int64_t>::max();
  if (request.deadline != absl::InfiniteFuture()) {
    time_left = absl::ToInt64Nanoseconds(request.deadline - clock_->WallNow());
  }
  LINNET_RETURN_IF_ERROR(Validate(request, time_left));
  auto sequence = std::make_unique<Sequence>(0, std::move(request), std::move(sink), &model_->tokenizer());
  sequence->submitted_ns = now;
  if (time_left < std::numeric_limits<int64_t>::max() - now) sequence->deadline_ns = now + time_left;
  const uint64_t wanted = sequence->request.max_tokens == 0
                              ? context_tokens_
                              : uint64_t{sequence->prompt_tokens()} + sequence->request.max_tokens;
  sequence->max_total = static_cast<uint32_t>(std::min<uint64_t>(wanted, context_tokens_));

  uint64_t id = 0;
  {
    base::MutexLock lock(&mutex_);
    if (draining_ || stopped_) return DrainingError();
    // Counted with what runs, so that requests that come together find the same places however soon the engine's
    // thread wakes to admit them.
    const uint64_t places = uint64_t{options_.max_running_requests} + options_.max_queued_requests;
    if (uint64_t{waiting_} + load_.running_requests >= places) return QueueFull();
    id = sequence->id = next_id_++;
    inbox_.push_back(std::move(sequence));
    load_.queued_requests = ++waiting_;
  }
  work_.NotifyOne();
  return id;
}

void EngineCore::Cancel(uint64_t id) {
  {
    base::MutexLock lock(&mutex_);
    if (stopped_) return;
    cancelled_.insert(id);
  }
  work_.NotifyOne();
}

void EngineCore::Drain(std::function<void()> done) {
  {
    base::MutexLock lock(&mutex_);
    draining_ = true;
    drained_.push_back(std::move(done));
  }
  work_.NotifyOne();
}

EngineLoad EngineCore::Load() const {
  base::MutexLock lock(&mutex_);
  return load_;
}

bool EngineCore::WaitForWork() {
  base::MutexLock lock(&mutex_);
  while (!stopped_ && !busy_ && inbox_.empty() && cancelled_.empty() && drained_.empty()) work_.Wait(&mutex_);
  return !stopped_;
}

void EngineCore::Stop() {
  {
    base::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  work_.NotifyAll();
}

void EngineCore::FailAll() {
  Stop();
  TakeInbox();
  for (SequencePtr& sequence : queued_) Finish(*sequence, DrainingError(), StopReason::kEndOfTurn);
  for (SequencePtr& sequence : running_) Finish(*sequence, DrainingError(), StopReason::kEndOfTurn);
  queued_.clear();
  running_.clear();
  PublishLoad();
  NotifyIfDrained();
}

void EngineCore::TakeInbox() {
  base::MutexLock lock(&mutex_);
  for (SequencePtr& sequence : inbox_) queued_.push_back(std::move(sequence));
  inbox_.clear();
}

void EngineCore::EndCancelledAndLate() {
  std::set<uint64_t> cancelled;
  {
    base::MutexLock lock(&mutex_);
    cancelled.swap(cancelled_);
  }
  const int64_t now = clock_->MonotonicNs();
  const auto ended = [&](const SequencePtr& sequence) {
    if (cancelled.contains(sequence->id)) {
      Finish(*sequence,
             base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED", "the request was cancelled by its client"),
             StopReason::kEndOfTurn);
      return true;
    }
    if (now >= sequence->deadline_ns) {
      Finish(*sequence, LateError(), StopReason::kEndOfTurn);
      return true;
    }
    return false;
  };
  std::erase_if(queued_, ended);
  std::erase_if(running_, ended);
}

StepPlan EngineCore::Plan() const {
  std::vector<RunningView> running;
  running.reserve(running_.size());
  for (const SequencePtr& s : running_) running.push_back({.prefill_tokens = s->decoding() ? 0 : s->pending()});
  std::vector<QueuedView> queued;
  queued.reserve(queued_.size());
  for (const SequencePtr& s : queued_) {
    queued.push_back({.prompt_tokens = s->prompt_tokens(), .kv_blocks = cache_->BlocksHeld(s->max_total)});
  }
  return PlanStep({.running = running,
                   .queued = queued,
                   .free_kv_blocks = cache_->free_blocks(),
                   .max_running = options_.max_running_requests,
                   .token_budget = options_.step_token_budget,
                   .prefill_beside_decode = std::max<uint32_t>(1, options_.step_token_budget / 4)});
}

void EngineCore::Admit(size_t count) {
  const int64_t now = clock_->MonotonicNs();
  for (size_t i = 0; i < count; ++i) {
    SequencePtr sequence = std::move(queued_.front());
    queued_.pop_front();
    CHECK(cache_->Reserve(sequence->kv, sequence->max_total)) << "the plan admitted more than the cache holds";
    sequence->admitted_ns = now;
    running_.push_back(std::move(sequence));
  }
}

bool EngineCore::Step() {
  TakeInbox();
  EndCancelledAndLate();
  const StepPlan plan = Plan();
  Admit(plan.admit);
  PublishLoad();
  const bool computes = std::any_of(plan.tokens.begin(), plan.tokens.end(), [](uint32_t n) { return n > 0; });
  if (computes) {
    Compute(plan);
    PublishLoad();
  }
  NotifyIfDrained();
  return computes;
}

void EngineCore::Compute(const StepPlan& plan) {
  const int64_t start = clock_->MonotonicNs();
  uint32_t prefill_tokens = 0, decode_tokens = 0;
  batch_.clear();
  std::vector<Sequence*> choosing;
  for (size_t i = 0; i < running_.size(); ++i) {
    const uint32_t count = plan.tokens[i];
    if (count == 0) continue;
    Sequence& sequence = *running_[i];
    (sequence.decoding() ? decode_tokens : prefill_tokens) += count;
    const bool complete = count == sequence.pending();
    batch_.push_back({.tokens = std::span(sequence.tokens).subspan(sequence.computed, count),
                      .first_position = sequence.computed,
                      .kv = &sequence.kv,
                      .logits = complete ? BatchSpan::Logits::kLast : BatchSpan::Logits::kNone,
                      .best = TokensToChooseFrom(sequence.request.sampling),
                      .sequence_tokens = sequence.prompt_tokens()});
    sequence.computed += count;
    if (complete) choosing.push_back(&sequence);
  }
  Choose(choosing, model_->Forward(batch_, *cache_));
  UpdateAverages(prefill_tokens, decode_tokens, clock_->Since(start));

  std::set<const Sequence*> finished;
  for (size_t i = 0; i < choosing.size(); ++i) {
    if (!Append(*choosing[i], chosen_[i])) finished.insert(choosing[i]);
  }
  std::erase_if(running_, [&](const SequencePtr& s) { return finished.contains(s.get()); });
}

void EngineCore::Choose(const std::vector<Sequence*>& choosing, const StepOutput& output) {
  const size_t vocab = static_cast<size_t>(model_->description().vocab_size);
  chosen_.resize(choosing.size());
  std::vector<std::pair<size_t, std::span<float>>> whole;  // those that choose among all, and their logits
  size_t best = 0;
  for (size_t i = 0; i < choosing.size(); ++i) {
    const Sequence& sequence = *choosing[i];
    if (TokensToChooseFrom(sequence.request.sampling) == 0) {
      whole.emplace_back(i, output.logits.subspan(whole.size() * vocab, vocab));
      continue;
    }
    chosen_[i] =
        SampleToken(output.best[best++], sequence.request.sampling, static_cast<int64_t>(sequence.tokens.size()));
  }
  CHECK(whole.size() * vocab == output.logits.size() && best == output.best.size());
  const auto choose = [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t w = begin; w < end; ++w) {
      const auto& [i, logits] = whole[static_cast<size_t>(w)];
      chosen_[i] = SampleToken(logits, choosing[i]->request.sampling, static_cast<int64_t>(choosing[i]->tokens.size()));
    }
  };
  const int64_t n = static_cast<int64_t>(whole.size());
  if (n == 1) {
    choose(0, 1, 0);
  } else if (n > 1) {
    model_->pool().ParallelFor(n, 1, choose);
  }
}

bool EngineCore::Append(Sequence& sequence, TokenId token) {
  if (token == kNoToken) {
    Finish(sequence,
           base::Error(absl::StatusCode::kInternal, "INTERNAL_ERROR",
                       "the model's logits are not numbers: its weights are damaged, or its values overflow; import it "
                       "anew, or take another variant"),
           StopReason::kEndOfTurn);
    return false;
  }
  if (sequence.first_token_ns == Sequence::kNotYet) sequence.first_token_ns = clock_->MonotonicNs();
  const std::vector<TokenId>& ends = model_->tokenizer().end_of_generation();
  if (!sequence.request.ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end()) {
    Finish(sequence, absl::OkStatus(), StopReason::kEndOfTurn);
    return false;
  }
  sequence.tokens.push_back(token);
  std::string text = sequence.decoder.Push(token);
  sequence.sink->OnTokens({token}, std::move(text));
  if (sequence.decoder.stopped()) {
    Finish(sequence, absl::OkStatus(), StopReason::kStopText);
    return false;
  }
  if (sequence.tokens.size() >= sequence.max_total) {
    const bool as_asked =
        sequence.request.max_tokens != 0 && sequence.completion_tokens() >= sequence.request.max_tokens;
    Finish(sequence, absl::OkStatus(), as_asked ? StopReason::kMaxTokens : StopReason::kContextFull);
    return false;
  }
  return true;
}

void EngineCore::Finish(Sequence& sequence, absl::Status status, StopReason reason) {
  cache_->Release(sequence.kv);
  if (std::string rest = sequence.decoder.Flush(); !rest.empty()) sequence.sink->OnTokens({}, std::move(rest));

  const int64_t now = clock_->MonotonicNs();
  EngineFinish finish = {.status = std::move(status),
                         .reason = reason,
                         .prompt_tokens = sequence.prompt_tokens(),
                         .completion_tokens = sequence.completion_tokens(),
                         .queued = {},
                         .prefill = {},
                         .decode = {}};
  const int64_t admitted = sequence.admitted_ns == Sequence::kNotYet ? now : sequence.admitted_ns;
  const int64_t first_token = sequence.first_token_ns == Sequence::kNotYet ? now : sequence.first_token_ns;
  finish.queued = absl::Nanoseconds(admitted - sequence.submitted_ns);
  finish.prefill = absl::Nanoseconds(first_token - admitted);
  finish.decode = absl::Nanoseconds(now - first_token);
  if (sequence.admitted_ns != Sequence::kNotYet) {
    base::MutexLock lock(&mutex_);
    Average(request_seconds_, absl::ToDoubleSeconds(finish.prefill + finish.decode));
  }
  sequence.sink->OnFinish(finish);
}

void EngineCore::UpdateAverages(uint32_t prefill_tokens, uint32_t decode_tokens, absl::Duration step) {
  const double seconds = absl::ToDoubleSeconds(step);
  if (seconds <= 0) return;
  base::MutexLock lock(&mutex_);
  double step_seconds = absl::ToDoubleSeconds(load_.step_time);
  Average(step_seconds, seconds);
  load_.step_time = absl::Seconds(step_seconds);
  // A mixed step says nothing about either rate alone.
  if (decode_tokens == 0) Average(load_.prefill_tokens_per_s, prefill_tokens / seconds);
  if (prefill_tokens == 0) Average(load_.decode_tokens_per_s, decode_tokens / seconds);
}

void EngineCore::PublishLoad() {
  uint64_t pending = 0;
  for (const SequencePtr& s : queued_) pending += s->prompt_tokens();
  for (const SequencePtr& s : running_) pending += s->decoding() ? 0 : s->pending();
  base::MutexLock lock(&mutex_);
  busy_ = !queued_.empty() || !running_.empty();
  for (const SequencePtr& s : inbox_) pending += s->prompt_tokens();
  waiting_ = static_cast<uint32_t>(queued_.size() + inbox_.size());
  load_.queued_requests = waiting_;
  load_.running_requests = static_cast<uint32_t>(running_.size());
  load_.kv_blocks_used = static_cast<uint32_t>(cache_->blocks() - cache_->free_blocks());
  load_.pending_prefill_tokens = static_cast<uint32_t>(pending);
}

void EngineCore::NotifyIfDrained() {
  std::vector<std::function<void()>> drained;
  {
    base::MutexLock lock(&mutex_);
    if (drained_.empty() || busy_ || !inbox_.empty()) return;
    drained.swap(drained_);
  }
  for (const auto& done : drained) done();
}

}  // namespace linnet::worker
