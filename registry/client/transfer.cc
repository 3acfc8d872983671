// RegistryClient's blob transfers: attempts over one stream each, and the loop that resumes until all is there.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <random>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/human.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/registry_client.h"

namespace linnet::registry {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
// A stream that is slower than this over its whole is given up and resumed.
constexpr double kMinBytesPerSecond = 64 << 10;

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status Stopped(const std::string& digest) {
  return base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED",
                     base::StrCat("the transfer of blob ", digest, " was stopped; it resumes where it ended"));
}

// False where `stop` was asked for meanwhile.
bool WaitOrStop(absl::Duration duration, const std::stop_token& stop) {
  base::Clock* const clock = base::Clock::Real();
  const int64_t start_ns = clock->MonotonicNs();
  base::Mutex mu;
  base::CondVar cv;
  const std::stop_callback wake(stop, [&] {
    base::MutexLock lock(&mu);
    cv.NotifyAll();
  });
  base::MutexLock lock(&mu);
  while (!stop.stop_requested()) {
    const absl::Duration left = duration - clock->Since(start_ns);
    if (left <= absl::ZeroDuration()) break;
    cv.WaitFor(&mu, absl::ToChronoNanoseconds(left));
  }
  return !stop.stop_requested();
}

bool Resumable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:     // another upload of the blob runs
    case absl::StatusCode::kOutOfRange:  // the offset moved
      return true;
    case absl::StatusCode::kCancelled:  // by the other side: it is shutting down
      return true;
    case absl::StatusCode::kResourceExhausted:
      return base::ErrorReason(status) == "QUEUE_FULL";
    default:
      return false;
  }
}

// Decides whether a transfer goes on after a failed attempt: it does while bytes arrive.
class Persistence {
 public:
  Persistence(absl::Duration patience, std::string digest, std::stop_token stop)
      : patience_(patience),
        digest_(std::move(digest)),
        stop_(std::move(stop)),
        backoff_({.initial = absl::Milliseconds(100), .max = absl::Seconds(5)}, std::random_device()()) {}

  // OK: try again. Otherwise what the transfer ends with.
  absl::Status AfterFailure(const absl::Status& failure, uint64_t done_bytes) {
    if (stop_.stop_requested()) return Stopped(digest_);
    if (!Resumable(failure)) return failure;
    if (done_bytes > best_bytes_) {
      best_bytes_ = done_bytes;
      backoff_.Reset();
      progress_ns_ = clock_->MonotonicNs();
    }
    if (clock_->Since(progress_ns_) > patience_) return failure;
    if (!WaitOrStop(std::max(backoff_.Next(), base::RetryAfter(failure)), stop_)) return Stopped(digest_);
    return absl::OkStatus();
  }

 private:
  const absl::Duration patience_;
  const std::string digest_;
  const std::stop_token stop_;
  base::Clock* const clock_ = base::Clock::Real();
  base::Backoff backoff_;
  uint64_t best_bytes_ = 0;
  int64_t progress_ns_ = clock_->MonotonicNs();
};

std::chrono::system_clock::time_point StreamDeadline(absl::Duration patience, uint64_t bytes) {
  return std::chrono::system_clock::now() +
         absl::ToChronoMilliseconds(patience + absl::Seconds(static_cast<double>(bytes) / kMinBytesPerSecond));
}

// One upload stream from `offset` on. A failure to read the file is not the server's: it comes back in *file_error.
grpc::Status UploadStream(v1::Blobs::StubInterface* stub, int fd, const std::string& path, const std::string& digest,
                          uint64_t size, uint64_t offset, absl::Duration patience, const TransferProgress& progress,
                          const std::stop_token& stop, absl::Status* file_error) {
  grpc::ClientContext context;
  context.set_deadline(StreamDeadline(patience, size - offset));
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  v1::BlobStatus response;
  const auto writer = stub->UploadBlob(&context, &response);
  v1::UploadBlobRequest request;
  request.set_digest(digest);
  request.set_size_bytes(size);
  request.set_offset_bytes(offset);
  // An empty blob needs the first message as well.
  for (bool first = true; first || offset < size; first = false) {
    std::string* const data = request.mutable_data();
    data->resize(static_cast<size_t>(std::min<uint64_t>(kChunkBytes, size - offset)));
    size_t got = 0;
    while (got < data->size()) {
      const ssize_t n = pread(fd, data->data() + got, data->size() - got, static_cast<off_t>(offset + got));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        *file_error = n < 0 ? base::ErrnoStatus(errno, "read", path)
                            : absl::FailedPreconditionError(base::StrCat(path, " became shorter during its upload"));
        context.TryCancel();
        break;
      }
      got += static_cast<size_t>(n);
    }
    if (!file_error->ok() || !writer->Write(request)) break;
    offset += got;
    request.Clear();
    if (progress) progress(offset, size);
  }
  writer->WritesDone();
  return writer->Finish();
}

