// The worker's own copies of blobs, content-addressed: {dir}/blobs/sha256-{hex}. A file is either absent or was whole
// when it was put there; it is hashed again before each load, since a disk may rot and a file may be tampered with.
//
// The cache is bounded by the registry: Sweep removes what no variant of the snapshot names, and MakeRoom removes,
// least recently used first, what is not about to be loaded when the disk is too full for a fetch.
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

  // Makes the folder and proves that it can be written. Errors name it.
  static absl::StatusOr<BlobCache> Open(const std::string& dir, Fetch fetch);

  // The path of a whole copy with this digest: the cached one, or one fetched now. A cached copy that does not hash to
  // its name is deleted and fetched again. `keep`: digests that MakeRoom must leave.
  absl::StatusOr<std::string> Get(const std::string& digest, uint64_t size_bytes, const std::set<std::string>& keep,
                                  std::stop_token stop);

  // Removes every blob and partial download but those of `keep`. Returns the bytes freed.
  uint64_t Sweep(const std::set<std::string>& keep);

  std::string PathOf(const std::string& digest) const;

 private:
  BlobCache(std::string blobs_dir, Fetch fetch) : blobs_dir_(std::move(blobs_dir)), fetch_(std::move(fetch)) {}
  absl::Status MakeRoom(uint64_t bytes, const std::set<std::string>& keep);

  std::string blobs_dir_;
  Fetch fetch_;
};

}  // namespace linnet::worker
