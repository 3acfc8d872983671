#include "worker/model/packed_file.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/packed_tiles.h"

namespace linnet::worker {
namespace {

using storage::v1::PackedWeights;

constexpr char kMagic[] = "LINNETPW";
constexpr size_t kPreludeBytes = 32, kCheckedPreludeBytes = 16;
constexpr uint64_t kImageAlignment = 4096;
constexpr uint32_t kMaxHeaderBytes = 64 << 20;
// Written before the disk is asked to begin, and waited for one such window later: what a sync has left to do is short.
constexpr int64_t kWindowBytes = int64_t{32} << 20;
// Read between two calls of `progress`.
constexpr int64_t kProgressChunks = 32;

static_assert(std::endian::native == std::endian::little);

uint32_t Crc(const void* data, size_t size) {
  return static_cast<uint32_t>(absl::ComputeCrc32c(absl::string_view(static_cast<const char*>(data), size)));
}

// The file's first bytes.
struct Prelude {
  char magic[8];
  uint32_t format_version;
  uint32_t header_bytes;
  uint32_t crc32c;
  char zeros[12];

  uint32_t Checksum(const std::string& header) const {
    const absl::crc32c_t own =
        absl::ComputeCrc32c(absl::string_view(reinterpret_cast<const char*>(this), kCheckedPreludeBytes));
    return static_cast<uint32_t>(absl::ExtendCrc32c(own, header));
  }
};
static_assert(sizeof(Prelude) == kPreludeBytes);

int64_t Chunks(int64_t bytes) { return (bytes + PackedFile::kChunkBytes - 1) / PackedFile::kChunkBytes; }

PackedWeights HeaderFor(const std::string& key, const PackedTable& table, const SourceRest& rest) {
  PackedWeights header;
  header.set_packer_version(kernels::kPackerVersion);
  header.set_key(key);
  header.set_image_bytes(static_cast<uint64_t>(table.bytes));
  for (const PackedTensor& tensor : table.tensors) {
    storage::v1::PackedTensor* const out = header.add_tensors();
    out->set_name(tensor.name);
    out->set_type(static_cast<uint32_t>(tensor.type.type));
    out->set_shared_scales(static_cast<uint32_t>(tensor.type.shared));
    out->set_rows(tensor.rows);
    out->set_cols(tensor.cols);
    out->set_bytes(tensor.bytes);
  }
  header.mutable_chunk_crc32c()->Resize(static_cast<int>(Chunks(table.bytes)), 0);
  header.set_source_bytes(rest.file_bytes);
  for (const SourceRest::Range& range : rest.ranges) {
    storage::v1::ByteRange* const out = header.add_source_ranges();
    out->set_offset(range.offset);
    out->set_bytes(range.bytes);
  }
  header.set_source_crc32c(rest.crc32c);
  // Its own number is the only one that may still change the header's size.
  constexpr size_t kMostForImageOffset = 16;
  const uint64_t most = kPreludeBytes + header.ByteSizeLong() + kMostForImageOffset;
  header.set_image_offset((most + kImageAlignment - 1) / kImageAlignment * kImageAlignment);
  return header;
}

// What does not depend on the model: sizes that the file must have.
absl::Status CheckSizes(const PackedWeights& header, uint64_t header_bytes, uint64_t file_bytes,
                        const std::string& path) {
  const uint64_t offset = header.image_offset(), bytes = header.image_bytes();
  if (offset % kImageAlignment != 0 || offset < kPreludeBytes + header_bytes || offset > file_bytes ||
      bytes != file_bytes - offset) {
    return absl::DataLossError(base::StrCat(path, " has ", file_bytes, " bytes, not ", offset, " + ", bytes));
  }
  if (header.chunk_crc32c_size() != Chunks(static_cast<int64_t>(bytes))) {
    return absl::DataLossError(base::StrCat(path, " has ", header.chunk_crc32c_size(), " checksums for its size"));
  }
  return absl::OkStatus();
}

SourceRest RestOf(const PackedWeights& header) {
  SourceRest rest{.file_bytes = header.source_bytes(), .crc32c = header.source_crc32c()};
  for (const storage::v1::ByteRange& range : header.source_ranges()) {
    rest.ranges.push_back({.offset = range.offset(), .bytes = range.bytes()});
  }
  return rest;
}

// In pieces that are still in the cache when they are summed.
absl::Status ReadChunk(const FileHandle& file, uint64_t offset, uint8_t* data, size_t size, absl::crc32c_t* crc) {
  constexpr size_t kPieceBytes = 256 << 10;
  for (size_t at = 0; at < size; at += kPieceBytes) {
    const size_t piece = std::min(kPieceBytes, size - at);
    LINNET_RETURN_IF_ERROR(file.ReadAt(offset + at, data + at, piece));
    *crc = absl::ExtendCrc32c(*crc, absl::string_view(reinterpret_cast<const char*>(data + at), piece));
  }
  return absl::OkStatus();
}

}  // namespace

PackedFile::PackedFile(FileHandle file, PackedWeights header)
    : file_(std::move(file)), header_(std::move(header)), rest_(RestOf(header_)) {}

bool PackedFile::IsOf(const PackedTable& table) const {
  if (header_.image_bytes() != static_cast<uint64_t>(table.bytes)) return false;
  return std::equal(header_.tensors().begin(), header_.tensors().end(), table.tensors.begin(), table.tensors.end(),
                    [](const storage::v1::PackedTensor& a, const PackedTensor& b) {
                      return a.name() == b.name && a.type() == static_cast<uint32_t>(b.type.type) &&
                             a.shared_scales() == static_cast<uint32_t>(b.type.shared) && a.rows() == b.rows &&
                             a.cols() == b.cols && a.bytes() == b.bytes;
                    });
}

absl::StatusOr<std::unique_ptr<PackedFile>> PackedFile::Open(const std::string& path, const std::string& key) {
  LINNET_ASSIGN_OR_RETURN(FileHandle file, FileHandle::OpenToRead(path));
  // Whoever locks it otherwise is about to remove it, or has.
  if (!file.TryLockShared() || !file.linked()) return absl::NotFoundError(base::StrCat(path, " is being removed"));
  LINNET_ASSIGN_OR_RETURN(const uint64_t file_bytes, file.Size());
  Prelude prelude;
  LINNET_RETURN_IF_ERROR(file.ReadAt(0, &prelude, sizeof(prelude)));
  if (std::memcmp(prelude.magic, kMagic, sizeof(prelude.magic)) != 0) {
    return absl::DataLossError(base::StrCat(path, " does not begin as packed weights do"));
  }
  if (prelude.format_version != kFormatVersion) {
    return absl::FailedPreconditionError(
        base::StrCat(path, " has format ", prelude.format_version, ", not ", kFormatVersion));
  }
  if (prelude.header_bytes > kMaxHeaderBytes || prelude.header_bytes > file_bytes) {
    return absl::DataLossError(base::StrCat(path, " has no header of ", prelude.header_bytes, " bytes"));
  }
  std::string bytes(prelude.header_bytes, '\0');
  LINNET_RETURN_IF_ERROR(file.ReadAt(kPreludeBytes, bytes.data(), bytes.size()));
  PackedWeights header;
  if (prelude.crc32c != prelude.Checksum(bytes) || !header.ParseFromString(bytes)) {
    return absl::DataLossError(base::StrCat(path, ": the header is damaged"));
  }
  if (header.packer_version() != kernels::kPackerVersion) {
    return absl::FailedPreconditionError(
        base::StrCat(path, " has packer version ", header.packer_version(), ", not ", kernels::kPackerVersion));
  }
  if (header.key() != key) return absl::FailedPreconditionError(base::StrCat(path, " is of ", header.key()));
  LINNET_RETURN_IF_ERROR(CheckSizes(header, bytes.size(), file_bytes, path));
  return std::unique_ptr<PackedFile>(new PackedFile(std::move(file), std::move(header)));
}

absl::StatusOr<kernels::AlignedBuffer> PackedFile::Read(const PackedTable& table, kernels::ThreadPool& pool,
                                                        const std::function<void(int64_t)>& progress) const {
  if (!IsOf(table)) {
    return absl::FailedPreconditionError(base::StrCat(file_.path(), " holds other tensors than the model has"));
  }
  LINNET_ASSIGN_OR_RETURN(kernels::AlignedBuffer memory, kernels::AlignedBuffer::Create(table.bytes));
  (void)posix_fadvise(file_.fd(), static_cast<off_t>(header_.image_offset()), 0, POSIX_FADV_SEQUENTIAL);
  base::Mutex mu;
  absl::Status status;  // guarded by mu
  const int64_t chunks = Chunks(table.bytes);
  for (int64_t first = 0; first < chunks; first += kProgressChunks) {
    const int64_t count = std::min(kProgressChunks, chunks - first);
    pool.ParallelFor(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t chunk = first + begin; chunk < first + end; ++chunk) {
        const int64_t at = chunk * kChunkBytes;
        const auto size = static_cast<size_t>(std::min(kChunkBytes, table.bytes - at));
        absl::crc32c_t crc{0};
        absl::Status read =
            ReadChunk(file_, header_.image_offset() + static_cast<uint64_t>(at), memory.data() + at, size, &crc);
        if (read.ok() && static_cast<uint32_t>(crc) != header_.chunk_crc32c(static_cast<int>(chunk))) {
          read = absl::DataLossError(base::StrCat(file_.path(), ": chunk ", chunk, " of the image is damaged"));
        }
        if (read.ok()) continue;
        base::MutexLock lock(&mu);
        status = std::move(read);
      }
    });
    LINNET_RETURN_IF_ERROR(status);
    if (progress) progress(std::min(table.bytes, (first + count) * kChunkBytes));
  }
  return memory;
}

