#include "kernels/quant_matmul.h"

#include <algorithm>
#include <cstring>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors of weights: `kRowLanes` output rows x 4 consecutive k; at most a quad of a tile.
using DU8 = hn::CappedTag<uint8_t, 64>;
using DI8 = hn::RebindToSigned<DU8>;
using DU16 = hn::Repartition<uint16_t, DU8>;
using DI16 = hn::Repartition<int16_t, DU8>;
using DI32 = hn::Repartition<int32_t, DU8>;
using DF = hn::Repartition<float, DU8>;
using VU8 = hn::Vec<DU8>;
using VI8 = hn::Vec<DI8>;
using VI16 = hn::Vec<DI16>;
using VI32 = hn::Vec<DI32>;
using VF = hn::Vec<DF>;
constexpr DU8 du8;
constexpr DI8 di8;
constexpr DU16 du16;
constexpr DI16 di16;
constexpr DI32 di32;
constexpr DF df;
constexpr int kRowLanes = static_cast<int>(hn::MaxLanes(df));
constexpr int kQuadBytes = kTileRows * 4;

// Which instructions make the dot products.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL
constexpr bool kPairwise16 = true;  // u8 x s8 pairs into 16 bits (maddubs), then into 32 bits
#else
constexpr bool kPairwise16 = false;  // four at once into 32 bits (vpdpbusd, usdot, or what Highway makes of it)
#endif
// Rows of x that one pass over a tile's weights serves: as many as there are registers for.
#if HWY_ARCH_X86
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3_DL ? 16 : HWY_TARGET == HWY_AVX3 ? 8 : 4;
#else
constexpr int kMaxRows = 8;
#endif
static_assert(kActivationBlock % kMaxRows == 0);

template <DType kType, int kBits_, int kOffset_, bool kHasMin_, bool kSuper_, int kScales_>
struct Format {
  static constexpr DType kDType = kType;
  static constexpr int kBits = kBits_;
  static constexpr int kOffset = kOffset_;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr bool kSuper = kSuper_;
  static constexpr int kScales = kScales_;  // per group
  static constexpr int64_t kQuantBytes = kTileRows * kGroup * kBits / 8;
  // So many sums of two products each of q < 2^bits and |activation| <= 127 fit in 16 bits.
  static constexpr int kQuadsPer16 = kBits == 4 ? 8 : kBits == 5 ? 4 : kBits == 6 ? 2 : 1;
  // 8-bit weights do not fit even once: there the sign moves from the weight to the activation.
  static constexpr bool kSignTrick = kPairwise16 && kBits == 8;
};
using Q4_0 = Format<DType::kQ4_0, 4, 8, false, false, 1>;
using Q4_1 = Format<DType::kQ4_1, 4, 0, true, false, 1>;
using Q5_0 = Format<DType::kQ5_0, 5, 16, false, false, 1>;
using Q5_1 = Format<DType::kQ5_1, 5, 0, true, false, 1>;
using Q8_0 = Format<DType::kQ8_0, 8, 128, false, false, 1>;
using Q4_K = Format<DType::kQ4_K, 4, 0, true, true, 1>;
using Q5_K = Format<DType::kQ5_K, 5, 0, true, true, 1>;
using Q6_K = Format<DType::kQ6_K, 6, 32, false, true, 2>;

// Quad kQuad of a group as unsigned integers. `quants`: the group's, at this vector's rows.
template <class F, int kQuad>
HWY_INLINE VU8 Quad(const uint8_t* HWY_RESTRICT quants) {
  if constexpr (F::kBits == 8) {
    return hn::LoadU(du8, quants + kQuad * kQuadBytes);
  } else {
    const VU8 mask = hn::Set(du8, 0x0F);
    const VU8 both = hn::LoadU(du8, quants + kQuad % 4 * kQuadBytes);
    VU8 q = both;
    if constexpr (kQuad >= 4) q = hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(du16, both)));
    q = hn::And(q, mask);
    // High bits are shifted to bit 4 and up; what a 16-bit shift carries over from the neighbour is masked off.
    constexpr int kFrom = F::kBits == 5 ? kQuad : 2 * (kQuad % 4);
    if constexpr (F::kBits > 4) {
      const uint8_t* const plane = quants + (4 + (F::kBits == 6 ? kQuad / 4 : 0)) * kQuadBytes;
      auto high = hn::BitCast(du16, hn::LoadU(du8, plane));
      if constexpr (kFrom < 4) high = hn::ShiftLeft<4 - kFrom>(high);
      if constexpr (kFrom > 4) high = hn::ShiftRight<kFrom - 4>(high);
      q = hn::Or(q, hn::And(hn::BitCast(du8, high), hn::Set(du8, F::kBits == 5 ? 0x10 : 0x30)));
    }
    return q;
  }
}

