#include "kernels/block_diagonal.h"

#include <algorithm>

#include "absl/log/check.h"
#include "kernels/float16.h"
#include "kernels/isa.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_diagonal.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/float_vectors-inl.h"
// clang-format on

#ifndef LINNET_KERNELS_BLOCK_DIAGONAL_ONCE_
#define LINNET_KERNELS_BLOCK_DIAGONAL_ONCE_
namespace linnet::kernels {

// Some rows times one block. weights: [inputs, outputs].
struct BlockRows {
  const float* x = nullptr;
  int64_t x_stride = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  const float* bias = nullptr;
  int64_t rows = 0, inputs = 0, outputs = 0;
};

struct BlockDiagonalTable {
  void (*f16)(const BlockRows& a, const uint16_t* weights);
  void (*f32)(const BlockRows& a, const float* weights);
};

}  // namespace linnet::kernels
#endif

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

constexpr int kRowBlock = 4, kVectors = 2;

HWY_INLINE VF LoadWeights(const float* p, size_t n) { return hn::LoadN(df, p, n); }
HWY_INLINE VF LoadWeights(const uint16_t* p, size_t n) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::LoadN(du, p, n)));
}

// Outputs [o, o + kVectors vectors) of kRows rows. The last vector may be short.
template <int kRows, class T>
HWY_INLINE void Tile(const BlockRows& a, const T* HWY_RESTRICT weights, int64_t row, int64_t o) {
  size_t lanes[kVectors];
  VF sum[kRows][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    lanes[v] = static_cast<size_t>(std::clamp<int64_t>(a.outputs - o - v * kLanes, 0, kLanes));
    const VF start = a.bias != nullptr ? hn::LoadN(df, a.bias + o + v * kLanes, lanes[v]) : hn::Zero(df);
    for (int r = 0; r < kRows; ++r) sum[r][v] = start;
  }
  const float* const x = a.x + row * a.x_stride;
  for (int64_t i = 0; i < a.inputs; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      const VF w = LoadWeights(weights + i * a.outputs + o + v * kLanes, lanes[v]);
      for (int r = 0; r < kRows; ++r) sum[r][v] = hn::MulAdd(hn::Set(df, x[r * a.x_stride + i]), w, sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreN(sum[r][v], df, a.y + (row + r) * a.y_stride + o + v * kLanes, lanes[v]);
    }
  }
}

template <class T>
void Block(const BlockRows& a, const T* weights) {
  for (int64_t o = 0; o < a.outputs; o += kVectors * kLanes) {
    int64_t row = 0;
    for (; row + kRowBlock <= a.rows; row += kRowBlock) Tile<kRowBlock>(a, weights, row, o);
    for (; row < a.rows; ++row) Tile<1>(a, weights, row, o);
  }
}

constexpr BlockDiagonalTable kBlockDiagonal = {Block<uint16_t>, Block<float>};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

// Multiplications below which the calling thread does all: waking the pool costs more.
constexpr int64_t kInlineProducts = 128 * 1024;
constexpr int64_t kRowsPerTask = 32;
constexpr float kLargestF16 = 65504.0f;

float Widen(uint16_t half) { return F32FromF16(half); }
float Widen(float full) { return full; }

template <class T>
void BlockScalar(const BlockRows& a, const T* weights) {
  for (int64_t row = 0; row < a.rows; ++row) {
    float* const y = a.y + row * a.y_stride;
    for (int64_t o = 0; o < a.outputs; ++o) {
      float sum = a.bias != nullptr ? a.bias[o] : 0;
      for (int64_t i = 0; i < a.inputs; ++i) sum += a.x[row * a.x_stride + i] * Widen(weights[i * a.outputs + o]);
      y[o] = sum;
    }
  }
}
constexpr BlockDiagonalTable kScalarBlockDiagonal = {BlockScalar<uint16_t>, BlockScalar<float>};

const BlockDiagonalTable& TableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kBlockDiagonal, kScalarBlockDiagonal); }

}  // namespace

BlockDiagonal::BlockDiagonal(int blocks, int64_t inputs, int64_t outputs, std::span<const float> values,
                             Precision precision)
    : blocks_(blocks), inputs_(inputs), outputs_(outputs) {
  CHECK_EQ(static_cast<int64_t>(values.size()), blocks * inputs * outputs);
  if (precision == Precision::kReference) {
    full_.assign(values.begin(), values.end());
    return;
  }
  half_.reserve(values.size());
  for (const float v : values) half_.push_back(F16FromF32(std::clamp(v, -kLargestF16, kLargestF16)));
}

void BlockDiagonal::Multiply(const BlockProduct& product, ThreadPool& pool) const {
  const auto isa = ActiveIsa();
  CHECK_OK(isa.status());
  const BlockDiagonalTable& table = TableFor(*isa);
  const int64_t row_tasks = (product.rows + kRowsPerTask - 1) / kRowsPerTask;
  const auto run = [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task / row_tasks, row = task % row_tasks * kRowsPerTask;
      const BlockRows rows = {.x = product.x + row * product.x_stride + block * product.x_block_stride,
                              .x_stride = product.x_stride,
                              .y = product.y + row * product.y_stride + block * product.y_block_stride,
                              .y_stride = product.y_stride,
                              .bias = product.bias != nullptr ? product.bias + block * outputs_ : nullptr,
                              .rows = std::min(kRowsPerTask, product.rows - row),
                              .inputs = inputs_,
                              .outputs = outputs_};
      const int64_t at = block * inputs_ * outputs_;
      half_.empty() ? table.f32(rows, full_.data() + at) : table.f16(rows, half_.data() + at);
    }
  };
  const int64_t tasks = blocks_ * row_tasks;
  if (tasks * inputs_ * outputs_ * std::min(product.rows, kRowsPerTask) <= kInlineProducts || pool.threads() == 1) {
    return run(0, tasks, 0);
  }
  pool.ParallelFor(tasks, 1, run);
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