uint64_t PackedFile::FileBytes(const PackedTable& table, const SourceRest& rest) {
  return HeaderFor(std::string(128, ' '), table, rest).image_offset() + static_cast<uint64_t>(table.bytes);
}

absl::Status PackedFile::Write(const FileHandle& file, const std::string& key, const PackedImage& image,
                               const SourceRest& rest, const std::function<bool()>& interrupted) {
  PackedWeights header = HeaderFor(key, image.table, rest);
  const std::span<const uint8_t> bytes = image.bytes();
  const auto size = static_cast<int64_t>(bytes.size());
  const auto offset = static_cast<int64_t>(header.image_offset());
  // A disk that is too full says so now. Where the file system cannot tell, it says so later.
  if (fallocate(file.fd(), 0, 0, offset + size) != 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
    return base::ErrnoStatus(errno, "write to", file.path());
  }
  for (int64_t at = 0; at < size; at += kChunkBytes) {
    if (interrupted()) return absl::CancelledError("interrupted");
    const auto chunk = static_cast<size_t>(std::min(kChunkBytes, size - at));
    header.set_chunk_crc32c(static_cast<int>(at / kChunkBytes), Crc(&bytes[static_cast<size_t>(at)], chunk));
    LINNET_RETURN_IF_ERROR(file.WriteAt(static_cast<uint64_t>(offset + at), &bytes[static_cast<size_t>(at)], chunk));
    if ((at + kChunkBytes) % kWindowBytes != 0) continue;
    const int64_t window = offset + at + kChunkBytes - kWindowBytes;
    (void)sync_file_range(file.fd(), window, kWindowBytes, SYNC_FILE_RANGE_WRITE);
    if (window - kWindowBytes < offset) continue;
    (void)sync_file_range(file.fd(), window - kWindowBytes, kWindowBytes,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
  const std::string serialized = header.SerializeAsString();
  Prelude prelude = {.format_version = kFormatVersion, .header_bytes = static_cast<uint32_t>(serialized.size())};
  std::memcpy(prelude.magic, kMagic, sizeof(prelude.magic));
  prelude.crc32c = prelude.Checksum(serialized);
  LINNET_RETURN_IF_ERROR(file.WriteAt(kPreludeBytes, serialized.data(), serialized.size()));
  LINNET_RETURN_IF_ERROR(file.WriteAt(0, &prelude, sizeof(prelude)));
  return file.Sync();
}

}  // namespace linnet::worker