// Where a download goes: the partial file, how much of it there is, and the hash of that.
struct Partial {
  int fd;
  std::string path;
  uint64_t offset = 0;
  base::Sha256 hash;
  // Some of the bytes are of an earlier process: if the hash is wrong, the fault may be theirs.
  bool resumed = false;
};

absl::Status HashExisting(Partial* partial) {
  std::string buffer(kChunkBytes, '\0');
  for (;;) {
    const ssize_t n = pread(partial->fd, buffer.data(), buffer.size(), static_cast<off_t>(partial->offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read", partial->path);
    if (n == 0) break;
    partial->hash.Update(std::string_view(buffer.data(), static_cast<size_t>(n)));
    partial->offset += static_cast<uint64_t>(n);
  }
  partial->resumed = partial->offset > 0;
  return absl::OkStatus();
}

absl::Status StartOver(Partial* partial) {
  if (ftruncate(partial->fd, 0) != 0) return base::ErrnoStatus(errno, "truncate", partial->path);
  partial->offset = 0;
  partial->hash = base::Sha256();
  partial->resumed = false;
  return absl::OkStatus();
}

absl::Status WriteChunk(const std::string& data, Partial* partial) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        pwrite(partial->fd, data.data() + done, data.size() - done, static_cast<off_t>(partial->offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return base::ErrnoStatus(n < 0 ? errno : EIO, "write downloaded blob to", partial->path);
    done += static_cast<size_t>(n);
  }
  partial->hash.Update(data);
  partial->offset += data.size();
  return absl::OkStatus();
}

absl::Status CheckRoom(const std::string& path, uint64_t more_bytes) {
  struct statvfs info;
  if (statvfs(path.c_str(), &info) != 0) return absl::OkStatus();
  const uint64_t free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  if (more_bytes <= free) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_DISK",
                     base::StrCat("cannot download to ", path, ": needs ", base::HumanBytes(more_bytes), ", ",
                                  base::HumanBytes(free), " free; free some space, or choose another folder"),
                     {{"path", path}, {"free_bytes", base::StrCat(free)}});
}

// One download stream from the partial file's end. What goes wrong on this side comes back in *local.
grpc::Status DownloadStream(v1::Blobs::StubInterface* stub, const std::string& digest, absl::Duration patience,
                            const TransferProgress& progress, const std::stop_token& stop, Partial* partial,
                            absl::Status* local) {
  grpc::ClientContext context;
  // The size is not known yet: a day, and the connection's keepalive notices a dead peer.
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(24) +
                       absl::ToChronoMilliseconds(patience));
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  v1::DownloadBlobRequest request;
  request.set_digest(digest);
  request.set_offset_bytes(partial->offset);
  const auto reader = stub->DownloadBlob(&context, request);
  v1::DownloadBlobResponse response;
  bool first = true;
  while (reader->Read(&response)) {
    if (first && response.size_bytes() >= partial->offset) {
      *local = CheckRoom(partial->path, response.size_bytes() - partial->offset);
    }
    first = false;
    if (local->ok()) *local = WriteChunk(response.data(), partial);
    if (!local->ok()) {
      context.TryCancel();
      break;
    }
    if (progress) progress(partial->offset, response.size_bytes());
  }
  return reader->Finish();
}

}  // namespace

