// The packed group-quantized formats as vectors see them: one copy for each Highway target. Include it inside a file
// laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_QUANT_FORMAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_QUANT_FORMAT_INL_H_
#undef LINNET_KERNELS_QUANT_FORMAT_INL_H_
#else
#define LINNET_KERNELS_QUANT_FORMAT_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/activations.h"
#include "kernels/quant_matmul.h"
#include "kernels/quant_pack.h"
#include "kernels/tile_sums-inl.h"

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// A vector of weights holds `kRowLanes` output rows x 4 consecutive k; `kVectors` of them make a quad of a tile.
using DU8 = hn::CappedTag<uint8_t, 64>;
using DI8 = hn::RebindToSigned<DU8>;
using DU16 = hn::Repartition<uint16_t, DU8>;
using DI16 = hn::Repartition<int16_t, DU8>;
using DI32 = hn::Repartition<int32_t, DU8>;
using VU8 = hn::Vec<DU8>;
using VI8 = hn::Vec<DI8>;
using VI16 = hn::Vec<DI16>;
using VI32 = hn::Vec<DI32>;
constexpr DU8 du8;
constexpr DI8 di8;
constexpr DU16 du16;
constexpr DI16 di16;
constexpr DI32 di32;
static_assert(hn::MaxLanes(du8) == 4 * kRowLanes);
constexpr int kQuadBytes = kTileRows * 4;
constexpr int kVectorBytes = kRowLanes * 4;
// A group of a tile with a byte for each weight.
constexpr int kByteGroup = kGroup / 4 * kQuadBytes;

// Which instructions make the dot products.
enum class Dot {
  kPairwise16,  // u8 x s8 pairs into 16 bits (maddubs), then into 32 bits
  kFourWay,     // four at once into 32 bits: vpdpbusd
  kVexVnni,     // vpdpbusd of 256-bit vectors, on CPUs that have it without AVX-512
  kWidening,    // s8 x s8 into 16 bits each (smull and smlal of NEON), then into 32 bits
  kSdot,        // s8 x s8 four-way (ARMv8.2 dotprod)
};

template <DType kType, int kBits_, int kOffset_, bool kHasMin_, bool kSuper_, int kScales_, Dot kDot_>
struct Format {
  static constexpr DType kDType = kType;
  static constexpr int kBits = kBits_;
  static constexpr int kOffset = kOffset_;
  static constexpr bool kHasMin = kHasMin_;
  static constexpr bool kSuper = kSuper_;
  static constexpr int kScales = kScales_;  // per group
  static constexpr Dot kDot = kDot_;
  static constexpr int64_t kQuantBytes = kTileRows * kGroup * kBits / 8;
  // So many sums of two products each of q < 2^bits and |activation| <= 127 fit in 16 bits.
  static constexpr int kQuadsPer16 = kBits == 4 ? 8 : kBits == 5 ? 4 : kBits == 6 ? 2 : 1;
  // 8-bit weights do not fit even once: there the sign moves from the weight to the activation.
  static constexpr bool kSignTrick = kDot == Dot::kPairwise16 && kBits == 8;
  // 8-bit weights are multiplied as signed numbers, so that the offset is no matter.
  static constexpr bool kSigned8 = kBits == 8 && (kSignTrick || kDot == Dot::kSdot || kDot == Dot::kWidening);
};
template <Dot kDot>
struct Formats {
  using Q4_0 = Format<DType::kQ4_0, 4, 8, false, false, 1, kDot>;
  using Q4_1 = Format<DType::kQ4_1, 4, 0, true, false, 1, kDot>;
  using Q5_0 = Format<DType::kQ5_0, 5, 16, false, false, 1, kDot>;
  using Q5_1 = Format<DType::kQ5_1, 5, 0, true, false, 1, kDot>;
  using Q8_0 = Format<DType::kQ8_0, 8, 128, false, false, 1, kDot>;
  using Q4_K = Format<DType::kQ4_K, 4, 0, true, true, 1, kDot>;
  using Q5_K = Format<DType::kQ5_K, 5, 0, true, true, 1, kDot>;
  using Q6_K = Format<DType::kQ6_K, 6, 32, false, true, 2, kDot>;
};

