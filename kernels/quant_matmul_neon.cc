// Products on ARM (Arm Architecture Reference Manual, DDI 0487), on vectors of 16 bytes, by what the CPU has:
//
//   NEON alone   smull, smlal: 8-bit products are added in 16 bits for as long as they fit
//   dotprod      sdot: four products are added to each of four sums
//   i8mm         smmla: 2 rows of x by 2 output rows over 8 k. For many rows; fewer go the way of dotprod
//
// All multiply signed by signed. Weights that are unpacked to bytes are less their offset already; those that are
// multiplied as they are unpacked count from 0, and the sum starts at what that adds.
#include <algorithm>

#include "absl/log/check.h"
#include "kernels/quant_matmul.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul_neon.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"
#include "kernels/quant_steps-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

static_assert(kVectors == 4 && kRowLanes == 4);

// Rows of x that one pass over a tile's weights serves, and of how many of the tile's vectors at a time: so that the
// sums of products, what they are made of, and y (which stays for the whole row) fit into 32 registers.
template <Dot kDot>
constexpr int kMaxRowsOf = kDot == Dot::kSdot ? 4 : 2;
template <Dot kDot, int kRows>
constexpr int kWidthOf = kRows == 1 || (kDot == Dot::kSdot && kRows == 2) ? 4 : 2;

// A group of a tile as it lies in memory.
template <class F>
struct PackedGroup {
  static constexpr bool kUnpacked = false;
  const QuantLayout& layout;
  const uint8_t* HWY_RESTRICT tile;
  int64_t g;

  // Quad kQuad of the rows of vector v.
  template <int kQuad>
  HWY_INLINE VI8 Weights(int v) const {
    VU8 w = Quad<F, kQuad>(tile + g * F::kQuantBytes + v * kVectorBytes);
    if constexpr (F::kBits == 8) w = hn::Xor(w, hn::Set(du8, 0x80));
    return hn::BitCast(di8, w);
  }
  HWY_INLINE void Scales(int v, GroupScales<F>& out) const { LoadScales<F>(layout, tile, v * kRowLanes, g, out); }
};

// A group of a tile with a signed byte for each weight, and scales in f32.
template <class F>
struct UnpackedGroup {
  static constexpr bool kUnpacked = true;
  alignas(16) uint8_t bytes[kByteGroup];
  alignas(16) float scales[F::kScales][kTileRows];
  alignas(16) float mins[kTileRows];

  HWY_INLINE void Unpack(const QuantLayout& layout, const uint8_t* tile, int64_t g) {
    UnpackQuads<F, F::kOffset>(tile + g * F::kQuantBytes, bytes);
    for (int v = 0; v < kVectors; ++v) {
      GroupScales<F> s;
      LoadScales<F>(layout, tile, v * kRowLanes, g, s);
      for (int i = 0; i < F::kScales; ++i) hn::Store(s.scale[i], df, scales[i] + v * kRowLanes);
      if constexpr (F::kHasMin) hn::Store(s.min, df, mins + v * kRowLanes);
    }
  }
  template <int kQuad>
  HWY_INLINE VI8 Weights(int v) const {
    return hn::BitCast(di8, hn::Load(du8, bytes + kQuad * kQuadBytes + v * kVectorBytes));
  }
  HWY_INLINE void Scales(int v, GroupScales<F>& out) const {
    for (int i = 0; i < F::kScales; ++i) out.scale[i] = hn::Load(df, scales[i] + v * kRowLanes);
    if constexpr (F::kHasMin) out.min = hn::Load(df, mins + v * kRowLanes);
  }
};

