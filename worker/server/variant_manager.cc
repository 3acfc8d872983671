#include "worker/server/variant_manager.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/log/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"
#include "registry/client/names.h"
#include "worker/server/stub_model.h"

namespace linnet::worker {
namespace {

constexpr absl::Duration kFirstRetry = absl::Seconds(1);
constexpr absl::Duration kLastRetry = absl::Seconds(60);
// Memory that others hold now may be free later: refusals are looked at again this often.
constexpr absl::Duration kReplan = absl::Seconds(30);
constexpr absl::Duration kLoadingRetry = absl::Seconds(1);

// May the same attempt succeed later, with nothing changed in the registry?
bool Transient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnknown:
      return true;
    default:
      return false;
  }
}

absl::Duration Backoff(int attempts) {
  return std::min(kLastRetry, kFirstRetry * static_cast<double>(1 << std::min(attempts - 1, 10)));
}

absl::Status NotServed(const std::string& variant) {
  return base::Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                     base::StrCat("this worker does not serve ", variant), {{"resource", variant}});
}

absl::Status Later(std::string_view reason, std::string message) {
  return base::WithRetryAfter(base::Error(absl::StatusCode::kUnavailable, reason, message), kLoadingRetry);
}

}  // namespace

VariantManager::VariantManager(Options options) : options_(std::move(options)) {}

VariantManager::~VariantManager() { Stop(); }

void VariantManager::Stop() {
  StopServing();
  stop_.request_stop();
  {
    base::MutexLock lock(&mu_);
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  std::vector<std::string> names;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : entries_) names.push_back(name);
  }
  for (const std::string& name : names) Unload(name);
}

void VariantManager::Start() {
  thread_ = base::StartThread("loader", [this, stop = stop_.get_token()] { Run(stop); });
}

void VariantManager::SetSnapshot(std::shared_ptr<const registry::RegistrySnapshot> snapshot) {
  base::MutexLock lock(&mu_);
  snapshot_ = std::move(snapshot);
  snapshot_changed_ = true;
  wake_.NotifyAll();
}

void VariantManager::StopServing() {
  base::MutexLock lock(&mu_);
  stopped_serving_ = true;
}

void VariantManager::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const absl::Duration due = Step();
    base::MutexLock lock(&mu_);
    if (stop.stop_requested() || snapshot_changed_) continue;
    wake_.WaitFor(&mu_, absl::ToChronoMilliseconds(std::min(due, absl::Hours(1))));
  }
}

absl::Duration VariantManager::Step() {
  std::shared_ptr<const registry::RegistrySnapshot> snapshot;
  {
    base::MutexLock lock(&mu_);
    if (stopped_serving_) return absl::InfiniteDuration();
    snapshot = snapshot_;
    snapshot_changed_ = false;
  }
  LoadFixed();
  if (snapshot == nullptr || !options_.cache.has_value()) {
    FinishLoads();
    return UntilRetry();
  }
  const ServingPlan plan = Plan(*snapshot);
  UnloadUnplanned(plan);
  NoteRefusals(plan);
  LoadPlanned(plan, *snapshot);
  FinishLoads();
  return plan.refused.empty() ? UntilRetry() : std::min(UntilRetry(), kReplan);
}

bool VariantManager::interrupted() const {
  base::MutexLock lock(&mu_);
  return stopped_serving_ || snapshot_changed_ || stop_.stop_requested();
}

absl::Duration VariantManager::UntilRetry() const {
  base::MutexLock lock(&mu_);
  absl::Duration due = absl::InfiniteDuration();
  const int64_t now = options_.clock->MonotonicNs();
  for (const auto& [name, entry] : entries_) {
    if (entry.lifecycle.state() != v1::VARIANT_STATE_FAILED || entry.retry_at_ns == 0) continue;
    due = std::min(due, absl::Nanoseconds(std::max<int64_t>(entry.retry_at_ns - now, 0)));
  }
  return due;
}

// --- what to serve ---

