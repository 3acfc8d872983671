// A small Llama of random weights whose rows every quantization format fits: what it says means nothing, how it is
// computed is what a real one's is.
#pragma once

#include <string>

#include "base/testing.h"

namespace linnet::accuracy {

// Two layers over 256 dimensions, 4 heads over 2 of 64, with the tokenizer of tests/golden/tiny/llama.gguf, quantized
// to a format of `linnet variant quantize`. Returns the file's path; fails the test program where it cannot be made.
std::string WriteRandomLlama(const std::string& format, base::FileTree& files);

}  // namespace linnet::accuracy