// Quad kQuad of a packed group as unsigned integers. `quants`: the group's, at this vector's rows.
template <class F, int kQuad>
HWY_INLINE VU8 Quad(const uint8_t* HWY_RESTRICT quants) {
  if constexpr (F::kBits == 8) {
    return hn::LoadU(du8, quants + kQuad * kQuadBytes);
  } else {
    const VU8 both = hn::LoadU(du8, quants + kQuad % 4 * kQuadBytes);
    VU8 q;
    if constexpr (kQuad < 4) {
      q = hn::And(both, hn::Set(du8, 0x0F));
    } else if constexpr (HWY_ARCH_ARM) {
      q = hn::ShiftRight<4>(both);  // of bytes: x86 has no such instruction
    } else {
      q = hn::And(hn::BitCast(du8, hn::ShiftRight<4>(hn::BitCast(du16, both))), hn::Set(du8, 0x0F));
    }
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

// A packed group to a byte for each weight less kOffset, quad after quad.
template <class F, int kOffset, int kQuad = 0>
HWY_INLINE void UnpackQuads(const uint8_t* HWY_RESTRICT quants, uint8_t* HWY_RESTRICT bytes) {
  if constexpr (kQuad < kGroup / 4) {
    for (int v = 0; v < kVectors; ++v) {
      VU8 q = Quad<F, kQuad>(quants + v * kVectorBytes);
      if constexpr (kOffset != 0) q = hn::Sub(q, hn::Set(du8, static_cast<uint8_t>(kOffset)));
      hn::Store(q, du8, bytes + kQuad * kQuadBytes + v * kVectorBytes);
    }
    UnpackQuads<F, kOffset, kQuad + 1>(quants, bytes);
  }
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

// Scales and mins of one group for one vector's rows.
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

// -offset * sum(q) over the activations that share a scale: where the integer sum starts.
template <class F>
HWY_INLINE VI32 StartSum(const ActivationGroup& x, int scale) {
  if constexpr (F::kOffset == 0 || F::kSigned8) {
    return hn::Zero(di32);
  } else {
    constexpr int kLog2 = F::kOffset == 8 ? 3 : F::kOffset == 16 ? 4 : F::kOffset == 32 ? 5 : 7;
    static_assert(F::kOffset == 1 << kLog2);
    // Broadcast from memory, then shifted: no way through a general register.
    VI32 negative = hn::Set(di32, scale == 0 && F::kScales == 2 ? x.negative_first_half : x.negative_sum);
    if (scale == 1) negative = hn::Sub(negative, hn::Set(di32, x.negative_first_half));
    return hn::ShiftLeft<kLog2>(negative);
  }
}

HWY_INLINE VF AddDot(VF y, VI32 dot, VF scale, const ActivationGroup& x) {
  return hn::MulAdd(hn::ConvertTo(df, dot), hn::Mul(scale, hn::Set(df, x.scale)), y);
}
HWY_INLINE VF AddMin(VF y, VF min, const ActivationGroup& x) { return hn::MulAdd(min, hn::Set(df, x.scaled_sum), y); }
template <class F>
HWY_INLINE VF AddGroup(VF y, const VI32* dot, const GroupScales<F>& w, const ActivationGroup& x) {
  y = AddDot(y, dot[0], w.scale[0], x);
  if constexpr (F::kScales == 2) y = AddDot(y, dot[1], w.scale[1], x);
  if constexpr (F::kHasMin) y = AddMin(y, w.min, x);
  return y;
}

// Outputs of a tile for rows [row, end), whose sums are in `sums`: bias and residual are added.
HWY_INLINE void FinishTile(const QuantSlice& slice, int64_t tile_index, int64_t row, int64_t end, const float* sums) {
  FinishOutputs(slice.out, (tile_index - slice.begin_tile) * kTileRows,
                std::min<int64_t>(kTileRows, slice.layout->rows - tile_index * kTileRows), row, end, sums);
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#endif  // per-target include guard
