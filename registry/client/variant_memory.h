// What the registry's figures of a variant say about memory, for all who plan with them: Resolve and workers. They were
// computed when its file was imported, by the code that loads it. Pure functions, thread-safe.
#pragma once

#include <cstdint>

#include "linnet/registry/v1/resources.pb.h"

namespace linnet::registry {

inline constexpr uint32_t kDefaultStepTokens = 512;  // of a worker

// What a KV cache is for.
struct KvUse {
  uint64_t tokens = 0;  // of all sequences
  uint64_t sequences = 1;
  uint64_t step_tokens = kDefaultStepTokens;  // the most that is computed of a sequence at a time
};

// Bytes of an f16 cache: from the layers, some of which may keep a window or a state only; where they are not known,
// from the variant's kv_bytes_per_token.
uint64_t KvBytes(const v1::Architecture& architecture, const v1::Variant& variant, const KvUse& use);

// What loading takes besides weights and KV cache: as the variant says it, else 64 MiB.
uint64_t ScratchBytes(const v1::Variant& variant);

}  // namespace linnet::registry
