#include "kernels/finite.h"

#include <cstring>

namespace linnet::kernels {
namespace {

// A number is none where its exponent has all bits set: infinite, or NaN. `stride`: bytes from one to the next.
template <typename Bits, Bits kExponent>
bool Finite(const std::byte* data, int64_t count, int64_t stride = sizeof(Bits)) {
  unsigned bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * stride, sizeof(Bits));
    bad |= static_cast<unsigned>((bits & kExponent) == kExponent);
  }
  return bad == 0;
}

}  // namespace

bool AllFinite(DType type, const std::byte* data, int64_t elements) {
  const DTypeInfo& info = Info(type);
  const int64_t blocks = elements / info.block_elements;
  const auto scales = [&](int64_t offset) { return Finite<uint16_t, 0x7C00>(data + offset, blocks, info.block_bytes); };
  switch (type) {
    case DType::kF32:
      return Finite<uint32_t, 0x7F800000>(data, elements);
    case DType::kF16:
      return Finite<uint16_t, 0x7C00>(data, elements);
    case DType::kBF16:
      return Finite<uint16_t, 0x7F80>(data, elements);
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
      return scales(0);
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return scales(0) && scales(2);
    case DType::kQ6_K:
      return scales(208);
  }
  return false;
}

absl::Status NotFinite() {
  return absl::InvalidArgumentError(
      "a weight, or the scale of some, is no finite number; fetch the file again, or take another checkpoint");
}

}  // namespace linnet::kernels