// sum += w · quad kLane of the four in a.
template <int kLane>
HWY_INLINE void Sdot(VI32& sum, VI8 w, VI8 a) {
  asm(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.4b[%c3]" : "+w"(sum.raw) : "w"(w.raw), "w"(a.raw), "i"(kLane));
}
// sum[2 * i + j] += a's row i · w's row j, rows of 8.
HWY_INLINE void Smmla(VI32& sum, VI8 a, VI8 w) {
  asm(".arch_extension i8mm\n\tsmmla %0.4s, %1.16b, %2.16b" : "+w"(sum.raw) : "w"(a.raw), "w"(w.raw));
}

// --- dotprod ---------------------------------------------------------------------------------------------------------

template <int kQuad, int kRows, int kWidth, class Group>
HWY_INLINE void SdotQuad(const Group& group, int v0, const VI8* a, VI32 (*sum)[kWidth]) {
  VI8 w[kWidth];
#pragma GCC unroll 4
  for (int v = 0; v < kWidth; ++v) w[v] = group.template Weights<kQuad>(v0 + v);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) Sdot<kQuad % 4>(sum[r][v], w[v], a[r]);
  }
}
// sum += the products of half kHalf of a group: 16 k.
template <int kHalf, int kRows, int kWidth, class Group>
HWY_INLINE void SdotHalf(const Group& group, int v0, const ActivationGroup* HWY_RESTRICT x, VI32 (*sum)[kWidth]) {
  VI8 a[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) a[r] = hn::LoadU(di8, x[r].q + 16 * kHalf);
  SdotQuad<4 * kHalf, kRows, kWidth>(group, v0, a, sum);
  SdotQuad<4 * kHalf + 1, kRows, kWidth>(group, v0, a, sum);
  SdotQuad<4 * kHalf + 2, kRows, kWidth>(group, v0, a, sum);
  SdotQuad<4 * kHalf + 3, kRows, kWidth>(group, v0, a, sum);
}

// --- NEON alone ------------------------------------------------------------------------------------------------------

// Sums of products, a lane for each weight of a vector.
struct WideSums {
  int16x8_t low, high;
};

template <int kQuad, bool kFirst, int kRows, int kWidth, class Group>
HWY_INLINE void WidenQuad(const Group& group, int v0, const VI8* a, WideSums (*sum)[kWidth]) {
  VI8 w[kWidth];
#pragma GCC unroll 4
  for (int v = 0; v < kWidth; ++v) w[v] = group.template Weights<kQuad>(v0 + v);
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
template <class F, int kHalf, int kRows, int kWidth, class Group>
HWY_INLINE void WidenHalf(const Group& group, int v0, const ActivationGroup* HWY_RESTRICT x, WideSums (*wide)[kWidth],
                          VI32 (*sum)[kWidth]) {
  // Quads whose products of |weight| < 2^bits (2^7 with 8 bits) and |activation| <= 127 can be added in 16 bits.
  constexpr int kQuads = F::kBits <= 5 ? 8 : F::kBits == 6 ? 4 : 2;
  VI8 a[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) a[r] = hn::LoadU(di8, x[r].q + 16 * kHalf);
  WidenQuad<4 * kHalf, 4 * kHalf % kQuads == 0, kRows, kWidth>(group, v0, a, wide);
  WidenQuad<4 * kHalf + 1, false, kRows, kWidth>(group, v0, a, wide);
  if constexpr (kQuads == 2) AddWide<F, kRows, kWidth>(wide, sum);
  WidenQuad<4 * kHalf + 2, kQuads == 2, kRows, kWidth>(group, v0, a, wide);
  WidenQuad<4 * kHalf + 3, false, kRows, kWidth>(group, v0, a, wide);
  if constexpr (kQuads < 8 || kHalf == 1) AddWide<F, kRows, kWidth>(wide, sum);
}

// --- both ------------------------------------------------------------------------------------------------------------

// One group for kRows rows of x: y += scale * dot (+ min * sum).
template <class F, int kRows, class Group>
HWY_INLINE void AddGroupOfRows(const Group& group, const ActivationGroup* HWY_RESTRICT x,
                               VF (*HWY_RESTRICT y)[kVectors]) {
  constexpr int kWidth = kWidthOf<F::kDot, kRows>;
#pragma GCC unroll 2
  for (int v0 = 0; v0 < kVectors; v0 += kWidth) {
    VI32 sum[F::kScales][kRows][kWidth];
#pragma GCC unroll 2
    for (int s = 0; s < F::kScales; ++s) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const VI32 start = Group::kUnpacked ? hn::Zero(di32) : StartSum<F>(x[r], s);
#pragma GCC unroll 4
        for (int v = 0; v < kWidth; ++v) sum[s][r][v] = start;
      }
    }
    if constexpr (F::kDot == Dot::kSdot) {
      SdotHalf<0, kRows, kWidth>(group, v0, x, sum[0]);
      SdotHalf<1, kRows, kWidth>(group, v0, x, sum[F::kScales - 1]);
    } else {
      WideSums wide[kRows][kWidth];
      WidenHalf<F, 0, kRows, kWidth>(group, v0, x, wide, sum[0]);
      WidenHalf<F, 1, kRows, kWidth>(group, v0, x, wide, sum[F::kScales - 1]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) {
      GroupScales<F> scales;
      group.Scales(v0 + v, scales);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        VI32 dot[F::kScales];
#pragma GCC unroll 2
        for (int s = 0; s < F::kScales; ++s) dot[s] = sum[s][r][v];
        y[r][v0 + v] = AddGroup<F>(y[r][v0 + v], dot, scales, x[r]);
      }
    }
  }
}