ServingPlan VariantManager::Plan(const registry::RegistrySnapshot& snapshot) const {
  ServingInputs inputs;
  inputs.snapshot = &snapshot;
  inputs.wanted = options_.wanted;
  inputs.memory_bytes = options_.memory_bytes();
  inputs.isa_features.assign(options_.profile.isa_features().begin(), options_.profile.isa_features().end());
  inputs.context_tokens = options_.engine.context_tokens;
  inputs.kv_cache_tokens = options_.engine.kv_cache_tokens;
  inputs.kv_type = options_.kv_type;
  inputs.max_running_requests = options_.engine.max_running_requests;
  inputs.step_token_budget = options_.engine.step_token_budget;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : entries_) {
      if (entry.lifecycle.state() != v1::VARIANT_STATE_READY) continue;
      if (entry.fixed) {
        inputs.memory_bytes -= std::min(inputs.memory_bytes, entry.loaded->weight_bytes + entry.loaded->kv_bytes);
      } else {
        inputs.serving.emplace(name, entry.choice);
      }
    }
  }
  std::vector<std::string> references = inputs.wanted;
  if (references.empty()) {
    for (const auto& [name, model] : snapshot.models) {
      if (const auto id = registry::ParseModelName(name); id.ok()) references.push_back(*id);
    }
  }
  for (const std::string& reference : references) Rank(reference, &inputs);
  return PlanServing(inputs);
}

// Asks the registry only where there is a choice to make.
void VariantManager::Rank(const std::string& reference, ServingInputs* inputs) const {
  if (!options_.resolve || inputs->snapshot->from_disk) return;
  const auto parsed = registry::ParseModelReference(reference);
  if (!parsed.ok() || !parsed->alias.empty() || !parsed->variant.empty()) return;
  const auto variants = registry::VariantsFor(*inputs->snapshot, *parsed);
  if (!variants.ok() || variants->size() < 2) return;
  for (const std::string& name : *variants) {
    if (inputs->serving.contains(name)) return;
  }
  registry::v1::ResolveRequest request;
  request.set_model(reference);
  *request.mutable_inline_profile() = options_.profile;
  request.mutable_constraints()->set_context_tokens(inputs->context_tokens);
  request.set_available_memory_bytes(inputs->memory_bytes);
  const auto response = options_.resolve(request);
  if (!response.ok()) {
    LOG(WARNING) << base::LogFields("the registry did not rank the variants: taking the largest that fits",
                                    {{"model", reference}, {"error", std::string(response.status().message())}});
    return;
  }
  std::vector<std::string>& ranking = inputs->ranking[reference];
  for (const registry::v1::Fit& fit : response->fits()) ranking.push_back(fit.variant().name());
}

void VariantManager::UnloadUnplanned(const ServingPlan& plan) {
  std::vector<std::string> gone;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : entries_) {
      if (entry.fixed) continue;
      const auto planned = plan.serve.find(name);
      if (planned != plan.serve.end()) {
        if (planned->second.digest != entry.choice.digest) gone.push_back(name);
        continue;
      }
      const bool refused = std::any_of(plan.refused.begin(), plan.refused.end(),
                                       [&](const ServingRefusal& refusal) { return refusal.variant == name; });
      if (!refused || entry.loaded != nullptr) gone.push_back(name);
    }
  }
  for (const std::string& name : gone) Unload(name);
}

void VariantManager::NoteRefusals(const ServingPlan& plan) {
  std::string text;
  std::map<std::string, std::string> messages;
  for (const ServingRefusal& refusal : plan.refused) {
    base::StrAppend(&messages[refusal.reference], refusal.why.message(), "; ");
    base::StrAppend(&text, text.empty() ? "" : "; ", refusal.why.message());
  }
  for (const auto& [reference, message] : messages) {
    if (logged_refusals_[reference] == message) continue;
    LOG(WARNING) << base::LogFields("model not served", {{"model", reference}, {"why", message}});
  }
  logged_refusals_ = std::move(messages);
  bool changed = false;
  {
    base::MutexLock lock(&mu_);
    refusal_text_ = text;
    for (const ServingRefusal& refusal : plan.refused) {
      if (refusal.variant.empty()) continue;
      Entry& entry = entries_[refusal.variant];
      if (entry.lifecycle.state() != v1::VARIANT_STATE_FAILED) {
        CHECK_OK(entry.lifecycle.Transition(v1::VARIANT_STATE_FETCHING));
        CHECK_OK(entry.lifecycle.Fail(refusal.why));
        changed = true;
      }
      entry.choice.variant = refusal.variant;
    }
  }
  if (changed) options_.on_change();
}

