// The worker's own copies of blobs, content-addressed: {dir}/blobs/sha256-{hex}. A file is either absent or was whole
// when it was put there; since a disk may rot, Verify hashes it before a load believes it (which it need not where
// packed weights vouch for all that the load reads: worker/model/packed_cache.h).
//
// The cache is bounded by the registry: Sweep removes what no variant of the snapshot names, and MakeRoom removes, when
// the disk is too full for a fetch, first what `reclaim` has, then, least recently used first, what is not about to be
// loaded.
//
// Not thread-safe: the loader's thread owns it.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker {

class BlobCache {
 public:
  // Fetches a blob to a path, as RegistryClient::DownloadBlob does: resuming, verifying, renaming.
  using Fetch = std::function<absl::Status(const std::string& digest, const std::string& path, std::stop_token stop)>;

  // Frees so many bytes of the same disk, if it can, of what can be made again from blobs.
  using Reclaim = std::function<void(uint64_t bytes)>;

  // Makes the folder and proves that it can be written. Errors name it. `reclaim` may be null.
  static absl::StatusOr<BlobCache> Open(const std::string& dir, Fetch fetch, Reclaim reclaim = {});

  // The path of a copy with this digest: the cached one, not verified, or one fetched now. `keep`: digests that
  // MakeRoom must leave.
  absl::StatusOr<std::string> Get(const std::string& digest, uint64_t size_bytes, const std::set<std::string>& keep,
                                  std::stop_token stop);
  // DATA_LOSS BLOB_CORRUPT: the cached copy does not hash to its name, and is gone; Get fetches another.
  absl::Status Verify(const std::string& digest);

  // Removes every blob and partial download but those of `keep`. Returns the bytes freed.
  uint64_t Sweep(const std::set<std::string>& keep);

  std::string PathOf(const std::string& digest) const;

 private:
  BlobCache(std::string blobs_dir, Fetch fetch, Reclaim reclaim)
      : blobs_dir_(std::move(blobs_dir)), fetch_(std::move(fetch)), reclaim_(std::move(reclaim)) {}
  absl::Status MakeRoom(uint64_t bytes, const std::set<std::string>& keep);

  std::string blobs_dir_;
  Fetch fetch_;
  Reclaim reclaim_;
  std::set<std::string> fresh_;  // fetched, which hashes them, and not verified again since
};

}  // namespace linnet::worker