// Few rows: kRows of them, from `row` on, with one tile, its weights unpacked in registers. The first ones bring the
// tiles that follow into the cache.
template <class F, int kRows>
HWY_NOINLINE void MultiplyTile(const QuantSlice& slice, int64_t tile_index, int64_t row) {
  const QuantLayout& layout = *slice.layout;
  const uint8_t* HWY_RESTRICT tile = slice.packed + tile_index * layout.tile_bytes;
  const ActivationGroup* HWY_RESTRICT x = slice.x.Row(row);
  VF y[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) y[r][v] = hn::Zero(df);
  }
  TileAhead ahead(tile, layout.tile_bytes, layout.groups);
  for (int64_t g = 0; g < layout.groups; ++g, x += slice.x.block_rows) {
    if (row == 0) ahead.Step();
    AddGroupOfRows<F, kRows>(PackedGroup<F>{layout, tile, g}, x, y);
  }
  HWY_ALIGN float sums[kRows * kTileRows];
  StoreSums<kRows>(y, sums);
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// Many rows: `count` unpacked groups for kRows rows whose sums are in `sums`. x: the first row's first of these groups.
template <class F, int kRows>
HWY_NOINLINE void AddGroups(const UnpackedGroup<F>* HWY_RESTRICT groups, int64_t count,
                            const ActivationGroup* HWY_RESTRICT x, int64_t stride, float* HWY_RESTRICT sums) {
  VF y[kRows][kVectors];
  LoadSums<kRows>(sums, y);
  for (int64_t g = 0; g < count; ++g, x += stride) AddGroupOfRows<F, kRows>(groups[g], x, y);
  StoreSums<kRows>(y, sums);
}

// --- i8mm ------------------------------------------------------------------------------------------------------------

constexpr int kPairs = kTileRows / 2;

// A group of a tile in pairs of output rows: 16 bytes are 8 consecutive k of each of the two, quarter after quarter of
// the group, pair after pair; scales stand as the sums of smmla do, the pair's two for each row of x.
template <class F>
struct PairedGroup {
  alignas(16) uint8_t bytes[kByteGroup];
  alignas(16) float scales[F::kScales][2 * kTileRows];
  alignas(16) float mins[2 * kTileRows];

  HWY_INLINE void Unpack(const QuantLayout& layout, const uint8_t* tile, int64_t g) {
    const uint8_t* const quants = tile + g * F::kQuantBytes;
    UnpackQuarters<0>(quants);
    UnpackQuarters<1>(quants);
    UnpackQuarters<2>(quants);
    UnpackQuarters<3>(quants);
    for (int v = 0; v < kVectors; ++v) {
      GroupScales<F> s;
      LoadScales<F>(layout, tile, v * kRowLanes, g, s);
      for (int i = 0; i < F::kScales; ++i) StorePairs(s.scale[i], scales[i] + 2 * v * kRowLanes);
      if constexpr (F::kHasMin) StorePairs(s.min, mins + 2 * v * kRowLanes);
    }
  }
  HWY_INLINE VI8 Weights(int quarter, int pair) const {
    return hn::BitCast(di8, hn::Load(du8, bytes + (quarter * kPairs + pair) * 16));
  }

