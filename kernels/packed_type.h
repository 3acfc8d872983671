// What a group-quantized matrix is packed as: its stored type, and how many of its scales are one and the same, so that
// they are kept once. Linnet's own formats int8 and int4-g64 are stored as Q8_0 and Q4_0 (docs/quantization.md) and
// packed as what they are.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/dtype.h"

namespace linnet::kernels {

// Which blocks of a row have the same scale, bit for bit.
enum class SharedScales : uint8_t {
  kNone = 0,   // each its own
  kPairs = 1,  // blocks 2i and 2i + 1; a last one without a partner stands alone
  kRow = 2,    // all of them
};

struct PackedType {
  // Any stored type by itself.
  constexpr PackedType(DType type, SharedScales shared = SharedScales::kNone)  // NOLINT(google-explicit-constructor)
      : type(type), shared(shared) {}

  DType type;
  SharedScales shared;

  bool operator==(const PackedType&) const = default;
};
// The two that have shared scales.
inline constexpr PackedType kInt8{DType::kQ8_0, SharedScales::kRow};
inline constexpr PackedType kInt4G64{DType::kQ4_0, SharedScales::kPairs};

// "Q4_1", "INT8", "INT4_G64". REQUIRES: one of those above, or no shared scales.
std::string_view PackedTypeName(PackedType type);

}  // namespace linnet::kernels
