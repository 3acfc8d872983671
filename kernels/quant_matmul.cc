// Products on x86; quant_matmul_neon.cc has those on ARM.
#include "kernels/quant_matmul.h"

#include <algorithm>
#include <span>
#include <type_traits>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_dot-inl.h"
#include "kernels/quant_format-inl.h"
#include "kernels/quant_steps-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_X86
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Rows of x that one pass over a tile's weights serves: as many as there are registers for.
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3_DL ? 16 : HWY_TARGET == HWY_AVX3 ? 8 : 4;
static_assert(kActivationBlock % kMaxRows == 0);

// A group of a tile as it is packed: weights and scales are unpacked in registers.
template <class F>
struct PackedGroup {
  static constexpr bool kReady = false;
  const QuantLayout& layout;
  const uint8_t* HWY_RESTRICT tile;
  int64_t g;
  const uint8_t* HWY_RESTRICT quants;

  template <int kQuad>
  HWY_INLINE VU8 Weights(int v) const {
    return Quad<F, kQuad>(quants + v * kVectorBytes);
  }
  HWY_INLINE GroupScales<F> Scales(int v) const {
    GroupScales<F> scales;
    LoadScales<F>(layout, tile, v * kRowLanes, g, scales);
    return scales;
  }
};

// Where the sign moves from the weight to the activation: -1 for negative weights, and the sum of their magnitudes.
struct Signs {
  int8_t signs[kByteGroup];
  int32_t starts[kTileRows];
};
// A weight for each byte; where the sign moves, its magnitude.
struct Bytes {
  uint8_t unpacked[kByteGroup];
};
template <int kPlace>
struct Nothing {};

// A group of a tile that was made ready for many rows. Weights of 8 bits are so as they are packed, but for their
// signs.
template <class F>
struct ReadyGroup : std::conditional_t<F::kBits == 8 && !F::kSignTrick, Nothing<0>, Bytes>,
                    std::conditional_t<F::kSignTrick, Signs, Nothing<1>> {
  static constexpr bool kReady = true;
  HWY_ALIGN float scales[F::kScales][kTileRows];
  float mins[kTileRows];
  const uint8_t* bytes;  // where packed ones lie need not be aligned: keys of an 8-bit cache are such weights

  template <int kQuad>
  HWY_INLINE VU8 Weights(int v) const {
    return hn::LoadU(du8, bytes + kQuad * kQuadBytes + v * kVectorBytes);
  }
  HWY_INLINE GroupScales<F> Scales(int v) const {
    GroupScales<F> loaded;
    for (int s = 0; s < F::kScales; ++s) loaded.scale[s] = hn::Load(df, scales[s] + v * kRowLanes);
    if constexpr (F::kHasMin) loaded.min = hn::Load(df, mins + v * kRowLanes);
    return loaded;
  }
};

// Magnitudes and signs of 8-bit weights. For a negative weight w the product w * a is |w| * ~a + |w|, since ~a = -a -
// 1: a's sign is changed by an exclusive or, and the rest is the same for all rows.
template <class F>
HWY_INLINE void SplitSigns(const uint8_t* HWY_RESTRICT quants, ReadyGroup<F>& ready) {
  for (int v = 0; v < kVectors; ++v) {
    VI16 negative = hn::Zero(di16);
    for (int q = 0; q < kGroup / 4; ++q) {
      const int64_t at = q * kQuadBytes + v * kVectorBytes;
      const VI8 w = hn::BitCast(di8, hn::Xor(hn::LoadU(du8, quants + at), hn::Set(du8, 0x80)));
      const VU8 magnitude = hn::BitCast(du8, hn::Abs(w));  // -128 becomes 128
      const VI8 sign = hn::BroadcastSignBit(w);
      hn::Store(magnitude, du8, ready.unpacked + at);
      hn::Store(sign, di8, ready.signs + at);
      negative = hn::Add(negative, hn::SatWidenMulPairwiseAdd(di16, magnitude, sign));
    }
    const VI32 sum = hn::WidenMulPairwiseAdd(di32, negative, hn::Set(di16, -1));
    hn::Store(sum, di32, ready.starts + v * kRowLanes);
  }
}

