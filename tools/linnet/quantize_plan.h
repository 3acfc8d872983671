// Which type each tensor of a model gets in a quantization format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"
#include "worker/gguf/gguf_file.h"

namespace linnet::cli {

// A format that `linnet variant quantize` writes.
struct QuantizeFormat {
  std::string_view name;  // "q4_k_m"
  kernels::DType type = kernels::DType::kF32;
  // Half of the layers' value and FFN output projections get Q6_K: the "_m" mixes.
  bool mixed = false;
  int64_t file_type = 0;  // llama.cpp's number in general.file_type
  // A format of Linnet's own: Q4_0 and Q8_0 blocks of which several, or all of a row, have the same scale. Any reader
  // of GGUF takes it for what it is written in, and Linnet knows that there are fewer scales.
  bool own = false;
  bool quantized() const;
  // How many neighbouring columns of a matrix of this type have the same scale (kernels::QuantizeInput); 0: each block
  // its own.
  int64_t ColumnsPerScale(kernels::DType tensor_type) const;
};

// nullptr: none of that name.
const QuantizeFormat* FindQuantizeFormat(std::string_view name);
std::vector<std::string> QuantizeFormatNames();

// For each tensor of the file, in its order, the type that llama.cpp's quantizer chooses too: matrices in the format,
// the output matrix (or the embedding that serves as it) in Q6_K or Q8_0, vectors as they are. A matrix whose rows do
// not divide into the type's blocks gets the next larger type that they do divide into, at last F16.
std::vector<kernels::DType> PlanTypes(const worker::GgufFile& file, const QuantizeFormat& format);

// The type, or the next larger one whose blocks rows of `cols` divide into, at last F16.
kernels::DType TypeThatDivides(kernels::DType type, int64_t cols);

}  // namespace linnet::cli
