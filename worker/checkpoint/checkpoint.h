// A model as Hugging Face publishes it: a folder with config.json and its weights in safetensors files, one or many
// with an index. Opening reads headers alone.
//
// Thread-safe after Open. Tensors live as long as the object.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/safetensors_file.h"

namespace linnet::worker {

struct CheckpointTensor {
  const SafetensorsTensor* tensor = nullptr;
  const SafetensorsFile* file = nullptr;
};

class Checkpoint {
 public:
  // INVALID_ARGUMENT INVALID_MODEL_FILE: no weights, or in a form that is a program (pickle), a file that the index
  // names is missing, a tensor is not in the file where the index has it, or is in two files.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);

  const std::string& dir() const { return dir_; }
  const std::map<std::string, CheckpointTensor, std::less<>>& tensors() const { return tensors_; }

 private:
  explicit Checkpoint(std::string dir) : dir_(std::move(dir)) {}
  absl::Status OpenFiles(const std::vector<std::string>& names);
  absl::Status CheckIndex(const std::map<std::string, std::string>& index);

  const std::string dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, CheckpointTensor, std::less<>> tensors_;
};

// A folder with a config.json.
bool IsCheckpoint(const std::string& path);
// Paths of everything in the folder that its conversion may read, sorted.
absl::StatusOr<std::vector<std::string>> CheckpointFiles(const std::string& dir);

}  // namespace linnet::worker
