#include "worker/model/shared_scales.h"

namespace linnet::worker {

kernels::PackedType ClaimedPackedType(const GgufFile& file, kernels::DType type) {
  const auto name = file.GetStringOr(kOwnQuantizationKey, "");
  if (!name.ok() || (*name != kInt8Name && *name != kInt4G64Name)) return type;
  // Both formats' output matrix is as in int8.
  if (type == kernels::kInt8.type) return kernels::kInt8;
  if (type == kernels::kInt4G64.type) return kernels::kInt4G64;
  return type;
}

}  // namespace linnet::worker
