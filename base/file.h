// Files: whole reads, durable writes, read-only mappings. Errors name the path and say what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::base {

// errno as a Status: ENOSPC -> RESOURCE_EXHAUSTED/OUT_OF_DISK, ENOENT -> NOT_FOUND, EACCES/EROFS -> PERMISSION_DENIED,
// ... `what`: "open", "write to", ...
absl::Status ErrnoStatus(int error, std::string_view what, const std::string& path);

// RESOURCE_EXHAUSTED above max_bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = 64 << 20);
// All of it, to an open file (at its position); `path` is for the message.
absl::Status WriteAll(int fd, std::string_view content, const std::string& path);
// Temporary file, fsync, rename, fsync of the folder: after it returns, the content survives a power cut.
absl::Status WriteFileDurably(const std::string& path, std::string_view content);
absl::Status MakeDirs(const std::string& path);
absl::Status SyncDir(const std::string& path);

// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }
  // Lets the kernel drop these pages from memory; they are read again when touched.
  void Release(std::span<const std::byte> part) const;
  // Tells the kernel that these pages are wanted soon.
  void WillNeed(std::span<const std::byte> part) const;

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}
  const std::string path_;
  const std::span<const std::byte> bytes_;
};

}  // namespace linnet::base
