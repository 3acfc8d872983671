// Dot products on ARM (Arm Architecture Reference Manual, DDI 0487), on vectors of 16 bytes, by what the CPU has:
//
//   NEON alone   smull, smlal: 8-bit products are added in 16 bits for as long as they fit
//   dotprod      sdot: four products are added to each of four sums
//   i8mm         smmla: 2 rows of x by 2 output rows over 8 k. For many rows; fewer go the way of dotprod
//
// All multiply signed by signed. Weights that are unpacked to bytes are less their offset already; those that are
// multiplied as they are unpacked count from 0, and the sum starts at what that adds.
//
// Include it inside a file laid out as simd_targets.h says, after highway.h.
#if defined(LINNET_KERNELS_QUANT_DOT_NEON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LINNET_KERNELS_QUANT_DOT_NEON_INL_H_
#undef LINNET_KERNELS_QUANT_DOT_NEON_INL_H_
#else
#define LINNET_KERNELS_QUANT_DOT_NEON_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"
#include "kernels/tile_sums-inl.h"

#if LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

static_assert(kVectors == 4 && kRowLanes == 4);

// Rows of x that one pass over a tile's weights serves, and of how many of the tile's vectors at a time: so that the
// sums of products, what they are made of, and y (if it stays for the whole row) fit into 32 registers.
template <Dot kDot>
constexpr int kMaxRowsOf = kDot == Dot::kSdot ? 4 : 2;
// As many rows as that leave no registers for y, which is needed once for each group.
template <class F, int kRows>
constexpr bool kSumsInMemory = kRows == kMaxRowsOf<F::kDot>;
template <class F, int kRows>
constexpr int kWidthOf =
    kRows == 1 || (F::kDot == Dot::kSdot && (kRows == 2 || (F::kScales == 1 && !F::kHasMin))) ? 4 : 2;

// Where y is while products are added to it: `sums`, [kRows][16], or registers that are stored there in the end.
template <int kRows>
struct SumsInRegisters {
  explicit HWY_INLINE SumsInRegisters(float* sums) : sums(sums) { LoadSums<kRows>(sums, y); }
  SumsInRegisters(const SumsInRegisters&) = delete;
  SumsInRegisters& operator=(const SumsInRegisters&) = delete;
  HWY_INLINE ~SumsInRegisters() { StoreSums<kRows>(y, sums); }
  HWY_INLINE VF Get(int r, int v) const { return y[r][v]; }
  HWY_INLINE void Set(int r, int v, VF sum) { y[r][v] = sum; }

  float* const sums;
  VF y[kRows][kVectors];
};
template <int kRows>
struct SumsAtHand {
  explicit HWY_INLINE SumsAtHand(float* sums) : sums(sums) {}
  HWY_INLINE VF Get(int r, int v) const { return hn::Load(df, sums + r * kTileRows + v * kRowLanes); }
  HWY_INLINE void Set(int r, int v, VF sum) { hn::Store(sum, df, sums + r * kTileRows + v * kRowLanes); }

  float* HWY_RESTRICT const sums;
};
template <class F, int kRows>
using Sums = std::conditional_t<kSumsInMemory<F, kRows>, SumsAtHand<kRows>, SumsInRegisters<kRows>>;

// --- weights ---------------------------------------------------------------------------------------------------------

// A group of a tile as it lies in memory.
template <class F>
struct PackedQuads {
  static constexpr bool kFromZero = F::kBits < 8;
  const uint8_t* HWY_RESTRICT quants;

  // Quad kQuad of the rows of vector v.
  template <int kQuad>
  HWY_INLINE VI8 Weights(int v) const {
    VU8 w = Quad<F, kQuad>(quants + v * kVectorBytes);
    if constexpr (F::kBits == 8) w = hn::Xor(w, hn::Set(du8, 0x80));
    return hn::BitCast(di8, w);
  }
};

// A group of a tile with a signed byte for each weight.
template <class F>
struct ByteQuads {
  static constexpr bool kFromZero = false;
  alignas(16) uint8_t bytes[kByteGroup];

  HWY_INLINE void Unpack(const uint8_t* quants) { UnpackQuads<F, F::kOffset>(quants, bytes); }
  template <int kQuad>
  HWY_INLINE VI8 Weights(int v) const {
    return hn::BitCast(di8, hn::Load(du8, bytes + kQuad * kQuadBytes + v * kVectorBytes));
  }
};

constexpr int kPairs = kTileRows / 2;

// A group of a tile in pairs of output rows: 16 signed bytes are 8 consecutive k of each of the two, quarter after
// quarter of the group, pair after pair.
template <class F>
struct PairedQuads {
  alignas(16) uint8_t bytes[kByteGroup];

  HWY_INLINE void Unpack(const uint8_t* quants) {
    UnpackQuarter<0>(quants);
    UnpackQuarter<1>(quants);
    UnpackQuarter<2>(quants);
    UnpackQuarter<3>(quants);
  }
  HWY_INLINE VI8 Weights(int quarter, int pair) const {
    return hn::BitCast(di8, hn::Load(du8, bytes + (quarter * kPairs + pair) * 16));
  }

