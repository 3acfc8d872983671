// Which variants of a model fit a device: a pure function of what the registry knows. Thread-safe.
//
// A variant fits when
//   - the device has one of the ISA features that it asks for (any, where it asks for none),
//   - weights + KV cache for the context + scratch (registry/client/variant_memory.h) are at most the memory available
//   and constraints.max_memory_bytes,
//   - the speed constraints hold; a speed that is not known does not satisfy a constraint on it.
//
// Speeds are predicted by a roofline of the profile (Williams, Waterman, Patterson 2009), with what fraction of it
// real runs reach:
//   decode  = 0.7 × bandwidth / (bytes per token + KV bytes of half the context)
//   prefill = 0.5 × int8 operations / (2 × parameters)
// and are zero where the profile lacks the figure. Such fits say measured = false.
//
// Fits are ranked by quality, best first: more bits per weight, then faster decode, then less memory, then name.
// Refusals are in the order of the variants given.
#pragma once

#include <cstdint>
#include <span>

#include "linnet/registry/v1/registry.pb.h"

namespace linnet::registry {

inline constexpr double kBandwidthFraction = 0.7;
inline constexpr double kComputeFraction = 0.5;
// What max_time_to_first_token_seconds is about.
inline constexpr uint32_t kFirstTokenPromptTokens = 512;

// The context that memory is planned for: constraints.context_tokens, else min(4096, the model's). Never 0.
uint32_t ContextTokens(const v1::Architecture& architecture, const v1::Constraints& constraints);

// `available_memory_bytes` 0: the profile's whole memory; a profile without memory_bytes refuses nothing for memory.
v1::ResolveResponse Resolve(const v1::Architecture& architecture, std::span<const v1::Variant> variants,
                            const v1::DeviceProfile& profile, const v1::Constraints& constraints,
                            uint64_t available_memory_bytes);

}  // namespace linnet::registry
