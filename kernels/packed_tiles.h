// What all packed layouts have in common: weights lie in tiles of 16 output rows, one after the other in one block of
// memory, and get there while the stored pages are released part by part.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "kernels/matrix.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

inline constexpr int kTileRows = 16;

// Of the bytes in tiles: raised whenever any of them changes, since packed weights are kept on disk.
inline constexpr uint32_t kPackerVersion = 2;

// INVALID_ARGUMENT: not `bytes` of them at a 64-byte border.
absl::Status CheckPlace(const PackedPlace& place, int64_t bytes);

// Calls pack(tile, where to) for each tile of the source, on all threads of the pool, and tells the source's `release`.
// `place`: empty for memory of its own. Returns where they are.
absl::StatusOr<PackedPlace> PackTiles(const Matrix::Source& source, int64_t tile_bytes, PackedPlace place,
                                      ThreadPool& pool, absl::FunctionRef<void(int64_t tile, uint8_t* out)> pack);

}  // namespace linnet::kernels
