#include "registry/blobs/blob_upload.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/log/log.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::registry {

BlobStore::FileUpload::~FileUpload() {
  if (!finished_ && fd_.get() >= 0 && received_ > synced_) {
    if (absl::Status status = Checkpoint(); !status.ok()) {
      // What was durable before still is; the upload resumes there.
      LOG(WARNING) << base::LogFields("partial blob not synced",
                                      {{"blob", files_.digest}, {"error", std::string(status.message())}});
    }
  }
  ended_();
}

absl::Status BlobStore::FileUpload::Begin(uint64_t offset) {
  fd_ = Fd(open(files_.part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0644));
  if (fd_.get() < 0) return base::ErrnoStatus(errno, "open partial blob", files_.part);
  if (ftruncate(fd_.get(), static_cast<off_t>(offset)) != 0) return base::ErrnoStatus(errno, "truncate", files_.part);
  if (offset == 0) {
    // A checkpoint of an earlier attempt must not speak for these bytes.
    if (unlink(files_.synced.c_str()) != 0 && errno != ENOENT) return base::ErrnoStatus(errno, "remove", files_.synced);
    return absl::OkStatus();
  }
  std::string buffer(1 << 20, '\0');
  while (received_ < offset) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), offset - received_));
    const ssize_t n = ops_->Read(fd_.get(), buffer.data(), wanted, static_cast<off_t>(received_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read partial blob", files_.part);
    if (n == 0) return absl::DataLossError(base::StrCat(files_.part, " is shorter than it was"));
    hash_.Update(std::string_view(buffer.data(), static_cast<size_t>(n)));
    received_ += static_cast<uint64_t>(n);
  }
  synced_ = offset;
  return absl::OkStatus();
}

absl::Status BlobStore::FileUpload::Append(std::string_view data) {
  if (data.size() > size_ - received_) {
    return base::FieldErrors({{"data", base::StrCat("goes beyond the ", size_, " bytes that were announced")}});
  }
  hash_.Update(data);
  const uint64_t end = received_ + data.size();
  while (!data.empty()) {
    const ssize_t n = ops_->Write(fd_.get(), data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return base::ErrnoStatus(n < 0 ? errno : EIO, "write to partial blob", files_.part);
    data.remove_prefix(static_cast<size_t>(n));
  }
  received_ = end;
  if (received_ - synced_ >= sync_bytes_ && received_ < size_) return Checkpoint();
  return absl::OkStatus();
}

absl::Status BlobStore::FileUpload::Checkpoint() {
  if (ops_->Sync(fd_.get()) != 0) return base::ErrnoStatus(errno, "sync partial blob", files_.part);
  LINNET_RETURN_IF_ERROR(base::WriteFileDurably(files_.synced, base::StrCat(received_)));
  synced_ = received_;
  return absl::OkStatus();
}

absl::Status BlobStore::FileUpload::Finish() {
  if (received_ != size_) {
    return base::FieldErrors({{"data", base::StrCat("ends after ", received_, " of ", size_, " bytes; resume there")}});
  }
  const std::string digest = hash_.Digest();
  finished_ = true;
  if (digest != files_.digest) {
    unlink(files_.part.c_str());
    unlink(files_.synced.c_str());
    return base::Error(absl::StatusCode::kDataLoss, "BLOB_CORRUPT",
                       base::StrCat("the ", size_, " bytes uploaded as blob ", files_.digest, " are ", digest,
                                    "; they were dropped: check the file and upload it again"),
                       {{"blob", files_.digest}});
  }
  if (ops_->Sync(fd_.get()) != 0) return base::ErrnoStatus(errno, "sync blob", files_.part);
  if (ops_->Rename(files_.part.c_str(), files_.blob.c_str()) != 0) {
    return base::ErrnoStatus(errno, "rename blob to", files_.blob);
  }
  LINNET_RETURN_IF_ERROR(base::SyncDir(files_.folder));
  LINNET_RETURN_IF_ERROR(base::SyncDir(files_.folder + "/uploads"));
  unlink(files_.synced.c_str());
  return absl::OkStatus();
}

}  // namespace linnet::registry