template <class F>
HWY_INLINE void MakeReady(const PackedGroup<F>& packed, ReadyGroup<F>& ready) {
  if constexpr (F::kSignTrick) {
    SplitSigns<F>(packed.quants, ready);
    ready.bytes = ready.unpacked;
  } else if constexpr (F::kBits == 8) {
    ready.bytes = packed.quants;
  } else {
    UnpackQuads<F, 0>(packed.quants, ready.unpacked);
    ready.bytes = ready.unpacked;
  }
  for (int v = 0; v < kVectors; ++v) {
    const GroupScales<F> scales = packed.Scales(v);
    for (int s = 0; s < F::kScales; ++s) hn::Store(scales.scale[s], df, ready.scales[s] + v * kRowLanes);
    if constexpr (F::kHasMin) hn::Store(scales.min, df, ready.mins + v * kRowLanes);
  }
}

// Sixteen products of each vector of weights with row x's four activations, in pairs.
template <class F, int kQuad, class Group>
HWY_INLINE void MultiplyPairs(const Group& group, const VU8 (&w)[kVectors], VI8 a, VI16 (&products)[kVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (!F::kSignTrick) {
      products[v] = hn::SatWidenMulPairwiseAdd(di16, w[v], a);
    } else if constexpr (Group::kReady) {
      const VI8 sign = hn::Load(di8, group.signs + kQuad * kQuadBytes + v * kVectorBytes);
      products[v] = hn::SatWidenMulPairwiseAdd(di16, w[v], hn::Xor(a, sign));
    } else {
      const VI8 w_signed = hn::BitCast(di8, hn::Xor(w[v], hn::Set(du8, 0x80)));
      const VU8 magnitude = hn::BitCast(du8, hn::Abs(w_signed));  // -128 becomes 128
      products[v] = hn::SatWidenMulPairwiseAdd(di16, magnitude, hn::IfNegativeThenNegOrUndefIfZero(w_signed, a));
    }
  }
}

template <class F, class Group>
HWY_INLINE VI32 StartOf(const Group& group, const ActivationGroup& x, int scale, int v) {
  if constexpr (F::kSignTrick && Group::kReady) {
    return hn::Load(di32, group.starts + v * kRowLanes);
  } else {
    return StartSum<F>(x, scale);
  }
}

// Quad kQuad of a group for all rows. Pairwise: sums of products stay in 16 bits until they could overflow.
template <class F, int kQuad, int kRows, class Group>
HWY_INLINE void AddQuad(const Group& group, const ActivationGroup* HWY_RESTRICT x, VI16 (*HWY_RESTRICT sum16)[kVectors],
                        VI32 (*HWY_RESTRICT sum32)[kVectors]) {
  constexpr int kQuadsPerScale = kGroup / 4 / F::kScales;
  constexpr int kScale = kQuad / kQuadsPerScale;
  VU8 w[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) w[v] = group.template Weights<kQuad>(v);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const VI8 a = BroadcastQuad(x[r].q + 4 * kQuad);
    if constexpr (F::kDot != Dot::kPairwise16) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kQuad % kQuadsPerScale == 0) sum32[r][v] = StartOf<F>(group, x[r], kScale, v);
        sum32[r][v] = DotFour<F>(w[v], a, sum32[r][v]);
      }
    } else {
      constexpr bool kFirst = kQuad % F::kQuadsPer16 == 0;
      constexpr bool kLast = kQuad % F::kQuadsPer16 == F::kQuadsPer16 - 1;
      VI16 products[kVectors];
      MultiplyPairs<F, kQuad>(group, w, a, products);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (!kFirst) {
          products[v] = hn::Add(sum16[r][v], products[v]);
          Pin(products[v]);
        }
        if constexpr (kLast) {
          if constexpr (kQuad % kQuadsPerScale < F::kQuadsPer16) sum32[r][v] = StartOf<F>(group, x[r], kScale, v);
          sum32[r][v] = hn::Add(sum32[r][v], hn::WidenMulPairwiseAdd(di32, products[v], hn::Set(di16, 1)));
          Pin(sum32[r][v]);
        } else {
          sum16[r][v] = products[v];
        }
      }
    }
  }
}

// The quads from kQuad on that share a scale with it.
template <class F, int kQuad, int kRows, class Group>
HWY_INLINE void AddQuads(const Group& group, const ActivationGroup* HWY_RESTRICT x,
                         VI16 (*HWY_RESTRICT sum16)[kVectors], VI32 (*HWY_RESTRICT sum32)[kVectors]) {
  AddQuad<F, kQuad, kRows>(group, x, sum16, sum32);
  if constexpr ((kQuad + 1) % (kGroup / 4 / F::kScales) != 0) AddQuads<F, kQuad + 1, kRows>(group, x, sum16, sum32);
}

