// Writes GGUF v3 model files, tensor by tensor: neither the file nor a tensor is ever whole in memory.
//
//   GgufMetadata metadata = GgufMetadata::CopyOf(source);
//   metadata.SetU32("general.file_type", 2);
//   LINNET_ASSIGN_OR_RETURN(auto writer, GgufWriter::Create(path, metadata, tensors));
//   for (...) LINNET_RETURN_IF_ERROR(writer->Append(piece));  // data of all tensors in order, in pieces of any size
//   LINNET_RETURN_IF_ERROR(writer->Finish());
//
// `path` appears with Finish, whole and synced, or not at all: what is written before has no name in the file system
// where that is possible (O_TMPFILE), so that not even kill -9 leaves a part behind, and a temporary name otherwise,
// which the destructor removes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {

// Keys and values in the order of the file. Setting a key that is there replaces its value in place.
class GgufMetadata {
 public:
  // Values keep the types that they have in the file.
  static GgufMetadata CopyOf(const GgufFile& file);

  void SetString(std::string_view key, std::string_view value);
  void SetU32(std::string_view key, uint32_t value);
  void SetU64(std::string_view key, uint64_t value);
  void SetF32(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetStrings(std::string_view key, const std::vector<std::string>& values);
  void SetI32s(std::string_view key, const std::vector<int32_t>& values);
  void SetF32s(std::string_view key, const std::vector<float>& values);
  void SetU8s(std::string_view key, std::string_view bytes);
  void Remove(std::string_view key);
  bool Has(std::string_view key) const { return Find(key) != entries_.size(); }

  size_t size() const { return entries_.size(); }
  // Of the header.
  std::string Encode() const;
  // A whole file that has these and no tensors.
  std::string AsFile() const;

 private:
  // Type, then the value, both as the file holds them.
  void SetEncoded(std::string_view key, std::string encoded);
  size_t Find(std::string_view key) const;
  std::vector<std::pair<std::string, std::string>> entries_;
};

// A tensor to come.
struct GgufTensorPlan {
  std::string name;
  kernels::DType type = kernels::DType::kF32;
  std::vector<int64_t> dims;  // dims[0] contiguous, a multiple of the type's block
  int64_t elements() const;
  uint64_t bytes() const { return static_cast<uint64_t>(kernels::BytesFor(type, elements())); }
};

// What stands before the data: header, metadata and the list of tensors, up to the border where the data begin.
// `data_bytes` gets what comes behind it.
std::string EncodeGgufHeader(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                             uint64_t* data_bytes);

// For one thread.
class GgufWriter {
 public:
  // Reserves the disk space of the whole file where the file system can: RESOURCE_EXHAUSTED OUT_OF_DISK comes now and
  // not after an hour of work.
  static absl::StatusOr<std::unique_ptr<GgufWriter>> Create(const std::string& path, const GgufMetadata& metadata,
                                                            const std::vector<GgufTensorPlan>& tensors);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // The next bytes. REQUIRES: they belong to one tensor.
  absl::Status Append(std::span<const std::byte> data);
  // REQUIRES: every tensor is complete. Replaces what is at `path`.
  absl::Status Finish();

  uint64_t file_bytes() const { return file_bytes_; }

 private:
  explicit GgufWriter(std::string path) : path_(std::move(path)) {}
  absl::Status Open();
  absl::Status Reserve();
  absl::Status Write(std::string_view bytes);

  const std::string path_;
  std::string temporary_;  // while it has a name
  int fd_ = -1;
  uint64_t file_bytes_ = 0;
  std::vector<uint64_t> tensor_bytes_;
  size_t tensor_ = 0;  // the one that Append continues
  uint64_t written_of_tensor_ = 0;
};

}  // namespace linnet::worker
