// A request on its way through the engine. Owned by the engine's thread once it left the inbox.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "worker/engine/engine.h"
#include "worker/model/kv_cache.h"
#include "worker/text/stream_decoder.h"

namespace linnet::worker {

struct Sequence {
  Sequence(uint64_t id, EngineRequest r, std::shared_ptr<EngineSink> s, const Tokenizer* tokenizer)
      : id(id),
        request(std::move(r)),
        sink(std::move(s)),
        tokens(request.prompt),
        decoder(tokenizer, request.stop_texts) {}

  uint64_t id;
  const EngineRequest request;
  const std::shared_ptr<EngineSink> sink;

  std::vector<TokenId> tokens;  // prompt, then what was generated
  uint32_t computed = 0;        // of tokens: their keys and values are in the cache
  uint32_t max_total = 0;       // of tokens: where generation ends at the latest
  KvSequence kv;
  StreamDecoder decoder;

  int64_t deadline_ns = std::numeric_limits<int64_t>::max();  // Clock::MonotonicNs
  static constexpr int64_t kNotYet = -1;
  int64_t submitted_ns = 0, admitted_ns = kNotYet, first_token_ns = kNotYet;

  uint32_t prompt_tokens() const { return static_cast<uint32_t>(request.prompt.size()); }
  uint32_t completion_tokens() const { return static_cast<uint32_t>(tokens.size() - request.prompt.size()); }
  // Tokens that are known and not computed: prompt tokens, or the one generated last.
  uint32_t pending() const { return static_cast<uint32_t>(tokens.size()) - computed; }
  bool decoding() const { return completion_tokens() > 0; }
};

}  // namespace linnet::worker
