// A model in memory: description, weights, tokenizer, chat template, and the one decoder that runs it.
//
//   LINNET_ASSIGN_OR_RETURN(auto model, Model::Load(path, {.precision = kernels::Precision::kFast}, &pool));
//   LINNET_ASSIGN_OR_RETURN(auto cache, KvCache::Create(model->description(), model->kv_type(), blocks));
//   KvSequence sequence;
//   cache->Reserve(sequence, tokens.size());
//   const BatchSpan span = {.tokens = tokens, .kv = &sequence};
//   std::span<const float> logits = model->Forward({&span, 1}, *cache).logits;
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/matrix.h"
#include "kernels/thread_pool.h"
#include "worker/model/batch.h"
#include "worker/model/description.h"
#include "worker/model/kv_cache.h"
#include "worker/text/chat_template.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

class PackedCache;

enum class PackedLoad {
  kOff,   // no cache, or nothing that is packed
  kMiss,  // packed now
  kHit,   // read from the packed cache
};
std::string_view PackedLoadName(PackedLoad load);  // "off", "miss", "hit"

class Model {
 public:
  struct Options {
    kernels::Precision precision = kernels::Precision::kFast;
    // The most tokens that one Forward takes; scratch memory is sized for it.
    int64_t max_step_tokens = 512;
    // Called from the loading thread with what is done so far, in bytes of weights.
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
    // What its KV cache holds: kF16 or kQ8_0. Always kF32 in reference precision.
    kernels::DType kv_type = kernels::DType::kF16;
    // Where packed weights are kept from load to load, and under which key: the file's digest. Null: nowhere.
    PackedCache* packed_cache = nullptr;
    std::string packed_key;
    // Whether the file's content is what it should be; asked before anything is taken from it that the packed cache
    // does not vouch for, and not at all where that is everything. Null: it is believed.
    std::function<absl::Status()> verify;
  };
  // INVALID_ARGUMENT INVALID_MODEL_FILE: lists every missing, unexpected or misshapen tensor.
  // RESOURCE_EXHAUSTED OUT_OF_MEMORY: the plan with its numbers. What `verify` says.
  // `pool` must outlive the model.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, const Options& options,
                                                     kernels::ThreadPool* pool);
  virtual ~Model() = default;

  virtual const ModelDescription& description() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ChatTemplate* chat_template() const = 0;  // nullptr: the file has none
  virtual kernels::Precision precision() const = 0;
  virtual uint64_t weight_bytes() const = 0;  // resident
  // Of those, what one decoded token reads: all but the embedding table where that is not the output matrix too.
  virtual uint64_t weight_bytes_per_token() const = 0;
  // ISA path, kernel revision and KV type: "avx512_vnni-r3-kvf16"
  virtual std::string numerics_id() const = 0;
  virtual kernels::ThreadPool& pool() = 0;
  virtual int64_t max_step_tokens() const = 0;
  virtual kernels::DType kv_type() const = 0;  // of the KV cache that Forward takes

  // How it came by its packed weights.
  virtual PackedLoad packed_load() const { return PackedLoad::kOff; }
  // After a kMiss: writes them to the cache that it was loaded with, which must still be there. Takes as long as the
  // disk does, and may run beside Forward; `interrupted`, asked often, ends it early. Otherwise does nothing, as a
  // second call does. One thread at a time.
  virtual void SavePacked(const std::function<bool()>& interrupted) {}

  // Computes one batch, writes keys and values to the cache. Not thread-safe: one thread at a time. REQUIRES: at most
  // max_step_tokens() tokens together, ids within the vocabulary, cache of kv_type().
  virtual StepOutput Forward(std::span<const BatchSpan> batch, KvCache& cache) = 0;
};

}  // namespace linnet::worker