absl::Status RegistryClient::UploadFile(const std::string& path, const std::string& digest,
                                        const TransferProgress& progress, std::stop_token stop) {
  if (!base::IsSha256Digest(digest)) {
    return base::FieldErrors({{"digest", "must be 'sha256:' and 64 lower-case hex digits"}});
  }
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (file.get() < 0 || fstat(file.get(), &info) != 0) return base::ErrnoStatus(errno, "open", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(base::StrCat(path, " is not a file"));
  const uint64_t size = static_cast<uint64_t>(info.st_size);

  Persistence persistence(options_.transfer_patience, digest, stop);
  for (;;) {
    uint64_t durable = 0;
    absl::StatusOr<v1::BlobStatus> status = GetBlobStatus(digest);
    absl::Status failure = status.status();
    if (status.ok()) {
      if (status->complete()) {
        if (progress) progress(size, size);
        return absl::OkStatus();
      }
      durable = status->received_bytes() <= size ? status->received_bytes() : 0;
      if (progress) progress(durable, size);
      absl::Status file_error;
      failure = FromServer(UploadStream(blobs_.get(), file.get(), path, digest, size, durable,
                                        options_.transfer_patience, progress, stop, &file_error));
      if (!file_error.ok()) return file_error;
      if (failure.ok()) return absl::OkStatus();
    }
    LINNET_RETURN_IF_ERROR(persistence.AfterFailure(failure, durable));
  }
}

absl::Status RegistryClient::DownloadBlob(const std::string& digest, const std::string& dest_path,
                                          const TransferProgress& progress, std::stop_token stop) {
  if (!base::IsSha256Digest(digest)) {
    return base::FieldErrors({{"digest", "must be 'sha256:' and 64 lower-case hex digits"}});
  }
  struct stat info;
  if (stat(dest_path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
    if (progress) progress(static_cast<uint64_t>(info.st_size), static_cast<uint64_t>(info.st_size));
    return absl::OkStatus();
  }
  Partial partial;
  partial.path = dest_path + ".part";
  const File file(open(partial.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (file.get() < 0) return base::ErrnoStatus(errno, "create", partial.path);
  partial.fd = file.get();
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return base::Error(absl::StatusCode::kAborted, "STATE_CONFLICT",
                       base::StrCat(partial.path, " is being downloaded already; wait for that"),
                       {{"path", dest_path}});
  }
  LINNET_RETURN_IF_ERROR(HashExisting(&partial));

  Persistence persistence(options_.transfer_patience, digest, stop);
  for (;;) {
    absl::Status local;
    const absl::Status failure =
        FromServer(DownloadStream(blobs_.get(), digest, options_.transfer_patience, progress, stop, &partial, &local));
    LINNET_RETURN_IF_ERROR(local);
    if (failure.ok()) {
      if (std::string actual = partial.hash.Digest(); actual != digest) {
        const bool resumed = partial.resumed;
        LINNET_RETURN_IF_ERROR(StartOver(&partial));
        if (resumed) continue;
        unlink(partial.path.c_str());
        return base::Error(absl::StatusCode::kDataLoss, "BLOB_CORRUPT",
                           base::StrCat("the bytes downloaded as blob ", digest, " are ", actual,
                                        "; they were dropped: check the network and both disks"),
                           {{"blob", digest}});
      }
      break;
    }
    if (failure.code() == absl::StatusCode::kNotFound || failure.code() == absl::StatusCode::kDataLoss) {
      unlink(partial.path.c_str());
      return failure;
    }
    // The partial file is longer than the blob: not ours.
    if (failure.code() == absl::StatusCode::kOutOfRange) LINNET_RETURN_IF_ERROR(StartOver(&partial));
    LINNET_RETURN_IF_ERROR(persistence.AfterFailure(failure, partial.offset));
  }
  if (fdatasync(file.get()) != 0) return base::ErrnoStatus(errno, "sync", partial.path);
  if (rename(partial.path.c_str(), dest_path.c_str()) != 0) return base::ErrnoStatus(errno, "rename to", dest_path);
  const std::string folder = std::filesystem::path(dest_path).parent_path().string();
  return base::SyncDir(folder.empty() ? "." : folder);
}

}  // namespace linnet::registry
