#include "worker/model/source_rest.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/crc/crc32c.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/model/file_handle.h"

namespace linnet::worker {
namespace {

constexpr size_t kReadBytes = 256 << 10;

// Not through a mapping: its pages would count as the process's.
absl::StatusOr<uint32_t> ChecksumOf(const std::vector<SourceRest::Range>& ranges, const FileHandle& file) {
  std::string buffer(kReadBytes, '\0');
  absl::crc32c_t crc{0};
  for (const SourceRest::Range& range : ranges) {
    for (uint64_t at = 0; at < range.bytes; at += kReadBytes) {
      const size_t size = static_cast<size_t>(std::min<uint64_t>(kReadBytes, range.bytes - at));
      LINNET_RETURN_IF_ERROR(file.ReadAt(range.offset + at, buffer.data(), size));
      crc = absl::ExtendCrc32c(crc, absl::string_view(buffer.data(), size));
    }
  }
  return static_cast<uint32_t>(crc);
}

}  // namespace

absl::StatusOr<SourceRest> DescribeRest(const GgufFile& file, const PackedTable& packed) {
  std::vector<std::pair<uint64_t, uint64_t>> taken;  // [begin, end) of packed tensors
  for (const PackedTensor& tensor : packed.tensors) {
    const std::span<const std::byte> data = file.FindTensor(tensor.name)->data;
    const auto begin = static_cast<uint64_t>(data.data() - file.bytes().data());
    taken.emplace_back(begin, begin + data.size());
  }
  std::sort(taken.begin(), taken.end());
  taken.emplace_back(file.file_bytes(), file.file_bytes());
  SourceRest rest{.file_bytes = file.file_bytes()};
  uint64_t at = 0;
  for (const auto& [begin, end] : taken) {
    if (begin > at) rest.ranges.push_back({.offset = at, .bytes = begin - at});
    at = std::max(at, end);
  }
  LINNET_ASSIGN_OR_RETURN(const FileHandle handle, FileHandle::OpenToRead(file.path()));
  LINNET_ASSIGN_OR_RETURN(rest.crc32c, ChecksumOf(rest.ranges, handle));
  return rest;
}

absl::Status CheckRest(const SourceRest& rest, const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(const FileHandle handle, FileHandle::OpenToRead(path));
  LINNET_ASSIGN_OR_RETURN(const uint64_t size, handle.Size());
  if (size != rest.file_bytes) {
    return absl::DataLossError(base::StrCat(path, " has ", size, " bytes, had ", rest.file_bytes, " when packed"));
  }
  LINNET_ASSIGN_OR_RETURN(const uint32_t crc, ChecksumOf(rest.ranges, handle));
  if (crc == rest.crc32c) return absl::OkStatus();
  return absl::DataLossError(base::StrCat(path, " is not as it was when packed"));
}

}  // namespace linnet::worker