// y += scale kScale * dot, then of the next scale.
template <class F, int kScale, int kRows, class Group>
HWY_INLINE void AddScales(const Group& group, const ActivationGroup* HWY_RESTRICT x, VF (*HWY_RESTRICT y)[kVectors]) {
  VI16 sum16[kRows][kVectors];
  VI32 sum32[kRows][kVectors];
  AddQuads<F, kScale*(kGroup / 4 / F::kScales), kRows>(group, x, sum16, sum32);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const GroupScales<F> scales = group.Scales(v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      y[r][v] = AddDot(y[r][v], sum32[r][v], scales.scale[kScale], x[r]);
      if constexpr (F::kHasMin && kScale == F::kScales - 1) y[r][v] = AddMin(y[r][v], scales.min, x[r]);
    }
  }
  if constexpr (kScale + 1 < F::kScales) AddScales<F, kScale + 1, kRows>(group, x, y);
}

// One group for kRows rows of x: y += scale * dot (+ min * sum).
template <class F, int kRows, class Group>
HWY_INLINE void AddGroupOfRows(const Group& group, const ActivationGroup* HWY_RESTRICT x,
                               VF (*HWY_RESTRICT y)[kVectors]) {
  if constexpr (F::kDot == Dot::kFourWay && kVectors == 1) {
    // The group's weights stay in registers, rows pass by.
    const GroupScales<F> scales = group.Scales(0);
    const VU8 w[8] = {group.template Weights<0>(0), group.template Weights<1>(0), group.template Weights<2>(0),
                      group.template Weights<3>(0), group.template Weights<4>(0), group.template Weights<5>(0),
                      group.template Weights<6>(0), group.template Weights<7>(0)};
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      VI32 dot[2] = {StartSum<F>(x[r], 0), F::kScales == 2 ? StartSum<F>(x[r], 1) : hn::Zero(di32)};
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        dot[0] = DotFour<F>(w[q], BroadcastQuad(x[r].q + 4 * q), dot[0]);
        dot[1] = DotFour<F>(w[q + 4], BroadcastQuad(x[r].q + 4 * q + 16), dot[1]);
      }
      if constexpr (F::kScales == 1) dot[0] = hn::Add(dot[0], dot[1]);
      y[r][0] = AddGroup<F>(y[r][0], dot, scales, x[r]);
    }
  } else {
    AddScales<F, 0, kRows>(group, x, y);
  }
}

// Few rows: kRows of them, from `row` on, with one tile, its weights unpacked in registers.
template <class F, int kRows>
HWY_NOINLINE void MultiplyTile(const QuantSlice& slice, int64_t tile_index, int64_t row) {
  const QuantLayout& layout = *slice.layout;
  const uint8_t* HWY_RESTRICT tile = slice.packed + tile_index * layout.tile_bytes;
  const uint8_t* HWY_RESTRICT quants = tile;
  const ActivationGroup* HWY_RESTRICT x = slice.x.Row(row);
  VF y[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) y[r][v] = hn::Zero(df);
  }
  TileAhead ahead(tile, layout.tile_bytes, layout.groups, (slice.x_rows + kMaxRows - 1) / kMaxRows, row / kMaxRows);
  for (int64_t g = 0; g < layout.groups; ++g, quants += F::kQuantBytes, x += slice.x.block_rows) {
    ahead.Step();
    AddGroupOfRows<F, kRows>(PackedGroup<F>{layout, tile, g, quants}, x, y);
  }
  HWY_ALIGN float sums[kRows * kTileRows];
  StoreSums<kRows>(y, sums);
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// Many rows: `groups` of a tile, the first of which is the row's `x`, for kRows rows whose sums are in `sums`.
template <class F, int kRows>
HWY_NOINLINE void AddGroups(std::span<const ReadyGroup<F>> groups, const ActivationGroup* HWY_RESTRICT x,
                            int64_t x_stride, TileAhead& ahead, float* HWY_RESTRICT sums) {
  VF y[kRows][kVectors];
  LoadSums<kRows>(sums, y);
  for (const ReadyGroup<F>& group : groups) {
    ahead.Step();
    AddGroupOfRows<F, kRows>(group, x, y);
    x += x_stride;
  }
  StoreSums<kRows>(y, sums);
}