 private:
  template <int kQuarter>
  HWY_INLINE void UnpackQuarter(const uint8_t* HWY_RESTRICT quants) {
    for (int v = 0; v < kVectors; ++v) {
      const uint8_t* const at = quants + v * kVectorBytes;
      const VU8 offset = hn::Set(du8, static_cast<uint8_t>(F::kOffset));
      const VI32 first = hn::BitCast(di32, hn::Sub(Quad<F, 2 * kQuarter>(at), offset));
      const VI32 second = hn::BitCast(di32, hn::Sub(Quad<F, 2 * kQuarter + 1>(at), offset));
      uint8_t* const to = bytes + (kQuarter * kPairs + 2 * v) * 16;
      hn::Store(hn::BitCast(du8, hn::InterleaveLower(di32, first, second)), du8, to);
      hn::Store(hn::BitCast(du8, hn::InterleaveUpper(di32, first, second)), du8, to + 16);
    }
  }
};

// --- sums of products ------------------------------------------------------------------------------------------------

// sum += w · quad kLane of the four in a.
template <int kLane>
HWY_INLINE void Sdot(VI32& sum, VI8 w, VI8 a) {
  asm(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.4b[%c3]" : "+w"(sum.raw) : "w"(w.raw), "w"(a.raw), "i"(kLane));
}
template <int kQuad, int kRows, int kWidth, class Quads>
HWY_INLINE void SdotQuad(const Quads& weights, int v0, const VI8* a, VI32 (*sum)[kWidth]) {
  VI8 w[kWidth];
#pragma GCC unroll 4
  for (int v = 0; v < kWidth; ++v) w[v] = weights.template Weights<kQuad>(v0 + v);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) Sdot<kQuad % 4>(sum[r][v], w[v], a[r]);
  }
}
// sum += the products of half kHalf of a group: 16 k.
template <int kHalf, int kRows, int kWidth, class Quads>
HWY_INLINE void SdotHalf(const Quads& weights, int v0, const int8_t* HWY_RESTRICT q, int64_t stride,
                         VI32 (*sum)[kWidth]) {
  VI8 a[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) a[r] = hn::LoadU(di8, q + r * stride + 16 * kHalf);
  SdotQuad<4 * kHalf, kRows, kWidth>(weights, v0, a, sum);
  SdotQuad<4 * kHalf + 1, kRows, kWidth>(weights, v0, a, sum);
  SdotQuad<4 * kHalf + 2, kRows, kWidth>(weights, v0, a, sum);
  SdotQuad<4 * kHalf + 3, kRows, kWidth>(weights, v0, a, sum);
}

// Sums of products, a lane for each weight of a vector.
struct WideSums {
  int16x8_t low, high;
};

template <int kQuad, bool kFirst, int kRows, int kWidth, class Quads>
HWY_INLINE void WidenQuad(const Quads& weights, int v0, const VI8* a, WideSums (*sum)[kWidth]) {
  VI8 w[kWidth];
#pragma GCC unroll 4
  for (int v = 0; v < kWidth; ++v) w[v] = weights.template Weights<kQuad>(v0 + v);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const int8x16_t quad = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(a[r].raw), kQuad % 4));
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) {
      WideSums& s = sum[r][v];
      if constexpr (kFirst) {
        s.low = vmull_s8(vget_low_s8(w[v].raw), vget_low_s8(quad));
        s.high = vmull_high_s8(w[v].raw, quad);
      } else {
        s.low = vmlal_s8(s.low, vget_low_s8(w[v].raw), vget_low_s8(quad));
        s.high = vmlal_high_s8(s.high, w[v].raw, quad);
      }
    }
  }
}
// sum += the products so far.
template <class F, int kRows, int kWidth>
HWY_INLINE void AddWide(const WideSums (*wide)[kWidth], VI32 (*sum)[kWidth]) {
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) {
      const WideSums& s = wide[r][v];
      if constexpr (F::kBits == 4) {  // pairs fit in 16 bits as well: 8 * 2 * 15 * 127
        sum[r][v].raw = vpadalq_s16(sum[r][v].raw, vpaddq_s16(s.low, s.high));
      } else {
        const int32x4_t pairs = vpaddq_s32(vpaddlq_s16(s.low), vpaddlq_s16(s.high));
        sum[r][v].raw = vaddq_s32(sum[r][v].raw, pairs);
      }
    }
  }
}
template <class F, int kHalf, int kRows, int kWidth, class Quads>
HWY_INLINE void WidenHalf(const Quads& weights, int v0, const int8_t* HWY_RESTRICT q, int64_t stride,
                          WideSums (*wide)[kWidth], VI32 (*sum)[kWidth]) {
  // Quads whose products of |weight| < 2^bits (2^7 with 8 bits) and |activation| <= 127 can be added in 16 bits.
  constexpr int kQuads = F::kBits <= 5 ? 8 : F::kBits == 6 ? 4 : 2;
  VI8 a[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) a[r] = hn::LoadU(di8, q + r * stride + 16 * kHalf);
  WidenQuad<4 * kHalf, 4 * kHalf % kQuads == 0, kRows, kWidth>(weights, v0, a, wide);
  WidenQuad<4 * kHalf + 1, false, kRows, kWidth>(weights, v0, a, wide);
  if constexpr (kQuads == 2) AddWide<F, kRows, kWidth>(wide, sum);
  WidenQuad<4 * kHalf + 2, kQuads == 2, kRows, kWidth>(weights, v0, a, wide);
  WidenQuad<4 * kHalf + 3, false, kRows, kWidth>(weights, v0, a, wide);
  if constexpr (kQuads < 8 || kHalf == 1) AddWide<F, kRows, kWidth>(wide, sum);
}

