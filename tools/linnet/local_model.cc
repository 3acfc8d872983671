#include "tools/linnet/local_model.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/convert.h"
#include "tools/linnet/progress.h"
#include "worker/checkpoint/checkpoint.h"

namespace linnet::cli {
namespace {

constexpr uint64_t kMaxTokensFileBytes = 64 << 20;

}  // namespace

void AddLocalModelOptions(CLI::App* command, LocalModelOptions& options) {
  command->add_option("--model", options.model, "Model file (GGUF), or Hugging Face folder")->required();
  command->add_option("--threads", options.threads, "Compute threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--reference", options.reference,
                    "Compute with dequantized weights in f32: slower, larger, the yardstick");
  command->add_option("--kv-cache-type", options.kv_cache_type, "Of keys and values: f16, or q8_0, half as large")
      ->check(CLI::IsMember({"f16", "q8_0"}))
      ->capture_default_str();
  command
      ->add_option("--packed-cache", options.packed_cache,
                   "Keep the weights packed for this CPU in a folder, for faster loads (default: nowhere)")
      ->type_name("DIR");
}

absl::StatusOr<std::string> ModelFile(const std::string& path, const CommandContext& context) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return base::ErrnoStatus(errno, "open", path);
  if (!S_ISDIR(info.st_mode)) return path;
  if (worker::IsCheckpoint(path)) return ConvertOnce(context, path);
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     base::StrCat(path,
                                  " is a folder without a config.json. Give a GGUF file, or a folder as Hugging Face "
                                  "publishes models: config.json, safetensors files and tokenizer.json"),
                     {{"file", path}});
}

absl::StatusOr<LocalModel> LoadLocalModel(const LocalModelOptions& options, const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(const std::string path, ModelFile(options.model, context));
  LocalModel local;
  const int threads = options.threads > 0 ? options.threads : base::DetectCpuBudget().threads;
  local.pool = std::make_unique<kernels::ThreadPool>(threads);
  Progress progress("loading", context.quiet);
  const int64_t start = base::Clock::Real()->MonotonicNs();
  worker::Model::Options load = {
      .precision = options.reference ? kernels::Precision::kReference : kernels::Precision::kFast,
      .progress = [&progress](uint64_t done, uint64_t total) { progress.Update(done, total); }};
  if (options.kv_cache_type == "q8_0") load.kv_type = kernels::DType::kQ8_0;
  if (!options.packed_cache.empty()) {
    local.packed_cache = worker::PackedCache::Open({.dir = options.packed_cache});
    load.packed_cache = local.packed_cache.get();
    LINNET_ASSIGN_OR_RETURN(load.packed_key, worker::PackedKeyOfFile(path));
  }
  LINNET_ASSIGN_OR_RETURN(local.model, worker::Model::Load(path, load, local.pool.get()));
  local.load_ms = absl::ToDoubleMilliseconds(base::Clock::Real()->Since(start));
  progress.Finish();
  local.model->SavePacked([] { return false; });
  return local;
}

absl::StatusOr<std::vector<worker::TokenId>> ReadTokensFile(const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(const std::string content, base::ReadFile(path, kMaxTokensFileBytes));
  const auto json = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) {
    return UsageError(base::StrCat(path, " must hold a JSON array of token ids, such as [1, 2, 3]"));
  }
  std::vector<worker::TokenId> tokens;
  tokens.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    if (!json[i].is_number_integer() || json[i] < 0 || json[i] > int64_t{1} << 30) {
      return UsageError(base::StrCat(path, ": element ", i, " is not a token id: ", json[i].dump()));
    }
    tokens.push_back(json[i].get<worker::TokenId>());
  }
  return tokens;
}

absl::Status CheckTokens(const std::vector<worker::TokenId>& tokens, const worker::Model& model) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= model.description().vocab_size) {
      return UsageError(base::StrCat("token ", i, " is ", tokens[i], "; this model's ids go from 0 to ",
                                     model.description().vocab_size - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace linnet::cli
