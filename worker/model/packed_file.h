// The packed weights of one model on disk.
//
//   offset 0    "LINNETPW"
//          8    version of this format                                        u32, little-endian as all numbers here
//          12   size of the header                                            u32
//          16   CRC-32C of bytes [0, 16) and of the header                    u32
//          20   zeros
//          32   header: linnet.storage.v1.PackedWeights, serialized
//          ...  zeros
//          image_offset, a multiple of 4096: the image, to the end of the file; tensors one after the other in the
//          layouts of kernels/quant_pack.h and kernels/dense_pack.h, with a CRC-32C in the header for each 2 MiB
//
// Only what kernels pack is in it, matrices. What of the model file is not (its header with the vocabulary, norms and
// biases) is read from there, and the header here has a checksum over it: a packed file and the model file together are
// checked without reading what was packed a second time.
//
// The image is read into anonymous memory in huge pages, not mapped (docs/decisions.md says why), so the file
// may be replaced or removed while its weights are in use. Writers write to a temporary name, the first bytes last,
// sync and rename: a file either is whole or is found out by its checksums.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/aligned_buffer.h"
#include "kernels/thread_pool.h"
#include "linnet/storage/v1/storage.pb.h"
#include "worker/model/file_handle.h"
#include "worker/model/packed_image.h"
#include "worker/model/source_rest.h"

namespace linnet::worker {

class PackedFile {
 public:
  static constexpr uint32_t kFormatVersion = 1;
  static constexpr int64_t kChunkBytes = int64_t{2} << 20;  // one checksum each; read by one thread

  // Reads the header, and takes a shared lock that lasts as long as the object. NOT_FOUND: there is none.
  // FAILED_PRECONDITION: made by another version or for another key. DATA_LOSS: damaged.
  static absl::StatusOr<std::unique_ptr<PackedFile>> Open(const std::string& path, const std::string& key);

  // Writes to an empty file and syncs it. `interrupted`, asked now and then, ends it with CANCELLED.
  static absl::Status Write(const FileHandle& file, const std::string& key, const PackedImage& image,
                            const SourceRest& rest, const std::function<bool()>& interrupted);
  // At most what Write makes of an image.
  static uint64_t FileBytes(const PackedTable& table, const SourceRest& rest);

  // What the model file must hold besides.
  const SourceRest& rest() const { return rest_; }
  // Whether that is what it holds.
  bool IsOf(const PackedTable& table) const;
  // The whole image, read and checked by all threads of the pool. FAILED_PRECONDITION: it is not of this table.
  // DATA_LOSS: a chunk is not what was written. RESOURCE_EXHAUSTED: no memory. `progress` may be null.
  absl::StatusOr<kernels::AlignedBuffer> Read(const PackedTable& table, kernels::ThreadPool& pool,
                                              const std::function<void(int64_t done_bytes)>& progress) const;

 private:
  PackedFile(FileHandle file, storage::v1::PackedWeights header);
  const FileHandle file_;
  const storage::v1::PackedWeights header_;
  SourceRest rest_;
};

}  // namespace linnet::worker
