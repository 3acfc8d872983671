// What a model's description may claim, in whatever format: far above any model of interest, and such that products of
// two of these stay within int64.
#pragma once

#include <cstdint>

namespace linnet::worker {

inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxDim = 1 << 20;
inline constexpr int64_t kMaxHeads = 1 << 12;
inline constexpr int64_t kMaxVocab = 1 << 22;
inline constexpr int64_t kMaxContext = 1 << 24;

}  // namespace linnet::worker
