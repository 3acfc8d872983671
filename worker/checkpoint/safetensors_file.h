// Reads safetensors files, memory-mapped: a length of 64 bits, a JSON object that names each tensor's type, shape and
// place, and then the data without gaps. Every field of the header is validated: a file from anywhere yields a
// SafetensorsFile or an INVALID_ARGUMENT that names file and tensor.
//
//   LINNET_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
//   const SafetensorsTensor* t = file->FindTensor("model.embed_tokens.weight");
//
// Thread-safe after Open. Spans live as long as the file object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "kernels/dtype.h"

namespace linnet::worker {

struct SafetensorsTensor {
  std::string name;
  std::string type;                 // as the format spells it: "BF16"
  std::vector<int64_t> shape;       // the last is contiguous; none: a single element
  std::span<const std::byte> data;  // not aligned
  int64_t elements() const;
  // nullopt: a type that no weights have (I64, BOOL, ...).
  std::optional<kernels::DType> dtype() const;
};

class SafetensorsFile {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  // Over bytes in memory that outlive the object (fuzzing). `name` stands in messages.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(std::span<const std::byte> bytes, std::string name);

  const std::string& path() const { return path_; }
  // In the order of their data.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  const SafetensorsTensor* FindTensor(std::string_view name) const;  // nullptr: none

  // These pages are not needed in memory any more. No effect without a mapping.
  void Release(std::span<const std::byte> part) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::unique_ptr<base::MappedFile> mapping_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string_view, size_t> by_name_;
};

}  // namespace linnet::worker
