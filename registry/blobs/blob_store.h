// Content-addressed files: a blob is named by the SHA-256 of its bytes and is one file, so that it can be mapped.
// docs/registry-format.md has the folder layout and what a crash leaves.
//
//   LINNET_ASSIGN_OR_RETURN(auto store, BlobStore::Open({.path = data_dir + "/blobs"}));
//   LINNET_ASSIGN_OR_RETURN(auto upload, store->StartUpload(digest, size, offset));
//   LINNET_RETURN_IF_ERROR(upload->Append(bytes));  // until all are there
//   LINNET_RETURN_IF_ERROR(upload->Finish());       // verified, synced, visible
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "registry/blobs/file_ops.h"

namespace linnet::registry {

struct BlobState {
  bool complete = false;
  uint64_t size_bytes = 0;      // of a complete blob; 0 otherwise
  uint64_t received_bytes = 0;  // durable
};

// Thread-safe. Calls do file I/O on the caller's thread and hold no lock meanwhile.
class BlobStore {
 public:
  struct Options {
    std::string path;
    uint64_t max_blob_bytes = uint64_t{64} << 30;
    // At once; more are refused with a time to come back.
    size_t max_uploads = 16;
    // Partial files, running or left.
    size_t max_partial_files = 64;
    // A crash loses at most this much of an upload.
    uint64_t sync_bytes = 16 << 20;
    // What nobody touched for this long goes at Open, and in RemoveUnreferenced.
    absl::Duration orphan_age = absl::Hours(24 * 7);
    // Left free on the disk for everything else.
    uint64_t reserve_bytes = 16 << 20;
    base::Clock* clock = base::Clock::Real();
    FileOps* ops = FileOps::Real();
  };
  // Creates the folders, cuts partial files to what is durable and removes orphaned ones.
  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(Options options);

  // INVALID_ARGUMENT where the digest is malformed; a blob of which nothing is known is not an error.
  absl::StatusOr<BlobState> Status(const std::string& digest) const;

  // A blob's bytes on their way in. Not thread-safe; must not outlive the store. Destroyed before Finish, it leaves
  // what came, synced, for the next one.
  class Upload {
   public:
    virtual ~Upload() = default;
    // INVALID_ARGUMENT beyond the announced size; RESOURCE_EXHAUSTED (OUT_OF_DISK). After an error: destroy it.
    virtual absl::Status Append(std::string_view data) = 0;
    // INVALID_ARGUMENT while bytes are missing; DATA_LOSS (BLOB_CORRUPT) where they hash to something else: then
    // nothing of them is kept. OK: the blob is complete and survives a power cut.
    virtual absl::Status Finish() = 0;
    virtual uint64_t received_bytes() const = 0;
    virtual uint64_t size_bytes() const = 0;
  };
  // REQUIRES: the blob is not complete (ALREADY_EXISTS). Hashes what is there already (takes a while where that is
  // much). OUT_OF_RANGE (UPLOAD_OFFSET_MISMATCH, metadata expected_offset) unless offset is what Status() gives;
  // ABORTED (STATE_CONFLICT) while another upload of it runs; RESOURCE_EXHAUSTED (QUEUE_FULL, OUT_OF_DISK).
  absl::StatusOr<std::unique_ptr<Upload>> StartUpload(const std::string& digest, uint64_t size, uint64_t offset);

  // A complete blob's file: NOT_FOUND otherwise.
  absl::StatusOr<std::string> PathOf(const std::string& digest) const;

  // Reads a complete blob in order; where it starts at 0, it is hashed on the way. Not thread-safe.
  class Reader {
   public:
    virtual ~Reader() = default;
    // Up to max_bytes into *data; empty at the end. The end is DATA_LOSS (BLOB_CORRUPT) instead where the bytes
    // read do not have the digest.
    virtual absl::Status Read(size_t max_bytes, std::string* data) = 0;
    virtual uint64_t size_bytes() const = 0;
  };
  // OUT_OF_RANGE where offset is beyond the end.
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(const std::string& digest, uint64_t offset) const;

  // Reads and hashes a complete blob: DATA_LOSS (BLOB_CORRUPT) with the remedy. A blob that does not have its digest,
  // here or in a Reader, is set aside as {hex}.corrupt, so that it can be uploaded again.
  absl::Status Verify(const std::string& digest) const;

  // Removes complete blobs that are not among `referenced` (digests) and older than orphan_age; gives their number.
  absl::StatusOr<int> RemoveUnreferenced(const std::set<std::string>& referenced);

  // Of complete blobs and partial files.
  uint64_t total_bytes() const;
  size_t active_uploads() const;

 private:
  class FileUpload;
  class FileReader;
  explicit BlobStore(Options options);
  absl::Status Recover();
  absl::Status RecoverPartial(const std::string& hex);
  std::string BlobPath(const std::string& digest) const;
  std::string PartPath(const std::string& digest) const;
  std::string SyncedPath(const std::string& digest) const;
  absl::Status CheckRoom(const std::string& digest, uint64_t more_bytes) const;
  absl::Status Corrupt(const std::string& digest) const;
  void EndUpload(const std::string& digest);

  const Options options_;
  mutable base::Mutex mu_;
  std::set<std::string> active_ ABSL_GUARDED_BY(mu_);  // digests
};

}  // namespace linnet::registry
