// A GGUF file of which only the header exists: metadata and tensors without their data, so that whatever reads no
// weights (describing, planning) works on models that are not there. The data are address space that no memory stands
// behind and read as zeros, but for those of small tensors that are given (factors of RoPE, which describe a model).
//
//   LINNET_ASSIGN_OR_RETURN(auto outline, GgufOutline::Create("qwen2-1.5b", metadata, tensors));
//   LINNET_ASSIGN_OR_RETURN(auto description, DescribeModel(outline->file()));
//
// Thread-safe after Create.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

class GgufOutline {
 public:
  // `name` stands in messages in place of a path. RESOURCE_EXHAUSTED OUT_OF_MEMORY where the address space cannot be
  // had; what GgufFile::Parse says. REQUIRES: `data` are of tensors in the list, each of the size that it has there.
  using Data = std::map<std::string, std::span<const std::byte>>;
  static absl::StatusOr<std::unique_ptr<GgufOutline>> Create(std::string name, const GgufMetadata& metadata,
                                                             const std::vector<GgufTensorPlan>& tensors,
                                                             const Data& data = {});
  ~GgufOutline();
  GgufOutline(const GgufOutline&) = delete;
  GgufOutline& operator=(const GgufOutline&) = delete;

  const GgufFile& file() const { return *file_; }

 private:
  GgufOutline() = default;
  // Makes the pages of `part` writable and copies `bytes` there; errno where that fails, 0 otherwise.
  int Write(const std::byte* part, std::span<const std::byte> bytes);
  std::byte* memory_ = nullptr;  // mmap
  size_t bytes_ = 0;
  std::unique_ptr<GgufFile> file_;
};

}  // namespace linnet::worker
