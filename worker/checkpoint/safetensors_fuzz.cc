// Any bytes as a safetensors file: an error, or a file whose every tensor can be read.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "worker/checkpoint/safetensors_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using linnet::worker::SafetensorsFile;
  const auto file = SafetensorsFile::Parse(std::as_bytes(std::span<const uint8_t>(data, size)), "fuzz.safetensors");
  if (!file.ok()) return 0;
  unsigned sum = 0;
  size_t bytes = 0;
  for (const auto& tensor : (*file)->tensors()) {
    if ((*file)->FindTensor(tensor.name) != &tensor || tensor.elements() < 0) abort();
    for (const std::byte b : tensor.data) sum += std::to_integer<unsigned>(b);
    bytes += tensor.data.size();
  }
  if (bytes > size) abort();
  [[maybe_unused]] static volatile unsigned sink;
  sink = sum;
  return 0;
}