 private:
  template <int kQuarter>
  HWY_INLINE void UnpackQuarters(const uint8_t* HWY_RESTRICT quants) {
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
  static HWY_INLINE void StorePairs(VF s, float* to) {
    const hn::Repartition<double, DF> dd;
    hn::Store(hn::BitCast(df, hn::InterleaveLower(dd, hn::BitCast(dd, s), hn::BitCast(dd, s))), df, to);
    hn::Store(hn::BitCast(df, hn::InterleaveUpper(dd, hn::BitCast(dd, s), hn::BitCast(dd, s))), df, to + 4);
  }
};

HWY_INLINE VF PairOf(float first, float second) { return VF(vcombine_f32(vdup_n_f32(first), vdup_n_f32(second))); }

// `count` groups for kRows rows of x, in pairs (of which the last may be the same row twice). Sums are those of smmla,
// which leave no registers for y: it is in `sums`, [pairs of rows][pairs of outputs][4].
template <class F, int kRows>
HWY_NOINLINE void AddGroupsInPairs(const PairedGroup<F>* HWY_RESTRICT groups, int64_t count,
                                   const ActivationGroup* HWY_RESTRICT x, int64_t stride, float* HWY_RESTRICT sums) {
  constexpr int kRowPairs = (kRows + 1) / 2;
  constexpr int kQuarters = 4 / F::kScales;  // that share a scale
  const hn::Repartition<int64_t, DI8> di64;
  for (int64_t g = 0; g < count; ++g, x += stride) {
    const PairedGroup<F>& w = groups[g];
#pragma GCC unroll 2
    for (int s = 0; s < F::kScales; ++s) {
      VI32 dot[kRowPairs][kPairs];
#pragma GCC unroll 2
      for (int p = 0; p < kRowPairs; ++p) {
#pragma GCC unroll 8
        for (int j = 0; j < kPairs; ++j) dot[p][j] = hn::Zero(di32);
      }
#pragma GCC unroll 2
      for (int h = s * kQuarters; h < (s + 1) * kQuarters; h += 2) {
        VI8 a[kRowPairs][2];
#pragma GCC unroll 2
        for (int p = 0; p < kRowPairs; ++p) {
          const auto one = hn::BitCast(di64, hn::LoadU(di8, x[2 * p].q + 8 * h));
          const auto two = hn::BitCast(di64, hn::LoadU(di8, x[std::min(2 * p + 1, kRows - 1)].q + 8 * h));
          a[p][0] = hn::BitCast(di8, hn::InterleaveLower(di64, one, two));
          a[p][1] = hn::BitCast(di8, hn::InterleaveUpper(di64, one, two));
        }
#pragma GCC unroll 2
        for (int q = 0; q < 2; ++q) {
#pragma GCC unroll 8
          for (int j = 0; j < kPairs; ++j) {
            const VI8 weights = w.Weights(h + q, j);
#pragma GCC unroll 2
            for (int p = 0; p < kRowPairs; ++p) Smmla(dot[p][j], a[p][q], weights);
          }
        }
      }
      // As AddGroup does it.
#pragma GCC unroll 2
      for (int p = 0; p < kRowPairs; ++p) {
        const ActivationGroup& one = x[2 * p];
        const ActivationGroup& two = x[std::min(2 * p + 1, kRows - 1)];
        const VF x_scale = PairOf(one.scale, two.scale);
        const VF x_sum = PairOf(one.scaled_sum, two.scaled_sum);
#pragma GCC unroll 8
        for (int j = 0; j < kPairs; ++j) {
          float* const at = sums + (p * kPairs + j) * 4;
          VF y = hn::Load(df, at);
          y = hn::MulAdd(hn::ConvertTo(df, dot[p][j]), hn::Mul(hn::Load(df, w.scales[s] + 4 * j), x_scale), y);
          if (F::kHasMin && s == F::kScales - 1) y = hn::MulAdd(hn::Load(df, w.mins + 4 * j), x_sum, y);
          hn::Store(y, df, at);
        }
      }
    }
  }
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

// --- passes over tiles and rows --------------------------------------------------------------------------------------

// How many rows go over groups that were unpacked for it.
template <class F>
struct BytesWay {
  using Group = UnpackedGroup<F>;
  static constexpr int kMaxRows = kMaxRowsOf<F::kDot>;
  template <int kRows>
  static HWY_INLINE void Add(const Group* groups, int64_t count, const ActivationGroup* x, int64_t stride,
                             float* sums) {
    AddGroups<F, kRows>(groups, count, x, stride, sums);
  }
  static HWY_INLINE void Finish(int64_t, float*) {}
};
template <class F>
struct PairsWay {
  using Group = PairedGroup<F>;
  static constexpr int kMaxRows = 4;
  template <int kRows>
  static HWY_INLINE void Add(const Group* groups, int64_t count, const ActivationGroup* x, int64_t stride,
                             float* sums) {
    AddGroupsInPairs<F, kRows>(groups, count, x, stride, sums);
  }
  static HWY_INLINE void Finish(int64_t rows, float* sums) {
    for (int64_t r = 0; r < rows; r += 2) UnpairSums(sums + r * kTileRows);
  }
};

template <class Way>
struct PassStep {
  const QuantSlice& slice;
  const typename Way::Group* groups;
  int64_t begin, end;  // groups
  int64_t first_row;
  float* sums;
  template <int kRows>
  HWY_INLINE void Do(int64_t row) const {
    Way::template Add<kRows>(groups, end - begin, slice.x.Row(row) + begin * slice.x.block_rows, slice.x.block_rows,
                             sums + (row - first_row) * kTileRows);
  }
};

template <class Way>
void MultiplyMany(const QuantSlice& slice) {
  static_assert(kActivationBlock % Way::kMaxRows == 0 && kPassRows % 2 == 0);
  const QuantLayout& layout = *slice.layout;
  typename Way::Group groups[kPassGroups];
  HWY_ALIGN float sums[kPassRows * kTileRows];
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    for (int64_t t = slice.begin_tile; t < slice.end_tile; ++t) {
      const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
      std::fill(sums, sums + kPassRows * kTileRows, 0.0f);
      TileAhead ahead(tile, layout.tile_bytes, layout.groups);
      for (int64_t begin = 0; begin < layout.groups; begin += kPassGroups) {
        const int64_t end = std::min(layout.groups, begin + kPassGroups);
        for (int64_t g = begin; g < end; ++g) {
          ahead.Step();
          groups[g - begin].Unpack(layout, tile, g);
        }
        ForRowSteps<Way::kMaxRows>(first_row, end_row, PassStep<Way>{slice, groups, begin, end, first_row, sums});
      }
      Way::Finish(end_row - first_row, sums);
      FinishTile(slice, t, first_row, end_row, sums);
    }
  }
}

template <class F, template <class> class Way>
void Multiply(const QuantSlice& slice) {
  if (slice.x_rows > kMaxRowsOf<F::kDot>) {
    MultiplyMany<Way<F>>(slice);
  } else {
    MultiplyFew<F, kMaxRowsOf<F::kDot>>(slice);
  }
}

template <Dot kDot, template <class> class Way>
constexpr QuantMatmulTable MakeTable(Isa isa) {
  using F = Formats<kDot>;
  return {isa,
          Multiply<typename F::Q4_0, Way>,
          Multiply<typename F::Q4_1, Way>,
          Multiply<typename F::Q5_0, Way>,
          Multiply<typename F::Q5_1, Way>,
          Multiply<typename F::Q8_0, Way>,
          Multiply<typename F::Q4_K, Way>,
          Multiply<typename F::Q5_K, Way>,
          Multiply<typename F::Q6_K, Way>};
}

constexpr QuantMatmulTable kNeonTable = MakeTable<Dot::kWidening, BytesWay>(Isa::kNeon);
constexpr QuantMatmulTable kDotprodTable = MakeTable<Dot::kSdot, BytesWay>(Isa::kNeonDotprod);
constexpr QuantMatmulTable kI8mmTable = MakeTable<Dot::kSdot, PairsWay>(Isa::kNeonI8mm);

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64

#if HWY_ONCE && defined(__aarch64__)
namespace linnet::kernels {

const QuantMatmulTable& NeonQuantMatmulTable(Isa isa) {
  switch (isa) {
    case Isa::kNeonI8mm:
      return HWY_NAMESPACE::kI8mmTable;
    case Isa::kNeonDotprod:
      return HWY_NAMESPACE::kDotprodTable;
    default:
      DCHECK(isa == Isa::kNeon);
      return HWY_NAMESPACE::kNeonTable;
  }
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE && defined(__aarch64__)
