#include "worker/server/serving_plan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/human.h"
#include "base/strings.h"
#include "registry/client/variant_memory.h"

namespace linnet::worker {
namespace {

bool IsaFits(const registry::v1::Variant& variant, const std::vector<std::string>& features) {
  const auto& any = variant.requirements().any_isa();
  if (any.empty()) return true;
  return std::any_of(any.begin(), any.end(), [&](const std::string& isa) {
    return std::find(features.begin(), features.end(), isa) != features.end();
  });
}

class Planner {
 public:
  explicit Planner(const ServingInputs& inputs) : in_(inputs), free_bytes_(inputs.memory_bytes) {}

  ServingPlan Run() {
    std::vector<std::string> wanted = in_.wanted;
    if (wanted.empty()) {
      for (const auto& [name, model] : in_.snapshot->models) {
        const absl::StatusOr<std::string> id = registry::ParseModelName(name);
        if (id.ok()) wanted.push_back(*id);
      }
    }
    // Those that are served already first: a newcomer never pushes them out.
    std::stable_partition(wanted.begin(), wanted.end(),
                          [&](const std::string& reference) { return KeepServing(reference); });
    for (const std::string& reference : wanted) Place(reference);
    return std::move(plan_);
  }

 private:
  std::vector<std::string> Candidates(const std::string& reference, absl::Status* why) const {
    const absl::StatusOr<registry::ModelReference> parsed = registry::ParseModelReference(reference);
    if (!parsed.ok()) {
      *why = parsed.status();
      return {};
    }
    absl::StatusOr<std::vector<std::string>> names = registry::VariantsFor(*in_.snapshot, *parsed);
    if (!names.ok()) {
      *why = names.status();
      return {};
    }
    Order(reference, &*names);
    return *std::move(names);
  }

  bool IsServing(const std::string& variant) const {
    const auto served = in_.serving.find(variant);
    const auto known = in_.snapshot->variants.find(variant);
    if (served == in_.serving.end() || known == in_.snapshot->variants.end()) return false;
    const registry::v1::BlobRef* blob = MainBlob(known->second);
    return blob != nullptr && blob->digest() == served->second.digest;
  }

  bool KeepServing(const std::string& reference) const {
    absl::Status ignored;
    const std::vector<std::string> names = Candidates(reference, &ignored);
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return IsServing(name); });
  }

  // Served ones first, then the registry's order, then the largest.
  void Order(const std::string& reference, std::vector<std::string>* names) const {
    const auto ranking = in_.ranking.find(reference);
    const auto rank = [&](const std::string& name) -> size_t {
      if (ranking == in_.ranking.end()) return 0;
      return std::find(ranking->second.begin(), ranking->second.end(), name) - ranking->second.begin();
    };
    const auto size = [&](const std::string& name) {
      const auto it = in_.snapshot->variants.find(name);
      return it == in_.snapshot->variants.end() ? uint64_t{0} : it->second.weight_bytes();
    };
    std::stable_sort(names->begin(), names->end(), [&](const std::string& a, const std::string& b) {
      if (IsServing(a) != IsServing(b)) return IsServing(a);
      if (rank(a) != rank(b)) return rank(a) < rank(b);
      return size(a) > size(b);
    });
  }

  void Place(const std::string& reference) {
    absl::Status why;
    const std::vector<std::string> names = Candidates(reference, &why);
    std::vector<ServingRefusal> refused;
    if (!why.ok()) refused.push_back({reference, "", why});
    for (const std::string& name : names) {
      if (plan_.serve.contains(name)) return;
      absl::StatusOr<ServingChoice> choice = Fit(name);
      if (choice.ok()) {
        free_bytes_ -= std::min(free_bytes_, choice->memory.total());
        plan_.serve.emplace(name, *std::move(choice));
        return;
      }
      refused.push_back({reference, name, choice.status()});
    }
    std::move(refused.begin(), refused.end(), std::back_inserter(plan_.refused));
  }