HWY_INLINE VI8 BroadcastQuad(const int8_t* HWY_RESTRICT q) {
  int32_t four;
  std::memcpy(&four, q, sizeof(four));
  return hn::BitCast(di8, hn::Set(di32, four));
}

HWY_INLINE VF LoadHalf(const uint8_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::LoadU(du, reinterpret_cast<const uint16_t*>(p))));
}

template <class T>
HWY_INLINE VF LoadByte(const uint8_t* p) {
  const hn::Rebind<T, DF> db;
  return hn::ConvertTo(df, hn::PromoteTo(di32, hn::LoadU(db, reinterpret_cast<const T*>(p))));
}

// Scales and mins of one group for this vector's rows.
template <class F>
struct GroupScales {
  VF scale[F::kScales];
  VF min;
};
template <class F>
HWY_INLINE void LoadScales(const QuantLayout& layout, const uint8_t* tile, int lane0, int64_t g, GroupScales<F>& out) {
  const int64_t at = (F::kSuper ? g / 8 : g) * kTileRows + lane0;
  const VF d = LoadHalf(tile + layout.scales_offset + at * 2);
  if constexpr (!F::kSuper) {
    out.scale[0] = d;
    if constexpr (F::kHasMin) out.min = LoadHalf(tile + layout.mins_offset + at * 2);
  } else {
    const uint8_t* const sub = tile + layout.sub_scales_offset + g * F::kScales * kTileRows + lane0;
    if constexpr (F::kScales == 2) {
      out.scale[0] = hn::Mul(d, LoadByte<int8_t>(sub));
      out.scale[1] = hn::Mul(d, LoadByte<int8_t>(sub + kTileRows));
    } else {
      out.scale[0] = hn::Mul(d, LoadByte<uint8_t>(sub));
    }
    if constexpr (F::kHasMin) {
      const VF m = LoadHalf(tile + layout.mins_offset + at * 2);
      out.min = hn::Neg(hn::Mul(m, LoadByte<uint8_t>(tile + layout.sub_mins_offset + g * kTileRows + lane0)));
    }
  }
}

constexpr int Log2(int v) { return v <= 1 ? 0 : 1 + Log2(v / 2); }

// -offset * sum(q) over the activations that share a scale: where the integer sum starts.
template <class F>
HWY_INLINE VI32 StartSum(const ActivationGroup& x, int scale) {
  if constexpr (F::kOffset == 0 || F::kSignTrick) {
    return hn::Zero(di32);
  } else {
    const int32_t negative = F::kScales == 2 ? x.negative_sum[scale] : x.negative_sum[0] + x.negative_sum[1];
    return hn::Set(di32, negative * F::kOffset);
  }
}

template <class F>
HWY_INLINE VF AddGroup(VF y, const VI32* dot, const GroupScales<F>& w, const ActivationGroup& x) {
  const VF x_scale = hn::Set(df, x.scale);
  y = hn::MulAdd(hn::ConvertTo(df, dot[0]), hn::Mul(w.scale[0], x_scale), y);
  if constexpr (F::kScales == 2) y = hn::MulAdd(hn::ConvertTo(df, dot[1]), hn::Mul(w.scale[1], x_scale), y);
  if constexpr (F::kHasMin) y = hn::MulAdd(w.min, hn::Set(df, x.scaled_sum), y);
  return y;
}

