#include "kernels/activation_chunks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/activation_scale.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation_chunks.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#ifndef LINNET_KERNELS_ACTIVATION_CHUNKS_ONCE_
#define LINNET_KERNELS_ACTIVATION_CHUNKS_ONCE_
namespace linnet::kernels {

// What is behind a row's last input, in its last chunk.
inline void PadChunk(int64_t cols, int8_t* chunk) {
  if (cols % kChunk != 0) std::memset(chunk + cols % kChunk, 0, static_cast<size_t>(kChunk - cols % kChunk));
}

// The chunks of a scale that has inputs which are no numbers.
inline void StoreNoNumbers(const ActivationChunks& out, int64_t row, int64_t s) {
  const int64_t end = std::min(out.chunks, (s + 1) * out.chunks_per_scale);
  for (int64_t c = s * out.chunks_per_scale; c < end; ++c) {
    std::memset(out.Row(row) + c * out.block_rows * kChunk, 0, kChunk);
  }
  const int64_t at = out.ScaleAt(row) + s * out.block_rows;
  out.scale[at] = kNoScale;
  out.negative_sum[at] = 0;
}

}  // namespace linnet::kernels
#endif

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void QuantizeChunks(const float* x, int64_t cols, const ActivationChunks& out, int64_t row) {
  // At most a group, of which rows are a multiple.
  const hn::CappedTag<float, kGroup> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<int8_t, decltype(df)> d8;
  constexpr int64_t kLanes = hn::MaxLanes(df);
  const int64_t inputs_per_scale = out.chunks_per_scale * kChunk;
  for (int64_t s = 0, begin = 0; s < out.scales; ++s, begin += inputs_per_scale) {
    const int64_t end = std::min(cols, begin + inputs_per_scale);
    auto largest = hn::Zero(di);  // MagnitudeBits
    for (int64_t i = begin; i < end; i += kLanes) {
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(hn::LoadU(df, x + i))));
    }
    const float amax = std::bit_cast<float>(hn::ReduceMax(di, largest));
    if (!IsNumber(amax)) {
      StoreNoNumbers(out, row, s);
      continue;
    }
    const auto factor = hn::Set(df, InverseActivationScale(amax));
    auto sum = hn::Zero(di);
    int8_t* chunk = out.Row(row) + s * out.chunks_per_scale * out.block_rows * kChunk;
    for (int64_t i = begin; i < end; i += kChunk, chunk += out.block_rows * kChunk) {
      for (int64_t k = 0; k < std::min<int64_t>(kChunk, end - i); k += kLanes) {
        const auto q = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i + k), factor));
        sum = hn::Add(sum, q);
        hn::StoreU(hn::DemoteTo(d8, q), d8, chunk + k);
      }
      if (end - i < kChunk) PadChunk(cols, chunk);
    }
    const int64_t at = out.ScaleAt(row) + s * out.block_rows;
    out.scale[at] = ActivationScale(amax);
    out.negative_sum[at] = -hn::ReduceSum(di, sum);
  }
}

constexpr QuantizeChunksFn kQuantizeChunks = QuantizeChunks;

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

void QuantizeChunksScalar(const float* x, int64_t cols, const ActivationChunks& out, int64_t row) {
  const int64_t inputs_per_scale = out.chunks_per_scale * kChunk;
  const auto chunk_of = [&](int64_t i) { return out.Row(row) + i / kChunk * out.block_rows * kChunk; };
  for (int64_t s = 0; s < out.scales; ++s) {
    const int64_t begin = s * inputs_per_scale, end = std::min(cols, begin + inputs_per_scale);
    int32_t largest = 0;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, MagnitudeBits(x[i]));
    const float amax = std::bit_cast<float>(largest);
    if (!IsNumber(amax)) {
      StoreNoNumbers(out, row, s);
      continue;
    }
    const float inverse = InverseActivationScale(amax);
    int32_t sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const auto q = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
      chunk_of(i)[i % kChunk] = static_cast<int8_t>(q);
      sum += q;
    }
    const int64_t at = out.ScaleAt(row) + s * out.block_rows;
    out.scale[at] = ActivationScale(amax);
    out.negative_sum[at] = -sum;
  }
  PadChunk(cols, chunk_of(cols - 1));
}

template <class T>
T* AtLeast(std::vector<T>& v, int64_t size) {
  if (v.size() < static_cast<size_t>(size)) v.resize(static_cast<size_t>(size));
  return v.data();
}

}  // namespace

QuantizeChunksFn QuantizeChunksFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kQuantizeChunks, QuantizeChunksScalar); }

ActivationChunks ActivationChunkStorage::For(ActivationChunks shape, int64_t rows) {
  const int64_t padded_rows = (rows + shape.block_rows - 1) / shape.block_rows * shape.block_rows;
  shape.q = AtLeast(q_, padded_rows * shape.chunks * kChunk);
  shape.scale = AtLeast(scale_, padded_rows * shape.scales);
  shape.negative_sum = AtLeast(negative_sum_, padded_rows * shape.scales);
  return shape;
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
