#include "registry/resolve/resolve.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/human.h"
#include "base/saturating.h"
#include "base/strings.h"
#include "registry/client/variant_memory.h"

namespace linnet::registry {
namespace {

double BitsPerWeight(const v1::Architecture& architecture, const v1::Variant& variant) {
  uint64_t elements = architecture.parameters();
  if (elements == 0) {
    for (const auto& [type, count] : variant.tensor_types()) elements = base::SaturatingAdd(elements, count);
  }
  // Without any count the size itself ranks: all variants are of one model.
  const double bits = 8.0 * static_cast<double>(variant.weight_bytes());
  return elements == 0 ? bits : bits / static_cast<double>(elements);
}

v1::Fit Predict(const v1::Architecture& architecture, const v1::Variant& variant, const v1::DeviceProfile& profile,
                uint32_t context) {
  v1::Fit fit;
  *fit.mutable_variant() = variant;
  fit.set_weight_bytes(variant.weight_bytes());
  fit.set_kv_bytes(KvBytes(architecture, variant, {.tokens = context}));
  fit.set_scratch_bytes(ScratchBytes(variant));
  fit.set_memory_bytes(
      base::SaturatingAdd(base::SaturatingAdd(fit.weight_bytes(), fit.kv_bytes()), fit.scratch_bytes()));

  const uint64_t read = variant.bytes_per_token() > 0 ? variant.bytes_per_token() : variant.weight_bytes();
  const double bytes = static_cast<double>(read) + static_cast<double>(fit.kv_bytes()) / 2;
  if (bytes > 0) {
    fit.set_decode_tokens_per_second(kBandwidthFraction * profile.memory_bandwidth_bytes_per_second() / bytes);
  }
  if (architecture.parameters() > 0) {
    fit.set_prefill_tokens_per_second(kComputeFraction * profile.int8_ops_per_second() /
                                      (2.0 * static_cast<double>(architecture.parameters())));
  }
  return fit;
}

// Empty: it fits.
std::string WhyNotMemory(const v1::Fit& fit, uint64_t available, std::string_view whose) {
  if (fit.memory_bytes() <= available) return "";
  return base::StrCat("needs ", base::HumanBytes(fit.memory_bytes()), " (weights ",
                      base::HumanBytes(fit.weight_bytes()), " + KV cache ", base::HumanBytes(fit.kv_bytes()),
                      " + scratch ", base::HumanBytes(fit.scratch_bytes()), "), ", base::HumanBytes(available), " ",
                      whose);
}

std::string WhyNotIsa(const v1::Variant& variant, const v1::DeviceProfile& profile) {
  const auto& any = variant.requirements().any_isa();
  if (any.empty()) return "";
  for (const std::string& wanted : any) {
    if (std::find(profile.isa_features().begin(), profile.isa_features().end(), wanted) !=
        profile.isa_features().end()) {
      return "";
    }
  }
  const std::string has = profile.isa_features().empty() ? "none" : absl::StrJoin(profile.isa_features(), ", ");
  return base::StrCat("needs a CPU with one of: ", absl::StrJoin(any, ", "), "; the device has: ", has);
}

std::string WhyNotSpeed(const v1::Fit& fit, const v1::DeviceProfile& profile, const v1::Constraints& constraints) {
  if (const double wanted = constraints.min_decode_tokens_per_second(); wanted > 0) {
    if (fit.decode_tokens_per_second() <= 0) {
      return absl::StrFormat(
          "must decode %.1f tokens/s, but profile %s has no memory bandwidth; run `linnet profile "
          "detect` on the device",
          wanted, profile.name());
    }
    if (fit.decode_tokens_per_second() < wanted) {
      return absl::StrFormat("must decode %.1f tokens/s, %.1f predicted", wanted, fit.decode_tokens_per_second());
    }
  }
  if (const double wanted = constraints.max_time_to_first_token_seconds(); wanted > 0) {
    if (fit.prefill_tokens_per_second() <= 0) {
      return absl::StrFormat(
          "must give the first token within %.2f s, but profile %s has no int8 throughput; run "
          "`linnet profile detect` on the device",
          wanted, profile.name());
    }
    const double predicted = kFirstTokenPromptTokens / fit.prefill_tokens_per_second();
    if (predicted > wanted) {
      return absl::StrFormat("must give the first token of a %d token prompt within %.2f s, %.2f s predicted",
                             kFirstTokenPromptTokens, wanted, predicted);
    }
  }
  return "";
}

}  // namespace

uint32_t ContextTokens(const v1::Architecture& architecture, const v1::Constraints& constraints) {
  if (constraints.context_tokens() > 0) return constraints.context_tokens();
  constexpr uint32_t kDefault = 4096;
  return architecture.context_tokens() == 0 ? kDefault : std::min(kDefault, architecture.context_tokens());
}

v1::ResolveResponse Resolve(const v1::Architecture& architecture, std::span<const v1::Variant> variants,
                            const v1::DeviceProfile& profile, const v1::Constraints& constraints,
                            uint64_t available_memory_bytes) {
  const uint32_t context = ContextTokens(architecture, constraints);
  uint64_t available = available_memory_bytes > 0 ? available_memory_bytes : profile.memory_bytes();
  if (available == 0) available = std::numeric_limits<uint64_t>::max();
  const bool limited = constraints.max_memory_bytes() > 0 && constraints.max_memory_bytes() < available;
  if (limited) available = constraints.max_memory_bytes();

  v1::ResolveResponse response;
  for (const v1::Variant& variant : variants) {
    v1::Fit fit = Predict(architecture, variant, profile, context);
    std::string reason;
    if (architecture.context_tokens() > 0 && context > architecture.context_tokens()) {
      reason = base::StrCat("needs a context of ", context, " tokens, the model has ", architecture.context_tokens());
    }
    if (reason.empty()) reason = WhyNotIsa(variant, profile);
    if (reason.empty()) reason = WhyNotMemory(fit, available, limited ? "allowed by max_memory_bytes" : "available");
    if (reason.empty()) reason = WhyNotSpeed(fit, profile, constraints);
    if (reason.empty()) {
      *response.add_fits() = std::move(fit);
      continue;
    }
    v1::Refusal* refusal = response.add_refusals();
    refusal->set_variant(variant.name());
    refusal->set_reason(std::move(reason));
    refusal->set_needed_bytes(fit.memory_bytes());
    refusal->set_available_bytes(available);
  }
  const auto rank = [&](const v1::Fit& fit) {
    return std::tuple(-BitsPerWeight(architecture, fit.variant()), -fit.decode_tokens_per_second(), fit.memory_bytes(),
                      std::string_view(fit.variant().name()));
  };
  std::sort(response.mutable_fits()->begin(), response.mutable_fits()->end(),
            [&](const v1::Fit& a, const v1::Fit& b) { return rank(a) < rank(b); });
  return response;
}

}  // namespace linnet::registry