// One group, four-way dot products: the group's weights stay in registers, rows pass by.
template <class F, int kRows>
HWY_INLINE void GroupDirect(const uint8_t* HWY_RESTRICT quants, const GroupScales<F>& scales,
                            const ActivationGroup* HWY_RESTRICT x, VF* HWY_RESTRICT y) {
  const VU8 w0 = Quad<F, 0>(quants), w1 = Quad<F, 1>(quants), w2 = Quad<F, 2>(quants), w3 = Quad<F, 3>(quants);
  const VU8 w4 = Quad<F, 4>(quants), w5 = Quad<F, 5>(quants), w6 = Quad<F, 6>(quants), w7 = Quad<F, 7>(quants);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const ActivationGroup& a = x[r];
    VI32 dot[2] = {StartSum<F>(a, 0), StartSum<F>(a, 1)};
    VI32 first = dot[0];
    first = hn::SumOfMulQuadAccumulate(di32, w0, BroadcastQuad(a.q), first);
    first = hn::SumOfMulQuadAccumulate(di32, w1, BroadcastQuad(a.q + 4), first);
    first = hn::SumOfMulQuadAccumulate(di32, w2, BroadcastQuad(a.q + 8), first);
    first = hn::SumOfMulQuadAccumulate(di32, w3, BroadcastQuad(a.q + 12), first);
    VI32 second = F::kScales == 2 ? dot[1] : first;
    second = hn::SumOfMulQuadAccumulate(di32, w4, BroadcastQuad(a.q + 16), second);
    second = hn::SumOfMulQuadAccumulate(di32, w5, BroadcastQuad(a.q + 20), second);
    second = hn::SumOfMulQuadAccumulate(di32, w6, BroadcastQuad(a.q + 24), second);
    second = hn::SumOfMulQuadAccumulate(di32, w7, BroadcastQuad(a.q + 28), second);
    dot[0] = F::kScales == 2 ? first : second;
    dot[1] = second;
    y[r] = AddGroup<F>(y[r], dot, scales, a);
  }
}

#if HWY_ARCH_X86
// One quad of the pairwise scheme for all rows: sums of products in 16 bits, flushed to 32 before they could overflow.
template <class F, int kQuad, int kRows>
HWY_INLINE void QuadPairwise(const uint8_t* HWY_RESTRICT quants, const ActivationGroup* HWY_RESTRICT x,
                             VI16* HWY_RESTRICT sum16, VI32 (*HWY_RESTRICT sum32)[F::kScales]) {
  constexpr bool kFirst = kQuad % F::kQuadsPer16 == 0;
  constexpr bool kLast = kQuad % F::kQuadsPer16 == F::kQuadsPer16 - 1;
  constexpr int kScale = F::kScales == 2 ? kQuad / 4 : 0;
  const VU8 w = Quad<F, kQuad>(quants);
  [[maybe_unused]] const VI8 w_signed = hn::BitCast(di8, hn::Xor(w, hn::Set(du8, 0x80)));
  [[maybe_unused]] const VU8 w_abs = hn::BitCast(du8, hn::Abs(w_signed));  // -128 becomes 128
  const VI16 ones = hn::Set(di16, 1);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const VI8 a = BroadcastQuad(x[r].q + 4 * kQuad);
    VI16 products;
    if constexpr (F::kSignTrick) {
      products = hn::SatWidenMulPairwiseAdd(di16, w_abs, hn::IfNegativeThenNegOrUndefIfZero(w_signed, a));
    } else {
      products = hn::SatWidenMulPairwiseAdd(di16, w, a);
    }
    if constexpr (!kFirst) products = hn::Add(sum16[r], products);
    if constexpr (kLast) {
      sum32[r][kScale] = hn::Add(sum32[r][kScale], hn::WidenMulPairwiseAdd(di32, products, ones));
    } else {
      sum16[r] = products;
    }
  }
}

template <class F, int kRows>
HWY_INLINE void GroupPairwise(const uint8_t* HWY_RESTRICT quants, const GroupScales<F>& scales,
                              const ActivationGroup* HWY_RESTRICT x, VF* HWY_RESTRICT y) {
  VI16 sum16[kRows];
  VI32 sum32[kRows][F::kScales];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    for (int s = 0; s < F::kScales; ++s) sum32[r][s] = StartSum<F>(x[r], s);
  }
  QuadPairwise<F, 0, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 1, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 2, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 3, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 4, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 5, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 6, kRows>(quants, x, sum16, sum32);
  QuadPairwise<F, 7, kRows>(quants, x, sum16, sum32);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) y[r] = AddGroup<F>(y[r], sum32[r], scales, x[r]);
}
#endif  // HWY_ARCH_X86

