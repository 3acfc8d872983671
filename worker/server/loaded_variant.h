// A variant in memory with the engine that generates on it, and how one comes to be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "worker/engine/engine.h"
#include "worker/model/model.h"
#include "worker/model/packed_cache.h"

namespace linnet::worker {

// Immutable after loading, so that any thread may read it. Owned by VariantManager, which destroys it on its loader
// thread after the last VariantRef is gone: never on the engine's own thread, which its destruction joins.
struct LoadedVariant {
  std::string name;    // "models/{model}/variants/{variant}"
  std::string digest;  // "sha256:{hex}" of its main blob
  std::string numerics_id;
  uint64_t weight_bytes = 0;  // resident
  uint64_t kv_bytes = 0;
  PackedLoad packed_load = PackedLoad::kOff;
  uint32_t max_running_requests = 0;
  uint32_t max_queued_requests = 0;

  // Declared in the order of use, so that the engine goes first.
  std::unique_ptr<Model> model;  // null where a test or the stub brings tokenizer and engine of its own
  std::unique_ptr<Tokenizer> own_tokenizer;
  std::unique_ptr<ChatTemplate> own_chat_template;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  std::unique_ptr<Engine> engine;
};

// Keeps a variant loaded while it exists.
using VariantRef = std::shared_ptr<const LoadedVariant>;

// What is to be loaded, from where and into how much.
struct LoadRequest {
  std::string variant;
  std::string digest;
  std::string path;  // of a GGUF file
  Engine::Options engine;
  kernels::DType kv_type = kernels::DType::kF16;
  // As Model::Options::verify.
  std::function<absl::Status()> verify;
};

// Used by one thread at a time.
class VariantLoader {
 public:
  virtual ~VariantLoader() = default;
  // Blocks for as long as loading takes. Errors as of Model::Load and Engine::Create.
  virtual absl::StatusOr<std::unique_ptr<LoadedVariant>> Load(const LoadRequest& request) = 0;
  // What loading leaves to be done once the variant serves, and may be given up when `interrupted` becomes true. Called
  // again and again: does nothing where nothing is left.
  virtual void Finish(LoadedVariant& variant, const std::function<bool()>& interrupted) {}
};

// Loads GGUF models that compute on `pool`, and keeps their packed weights in `packed_cache`, which may be null. Both
// must outlive the loader and what it loads.
std::unique_ptr<VariantLoader> NewGgufLoader(kernels::ThreadPool* pool, PackedCache* packed_cache);

}  // namespace linnet::worker
