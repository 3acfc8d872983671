#include "registry/blobs/blob_store.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/log/log.h"
#include "base/error.h"
#include "base/file.h"
#include "base/human.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/blobs/blob_upload.h"

namespace linnet::registry {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPart = ".part";
constexpr std::string_view kSynced = ".synced";
constexpr std::string_view kCorrupt = ".corrupt";

absl::Status CheckDigest(const std::string& digest) {
  if (base::IsSha256Digest(digest)) return absl::OkStatus();
  return base::FieldErrors({{"digest", "must be 'sha256:' and 64 lower-case hex digits"}});
}

std::string HexOf(const std::string& digest) { return digest.substr(digest.find(':') + 1); }

// -1 where it does not exist.
int64_t SizeOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return -1;
  return info.st_size;
}

absl::Duration AgeOf(const std::string& path, absl::Time now) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return absl::ZeroDuration();
  return now - absl::TimeFromTimespec(info.st_mtim);
}

// How much of a partial file is known to be on the disk; 0 where that is not written down.
uint64_t ReadSynced(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, 64);
  uint64_t value = 0;
  if (!text.ok() || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc()) return 0;
  return value;
}

absl::Status NotComplete(const std::string& digest) {
  return base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                     base::StrCat("blob ", digest, " is not in this registry; upload it first"),
                     {{"resource", base::StrCat("blobs/sha256-", HexOf(digest))}});
}

}  // namespace

FileOps* FileOps::Real() {
  static FileOps* ops = new FileOps;
  return ops;
}

unsigned long long FileOps::FreeBytes(const char* path) {
  struct statvfs info;
  if (statvfs(path, &info) != 0) return UINT64_MAX;
  return static_cast<unsigned long long>(info.f_bavail) * info.f_frsize;
}

class BlobStore::FileReader final : public Reader {
 public:
  FileReader(const BlobStore* store, std::string digest, std::string path, Fd fd, uint64_t size, uint64_t offset)
      : store_(store),
        digest_(std::move(digest)),
        path_(std::move(path)),
        fd_(std::move(fd)),
        size_(size),
        offset_(offset),
        hashing_(offset == 0) {}

  absl::Status Read(size_t max_bytes, std::string* data) override {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(max_bytes, size_ - offset_));
    data->resize(wanted);
    size_t got = 0;
    while (got < wanted) {
      const ssize_t n =
          store_->options_.ops->Read(fd_.get(), data->data() + got, wanted - got, static_cast<off_t>(offset_ + got));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::ErrnoStatus(errno, "read blob", path_);
      if (n == 0) return store_->Corrupt(digest_);  // shorter than it was
      got += static_cast<size_t>(n);
    }
    offset_ += wanted;
    if (!hashing_) return absl::OkStatus();
    hash_.Update(*data);
    if (offset_ < size_) return absl::OkStatus();
    hashing_ = false;
    if (hash_.Digest() == digest_) return absl::OkStatus();
    return store_->Corrupt(digest_);
  }
  uint64_t size_bytes() const override { return size_; }

 private:
  const BlobStore* const store_;
  const std::string digest_;
  const std::string path_;
  const Fd fd_;
  const uint64_t size_;
  uint64_t offset_;
  bool hashing_;
  base::Sha256 hash_;
};

BlobStore::BlobStore(Options options) : options_(std::move(options)) {}

std::string BlobStore::BlobPath(const std::string& digest) const {
  return base::StrCat(options_.path, "/", HexOf(digest));
}
std::string BlobStore::PartPath(const std::string& digest) const {
  return base::StrCat(options_.path, "/uploads/", HexOf(digest), kPart);
}
std::string BlobStore::SyncedPath(const std::string& digest) const {
  return base::StrCat(options_.path, "/uploads/", HexOf(digest), kSynced);
}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(Options options) {
  if (options.path.empty()) return absl::InvalidArgumentError("the blob store needs a path");
  std::unique_ptr<BlobStore> store(new BlobStore(std::move(options)));
  LINNET_RETURN_IF_ERROR(base::MakeDirs(store->options_.path + "/uploads"));
  LINNET_RETURN_IF_ERROR(store->Recover());
  return store;
}

absl::Status BlobStore::Recover() {
  const absl::Time now = options_.clock->WallNow();
  std::error_code error;
  std::set<std::string> partial;
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.path + "/uploads", error)) {
    const std::string name = entry.path().filename().string();
    const size_t dot = name.find('.');
    const std::string hex = name.substr(0, dot);
    if (name == hex + std::string(kPart) && base::IsSha256Digest("sha256:" + hex)) partial.insert(hex);
    // Left by a write of .synced that a crash cut off.
    if (name.find(".tmp.") != std::string::npos) fs::remove(entry.path(), error);
  }
  if (error) return base::ErrnoStatus(error.value(), "read folder", options_.path + "/uploads");
  for (const std::string& hex : partial) LINNET_RETURN_IF_ERROR(RecoverPartial(hex));
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.path, error)) {
    const std::string path = entry.path().string();
    if (path.ends_with(kCorrupt) && AgeOf(path, now) > options_.orphan_age) fs::remove(entry.path(), error);
  }
  return absl::OkStatus();
}

