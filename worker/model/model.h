// A model in memory: description, weights, tokenizer, chat template, and the one decoder that runs it.
//
//   LINNET_ASSIGN_OR_RETURN(auto model, Model::Load(path, {.precision = kernels::Precision::kFast}, &pool));
//   KvCache cache(model->description(), {...});
//   model->Forward(batch, ...);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"
#include "kernels/thread_pool.h"
#include "worker/model/description.h"
#include "worker/model/kv_cache.h"
#include "worker/text/chat_template.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

// The tokens of one sequence that one step computes: positions first_position ... + tokens.size() - 1.
struct BatchSpan {
  std::span<const TokenId> tokens;
  int64_t first_position = 0;
  const KvSequence* kv = nullptr;  // blocks for all those positions are allocated
  // Logits wanted: of the last token (decode, end of prefill), of every token (scoring), or of none (earlier chunks).
  enum class Logits { kNone, kLast, kAll } logits = Logits::kLast;
};

class Model {
 public:
  struct Options {
    kernels::Precision precision = kernels::Precision::kFast;
    // Called from the loading thread with what is done so far, in bytes of weights.
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
  };
  // INVALID_ARGUMENT INVALID_MODEL_FILE: lists every missing, unexpected or misshapen tensor.
  // RESOURCE_EXHAUSTED OUT_OF_MEMORY: the plan with its numbers.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, const Options& options,
                                                     kernels::ThreadPool* pool);
  virtual ~Model() = default;

  virtual const ModelDescription& description() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ChatTemplate* chat_template() const = 0;  // nullptr: the file has none
  virtual kernels::Precision precision() const = 0;
  virtual uint64_t weight_bytes() const = 0;              // resident
  // ISA path, kernel revision and KV type: "avx512_vnni-r1-kvf16"
  virtual std::string numerics_id() const = 0;
  virtual kernels::ThreadPool& pool() = 0;

  // Computes one batch, writes keys and values to the cache. logits: [rows wanted, vocab] f32 in span order, valid until
  // the next call. Not thread-safe: one thread at a time.
  virtual std::span<const float> Forward(std::span<const BatchSpan> batch, KvCache& cache) = 0;
};

}  // namespace linnet::worker
