#include "worker/model/model.h"

#include <functional>
#include <new>
#include <span>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/isa.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/decoder.h"
#include "worker/model/family.h"
#include "worker/model/gguf_keys.h"
#include "worker/model/memory_plan.h"
#include "worker/model/packed_cache.h"
#include "worker/model/weights.h"

namespace linnet::worker {
namespace {

// A model's part in the packed cache.
struct PackedUse {
  PackedLoad load = PackedLoad::kOff;
  // After a hit, and after a save: what says that the cached file is in use.
  std::unique_ptr<PackedFile> file;
  FileHandle handle;
  // After a miss, until they are saved.
  PackedCache* cache = nullptr;
  std::string key;
  SourceRest rest;
};

// All const members are constant after construction; Forward uses only decoder_, SavePacked only packed_ and weights_.
class LoadedModel : public Model {
 public:
  LoadedModel(ModelDescription description, Weights weights, PackedUse packed, std::unique_ptr<Tokenizer> tokenizer,
              std::unique_ptr<ChatTemplate> chat_template, const Options& options, kernels::Isa isa,
              kernels::ThreadPool* pool)
      : description_(std::move(description)),
        weights_(std::move(weights)),
        packed_(std::move(packed)),
        tokenizer_(std::move(tokenizer)),
        chat_template_(std::move(chat_template)),
        precision_(options.precision),
        kv_type_(options.precision == kernels::Precision::kReference ? kernels::DType::kF32 : options.kv_type),
        isa_(isa),
        pool_(pool),
        decoder_(description_, weights_, options.precision, options.max_step_tokens, *pool) {}