absl::Status BlobStore::RecoverPartial(const std::string& hex) {
  const std::string digest = "sha256:" + hex;
  const std::string part = PartPath(digest);
  std::error_code error;
  if (SizeOf(BlobPath(digest)) >= 0 || AgeOf(part, options_.clock->WallNow()) > options_.orphan_age) {
    LOG(INFO) << base::LogFields("orphaned partial blob removed", {{"blob", digest}});
    fs::remove(part, error);
    fs::remove(SyncedPath(digest), error);
    return absl::OkStatus();
  }
  const uint64_t size = static_cast<uint64_t>(std::max<int64_t>(0, SizeOf(part)));
  const uint64_t synced = ReadSynced(SyncedPath(digest));
  if (synced > size) {  // cannot be, unless somebody cut the file: begin again
    if (truncate(part.c_str(), 0) != 0) return base::ErrnoStatus(errno, "truncate", part);
    fs::remove(SyncedPath(digest), error);
  } else if (synced < size && truncate(part.c_str(), static_cast<off_t>(synced)) != 0) {
    return base::ErrnoStatus(errno, "truncate", part);
  }
  return absl::OkStatus();
}

absl::StatusOr<BlobState> BlobStore::Status(const std::string& digest) const {
  LINNET_RETURN_IF_ERROR(CheckDigest(digest));
  BlobState state;
  if (const int64_t size = SizeOf(BlobPath(digest)); size >= 0) {
    state.complete = true;
    state.size_bytes = state.received_bytes = static_cast<uint64_t>(size);
    return state;
  }
  if (SizeOf(PartPath(digest)) >= 0) state.received_bytes = ReadSynced(SyncedPath(digest));
  return state;
}

absl::Status BlobStore::CheckRoom(const std::string& digest, uint64_t more_bytes) const {
  const uint64_t free = options_.ops->FreeBytes(options_.path.c_str());
  if (free >= options_.reserve_bytes && more_bytes <= free - options_.reserve_bytes) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kResourceExhausted, "OUT_OF_DISK",
      base::StrCat("blob ", digest, " needs ", base::HumanBytes(more_bytes), " more, ", options_.path, " has ",
                   base::HumanBytes(free), " free of which ", base::HumanBytes(options_.reserve_bytes),
                   " are kept; free some space on the registry's disk"),
      {{"path", options_.path}, {"free_bytes", base::StrCat(free)}});
}

absl::StatusOr<std::unique_ptr<BlobStore::Upload>> BlobStore::StartUpload(const std::string& digest, uint64_t size,
                                                                          uint64_t offset) {
  LINNET_RETURN_IF_ERROR(CheckDigest(digest));
  if (size > options_.max_blob_bytes) {
    return base::FieldErrors(
        {{"size_bytes", base::StrCat("must be at most ", options_.max_blob_bytes, ", is ", size)}});
  }
  {
    base::MutexLock lock(&mu_);
    if (active_.contains(digest)) {
      return base::WithRetryAfter(
          base::Error(absl::StatusCode::kAborted, "STATE_CONFLICT",
                      base::StrCat("another upload of blob ", digest, " is running; wait for it"), {{"blob", digest}}),
          absl::Seconds(1));
    }
    if (active_.size() >= options_.max_uploads) {
      return base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                                              base::StrCat(active_.size(), " uploads are running; try again later")),
                                  absl::Seconds(2));
    }
    active_.insert(digest);
  }
  // From here on the guard gives the place back, until the upload has it.
  struct Guard {
    BlobStore* store;
    const std::string& digest;
    ~Guard() {
      if (store != nullptr) store->EndUpload(digest);
    }
  } guard{this, digest};

  LINNET_ASSIGN_OR_RETURN(const BlobState state, Status(digest));
  if (state.complete) {
    return base::Error(absl::StatusCode::kAlreadyExists, "RESOURCE_EXISTS",
                       base::StrCat("blob ", digest, " is complete already"), {{"resource", digest}});
  }
  if (offset != state.received_bytes || offset > size) {
    // More than the blob can hold: another size was announced before.
    const uint64_t expected = state.received_bytes > size ? 0 : state.received_bytes;
    if (expected != offset || state.received_bytes <= size) {
      return base::Error(absl::StatusCode::kOutOfRange, "UPLOAD_OFFSET_MISMATCH",
                         base::StrCat("blob ", digest, ": ", expected, " bytes are here, the upload begins at ", offset,
                                      "; resume at the former"),
                         {{"blob", digest}, {"expected_offset", base::StrCat(expected)}});
    }
  }
  LINNET_RETURN_IF_ERROR(CheckRoom(digest, size - offset));
  if (offset == 0 && SizeOf(PartPath(digest)) < 0) {
    std::error_code error;
    size_t partial_files = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(options_.path + "/uploads", error)) {
      if (entry.path().extension() == kPart) ++partial_files;
    }
    if (partial_files >= options_.max_partial_files) {
      return base::Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                         base::StrCat(partial_files,
                                      " unfinished uploads are on the registry's disk, the most it keeps; "
                                      "finish them, or wait until they are removed for age"));
    }
  }
  FileUpload::Files files{.digest = digest,
                          .part = PartPath(digest),
                          .synced = SyncedPath(digest),
                          .blob = BlobPath(digest),
                          .folder = options_.path};
  auto upload = std::make_unique<FileUpload>(std::move(files), size, options_.sync_bytes, options_.ops,
                                             [this, digest] { EndUpload(digest); });
  guard.store = nullptr;  // the upload's destructor does it now
  LINNET_RETURN_IF_ERROR(upload->Begin(offset));
  return std::unique_ptr<Upload>(std::move(upload));
}