// --- into memory ---

void VariantManager::LoadFixed() {
  if (options_.stub_model) {
    ServingChoice choice;
    choice.variant = kStubVariant;
    if (BeginAttempt(choice, true)) {
      MoveTo(kStubVariant, v1::VARIANT_STATE_LOADING);
      Adopt(choice, MakeStubVariant());
    }
  }
  for (const LocalModel& local : options_.local_models) {
    if (interrupted() && stop_.stop_requested()) return;
    ServingChoice choice;
    choice.variant = registry::VariantName(local.model, "local");
    choice.context_tokens = options_.engine.context_tokens;
    choice.kv_cache_tokens = options_.engine.kv_cache_tokens;
    Load(choice, true, [&](ServingChoice& c) -> absl::StatusOr<FetchedFile> {
      LINNET_ASSIGN_OR_RETURN(c.digest, base::Sha256OfFile(local.path));
      return FetchedFile{.path = local.path};
    });
  }
}

void VariantManager::LoadPlanned(const ServingPlan& plan, const registry::RegistrySnapshot& snapshot) {
  std::set<std::string> planned, known;
  for (const auto& [name, choice] : plan.serve) planned.insert(choice.digest);
  for (const auto& [name, variant] : snapshot.variants) {
    for (const registry::v1::BlobRef& blob : variant.blobs()) known.insert(blob.digest());
  }
  for (const auto& [name, choice] : plan.serve) {
    if (interrupted()) return;
    Load(choice, false, [&, name = name](ServingChoice& c) -> absl::StatusOr<FetchedFile> {
      const registry::v1::BlobRef* blob = MainBlob(snapshot.variants.at(name));
      LINNET_ASSIGN_OR_RETURN(std::string path,
                              options_.cache->Get(c.digest, blob->size_bytes(), planned, stop_.get_token()));
      return FetchedFile{std::move(path), [this, digest = c.digest] { return options_.cache->Verify(digest); }};
    });
  }
  // Only on the registry's own word: a snapshot from disk may be old.
  if (!snapshot.from_disk && snapshot.revision > 0 && !interrupted()) options_.cache->Sweep(known);
}

bool VariantManager::BeginAttempt(const ServingChoice& choice, bool fixed) {
  {
    base::MutexLock lock(&mu_);
    Entry& entry = entries_[choice.variant];
    const v1::VariantState state = entry.lifecycle.state();
    const bool fresh = state == v1::VARIANT_STATE_UNSPECIFIED;
    const bool again = state == v1::VARIANT_STATE_FAILED && entry.retry_at_ns != 0 &&
                       entry.retry_at_ns <= options_.clock->MonotonicNs();
    if (!fresh && !again) return false;
    CHECK_OK(entry.lifecycle.Transition(v1::VARIANT_STATE_FETCHING));
    entry.choice = choice;
    entry.fixed = fixed;
    ++entry.attempts;
  }
  options_.on_change();
  return true;
}

void VariantManager::Load(ServingChoice choice, bool fixed, const FetchFile& fetch) {
  if (!BeginAttempt(choice, fixed)) return;
  absl::Status status;
  // A cached file that proves corrupt is gone then: once more, with another.
  for (int attempt = 0;; ++attempt) {
    const absl::StatusOr<FetchedFile> file = fetch(choice);
    status = file.ok() ? LoadFile(choice, *file) : file.status();
    if (status.ok()) return;
    if (attempt > 0 || !file.ok() || base::ErrorReason(status) != "BLOB_CORRUPT") break;
    MoveTo(choice.variant, v1::VARIANT_STATE_FETCHING);
  }
  Fail(choice.variant, status);
}

