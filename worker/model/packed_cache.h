// Packed weights kept from load to load: a folder of files {hex}.{format version}.{packer version}.packed
// (worker/model/packed_file.h), each under the key of what was packed, "sha256:{hex}", and the versions of who packed
// it.
//
//   Find ──▶ hit: Read ──▶ in use for as long as the PackedFile lives
//     └────▶ miss: pack ──▶ serve ──▶ Save, when there is time ──▶ in use for as long as the handle lives
//
// Nothing here fails a load. What is damaged or cut short is removed and packed anew; where the folder cannot be
// written, or the disk is full, weights are served from memory alone, and one line of the log says so.
//
// The folder is bounded: before a file is added, those least recently used go, but none that is in use, by this process
// or another (a shared lock on the file says so). Any number of processes may have the same folder: files appear whole,
// by rename, and equal names have equal content. They may be of several versions of Linnet: files of another version
// are not read, but count, and go when their turn comes. What a killed process left unfinished goes when the folder is
// next opened.
//
// The checksums find rot, not malice: the folder must be writable to the worker alone, as that of its blobs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/file_handle.h"
#include "worker/model/packed_file.h"
#include "worker/model/packed_image.h"
#include "worker/model/source_rest.h"

namespace linnet::worker {

// One thread at a time, but for stats().
class PackedCache {
 public:
  static constexpr uint64_t kDefaultMaxBytes = uint64_t{16} << 30;

  struct Options {
    std::string dir;
    uint64_t max_bytes = kDefaultMaxBytes;
    // Left free on the disk: blobs, logs and others come first.
    uint64_t disk_reserve_bytes = uint64_t{256} << 20;
    // What the disk of `dir` has left; empty: as the system says.
    std::function<uint64_t()> free_bytes;
  };
  struct Stats {
    uint64_t hits = 0, misses = 0;  // loads that found their packed weights here, and that did not
    uint64_t bytes = 0;             // in the folder, as this process last saw it
  };

  // Of the file in the folder that this version keeps under a key. REQUIRES: a digest as of base::IsSha256Digest.
  static std::string FileName(const std::string& key);

  // Makes the folder, and removes what is in it beyond the bound or unfinished.
  static std::unique_ptr<PackedCache> Open(Options options);

  // The packed weights under this key, if they and the model file at `source_path` fit together; else nullptr, and no
  // file is left under FileName(key).
  std::unique_ptr<PackedFile> Find(const std::string& key, const std::string& source_path);
  // Removes what was found and proved damaged when it was read, in use or not: who has it in use has read it.
  void Discard(const std::string& key, const absl::Status& why);
  // Keeps an image, if it is not there yet. The handle, where not empty, is what "in use" means. `interrupted`: asked
  // every few milliseconds; true gives up.
  FileHandle Save(const std::string& key, const PackedImage& image, const SourceRest& rest,
                  const std::function<bool()>& interrupted);
  // Says, once, that an image is not kept; Save does so itself.
  void NotKept(const absl::Status& why) {
    TellOnce("packed weights are not kept: the next load packs them again", why);
  }
  void Count(bool hit) { ++(hit ? hits_ : misses_); }
  // Makes room for something that matters more: removes what is not in use, oldest use first, until so many bytes are
  // freed. Returns how many were.
  uint64_t Reclaim(uint64_t bytes);

  Stats stats() const { return {.hits = hits_, .misses = misses_, .bytes = bytes_}; }
  const std::string& dir() const { return options_.dir; }

 private:
  explicit PackedCache(Options options) : options_(std::move(options)) {}
  std::string PathOf(const std::string& key) const { return dir() + "/" + FileName(key); }
  absl::Status Write(const std::string& key, const PackedImage& image, const SourceRest& rest,
                     const std::function<bool()>& interrupted, FileHandle* handle);
  absl::Status MakeRoom(uint64_t bytes);
  struct Room {
    uint64_t used = 0, freed = 0;  // bytes
  };
  Room Evict(const std::function<bool(const Room&)>& enough);
  uint64_t CountBytes();
  void RemoveUnfinished();
  void TellOnce(const std::string& what, const absl::Status& why);

  const Options options_;
  std::set<std::string> told_;
  std::atomic<uint64_t> hits_ = 0, misses_ = 0, bytes_ = 0;
};

// A key for a file that nothing has hashed: by device, inode, size and times of change, which is how build tools tell
// that a file is the one they knew.
absl::StatusOr<std::string> PackedKeyOfFile(const std::string& path);

}  // namespace linnet::worker
