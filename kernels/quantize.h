// Turns rows of f32 into stored formats, with the scales that make the weighted squared error least.
//
//   std::vector<uint8_t> out(BytesFor(DType::kQ4_K, cols));
//   LINNET_RETURN_IF_ERROR(QuantizeRow(DType::kQ4_K, {.x = row, .cols = cols}, out.data()));
//
// Pure functions, thread-safe. The same bytes come out on every CPU and for any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/dtype.h"
#include "kernels/quant_block.h"

namespace linnet::kernels {

struct QuantizeInput {
  const float* x = nullptr;           // [cols]
  int64_t cols = 0;                   // a multiple of the type's block
  const float* importance = nullptr;  // [cols], > 0: what an error in a column counts; null: all the same
  // Neighbouring columns that get one scale, a multiple of the type's block, or at least cols: the whole row. 0: each
  // block has its own. Only for Q4_0 and Q8_0.
  int64_t columns_per_scale = 0;
};

// out: BytesFor(type, cols). Every type of DType can be written. INVALID_ARGUMENT names the first element that is NaN
// or infinite, or larger than the format can hold.
absl::Status QuantizeRow(DType type, const QuantizeInput& input, uint8_t* out);

// The largest magnitude that the format holds (its scales are 16-bit floats).
float LargestMagnitude(DType type);

// Mean squares of activations per column as importances: positive and of mean 1, whatever the columns hold.
std::vector<float> ImportanceFrom(std::span<const double> mean_squares);

// The reverse of DecodeGroup: writes group `group` of the row into its block, all fields that the group has. Groups of
// a block may come in any order; a super-block's d and m are written by each of its groups.
// REQUIRES: bytes of the block that no group was written to are zero.
void EncodeGroup(DType type, const QuantGroup& in, int64_t group, uint8_t* row);

}  // namespace linnet::kernels
