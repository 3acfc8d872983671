#include "worker/model/packed_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/log/check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/packed_tiles.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kKeyPrefix = "sha256:";
constexpr std::string_view kSuffix = ".packed";
constexpr std::string_view kTemporaryPrefix = ".unfinished-";

// Of any version, the first ones of which had none in the name.
bool IsPackedName(const std::string& name) {
  return name.ends_with(kSuffix) && base::IsSha256Digest(base::StrCat(kKeyPrefix, name.substr(0, name.find('.'))));
}

struct Kept {
  fs::path path;
  uint64_t bytes = 0;
};

// Oldest use first.
std::multimap<fs::file_time_type, Kept> List(const std::string& dir) {
  std::multimap<fs::file_time_type, Kept> kept;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    if (!it->is_regular_file(gone) || !IsPackedName(it->path().filename().string())) continue;
    const uint64_t bytes = it->file_size(gone);
    if (gone) continue;
    const fs::file_time_type used = it->last_write_time(gone);
    if (!gone) kept.emplace(used, Kept{it->path(), bytes});
  }
  return kept;
}

// Whether it is gone; false: somebody has it in use, or the folder is not ours to change.
bool RemoveUnused(const fs::path& path) {
  const absl::StatusOr<FileHandle> file = FileHandle::OpenToRead(path.string());
  if (!file.ok()) return absl::IsNotFound(file.status());
  if (!file->TryLockExclusive()) return false;
  return unlink(path.c_str()) == 0 || errno == ENOENT;
}

uint64_t FreeBytes(const std::string& dir) {
  struct statvfs stats;
  if (statvfs(dir.c_str(), &stats) != 0) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(stats.f_bavail) * stats.f_frsize;
}

}  // namespace

std::unique_ptr<PackedCache> PackedCache::Open(Options options) {
  if (!options.free_bytes) options.free_bytes = [dir = options.dir] { return FreeBytes(dir); };
  std::unique_ptr<PackedCache> cache(new PackedCache(std::move(options)));
  if (const absl::Status made = base::MakeDirs(cache->dir()); !made.ok()) {
    cache->TellOnce("packed weights cannot be kept", made);
  }
  cache->RemoveUnfinished();
  cache->Evict([&](const Room& room) { return room.used <= cache->options_.max_bytes; });
  return cache;
}

std::string PackedCache::FileName(const std::string& key) {
  CHECK(base::IsSha256Digest(key)) << key;
  return base::StrCat(std::string_view(key).substr(kKeyPrefix.size()), ".", PackedFile::kFormatVersion, ".",
                      kernels::kPackerVersion, kSuffix);
}

std::unique_ptr<PackedFile> PackedCache::Find(const std::string& key, const std::string& source_path) {
  const std::string path = PathOf(key);
  absl::StatusOr<std::unique_ptr<PackedFile>> file = PackedFile::Open(path, key);
  if (absl::IsNotFound(file.status())) return nullptr;
  absl::Status status = file.status();
  if (status.ok()) status = CheckRest((*file)->rest(), source_path);
  if (absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)) {
    Discard(key, status);
  } else if (!status.ok()) {
    TellOnce("packed weights cannot be read", status);
  }
  if (!status.ok()) return nullptr;
  (void)utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // its last use
  return *std::move(file);
}

void PackedCache::Discard(const std::string& key, const absl::Status& why) {
  const std::string path = PathOf(key);
  LOG(WARNING) << base::LogFields("packed weights are not usable: packing anew",
                                  {{"path", path}, {"why", std::string(why.message())}});
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    TellOnce("packed weights cannot be removed", base::ErrnoStatus(errno, "remove", path));
  }
  CountBytes();
}

FileHandle PackedCache::Save(const std::string& key, const PackedImage& image, const SourceRest& rest,
                             const std::function<bool()>& interrupted) {
  FileHandle handle;
  const absl::Status status = Write(key, image, rest, interrupted, &handle);
  if (!status.ok() && !absl::IsCancelled(status)) NotKept(status);
  return handle;
}