void BlobStore::EndUpload(const std::string& digest) {
  base::MutexLock lock(&mu_);
  active_.erase(digest);
}

absl::StatusOr<std::string> BlobStore::PathOf(const std::string& digest) const {
  LINNET_RETURN_IF_ERROR(CheckDigest(digest));
  if (SizeOf(BlobPath(digest)) < 0) return NotComplete(digest);
  return BlobPath(digest);
}

absl::StatusOr<std::unique_ptr<BlobStore::Reader>> BlobStore::OpenReader(const std::string& digest,
                                                                         uint64_t offset) const {
  LINNET_ASSIGN_OR_RETURN(std::string path, PathOf(digest));
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0) return base::ErrnoStatus(errno, "open blob", path);
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (offset > size) {
    return absl::OutOfRangeError(base::StrCat("blob ", digest, " has ", size, " bytes, offset ", offset, " is beyond"));
  }
  return std::make_unique<FileReader>(this, digest, std::move(path), std::move(fd), size, offset);
}

absl::Status BlobStore::Verify(const std::string& digest) const {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Reader> reader, OpenReader(digest, 0));
  std::string data;
  do {
    LINNET_RETURN_IF_ERROR(reader->Read(1 << 20, &data));
  } while (!data.empty());
  return absl::OkStatus();
}

// A read gave other bytes than the digest's. Only if the file does so once more it is set aside.
absl::Status BlobStore::Corrupt(const std::string& digest) const {
  const std::string path = BlobPath(digest);
  const absl::StatusOr<std::string> again = base::Sha256OfFile(path);
  if (again.ok() && *again != digest) {
    std::error_code error;
    fs::rename(path, path + std::string(kCorrupt), error);
    LOG(ERROR) << base::LogFields("blob is corrupt and set aside", {{"blob", digest}, {"path", path}});
  }
  return base::Error(absl::StatusCode::kDataLoss, "BLOB_CORRUPT",
                     base::StrCat("blob ", digest, " is damaged on the registry's disk (", path,
                                  "); import the model again to upload it anew, and check the disk"),
                     {{"blob", digest}});
}

absl::StatusOr<int> BlobStore::RemoveUnreferenced(const std::set<std::string>& referenced) {
  const absl::Time now = options_.clock->WallNow();
  int removed = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.path, error)) {
    const std::string digest = "sha256:" + entry.path().filename().string();
    if (!base::IsSha256Digest(digest) || referenced.contains(digest)) continue;
    if (AgeOf(entry.path().string(), now) <= options_.orphan_age) continue;
    if (fs::remove(entry.path(), error)) {
      ++removed;
      LOG(INFO) << base::LogFields("unreferenced blob removed", {{"blob", digest}});
    }
  }
  if (error) return base::ErrnoStatus(error.value(), "read folder", options_.path);
  return removed;
}

uint64_t BlobStore::total_bytes() const {
  uint64_t total = 0;
  for (const char* folder : {"", "/uploads"}) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(options_.path + folder, error)) {
      total += static_cast<uint64_t>(std::max<int64_t>(0, SizeOf(entry.path().string())));
    }
  }
  return total;
}

size_t BlobStore::active_uploads() const {
  base::MutexLock lock(&mu_);
  return active_.size();
}

}  // namespace linnet::registry
