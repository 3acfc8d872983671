// How far ahead of the weights that are multiplied those that follow are brought into the caches.
#pragma once

#include <cstdint>

namespace linnet::kernels {

// Into the second-level cache, and from there into the first. The hardware alone stops at the end of each 4 KB: with it
// one row reaches two thirds of the bandwidth that plain reads have, with this nine tenths.
inline constexpr int64_t kAheadL1Bytes = 2048, kAheadL2Bytes = 20480;
inline constexpr int64_t kLineBytes = 64;

// Prefetches as many bytes as a tile has while all of it is gone through `times` times in `steps` steps, a Step for
// each: evenly, or memory would be idle after the first time and too slow during it. `time`: which of them begins.
class TileAhead {
 public:
  TileAhead() = default;
  TileAhead(const uint8_t* tile, int64_t tile_bytes, int64_t steps, int64_t times = 1, int64_t time = 0)
      : step_((tile_bytes - 1) / (steps * times) + 1) {
    next_ = end_ = tile + time * steps * step_;
  }
  inline __attribute__((always_inline)) void Step() {
    end_ += step_;
    for (; next_ < end_; next_ += kLineBytes) {
      __builtin_prefetch(next_ + kAheadL1Bytes, 0, 3);
      __builtin_prefetch(next_ + kAheadL2Bytes, 0, 2);
    }
  }

 private:
  int64_t step_ = 0;
  const uint8_t* next_ = nullptr;
  const uint8_t* end_ = nullptr;
};

}  // namespace linnet::kernels
