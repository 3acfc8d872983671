// The few operating system calls that the blob store writes with, so that tests can make them fail.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>

namespace linnet::registry {

// As the system calls of the same names: -1 with errno. Thread-safe. The real ones by default.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual ssize_t Write(int fd, const void* data, size_t size) { return ::write(fd, data, size); }
  virtual ssize_t Read(int fd, void* data, size_t size, off_t offset) { return ::pread(fd, data, size, offset); }
  virtual int Sync(int fd) { return ::fdatasync(fd); }
  virtual int Rename(const char* from, const char* to) { return ::rename(from, to); }
  // Bytes that the file system of `path` has left for this user; UINT64_MAX where unknown.
  virtual unsigned long long FreeBytes(const char* path);

  static FileOps* Real();
};

}  // namespace linnet::registry