absl::Status VariantManager::LoadFile(const ServingChoice& choice, const FetchedFile& file) {
  MoveTo(choice.variant, v1::VARIANT_STATE_LOADING);
  const int64_t start_ns = options_.clock->MonotonicNs();
  LoadRequest request{choice.variant, choice.digest, file.path, options_.engine, options_.kv_type, file.verify};
  request.engine.context_tokens = choice.context_tokens;
  request.engine.kv_cache_tokens = choice.kv_cache_tokens;
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<LoadedVariant> loaded, options_.loader->Load(request));
  LOG(INFO) << base::LogFields("variant loaded",
                               {{"variant", choice.variant},
                                {"digest", choice.digest},
                                {"numerics_id", loaded->numerics_id},
                                {"load_ms", base::StrCat(absl::ToInt64Milliseconds(options_.clock->Since(start_ns)))},
                                {"packed_cache", std::string(PackedLoadName(loaded->packed_load))},
                                {"weight_bytes", base::StrCat(loaded->weight_bytes)},
                                {"kv_bytes", base::StrCat(loaded->kv_bytes)}});
  Adopt(choice, std::move(loaded));
  return absl::OkStatus();
}

// Once everything that can be ready is: nobody waits for this but the next plan, which interrupts it.
void VariantManager::FinishLoads() {
  std::vector<LoadedVariant*> loaded;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : entries_) {
      if (entry.loaded != nullptr) loaded.push_back(entry.loaded.get());
    }
  }
  // This thread alone unloads.
  for (LoadedVariant* const variant : loaded) options_.loader->Finish(*variant, [this] { return interrupted(); });
}

void VariantManager::Adopt(const ServingChoice& choice, std::unique_ptr<LoadedVariant> loaded) {
  {
    base::MutexLock lock(&mu_);
    Entry& entry = entries_[choice.variant];
    entry.choice = choice;
    entry.departure = std::make_shared<Departure>();
    entry.loaded = std::move(loaded);
    // The ref owns nothing: its deleter only says that nobody holds the variant any more.
    entry.ref = VariantRef(entry.loaded.get(), [departure = entry.departure](const LoadedVariant*) {
      base::MutexLock departure_lock(&departure->mu);
      departure->released = true;
      departure->changed.NotifyAll();
    });
    CHECK_OK(entry.lifecycle.Transition(v1::VARIANT_STATE_READY));
    entry.attempts = 0;
  }
  options_.on_change();
}

void VariantManager::Fail(const std::string& name, const absl::Status& why) {
  absl::Duration retry = absl::InfiniteDuration();
  {
    base::MutexLock lock(&mu_);
    Entry& entry = entries_[name];
    CHECK_OK(entry.lifecycle.Fail(why));
    entry.retry_at_ns = 0;
    if (Transient(why)) {
      retry = Backoff(entry.attempts);
      entry.retry_at_ns = std::max<int64_t>(1, options_.clock->MonotonicNs() + absl::ToInt64Nanoseconds(retry));
    }
  }
  if (!stop_.stop_requested()) {
    LOG(ERROR) << base::LogFields(
        "variant failed",
        {{"variant", name}, {"error", std::string(why.message())}, {"retry_in", absl::FormatDuration(retry)}});
  }
  options_.on_change();
}

void VariantManager::MoveTo(const std::string& name, v1::VariantState state) {
  {
    base::MutexLock lock(&mu_);
    CHECK_OK(entries_[name].lifecycle.Transition(state));
  }
  options_.on_change();
}

// --- out of memory ---

void VariantManager::Unload(const std::string& name) {
  std::unique_ptr<LoadedVariant> loaded;
  VariantRef ref;
  std::shared_ptr<Departure> departure;
  {
    base::MutexLock lock(&mu_);
    const auto it = entries_.find(name);
    if (it == entries_.end()) return;
    Entry& entry = it->second;
    if (entry.lifecycle.state() != v1::VARIANT_STATE_UNSPECIFIED) {
      CHECK_OK(entry.lifecycle.Transition(v1::VARIANT_STATE_UNLOADING));
    }
    ref = std::move(entry.ref);
    departure = entry.departure;
    loaded = std::move(entry.loaded);
  }
  options_.on_change();
  if (loaded != nullptr) {
    LOG(INFO) << base::LogFields("unloading variant", {{"variant", name}});
    loaded->engine->Drain([departure] {
      base::MutexLock lock(&departure->mu);
      departure->drained = true;
      departure->changed.NotifyAll();
    });
    ref.reset();
    const int64_t start_ns = options_.clock->MonotonicNs();
    bool aborted = false;
    for (;;) {
      {
        base::MutexLock lock(&departure->mu);
        if (!(departure->drained && departure->released))
          departure->changed.WaitFor(&departure->mu, std::chrono::milliseconds(50));
        if (departure->drained && departure->released) break;
      }
      if (!aborted && options_.clock->Since(start_ns) > options_.drain) {
        aborted = true;
        options_.abort_calls(name);
      }
    }
    loaded.reset();
  }
  {
    base::MutexLock lock(&mu_);
    entries_.erase(name);
  }
  options_.on_change();
}

