// From a folder as Hugging Face publishes it to a GGUF file, laid out as llama.cpp's converter does it.
//
//   config.json ──▶ HfDescription ─┐
//   *.safetensors ──▶ Checkpoint ──┴▶ TensorPlan ──▶ StreamTensor, tensor by tensor ──▶ GgufWriter
//   tokenizer.json, ... ──▶ GgufMetadata ───────────────────────────────────────────────┘
//
// Weights keep their values: matrices their type, everything else goes to f32. Memory: a few MiB, besides the
// tokenizer.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace linnet::worker {

// Higher whenever the same folder would become another file: what was converted before is then converted anew.
inline constexpr int kConverterRevision = 3;

struct ConvertOptions {
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // of the new file; calling thread
  std::stop_token stop;
};

struct ConvertReport {
  std::string architecture;  // general.architecture
  std::string name;          // general.name
  size_t tensors = 0;
  uint64_t file_bytes = 0;
  std::vector<std::string> notes;  // what was left out, or could not be said in GGUF
};

// INVALID_ARGUMENT INVALID_MODEL_FILE with everything that is wrong with the checkpoint; CANCELLED; RESOURCE_EXHAUSTED
// OUT_OF_DISK. Only success leaves a file at `path`.
absl::StatusOr<ConvertReport> ConvertCheckpoint(const std::string& dir, const std::string& path,
                                                const ConvertOptions& options);

}  // namespace linnet::worker