// kRows rows of x, from `row` on, with one tile.
template <class F, int kRows>
HWY_NOINLINE void MultiplyTile(const QuantSlice& slice, int64_t tile_index, int64_t row) {
  const QuantLayout& layout = *slice.layout;
  const uint8_t* HWY_RESTRICT tile = slice.packed + tile_index * layout.tile_bytes;
  const int64_t groups = layout.groups;
  const ActivationGroup* const first = slice.x.Row(row);
  const int64_t x_stride = slice.x.block_rows;
  const int64_t n0 = tile_index * kTileRows;
  for (int lane0 = 0; lane0 < kTileRows && n0 + lane0 < layout.rows; lane0 += kRowLanes) {
    VF y[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) y[r] = hn::Zero(df);
    const uint8_t* HWY_RESTRICT quants = tile + lane0 * 4;
    const ActivationGroup* HWY_RESTRICT x = first;
    for (int64_t g = 0; g < groups; ++g, quants += F::kQuantBytes, x += x_stride) {
      GroupScales<F> scales;
      LoadScales<F>(layout, tile, lane0, g, scales);
#if HWY_ARCH_X86
      if constexpr (kPairwise16) {
        GroupPairwise<F, kRows>(quants, scales, x, y);
        continue;
      }
#endif
      if constexpr (!kPairwise16) GroupDirect<F, kRows>(quants, scales, x, y);
    }
    const int64_t n = n0 + lane0;
    const size_t valid = static_cast<size_t>(std::min<int64_t>(kRowLanes, layout.rows - n));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      VF sum = y[r];
      const int64_t at = (row + r) * slice.stride + n;
      if (slice.bias != nullptr) sum = hn::Add(sum, hn::LoadN(df, slice.bias + n, valid));
      if (slice.residual != nullptr) sum = hn::Add(sum, hn::LoadN(df, slice.residual + at, valid));
      hn::StoreN(sum, df, slice.y + at, valid);
    }
  }
}

template <class F, int kRows>
void MultiplyTiles(const QuantSlice& slice, int64_t begin, int64_t end, int64_t row) {
  for (int64_t tile = begin; tile < end; ++tile) MultiplyTile<F, kRows>(slice, tile, row);
}

template <class F>
void Multiply(const QuantSlice& slice) {
  // Some tiles stay in the first-level cache while blocks of x's rows pass by from the second level.
  constexpr int64_t kCachedBytes = 20 << 10;
  const int64_t tiles = std::max<int64_t>(1, kCachedBytes / slice.layout->tile_bytes);
  for (int64_t begin = slice.begin_tile; begin < slice.end_tile; begin += tiles) {
    const int64_t end = std::min(slice.end_tile, begin + tiles);
    int64_t row = 0;
    // Every step is within a block of activations, because the larger ones come first.
    for (; row + kMaxRows <= slice.x_rows; row += kMaxRows) MultiplyTiles<F, kMaxRows>(slice, begin, end, row);
    if constexpr (kMaxRows > 8) {
      for (; row + 8 <= slice.x_rows; row += 8) MultiplyTiles<F, 8>(slice, begin, end, row);
    }
    if constexpr (kMaxRows > 4) {
      for (; row + 4 <= slice.x_rows; row += 4) MultiplyTiles<F, 4>(slice, begin, end, row);
    }
    for (; row + 2 <= slice.x_rows; row += 2) MultiplyTiles<F, 2>(slice, begin, end, row);
    for (; row < slice.x_rows; ++row) MultiplyTiles<F, 1>(slice, begin, end, row);
  }
}

#if HWY_ARCH_ARM
constexpr Isa kIsa = Isa::kNeon;
#elif HWY_TARGET == HWY_AVX2
constexpr Isa kIsa = Isa::kAvx2;
#elif HWY_TARGET == HWY_AVX3
constexpr Isa kIsa = Isa::kAvx512;
#else
constexpr Isa kIsa = Isa::kAvx512Vnni;
#endif
constexpr QuantMatmulTable kQuantMatmul = {kIsa,           Multiply<Q4_0>, Multiply<Q4_1>,
                                           Multiply<Q5_0>, Multiply<Q5_1>, Multiply<Q8_0>,
                                           Multiply<Q4_K>, Multiply<Q5_K>, Multiply<Q6_K>};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {

const QuantMatmulTable& QuantMatmulTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kQuantMatmul, kScalarQuantMatmul); }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
