// Reads a family's keys ("llama.block_count", ...) from a GGUF file and gathers every complaint, so that one error
// names them all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {

// What is wrong with a model file, all together. metadata of the error: file.
absl::Status ModelFileError(std::string_view path, const std::vector<std::string>& problems);

class GgufKeys {
 public:
  // Keys are looked up as "{architecture}.{key}". `file` must outlive the object.
  GgufKeys(const GgufFile& file, std::string_view architecture) : file_(file), architecture_(architecture) {}

  // Within [low, high]; complains and returns `low` otherwise.
  int64_t Int(std::string_view key, int64_t low, int64_t high);
  int64_t IntOr(std::string_view key, int64_t fallback, int64_t low, int64_t high);
  // One for each layer: an array of so many, or one value for all. Never empty.
  std::vector<int64_t> IntPerLayer(std::string_view key, int64_t layers, int64_t low, int64_t high);
  bool BoolOr(std::string_view key, bool fallback);
  bool Has(std::string_view key) const { return file_.metadata().contains(Name(key)); }
  double Positive(std::string_view key);
  double PositiveOr(std::string_view key, double fallback);
  std::string StringOr(std::string_view key, std::string_view fallback);
  void Complain(std::string problem) { problems_.push_back(std::move(problem)); }

  const GgufFile& file() const { return file_; }
  std::string Name(std::string_view key) const;
  absl::Status status() const;

 private:
  int64_t Checked(std::string_view key, const absl::StatusOr<int64_t>& value, int64_t low, int64_t high);
  double Checked(std::string_view key, const absl::StatusOr<double>& value);

  const GgufFile& file_;
  const std::string architecture_;
  std::vector<std::string> problems_;
};

}  // namespace linnet::worker
