#include "worker/server/loaded_variant.h"

#include <utility>

#include "base/status_macros.h"
#include "worker/model/kv_cache.h"

namespace linnet::worker {
namespace {

class GgufLoader : public VariantLoader {
 public:
  GgufLoader(kernels::ThreadPool* pool, PackedCache* packed_cache) : pool_(pool), packed_cache_(packed_cache) {}

  absl::StatusOr<std::unique_ptr<LoadedVariant>> Load(const LoadRequest& request) override {
    auto loaded = std::make_unique<LoadedVariant>();
    loaded->name = request.variant;
    loaded->digest = request.digest;
    loaded->max_running_requests = request.engine.max_running_requests;
    loaded->max_queued_requests = request.engine.max_queued_requests;
    Model::Options options;
    options.max_step_tokens = request.engine.step_token_budget;
    options.kv_type = request.kv_type;
    options.packed_cache = packed_cache_;
    options.packed_key = request.digest;
    options.verify = request.verify;
    LINNET_ASSIGN_OR_RETURN(loaded->model, Model::Load(request.path, options, pool_));
    loaded->numerics_id = loaded->model->numerics_id();
    loaded->weight_bytes = loaded->model->weight_bytes();
    loaded->packed_load = loaded->model->packed_load();
    loaded->tokenizer = &loaded->model->tokenizer();
    loaded->chat_template = loaded->model->chat_template();
    LINNET_ASSIGN_OR_RETURN(loaded->engine, Engine::Create(loaded->model.get(), request.engine));
    loaded->kv_bytes = loaded->engine->Load().kv_bytes;
    return loaded;
  }

  void Finish(LoadedVariant& variant, const std::function<bool()>& interrupted) override {
    if (variant.model != nullptr) variant.model->SavePacked(interrupted);
  }

 private:
  kernels::ThreadPool* const pool_;
  PackedCache* const packed_cache_;
};

}  // namespace

std::unique_ptr<VariantLoader> NewGgufLoader(kernels::ThreadPool* pool, PackedCache* packed_cache) {
  return std::make_unique<GgufLoader>(pool, packed_cache);
}

}  // namespace linnet::worker
