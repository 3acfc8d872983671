#include "worker/model/packed_image.h"

#include <algorithm>

namespace linnet::worker {

void PackedTable::Add(std::string name, kernels::PackedType type, int64_t rows, int64_t cols,
                      kernels::Precision precision) {
  const int64_t size = kernels::Matrix::PackedBytes(type, rows, cols, precision);
  if (size == 0) return;
  // Sizes are multiples of 64, so borders are too.
  tensors.push_back(
      {.name = std::move(name), .type = type, .rows = rows, .cols = cols, .offset = bytes, .bytes = size});
  bytes += size;
}

bool PackedTable::Packs(std::string_view tensor) const {
  return std::any_of(tensors.begin(), tensors.end(), [&](const PackedTensor& t) { return t.name == tensor; });
}

kernels::PackedPlace PlaceOf(const std::shared_ptr<PackedImage>& image, const PackedTensor& tensor) {
  return {.bytes = {image->memory.data() + tensor.offset, static_cast<size_t>(tensor.bytes)}, .owner = image};
}

}  // namespace linnet::worker