template <class F>
struct PassStep {
  const ActivationBlocks& x;
  std::span<const ReadyGroup<F>> groups;
  int64_t begin;  // the first of them
  int64_t first_row;
  TileAhead& ahead;
  float* sums;
  template <int kRows>
  HWY_INLINE void Do(int64_t row) const {
    AddGroups<F, kRows>(groups, x.Row(row) + begin * x.block_rows, x.block_rows, ahead,
                        sums + (row - first_row) * kTileRows);
  }
};

template <class F>
void MultiplyMany(const QuantSlice& slice) {
  // With magnitudes and signs apart, groups take twice the room.
  constexpr int64_t kGroups = F::kSignTrick ? kPassGroups / 2 : kPassGroups;
  const QuantLayout& layout = *slice.layout;
  HWY_ALIGN ReadyGroup<F> ready[kGroups];
  HWY_ALIGN float sums[kPassRows * kTileRows];
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    const int64_t steps = (end_row - first_row + kMaxRows - 1) / kMaxRows;
    for (int64_t t = slice.begin_tile; t < slice.end_tile; ++t) {
      const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
      std::fill(sums, sums + (end_row - first_row) * kTileRows, 0.0f);
      TileAhead ahead(tile, layout.tile_bytes, layout.groups, steps);
      for (int64_t begin = 0; begin < layout.groups; begin += kGroups) {
        const int64_t count = std::min(layout.groups - begin, kGroups);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t g = begin + i;
          MakeReady<F>({layout, tile, g, tile + g * F::kQuantBytes}, ready[i]);
        }
        ForRowSteps<kMaxRows>(first_row, end_row,
                              PassStep<F>{slice.x, {ready, static_cast<size_t>(count)}, begin, first_row, ahead, sums});
      }
      FinishTile(slice, t, first_row, end_row, sums);
    }
  }
}

template <class F>
void Multiply(const QuantSlice& slice) {
  // To take 8-bit weights apart costs more than half of what it saves for each row.
  constexpr int64_t kFewRows = F::kSignTrick ? 2 * kMaxRows : kMaxRows;
  if (slice.x_rows > kFewRows) {
    MultiplyMany<F>(slice);
  } else {
    MultiplyFew<F, kMaxRows>(slice);
  }
}

template <Dot kDot>
constexpr QuantMatmulTable MakeTable(Isa isa) {
  using F = Formats<kDot>;
  return {isa,
          Multiply<typename F::Q4_0>,
          Multiply<typename F::Q4_1>,
          Multiply<typename F::Q5_0>,
          Multiply<typename F::Q5_1>,
          Multiply<typename F::Q8_0>,
          Multiply<typename F::Q4_K>,
          Multiply<typename F::Q5_K>,
          Multiply<typename F::Q6_K>};
}

#if HWY_TARGET == HWY_AVX2
constexpr QuantMatmulTable kQuantMatmul = MakeTable<Dot::kPairwise16>(Isa::kAvx2);
constexpr QuantMatmulTable kVexVnniQuantMatmul = MakeTable<Dot::kVexVnni>(Isa::kAvx2Vnni);
#elif HWY_TARGET == HWY_AVX3
constexpr QuantMatmulTable kQuantMatmul = MakeTable<Dot::kPairwise16>(Isa::kAvx512);
#else
constexpr QuantMatmulTable kQuantMatmul = MakeTable<Dot::kFourWay>(Isa::kAvx512Vnni);
#endif

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_X86

#if HWY_ONCE
namespace linnet::kernels {

const QuantMatmulTable& QuantMatmulTableFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2Vnni) return N_AVX2::kVexVnniQuantMatmul;
#if !LINNET_SIMD_AVX2_ONLY
  if (isa == Isa::kAvx512Amx) return AmxQuantMatmulTable();
#endif
  LINNET_SELECT_BY_ISA(isa, kQuantMatmul, kScalarQuantMatmul);
#elif defined(__aarch64__)
  return isa == Isa::kScalar ? kScalarQuantMatmul : NeonQuantMatmulTable(isa);
#else
  return kScalarQuantMatmul;
#endif
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
