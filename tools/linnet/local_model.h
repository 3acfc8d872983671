// A model file opened in this process, for the commands that need no server.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/command.h"
#include "worker/model/model.h"
#include "worker/model/packed_cache.h"

namespace linnet::cli {

struct LocalModelOptions {
  std::string model;
  int threads = 0;  // 0: as many as this process may use
  bool reference = false;
  std::string kv_cache_type = "f16";
  std::string packed_cache;  // folder; empty: none
};
// --model, --threads, --reference, --kv-cache-type, --packed-cache
void AddLocalModelOptions(CLI::App* command, LocalModelOptions& options);

struct LocalModel {
  std::unique_ptr<kernels::ThreadPool> pool;          // outlives the model
  std::unique_ptr<worker::PackedCache> packed_cache;  // as well; null: none
  std::unique_ptr<worker::Model> model;
  double load_ms = 0;
};
// Shows a progress bar where that takes long.
absl::StatusOr<LocalModel> LoadLocalModel(const LocalModelOptions& options, const CommandContext& context);
// The GGUF file that `path` is, or that the Hugging Face folder there is converted to (convert.h).
absl::StatusOr<std::string> ModelFile(const std::string& path, const CommandContext& context);

// A JSON array of token ids; INVALID_ARGUMENT names file and element.
absl::StatusOr<std::vector<worker::TokenId>> ReadTokensFile(const std::string& path);
// Ids within the model's vocabulary.
absl::Status CheckTokens(const std::vector<worker::TokenId>& tokens, const worker::Model& model);

}  // namespace linnet::cli