// --- what others ask ---

absl::StatusOr<VariantRef> VariantManager::Find(const std::string& variant) const {
  base::MutexLock lock(&mu_);
  if (stopped_serving_) return Later("DRAINING", "this worker is stopping");
  const auto it = entries_.find(variant);
  if (it == entries_.end()) return NotServed(variant);
  const Entry& entry = it->second;
  switch (entry.lifecycle.state()) {
    case v1::VARIANT_STATE_READY:
      return entry.ref;
    case v1::VARIANT_STATE_FAILED:
      return Later("NO_READY_WORKER", base::StrCat(variant, " failed to load: ", entry.lifecycle.error().message()));
    case v1::VARIANT_STATE_UNLOADING:
      return Later("DRAINING", base::StrCat(variant, " is being unloaded"));
    default:
      return Later("LOADING", base::StrCat(variant, " is ", StateName(entry.lifecycle.state())));
  }
}

std::vector<v1::VariantStatus> VariantManager::Statuses() const {
  std::vector<v1::VariantStatus> statuses;
  std::vector<VariantRef> refs;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [name, entry] : entries_) {
      v1::VariantStatus& status = statuses.emplace_back();
      status.set_variant(name);
      status.set_digest(entry.choice.digest);
      status.set_state(entry.lifecycle.state());
      status.set_error(std::string(entry.lifecycle.error().message()));
      refs.push_back(entry.ref);
    }
  }
  for (size_t i = 0; i < refs.size(); ++i) {
    if (refs[i] == nullptr) continue;
    v1::VariantStatus& status = statuses[i];
    const EngineLoad load = refs[i]->engine->Load();
    status.set_numerics_id(refs[i]->numerics_id);
    status.set_context_tokens(refs[i]->engine->context_tokens());
    status.set_queued_requests(load.queued_requests);
    status.set_running_requests(load.running_requests);
    status.set_max_running_requests(refs[i]->max_running_requests);
    status.set_max_queued_requests(refs[i]->max_queued_requests);
    status.set_kv_blocks_used(load.kv_blocks_used);
    status.set_kv_blocks(load.kv_blocks);
    status.set_pending_prefill_tokens(load.pending_prefill_tokens);
    status.set_prefill_tokens_per_second(load.prefill_tokens_per_s);
    status.set_decode_tokens_per_second(load.decode_tokens_per_s);
    const int64_t step_ns = absl::ToInt64Nanoseconds(load.step_time);
    status.mutable_step_time()->set_seconds(step_ns / 1'000'000'000);
    status.mutable_step_time()->set_nanos(static_cast<int32_t>(step_ns % 1'000'000'000));
  }
  return statuses;
}

std::vector<VariantRef> VariantManager::Ready() const {
  base::MutexLock lock(&mu_);
  std::vector<VariantRef> ready;
  for (const auto& [name, entry] : entries_) {
    if (entry.ref != nullptr) ready.push_back(entry.ref);
  }
  return ready;
}

absl::Status VariantManager::readiness() const {
  base::MutexLock lock(&mu_);
  if (stopped_serving_) return absl::UnavailableError("draining");
  std::string why;
  for (const auto& [name, entry] : entries_) {
    if (entry.lifecycle.state() == v1::VARIANT_STATE_READY) return absl::OkStatus();
    base::StrAppend(&why, "; ", name, " is ", StateName(entry.lifecycle.state()));
    if (!entry.lifecycle.error().ok()) base::StrAppend(&why, ": ", entry.lifecycle.error().message());
  }
  if (why.empty() && !refusal_text_.empty()) why = base::StrCat("; ", refusal_text_);
  return absl::UnavailableError(base::StrCat("no variant ready", why));
}

}  // namespace linnet::worker
