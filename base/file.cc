#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::base {
namespace {

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

struct ErrnoMeaning {
  absl::StatusCode code;
  const char* reason;
  const char* remedy;
};

ErrnoMeaning MeaningOf(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return {absl::StatusCode::kResourceExhausted, "OUT_OF_DISK", "free space there, or choose another folder"};
    case EFBIG:
      return {absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED", "raise the limit on file sizes (ulimit -f)"};
    case EMFILE:
    case ENFILE:
      return {absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED", "raise the limit on open files (ulimit -n)"};
    case ENOMEM:
      return {absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY", "free memory, or raise the cgroup's limit"};
    case ENOENT:
      return {absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND", "check the path"};
    case EEXIST:
    case ENOTEMPTY:
      return {absl::StatusCode::kAlreadyExists, "RESOURCE_EXISTS", "remove it, or choose another path"};
    case EACCES:
    case EPERM:
      return {absl::StatusCode::kPermissionDenied, "ACCESS_DENIED", "check its owner and mode"};
    case EROFS:
      return {absl::StatusCode::kPermissionDenied, "ACCESS_DENIED", "its file system is mounted read-only"};
    case EISDIR:
      return {absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "it is a folder; name a file"};
    case ENOTDIR:
      return {absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "a part of the path is not a folder"};
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL:
      return {absl::StatusCode::kInvalidArgument, "INVALID_FIELD", "check the path"};
    case EBUSY:
    case EAGAIN:
    case ETXTBSY:
      return {absl::StatusCode::kUnavailable, "SERVICE_UNAVAILABLE", "something else uses it; try again"};
    case EIO:
      return {absl::StatusCode::kDataLoss, "BLOB_CORRUPT", "check the disk (dmesg)"};
    default:
      return {absl::StatusCode::kInternal, "INTERNAL_ERROR", "see errno(3)"};
  }
}

}  // namespace

absl::Status ErrnoStatus(int error, std::string_view what, const std::string& path) {
  const ErrnoMeaning meaning = MeaningOf(error);
  std::map<std::string, std::string> metadata = {{"path", path}};
  if (meaning.code == absl::StatusCode::kNotFound || meaning.code == absl::StatusCode::kAlreadyExists) {
    metadata["resource"] = path;
  }
  struct statvfs fs;
  if (error == ENOSPC && (statvfs(path.c_str(), &fs) == 0 || statvfs(ParentOf(path).c_str(), &fs) == 0)) {
    metadata["free_bytes"] = base::StrCat(static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize);
  }
  return Error(
      meaning.code, meaning.reason,
      base::StrCat("cannot ", what, " ", path, ": ", std::generic_category().message(error), "; ", meaning.remedy),
      metadata);
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  // Reads to the end instead of trusting st_size, which is 0 for files of /proc.
  std::string content;
  constexpr size_t kStep = 256 << 10;
  size_t used = 0;
  while (true) {
    if (content.size() - used < kStep) content.resize(used + kStep);
    const ssize_t got = read(fd.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "read", path);
    if (got == 0) break;
    used += static_cast<size_t>(got);
    if (used > max_bytes) {
      return Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                   base::StrCat(path, " is larger than the ", max_bytes, " bytes that are read of such a file"),
                   {{"path", path}});
    }
  }
  content.resize(used);
  return content;
}

absl::Status WriteAll(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write to", path);
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteFileDurably(const std::string& path, std::string_view content) {
  static std::atomic<uint64_t> counter{0};
  const std::string temporary = base::StrCat(path, ".tmp.", getpid(), ".", counter.fetch_add(1));
  const absl::Status written = [&]() -> absl::Status {
    const Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd.get() < 0) return ErrnoStatus(errno, "create", temporary);
    LINNET_RETURN_IF_ERROR(WriteAll(fd.get(), content, path));
    if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync", path);
    if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "rename a temporary file to", path);
    return absl::OkStatus();
  }();
  if (!written.ok()) {
    unlink(temporary.c_str());
    return written;
  }
  return SyncDir(ParentOf(path));
}

absl::Status MakeDirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "create folder", path);
  return absl::OkStatus();
}

absl::Status SyncDir(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "open folder", path);
  // EINVAL: a file system that cannot sync folders has nothing to lose by it.
  if (fsync(fd.get()) != 0 && errno != EINVAL) return ErrnoStatus(errno, "sync folder", path);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (S_ISDIR(info.st_mode)) return ErrnoStatus(EISDIR, "map", path);
  if (!S_ISREG(info.st_mode)) return ErrnoStatus(EINVAL, "map", path);
  const size_t size = static_cast<size_t>(info.st_size);
  // mmap refuses a length of 0; an empty file has an empty span.
  if (size == 0) return std::unique_ptr<MappedFile>(new MappedFile(path, {}));
  void* const address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  return std::unique_ptr<MappedFile>(new MappedFile(path, std::span(static_cast<const std::byte*>(address), size)));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

namespace {

// Only whole pages where `inside`, every page touched otherwise. The advice is one: failures do not matter.
void Advise(std::span<const std::byte> part, int advice, bool inside) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  uintptr_t begin = reinterpret_cast<uintptr_t>(part.data());
  uintptr_t end = begin + part.size();
  if (inside) begin += page - 1;
  if (!inside) end += page - 1;
  begin -= begin % page;
  end -= end % page;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

void MappedFile::Release(std::span<const std::byte> part) const { Advise(part, MADV_DONTNEED, /*inside=*/true); }

void MappedFile::WillNeed(std::span<const std::byte> part) const { Advise(part, MADV_WILLNEED, /*inside=*/false); }

}  // namespace linnet::base
