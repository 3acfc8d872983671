// One step's work for the decoder: which tokens of which sequences.
#pragma once

#include <cstdint>
#include <span>

#include "worker/model/kv_cache.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// The tokens of one sequence that one step computes: positions first_position ... + tokens.size() - 1.
struct BatchSpan {
  std::span<const TokenId> tokens;  // at least one
  int64_t first_position = 0;
  const KvSequence* kv = nullptr;  // blocks for all those positions are allocated
  // Logits wanted: of the last token (decode, end of prefill), of every token (scoring), or of none (earlier chunks).
  enum class Logits { kNone, kLast, kAll } logits = Logits::kLast;

  int64_t logit_rows() const {
    switch (logits) {
      case Logits::kNone:
        return 0;
      case Logits::kLast:
        return 1;
      case Logits::kAll:
        return static_cast<int64_t>(tokens.size());
    }
    return 0;
  }
};

}  // namespace linnet::worker
