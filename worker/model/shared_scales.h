// Which weights of a model file have scales in common: what the file says of itself, where `linnet variant quantize`
// wrote it in one of Linnet's own formats (docs/quantization.md).
#pragma once

#include <string_view>

#include "kernels/packed_type.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::worker {

// The metadata key that names such a format, and the names.
inline constexpr std::string_view kOwnQuantizationKey = "linnet.quantization";
inline constexpr std::string_view kInt8Name = "int8", kInt4G64Name = "int4-g64";

// What matrices of the file that are stored as `type` are packed as, if it speaks the truth: another program may have
// changed the weights and kept the key.
kernels::PackedType ClaimedPackedType(const GgufFile& file, kernels::DType type);

}  // namespace linnet::worker