  absl::StatusOr<ServingChoice> Fit(const std::string& name) const {
    if (IsServing(name)) return in_.serving.at(name);
    const auto found = in_.snapshot->variants.find(name);
    if (found == in_.snapshot->variants.end()) {
      return base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                         base::StrCat(name, ": the registry lists it no more"), {{"resource", name}});
    }
    const registry::v1::Variant& variant = found->second;
    const registry::v1::BlobRef* blob = MainBlob(variant);
    if (blob == nullptr) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "NO_FITTING_VARIANT",
                         base::StrCat(name, ": has no blob with the role \"main\"; import it again"));
    }
    if (!IsaFits(variant, in_.isa_features)) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "NO_FITTING_VARIANT",
                         base::StrCat(name, ": needs one of ", absl::StrJoin(variant.requirements().any_isa(), ", "),
                                      "; this CPU has ", absl::StrJoin(in_.isa_features, ", ")));
    }
    ServingChoice choice;
    choice.variant = name;
    choice.digest = blob->digest();
    choice.context_tokens = ContextTokens(name);
    choice.memory.weight_bytes = variant.weight_bytes() > 0 ? variant.weight_bytes() : blob->size_bytes();
    choice.memory.scratch_bytes = registry::ScratchBytes(variant);
    FillKv(variant, &choice);
    if (choice.memory.total() > free_bytes_) {
      return base::Error(
          absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
          base::StrCat(name, ": needs ", Describe(choice.memory), ", ", base::HumanBytes(free_bytes_), " available"),
          {{"needed_bytes", base::StrCat(choice.memory.total())}, {"available_bytes", base::StrCat(free_bytes_)}});
    }
    return choice;
  }

  // Without any facts where the registry does not list the model.
  const registry::v1::Architecture& ArchitectureOf(const std::string& variant) const {
    const absl::StatusOr<registry::VariantId> id = registry::ParseVariantName(variant);
    if (!id.ok()) return registry::v1::Architecture::default_instance();
    const auto model = in_.snapshot->models.find(registry::ModelName(id->model));
    if (model == in_.snapshot->models.end()) return registry::v1::Architecture::default_instance();
    return model->second.architecture();
  }

  uint32_t ContextTokens(const std::string& variant) const {
    const uint32_t limit = in_.context_tokens > 0 ? in_.context_tokens : kDefaultContextTokens;
    const uint32_t own = ArchitectureOf(variant).context_tokens();
    return own > 0 ? std::min(limit, own) : limit;
  }

  // The registry counts in f16.
  uint64_t KvBytes(const registry::v1::Variant& variant, uint64_t tokens) const {
    const uint64_t f16 = registry::KvBytes(
        ArchitectureOf(variant.name()), variant,
        {.tokens = tokens, .sequences = in_.max_running_requests, .step_tokens = in_.step_token_budget});
    const kernels::DTypeInfo& info = kernels::Info(in_.kv_type);
    const auto in_f16 = 2 * static_cast<uint64_t>(info.block_elements),
               in_type = static_cast<uint64_t>(info.block_bytes);
    return f16 / in_f16 * in_type + (f16 % in_f16 * in_type + in_f16 - 1) / in_f16;
  }

  // The cache that is asked for, or 4 contexts, shrunk to what is left, though not below one context.
  void FillKv(const registry::v1::Variant& variant, ServingChoice* choice) const {
    uint64_t tokens = in_.kv_cache_tokens > 0 ? in_.kv_cache_tokens : 4ull * choice->context_tokens;
    const uint64_t others = choice->memory.weight_bytes + choice->memory.scratch_bytes;
    const uint64_t room = free_bytes_ - std::min(free_bytes_, others);
    if (in_.kv_cache_tokens == 0 && KvBytes(variant, tokens) > room) {
      uint64_t most = choice->context_tokens;
      while (tokens - most > 1) {  // `tokens` do not fit
        const uint64_t middle = most + (tokens - most) / 2;
        (KvBytes(variant, middle) <= room ? most : tokens) = middle;
      }
      tokens = most;
    }
    choice->kv_cache_tokens = tokens;
    choice->memory.kv_bytes = KvBytes(variant, tokens);
  }

  const ServingInputs& in_;
  uint64_t free_bytes_;
  ServingPlan plan_;
};

}  // namespace

std::string Describe(const VariantMemory& memory) {
  return base::StrCat(base::HumanBytes(memory.total()), " (weights ", base::HumanBytes(memory.weight_bytes),
                      " + KV cache ", base::HumanBytes(memory.kv_bytes), " + scratch ",
                      base::HumanBytes(memory.scratch_bytes), ")");
}

const registry::v1::BlobRef* MainBlob(const registry::v1::Variant& variant) {
  for (const registry::v1::BlobRef& blob : variant.blobs()) {
    if (blob.role() == "main") return &blob;
  }
  return variant.blobs_size() == 1 ? &variant.blobs(0) : nullptr;
}

ServingPlan PlanServing(const ServingInputs& inputs) { return Planner(inputs).Run(); }

}  // namespace linnet::worker
