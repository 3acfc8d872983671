// An upload into the blob store's files: the part of BlobStore that appends, syncs and makes a blob visible.
#pragma once

#include <unistd.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/sha256.h"
#include "registry/blobs/blob_store.h"

namespace linnet::registry {

// A file descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Begin once, then as BlobStore::Upload says.
class BlobStore::FileUpload final : public BlobStore::Upload {
 public:
  struct Files {
    std::string digest;
    std::string part;    // bytes so far
    std::string synced;  // how many of them are durable
    std::string blob;    // where they go
    std::string folder;  // that of `blob`
  };
  // `ended` is called in destruction.
  FileUpload(Files files, uint64_t size, uint64_t sync_bytes, FileOps* ops, std::function<void()> ended)
      : files_(std::move(files)), size_(size), sync_bytes_(sync_bytes), ops_(ops), ended_(std::move(ended)) {}
  ~FileUpload() override;

  // Opens the file, cuts it to `offset` and hashes what it holds.
  absl::Status Begin(uint64_t offset);

  absl::Status Append(std::string_view data) override;
  absl::Status Finish() override;
  uint64_t received_bytes() const override { return received_; }
  uint64_t size_bytes() const override { return size_; }

 private:
  absl::Status Checkpoint();

  const Files files_;
  const uint64_t size_;
  const uint64_t sync_bytes_;
  FileOps* const ops_;
  const std::function<void()> ended_;
  Fd fd_;
  base::Sha256 hash_;
  uint64_t received_ = 0;
  uint64_t synced_ = 0;
  bool finished_ = false;
};

}  // namespace linnet::registry
