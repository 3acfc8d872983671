// A model's packed weights: one block of memory for all its matrices, in the order in which the decoder
// reads them, and the table that says what lies where. A load fills it, the matrices refer to it, the packed cache
// keeps it on disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/matrix.h"
#include "kernels/packed_type.h"

namespace linnet::worker {

struct PackedTensor {
  std::string name;  // as the model file has it; more than once where its rows have several roles
  kernels::PackedType type = kernels::DType::kF32;
  int64_t rows = 0, cols = 0;
  int64_t offset = 0, bytes = 0;  // in the block

  bool operator==(const PackedTensor&) const = default;
};

struct PackedTable {
  std::vector<PackedTensor> tensors;  // one after the other, without gaps
  int64_t bytes = 0;

  // Nothing where a matrix of this type and precision is not packed.
  void Add(std::string name, kernels::PackedType type, int64_t rows, int64_t cols, kernels::Precision precision);
  bool Packs(std::string_view tensor) const;
  bool operator==(const PackedTable&) const = default;
};

struct PackedImage {
  PackedTable table;
  kernels::AlignedBuffer memory;  // [table.bytes]

  std::span<const uint8_t> bytes() const { return {memory.data(), static_cast<size_t>(table.bytes)}; }
};

// Where a matrix of the image lies. The matrix keeps the image.
kernels::PackedPlace PlaceOf(const std::shared_ptr<PackedImage>& image, const PackedTensor& tensor);

}  // namespace linnet::worker
