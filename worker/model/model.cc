#include "worker/model/model.h"

#include <new>
#include <utility>

#include "absl/strings/str_join.h"
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
#include "worker/model/weights.h"

namespace linnet::worker {
namespace {

// All const members are constant after construction; Forward uses only decoder_.
class LoadedModel : public Model {
 public:
  LoadedModel(ModelDescription description, Weights weights, std::unique_ptr<Tokenizer> tokenizer,
              std::unique_ptr<ChatTemplate> chat_template, const Options& options, kernels::Isa isa,
              kernels::ThreadPool* pool)
      : description_(std::move(description)),
        weights_(std::move(weights)),
        tokenizer_(std::move(tokenizer)),
        chat_template_(std::move(chat_template)),
        precision_(options.precision),
        isa_(isa),
        pool_(pool),
        decoder_(description_, weights_, options.precision, options.max_step_tokens, *pool) {}

  const ModelDescription& description() const override { return description_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const ChatTemplate* chat_template() const override { return chat_template_.get(); }
  kernels::Precision precision() const override { return precision_; }
  uint64_t weight_bytes() const override { return weights_.bytes; }
  uint64_t weight_bytes_per_token() const override {
    return weights_.output == nullptr ? weights_.bytes
                                      : weights_.bytes - static_cast<uint64_t>(weights_.embedding->bytes());
  }
  std::string numerics_id() const override {
    return base::StrCat(kernels::IsaName(isa_), "-r", kernels::kKernelRevision,
                        precision_ == kernels::Precision::kReference ? "-reference-kvf32" : "-kvf16");
  }
  kernels::ThreadPool& pool() override { return *pool_; }
  int64_t max_step_tokens() const override { return decoder_.max_step_tokens(); }

  std::span<float> Forward(std::span<const BatchSpan> batch, KvCache& cache) override {
    return decoder_.Forward(batch, cache);
  }

 private:
  const ModelDescription description_;
  const Weights weights_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const std::unique_ptr<const ChatTemplate> chat_template_;
  const kernels::Precision precision_;
  const kernels::Isa isa_;
  kernels::ThreadPool* const pool_;
  Decoder decoder_;
};

absl::StatusOr<const Family*> FamilyOf(const GgufFile& file) {
  const absl::StatusOr<std::string_view> architecture = file.GetString("general.architecture");
  if (!architecture.ok()) return ModelFileError(file.path(), {std::string(architecture.status().message())});
  const Family* family = FindFamily(*architecture);
  if (family == nullptr) {
    return ModelFileError(file.path(), {base::StrCat("architecture \"", *architecture, "\" is not supported (",
                                                     absl::StrJoin(FamilyNames(), ", "), " are)")});
  }
  return family;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& path, const Options& options,
                                                   kernels::ThreadPool* pool) {
  if (options.max_step_tokens < 1) return absl::InvalidArgumentError("max_step_tokens must be at least 1");
  LINNET_ASSIGN_OR_RETURN(const kernels::Isa isa, kernels::ActiveIsa());
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(const Family* family, FamilyOf(*file));
  LINNET_ASSIGN_OR_RETURN(ModelDescription description, family->describe(*file));
  LINNET_ASSIGN_OR_RETURN(const std::vector<TensorBinding> bindings, BindTensors(*file, description, *family));
  LINNET_RETURN_IF_ERROR(CheckFits(PlanMemory(description, bindings, options.precision, options.max_step_tokens),
                                   base::DetectMemoryBudget(), path));

  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromGguf(*file));
  if (tokenizer->vocab_size() > description.vocab_size) {
    return ModelFileError(path, {base::StrCat("the tokenizer has ", tokenizer->vocab_size(),
                                              " tokens, token_embd.weight only ", description.vocab_size, " rows")});
  }
  std::unique_ptr<ChatTemplate> chat_template;
  LINNET_ASSIGN_OR_RETURN(const std::string_view source, file->GetStringOr("tokenizer.chat_template", ""));
  if (!source.empty()) {
    LINNET_ASSIGN_OR_RETURN(chat_template, ChatTemplate::Create(std::string(source), tokenizer.get()));
  }
  try {
    LINNET_ASSIGN_OR_RETURN(Weights weights,
                            LoadWeights(*file, description, bindings, options.precision, *pool, options.progress));
    return std::make_unique<LoadedModel>(std::move(description), std::move(weights), std::move(tokenizer),
                                         std::move(chat_template), options, isa, pool);
  } catch (const std::bad_alloc&) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat("memory ran out while model file ", path,
                                    " was loaded; free memory or choose a "
                                    "variant of a smaller quantization level"));
  }
}

}  // namespace linnet::worker
