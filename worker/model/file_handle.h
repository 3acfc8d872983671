// An open file, closed with the object (and with it goes its lock). Reads and writes at positions, all or an error that
// names the file. Thread-safe, as the system's calls are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker {

class FileHandle {
 public:
  static absl::StatusOr<FileHandle> OpenToRead(const std::string& path);
  // A new file whose name begins with `prefix`; path() says which.
  static absl::StatusOr<FileHandle> CreateTemporary(const std::string& prefix);
  FileHandle() = default;
  ~FileHandle();
  FileHandle(FileHandle&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }

  const std::string& path() const { return path_; }
  int fd() const { return fd_; }
  absl::StatusOr<uint64_t> Size() const;
  // DATA_LOSS where the file ends before.
  absl::Status ReadAt(uint64_t offset, void* data, size_t size) const;
  absl::Status WriteAt(uint64_t offset, const void* data, size_t size) const;
  absl::Status Sync() const;

  // Advisory locks (flock), between open files, also those of one process. False: somebody else's is in the way. File
  // systems without locks grant all.
  bool TryLockShared() const;
  bool TryLockExclusive() const;
  // Whether the file is still in a folder.
  bool linked() const;

 private:
  FileHandle(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::string path_;
};

}  // namespace linnet::worker
