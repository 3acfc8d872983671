#include "kernels/packed_tiles.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/aligned_buffer.h"
#include "kernels/finite.h"

namespace linnet::kernels {
namespace {

absl::StatusOr<PackedPlace> OwnPlace(int64_t bytes) {
  LINNET_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Create(bytes));
  auto owner = std::make_shared<const AlignedBuffer>(std::move(buffer));
  return PackedPlace{.bytes = {owner->data(), static_cast<size_t>(bytes)}, .owner = owner};
}

}  // namespace

absl::Status CheckPlace(const PackedPlace& place, int64_t bytes) {
  if (static_cast<int64_t>(place.bytes.size()) != bytes || reinterpret_cast<uintptr_t>(place.bytes.data()) % 64 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("packed weights need ", bytes, " bytes at a 64-byte border, not ", place.bytes.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<PackedPlace> PackTiles(const Matrix::Source& source, int64_t tile_bytes, PackedPlace place,
                                      ThreadPool& pool, absl::FunctionRef<void(int64_t tile, uint8_t* out)> pack) {
  const int64_t tiles = (source.rows + kTileRows - 1) / kTileRows;
  if (place.bytes.empty()) {
    LINNET_ASSIGN_OR_RETURN(place, OwnPlace(tiles * tile_bytes));
  }
  LINNET_RETURN_IF_ERROR(CheckPlace(place, tiles * tile_bytes));
  const int64_t source_bytes = source.rows * BytesFor(source.type, source.cols);
  const int64_t tile_source_bytes = kTileRows * BytesFor(source.type, source.cols);
  const int64_t slab_tiles =
      std::max<int64_t>(1, static_cast<int64_t>(Matrix::kMostUnreleasedBytes) / tile_source_bytes);
  std::atomic<bool> finite = true;
  for (int64_t first = 0; first < tiles; first += slab_tiles) {
    const int64_t count = std::min(slab_tiles, tiles - first);
    pool.ParallelFor(count, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t tile = first + begin; tile < first + end; ++tile) {
        pack(tile, place.bytes.data() + tile * tile_bytes);
        if (!source.check_finite) continue;  // while it is in the cache
        const int64_t rows = std::min<int64_t>(kTileRows, source.rows - tile * kTileRows);
        if (!AllFinite(source.type, source.data + tile * tile_source_bytes, rows * source.cols)) finite = false;
      }
    });
    if (!finite) return NotFinite();
    if (!source.release) continue;
    const int64_t from = first * tile_source_bytes, to = std::min(source_bytes, from + count * tile_source_bytes);
    source.release({source.data + from, static_cast<size_t>(to - from)});
  }
  return place;
}

}  // namespace linnet::kernels
