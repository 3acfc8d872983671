#include "kernels/packed_type.h"

#include "absl/log/check.h"

namespace linnet::kernels {

std::string_view PackedTypeName(PackedType type) {
  if (type == kInt8) return "INT8";
  if (type == kInt4G64) return "INT4_G64";
  CHECK(type.shared == SharedScales::kNone);
  return Info(type.type).name;
}

}  // namespace linnet::kernels
