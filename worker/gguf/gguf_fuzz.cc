// Any bytes as a GGUF file: an error, or a file whose every tensor and value can be read.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "worker/gguf/gguf_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using linnet::worker::GgufFile;
  const auto file = GgufFile::Parse(std::as_bytes(std::span<const uint8_t>(data, size)), "fuzz.gguf");
  if (!file.ok()) return 0;
  unsigned sum = 0;
  for (const auto& tensor : (*file)->tensors()) {
    if (tensor.elements() <= 0 || tensor.data.empty() || (*file)->FindTensor(tensor.name) != &tensor) abort();
    for (std::byte b : tensor.data) sum += std::to_integer<unsigned>(b);
  }
  for (const auto& [key, value] : (*file)->metadata()) {
    if (const auto strings = (*file)->FindStrings(key); strings.ok() && *strings != nullptr) {
      for (std::string_view text : **strings) {
        for (char c : text) sum += static_cast<unsigned>(c);
      }
    }
    sum += (*file)->GetDouble(key).ok() + (*file)->GetBoolOr(key, false).ok();
    if (const auto text = (*file)->GetString(key); text.ok()) sum += static_cast<unsigned>(text->size());
  }
  [[maybe_unused]] static volatile unsigned sink;
  sink = sum;
  return 0;
}