absl::Status PackedCache::Write(const std::string& key, const PackedImage& image, const SourceRest& rest,
                                const std::function<bool()>& interrupted, FileHandle* handle) {
  const std::string path = PathOf(key);
  // Another process may have been faster. What it wrote is checked when it is read.
  if (absl::StatusOr<FileHandle> there = FileHandle::OpenToRead(path); there.ok() && there->TryLockShared()) {
    *handle = *std::move(there);
    return absl::OkStatus();
  }
  LINNET_RETURN_IF_ERROR(MakeRoom(PackedFile::FileBytes(image.table, rest)));
  LINNET_ASSIGN_OR_RETURN(FileHandle file, FileHandle::CreateTemporary(base::StrCat(dir(), "/", kTemporaryPrefix)));
  file.TryLockExclusive();  // alive: RemoveUnfinished leaves it
  absl::Status status = PackedFile::Write(file, key, image, rest, interrupted);
  if (status.ok() && rename(file.path().c_str(), path.c_str()) != 0) {
    status = base::ErrnoStatus(errno, "rename a temporary file to", path);
  }
  if (!status.ok()) {
    unlink(file.path().c_str());
    return status;
  }
  file.TryLockShared();
  *handle = std::move(file);
  // Where two processes added at the same time, both made room for one.
  Evict([&](const Room& room) { return room.used <= options_.max_bytes; });
  return base::SyncDir(dir());
}

absl::Status PackedCache::MakeRoom(uint64_t bytes) {
  const auto refuse = [&](std::string_view why, uint64_t have) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_DISK",
                       base::StrCat(dir(), ": ", bytes, " bytes do not fit: ", why, " ", have, " bytes"));
  };
  constexpr std::string_view kBound = "packed_cache.max_bytes is", kDisk = "the disk has left";
  const uint64_t free = options_.free_bytes();
  const uint64_t beyond_free =
      bytes + options_.disk_reserve_bytes - std::min(free, bytes + options_.disk_reserve_bytes);
  // Nothing goes in vain.
  if (bytes > options_.max_bytes) return refuse(kBound, options_.max_bytes);
  if (beyond_free > CountBytes()) return refuse(kDisk, free);
  const Room room =
      Evict([&](const Room& now) { return now.used + bytes <= options_.max_bytes && now.freed >= beyond_free; });
  if (room.used + bytes > options_.max_bytes) {
    return refuse(base::StrCat("packed_cache.max_bytes is ", options_.max_bytes, ", in use are"), room.used);
  }
  return room.freed >= beyond_free ? absl::OkStatus() : refuse(kDisk, free + room.freed);
}

// Removes files that are not in use, oldest use first, until it is enough.
PackedCache::Room PackedCache::Evict(const std::function<bool(const Room&)>& enough) {
  const std::multimap<fs::file_time_type, Kept> kept = List(dir());
  Room room;
  for (const auto& [time, file] : kept) room.used += file.bytes;
  for (const auto& [time, file] : kept) {
    if (enough(room)) break;
    if (!RemoveUnused(file.path)) continue;
    room.used -= file.bytes;
    room.freed += file.bytes;
    LOG(INFO) << base::LogFields("packed weights removed to make room", {{"path", file.path.string()}});
  }
  bytes_ = room.used;
  return room;
}

// Other processes add and remove files, too.
uint64_t PackedCache::CountBytes() {
  return Evict([](const Room&) { return true; }).used;
}

uint64_t PackedCache::Reclaim(uint64_t bytes) {
  return Evict([&](const Room& room) { return room.freed >= bytes; }).freed;
}

void PackedCache::RemoveUnfinished() {
  std::error_code error;
  for (fs::directory_iterator it(dir(), error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with(kTemporaryPrefix)) RemoveUnused(it->path());
  }
}

void PackedCache::TellOnce(const std::string& what, const absl::Status& why) {
  if (!told_.insert(what).second) return;
  LOG(WARNING) << base::LogFields(what, {{"dir", dir()}, {"why", std::string(why.message())}});
}

absl::StatusOr<std::string> PackedKeyOfFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return base::ErrnoStatus(errno, "stat", path);
  base::Sha256 hash;
  hash.Update(base::StrCat("file ", info.st_dev, " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, ".",
                           info.st_mtim.tv_nsec, " ", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec));
  return hash.Digest();
}

}  // namespace linnet::worker
