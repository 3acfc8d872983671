#include "worker/model/file_handle.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/file.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

bool TryLock(int fd, int kind) {
  while (flock(fd, kind | LOCK_NB) != 0) {
    if (errno != EINTR) return errno != EWOULDBLOCK;
  }
  return true;
}

}  // namespace

absl::StatusOr<FileHandle> FileHandle::OpenToRead(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return base::ErrnoStatus(errno, "open", path);
  return FileHandle(fd, path);
}

absl::StatusOr<FileHandle> FileHandle::CreateTemporary(const std::string& prefix) {
  std::string path = base::StrCat(prefix, "XXXXXX");
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return base::ErrnoStatus(errno, "create", path);
  return FileHandle(fd, path);
}

FileHandle::~FileHandle() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<uint64_t> FileHandle::Size() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return base::ErrnoStatus(errno, "stat", path_);
  return static_cast<uint64_t>(info.st_size);
}

absl::Status FileHandle::ReadAt(uint64_t offset, void* data, size_t size) const {
  auto* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = pread(fd_, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::ErrnoStatus(errno, "read", path_);
    if (got == 0) return absl::DataLossError(base::StrCat(path_, " ends at byte ", offset, ", ", size, " too early"));
    to += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status FileHandle::WriteAt(uint64_t offset, const void* data, size_t size) const {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t put = pwrite(fd_, from, size, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return base::ErrnoStatus(errno, "write to", path_);
    from += put;
    offset += static_cast<uint64_t>(put);
    size -= static_cast<size_t>(put);
  }
  return absl::OkStatus();
}

absl::Status FileHandle::Sync() const {
  return fsync(fd_) == 0 ? absl::OkStatus() : base::ErrnoStatus(errno, "sync", path_);
}

bool FileHandle::TryLockShared() const { return TryLock(fd_, LOCK_SH); }

bool FileHandle::TryLockExclusive() const { return TryLock(fd_, LOCK_EX); }

bool FileHandle::linked() const {
  struct stat info;
  return fstat(fd_, &info) == 0 && info.st_nlink > 0;
}

}  // namespace linnet::worker
