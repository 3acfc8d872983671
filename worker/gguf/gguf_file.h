// Reads GGUF model files (v2 and v3; the format is specified in ggml's docs/gguf.md), memory-mapped. Every field of the
// header is validated: a file from anywhere yields a GgufFile or an INVALID_ARGUMENT that names file, key and offset.
//
//   LINNET_ASSIGN_OR_RETURN(auto file, GgufFile::Open(path));
//   LINNET_ASSIGN_OR_RETURN(std::string family, file->GetString("general.architecture"));
//   const GgufTensor* t = file->FindTensor("token_embd.weight");
//
// Thread-safe after Open. Spans and string_views live as long as the file object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "kernels/dtype.h"

namespace linnet::worker {

struct GgufTensor {
  std::string name;
  kernels::DType type;
  // As GGUF orders them: dims[0] is the contiguous one (columns), dims[1] the rows. 1 to 4 of them, all > 0.
  std::vector<int64_t> dims;
  std::span<const std::byte> data;
  int64_t elements() const;
};

using GgufArray =
    std::variant<std::vector<int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string_view>>;
// Integers of all widths widen to int64 (uint64 above 2^63-1 is refused), floats to double.
using GgufValue = std::variant<int64_t, double, bool, std::string_view, GgufArray>;

// A metadata entry as it lies in the file.
struct GgufEntry {
  std::string_view key;
  std::span<const std::byte> encoded;  // type and value
};

class GgufFile {
 public:
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  // Over bytes in memory that outlive the object (fuzzing). `name` stands in messages.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::span<const std::byte> bytes, std::string name);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  // The same in the order of the file, for whoever copies it.
  const std::vector<GgufEntry>& entries() const { return entries_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;  // nullptr: none
  uint64_t file_bytes() const { return bytes_.size(); }
  std::span<const std::byte> bytes() const { return bytes_; }

  // INVALID_ARGUMENT where the key is missing or of another type; the *Or forms take the default where it is missing.
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key) const;
  absl::StatusOr<double> GetDouble(std::string_view key) const;  // an integer will do
  absl::StatusOr<std::string_view> GetStringOr(std::string_view key, std::string_view fallback) const;
  absl::StatusOr<int64_t> GetIntOr(std::string_view key, int64_t fallback) const;
  absl::StatusOr<double> GetDoubleOr(std::string_view key, double fallback) const;
  absl::StatusOr<bool> GetBoolOr(std::string_view key, bool fallback) const;
  // nullptr where the key is missing.
  absl::StatusOr<const std::vector<std::string_view>*> FindStrings(std::string_view key) const;
  absl::StatusOr<const std::vector<int64_t>*> FindInts(std::string_view key) const;
  absl::StatusOr<const std::vector<double>*> FindDoubles(std::string_view key) const;

  // These pages are not needed in memory any more / soon. No effect without a mapping.
  void Release(const GgufTensor& tensor) const;
  void Release(std::span<const std::byte> part) const;  // of the file
  void WillNeed(std::span<const std::byte> part) const;

 private:
  GgufFile() = default;
  std::string path_;
  std::unique_ptr<base::MappedFile> mapping_;
  std::span<const std::byte> bytes_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace linnet::worker
