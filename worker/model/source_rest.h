// The bytes of a model file that are not packed: its header and the tensors that stay as stored. Every load reads them
// from the file itself, so packed weights vouch for them by a checksum, and the rest of the file need not be read at
// all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/packed_image.h"

namespace linnet::worker {

struct SourceRest {
  struct Range {
    uint64_t offset = 0, bytes = 0;
  };
  uint64_t file_bytes = 0;
  std::vector<Range> ranges;  // ascending, not touching each other
  uint32_t crc32c = 0;        // of the ranges, one after the other
};

// Reads them. Errors as of reading the file.
absl::StatusOr<SourceRest> DescribeRest(const GgufFile& file, const PackedTable& packed);
// DATA_LOSS: the file at `path` has other bytes there, or another size.
absl::Status CheckRest(const SourceRest& rest, const std::string& path);

}  // namespace linnet::worker