  const ModelDescription& description() const override { return description_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const ChatTemplate* chat_template() const override { return chat_template_.get(); }
  kernels::Precision precision() const override { return precision_; }
  kernels::DType kv_type() const override { return kv_type_; }
  uint64_t weight_bytes() const override { return weights_.bytes; }
  uint64_t weight_bytes_per_token() const override {
    return weights_.output == nullptr ? weights_.bytes
                                      : weights_.bytes - static_cast<uint64_t>(weights_.embedding->bytes());
  }
  std::string numerics_id() const override {
    return base::StrCat(kernels::IsaName(isa_), "-r", kernels::kKernelRevision,
                        precision_ == kernels::Precision::kReference ? "-reference" : "", "-kv",
                        absl::AsciiStrToLower(std::string(kernels::Info(kv_type_).name)));
  }
  kernels::ThreadPool& pool() override { return *pool_; }
  int64_t max_step_tokens() const override { return decoder_.max_step_tokens(); }

  PackedLoad packed_load() const override { return packed_.load; }
  void SavePacked(const std::function<bool()>& interrupted) override {
    if (packed_.cache == nullptr) return;
    packed_.handle = packed_.cache->Save(packed_.key, *weights_.packed, packed_.rest, interrupted);
    if (!interrupted()) packed_.cache = nullptr;
  }

  StepOutput Forward(std::span<const BatchSpan> batch, KvCache& cache) override {
    return decoder_.Forward(batch, cache);
  }

 private:
  const ModelDescription description_;
  const Weights weights_;
  PackedUse packed_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const std::unique_ptr<const ChatTemplate> chat_template_;
  const kernels::Precision precision_;
  const kernels::DType kv_type_;
  const kernels::Isa isa_;
  kernels::ThreadPool* const pool_;
  Decoder decoder_;
};

absl::Status OutOfMemory(const std::string& path) {
  return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                     base::StrCat("memory ran out while model file ", path,
                                  " was loaded; free memory or choose a "
                                  "variant of a smaller quantization level"));
}

using CheckFitsFn = std::function<absl::Status(std::span<const TensorBinding> bindings)>;

// What was packed before, where there is a cache and the file's other bytes are as they were then; else the file is
// verified.
absl::Status FindPacked(const std::string& path, const Model::Options& options, PackedUse* packed) {
  if (options.packed_cache != nullptr && options.precision == kernels::Precision::kFast) {
    packed->file = options.packed_cache->Find(options.packed_key, path);
  }
  return packed->file == nullptr && options.verify ? options.verify() : absl::OkStatus();
}

absl::StatusOr<Weights> LoadWeightsPacked(const GgufFile& file, const ModelDescription& model,
                                          std::span<const TensorBinding> bindings, const Model::Options& options,
                                          kernels::ThreadPool* pool, const CheckFitsFn& check_fits, PackedUse* packed) {
  PackedCache* const cache = options.packed_cache;
  const auto on_damage = [&](const absl::Status& why) {
    cache->Discard(options.packed_key, why);
    return options.verify ? options.verify() : absl::OkStatus();
  };
  LINNET_ASSIGN_OR_RETURN(Weights weights, LoadWeights(file, model, bindings,
                                                       {.precision = options.precision,
                                                        .pool = pool,
                                                        .packed = packed->file.get(),
                                                        .on_damage = on_damage,
                                                        .on_unshared = check_fits,
                                                        .progress = options.progress}));
  if (weights.packed_before) {
    packed->load = PackedLoad::kHit;
    cache->Count(true);
    return weights;
  }
  packed->file.reset();
  if (cache == nullptr || weights.packed->table.bytes == 0) return weights;
  packed->load = PackedLoad::kMiss;
  cache->Count(false);
  // The file is opened anew, and may be gone by now. That is no matter of the weights, which are all here.
  absl::StatusOr<SourceRest> rest = DescribeRest(file, weights.packed->table);
  if (!rest.ok()) {
    cache->NotKept(rest.status());
    return weights;
  }
  packed->cache = cache;
  packed->key = options.packed_key;
  packed->rest = *std::move(rest);
  return weights;
}

}  // namespace

std::string_view PackedLoadName(PackedLoad load) {
  switch (load) {
    case PackedLoad::kOff:
      return "off";
    case PackedLoad::kMiss:
      return "miss";
    case PackedLoad::kHit:
      return "hit";
  }
  return "off";
}

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path, const Options& options,
                                                   kernels::ThreadPool* pool) {
  if (options.max_step_tokens < 1) return absl::InvalidArgumentError("max_step_tokens must be at least 1");
  LINNET_ASSIGN_OR_RETURN(const kernels::Isa isa, kernels::ActiveIsa());
  PackedUse packed;
  LINNET_RETURN_IF_ERROR(FindPacked(path, options, &packed));
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(ModelDescription description, DescribeModel(*file));
  LINNET_ASSIGN_OR_RETURN(const std::vector<TensorBinding> bindings, BindTensors(*file, description));
  const CheckFitsFn check_fits = [&](std::span<const TensorBinding> bound) {
    return CheckFits(PlanMemory(description, bound, options.precision, options.max_step_tokens),
                     base::DetectMemoryBudget(), path);
  };
  LINNET_RETURN_IF_ERROR(check_fits(bindings));

  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromGguf(*file));
  if (tokenizer->vocab_size() > description.vocab_size) {
    return ModelFileError(
        path, {base::StrCat("the tokenizer has ", tokenizer->vocab_size(), " tokens, token_embd.weight only ",
                            description.vocab_size, " rows; convert the model again, with its own tokenizer")});
  }
  std::unique_ptr<ChatTemplate> chat_template;
  LINNET_ASSIGN_OR_RETURN(const std::string_view source, file->GetStringOr("tokenizer.chat_template", ""));
  if (!source.empty()) {
    LINNET_ASSIGN_OR_RETURN(chat_template, ChatTemplate::Create(std::string(source), tokenizer.get()));
  }
  try {
    absl::StatusOr<Weights> weights =
        LoadWeightsPacked(*file, description, bindings, options, pool, check_fits, &packed);
    if (absl::IsResourceExhausted(weights.status())) return OutOfMemory(path);
    if (!weights.ok()) return weights.status();
    return std::make_unique<LoadedModel>(std::move(description), *std::move(weights), std::move(packed),
                                         std::move(tokenizer), std::move(chat_template), options, isa, pool);
  } catch (const std::bad_alloc&) {
    return OutOfMemory(path);
  }
}

}  // namespace linnet::worker