// The products of a group for kRows rows, of its vectors from v0 on, are added to the sums of its two halves (which may
// be the same ones). q: the first row's, each further one `stride` bytes on.
template <class F, int kRows, int kWidth, class Quads>
HWY_INLINE void AddDots(const Quads& weights, int v0, const int8_t* HWY_RESTRICT q, int64_t stride,
                        VI32 (*first)[kWidth], VI32 (*second)[kWidth]) {
  if constexpr (F::kDot == Dot::kSdot) {
    SdotHalf<0, kRows, kWidth>(weights, v0, q, stride, first);
    SdotHalf<1, kRows, kWidth>(weights, v0, q, stride, second);
  } else {
    WideSums wide[kRows][kWidth];
    WidenHalf<F, 0, kRows, kWidth>(weights, v0, q, stride, wide, first);
    WidenHalf<F, 1, kRows, kWidth>(weights, v0, q, stride, wide, second);
  }
}

// sum[2 * i + j] += a's row i · w's row j, rows of 8.
HWY_INLINE void Smmla(VI32& sum, VI8 a, VI8 w) {
  asm(".arch_extension i8mm\n\tsmmla %0.4s, %1.16b, %2.16b" : "+w"(sum.raw) : "w"(a.raw), "w"(w.raw));
}

// The products of quarters [begin, begin + kQuarters) of a group for kRows rows, in pairs of which the last may be the
// same row twice. q and stride: as of AddDots. dot: [pairs of rows][pairs of outputs].
template <class F, int kRows, int kQuarters>
HWY_INLINE void AddDotsInPairs(const PairedQuads<F>& weights, int begin, const int8_t* HWY_RESTRICT q, int64_t stride,
                               VI32 (*dot)[kPairs]) {
  constexpr int kRowPairs = (kRows + 1) / 2;
  const hn::Repartition<int64_t, DI8> di64;
#pragma GCC unroll 2
  for (int h = begin; h < begin + kQuarters; h += 2) {
    VI8 a[kRowPairs][2];
#pragma GCC unroll 2
    for (int p = 0; p < kRowPairs; ++p) {
      const auto one = hn::BitCast(di64, hn::LoadU(di8, q + 2 * p * stride + 8 * h));
      const auto two = hn::BitCast(di64, hn::LoadU(di8, q + std::min(2 * p + 1, kRows - 1) * stride + 8 * h));
      a[p][0] = hn::BitCast(di8, hn::InterleaveLower(di64, one, two));
      a[p][1] = hn::BitCast(di8, hn::InterleaveUpper(di64, one, two));
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 8
      for (int j = 0; j < kPairs; ++j) {
        const VI8 w = weights.Weights(h + half, j);
#pragma GCC unroll 2
        for (int p = 0; p < kRowPairs; ++p) Smmla(dot[p][j], a[p][half], w);
      }
    }
  }
}

// --- in pairs --------------------------------------------------------------------------------------------------------

// One of each row's, as the sums of smmla stand.
HWY_INLINE VF PairOf(float first, float second) { return VF(vcombine_f32(vdup_n_f32(first), vdup_n_f32(second))); }

// Scales of four outputs as the sums of two pairs of them stand.
HWY_INLINE void StorePairs(VF s, float* to) {
  const hn::Repartition<double, DF> dd;
  hn::Store(hn::BitCast(df, hn::InterleaveLower(dd, hn::BitCast(dd, s), hn::BitCast(dd, s))), df, to);
  hn::Store(hn::BitCast(df, hn::InterleaveUpper(dd, hn::BitCast(dd, s), hn::BitCast(dd, s))), df, to + 4);
}

// Sums in pairs, of two rows, to row after row.
HWY_INLINE void UnpairSums(float* sums) {
  VF row[2][kVectors];
  const hn::Repartition<double, DF> dd;
  for (int v = 0; v < kVectors; ++v) {
    const auto first = hn::BitCast(dd, hn::Load(df, sums + 8 * v)),
               second = hn::BitCast(dd, hn::Load(df, sums + 8 * v + 4));
    row[0][v] = hn::BitCast(df, hn::InterleaveLower(dd, first, second));
    row[1][v] = hn::BitCast(df, hn::InterleaveUpper(dd, first, second));
  }
  for (int r = 0; r < 2; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::Store(row[r][v], df, sums + r * kTileRows + v * kRowLanes);
  }
}

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64

#endif  // per-target include guard
