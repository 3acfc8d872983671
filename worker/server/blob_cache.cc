#include "worker/server/blob_cache.h"

#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartSuffix = ".part";
constexpr std::string_view kNamePrefix = "sha256-";
constexpr std::string_view kDigestPrefix = "sha256:";
// Left free on the disk beside a fetched blob.
constexpr uint64_t kDiskReserveBytes = 16ull << 20;

// "sha256-{hex}" of "sha256:{hex}", and back; "" where a file is not named as the cache names them.
std::string FileName(const std::string& digest) {
  return base::StrCat(kNamePrefix, digest.substr(kDigestPrefix.size()));
}
std::string DigestOf(const fs::path& path) {
  std::string name = path.filename().string();
  if (name.ends_with(kPartSuffix)) name.resize(name.size() - kPartSuffix.size());
  if (!name.starts_with(kNamePrefix)) return "";
  std::string digest = base::StrCat(kDigestPrefix, name.substr(kNamePrefix.size()));
  return base::IsSha256Digest(digest) ? digest : "";
}

absl::StatusOr<uint64_t> FreeBytes(const std::string& dir) {
  struct statvfs stats;
  if (statvfs(dir.c_str(), &stats) != 0) return base::ErrnoStatus(errno, "look at the disk of", dir);
  return static_cast<uint64_t>(stats.f_bavail) * stats.f_frsize;
}

// Regular files of the folder that are named as blobs, oldest use first.
std::multimap<fs::file_time_type, fs::path> Files(const std::string& dir) {
  std::multimap<fs::file_time_type, fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored) || DigestOf(it->path()).empty()) continue;
    files.emplace(fs::last_write_time(it->path(), ignored), it->path());
  }
  return files;
}

uint64_t Remove(const fs::path& path) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  const uint64_t counted = error ? 0 : bytes;
  return fs::remove(path, error) ? counted : 0;
}

}  // namespace

absl::StatusOr<BlobCache> BlobCache::Open(const std::string& dir, Fetch fetch, Reclaim reclaim) {
  const std::string blobs_dir = base::StrCat(dir, "/blobs");
  LINNET_RETURN_IF_ERROR(base::MakeDirs(blobs_dir));
  // A read-only or foreign folder should stop the worker at its start, not its first fetch.
  const std::string probe = base::StrCat(blobs_dir, "/.probe-", getpid());
  LINNET_RETURN_IF_ERROR(base::WriteFileDurably(probe, "x"));
  Remove(probe);
  return BlobCache(blobs_dir, std::move(fetch), std::move(reclaim));
}

std::string BlobCache::PathOf(const std::string& digest) const {
  return base::StrCat(blobs_dir_, "/", FileName(digest));
}

absl::StatusOr<std::string> BlobCache::Get(const std::string& digest, uint64_t size_bytes,
                                           const std::set<std::string>& keep, std::stop_token stop) {
  if (!base::IsSha256Digest(digest)) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "BLOB_CORRUPT",
                       base::StrCat("the registry names a blob \"", digest, "\", which is no SHA-256 digest"));
  }
  const std::string path = PathOf(digest);
  std::error_code error;
  if (fs::exists(path, error)) {
    fs::last_write_time(path, fs::file_time_type::clock::now(), error);  // its last use
    return path;
  }
  LINNET_RETURN_IF_ERROR(MakeRoom(size_bytes, keep));
  LINNET_RETURN_IF_ERROR(fetch_(digest, path, stop));
  fresh_.insert(digest);
  return path;
}

absl::Status BlobCache::Verify(const std::string& digest) {
  if (fresh_.erase(digest) > 0) return absl::OkStatus();
  const std::string path = PathOf(digest);
  const absl::StatusOr<std::string> actual = base::Sha256OfFile(path);
  if (actual.ok() && *actual == digest) return absl::OkStatus();
  const std::string found = actual.ok() ? *actual : std::string(actual.status().message());
  LOG(WARNING) << base::LogFields("cached blob is corrupt", {{"path", path}, {"found", found}});
  Remove(path);
  return base::Error(absl::StatusCode::kDataLoss, "BLOB_CORRUPT",
                     base::StrCat("cached blob ", path, " is corrupt and was removed: ", found), {{"path", path}});
}

uint64_t BlobCache::Sweep(const std::set<std::string>& keep) {
  uint64_t freed = 0;
  for (const auto& [time, path] : Files(blobs_dir_)) {
    if (!keep.contains(DigestOf(path))) freed += Remove(path);
  }
  if (freed > 0) {
    LOG(INFO) << base::LogFields("blobs that no variant names any more removed", {{"bytes", base::StrCat(freed)}});
  }
  return freed;
}

absl::Status BlobCache::MakeRoom(uint64_t bytes, const std::set<std::string>& keep) {
  LINNET_ASSIGN_OR_RETURN(uint64_t free, FreeBytes(blobs_dir_));
  const uint64_t needed = bytes + kDiskReserveBytes;
  if (free < needed && reclaim_) {
    reclaim_(needed - free);
    LINNET_ASSIGN_OR_RETURN(free, FreeBytes(blobs_dir_));
  }
  for (const auto& [time, path] : Files(blobs_dir_)) {
    if (free >= needed) break;
    if (!keep.contains(DigestOf(path))) free += Remove(path);
  }
  if (free >= needed) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_DISK",
                     base::StrCat(blobs_dir_, ": a blob of ", bytes, " bytes does not fit, ", free,
                                  " bytes are free; make room or choose another cache_dir"),
                     {{"path", blobs_dir_}, {"free_bytes", base::StrCat(free)}});
}

}  // namespace linnet::worker
