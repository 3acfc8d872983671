// Products on x86; quant_matmul_neon.cc has those on ARM.
#include "kernels/quant_matmul.h"

#include <algorithm>
#include <cstring>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_format-inl.h"
#include "kernels/quant_steps-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_X86
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Rows of x that one pass over a tile's weights serves: as many as there are registers for.
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3_DL ? 16 : HWY_TARGET == HWY_AVX3 ? 8 : 4;
static_assert(kActivationBlock % kMaxRows == 0);

HWY_INLINE VI8 BroadcastQuad(const int8_t* HWY_RESTRICT q) {
  int32_t four;
  std::memcpy(&four, q, sizeof(four));
  return hn::BitCast(di8, hn::Set(di32, four));
}

// Keeps a sum where the code makes it. Compilers otherwise reassociate chains of integer additions into trees, for
// which every product has to stay alive: ten times the registers that there are.
template <class V>
HWY_INLINE void Pin(V& v) {
  asm("" : "+x"(v.raw));
}

template <class F>
HWY_INLINE VI32 DotFour(VU8 w, VI8 a, VI32 sum) {
#if HWY_TARGET == HWY_AVX2
  if constexpr (F::kDot == Dot::kVexVnni) {
    // Highway has no target with this instruction and without AVX-512.
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(w.raw), "x"(a.raw));
    return sum;
  }
#endif
  return hn::SumOfMulQuadAccumulate(di32, w, a, sum);
}

// Quad kQuad of a group for all rows. Pairwise: sums of products stay in 16 bits until they could overflow.
template <class F, int kQuad, int kRows, bool kUnpacked>
HWY_INLINE void AddQuad(const uint8_t* HWY_RESTRICT quants, const ActivationGroup* HWY_RESTRICT x,
                        VI16 (*HWY_RESTRICT sum16)[kVectors], VI32 (*HWY_RESTRICT sum32)[F::kScales][kVectors]) {
  constexpr int kScale = F::kScales == 2 ? kQuad / 4 : 0;
  VU8 w[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const uint8_t* const at = quants + v * kVectorBytes;
    w[v] = kUnpacked ? hn::LoadU(du8, at + kQuad * kQuadBytes) : Quad<F, kQuad>(at);
  }
  if constexpr (F::kDot != Dot::kPairwise16) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x[r].q + 4 * kQuad);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum32[r][kScale][v] = DotFour<F>(w[v], a, sum32[r][kScale][v]);
    }
  } else {
    constexpr bool kFirst = kQuad % F::kQuadsPer16 == 0;
    constexpr bool kLast = kQuad % F::kQuadsPer16 == F::kQuadsPer16 - 1;
    [[maybe_unused]] VI8 w_signed[kVectors];
    if constexpr (F::kSignTrick) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        w_signed[v] = hn::BitCast(di8, hn::Xor(w[v], hn::Set(du8, 0x80)));
        w[v] = hn::BitCast(du8, hn::Abs(w_signed[v]));  // -128 becomes 128
      }
    }
    const VI16 ones = hn::Set(di16, 1);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x[r].q + 4 * kQuad);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        VI16 products;
        if constexpr (F::kSignTrick) {
          products = hn::SatWidenMulPairwiseAdd(di16, w[v], hn::IfNegativeThenNegOrUndefIfZero(w_signed[v], a));
        } else {
          products = hn::SatWidenMulPairwiseAdd(di16, w[v], a);
        }
        if constexpr (!kFirst) {
          products = hn::Add(sum16[r][v], products);
          Pin(products);
        }
        if constexpr (kLast) {
          sum32[r][kScale][v] = hn::Add(sum32[r][kScale][v], hn::WidenMulPairwiseAdd(di32, products, ones));
          Pin(sum32[r][kScale][v]);
        } else {
          sum16[r][v] = products;
        }
      }
    }
  }
}

// One group for kRows rows of x: y += scale * dot (+ min * sum).
template <class F, int kRows, bool kUnpacked>
HWY_INLINE void AddGroupOfRows(const QuantLayout& layout, const uint8_t* HWY_RESTRICT tile, int64_t g,
                               const uint8_t* HWY_RESTRICT quants, const ActivationGroup* HWY_RESTRICT x,
                               VF (*HWY_RESTRICT y)[kVectors]) {
  if constexpr (F::kDot == Dot::kFourWay && kVectors == 1) {
    // The group's weights stay in registers, rows pass by.
    GroupScales<F> scales;
    LoadScales<F>(layout, tile, 0, g, scales);
    VU8 w[8];
    if constexpr (kUnpacked) {
#pragma GCC unroll 8
      for (int q = 0; q < 8; ++q) w[q] = hn::LoadU(du8, quants + q * kQuadBytes);
    } else {
      w[0] = Quad<F, 0>(quants), w[1] = Quad<F, 1>(quants), w[2] = Quad<F, 2>(quants), w[3] = Quad<F, 3>(quants);
      w[4] = Quad<F, 4>(quants), w[5] = Quad<F, 5>(quants), w[6] = Quad<F, 6>(quants), w[7] = Quad<F, 7>(quants);
    }
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
    VI16 sum16[kRows][kVectors];
    VI32 sum32[kRows][F::kScales][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int s = 0; s < F::kScales; ++s) {
        const VI32 start = StartSum<F>(x[r], s);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum32[r][s][v] = start;
      }
    }
    AddQuad<F, 0, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 1, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 2, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 3, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 4, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 5, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 6, kRows, kUnpacked>(quants, x, sum16, sum32);
    AddQuad<F, 7, kRows, kUnpacked>(quants, x, sum16, sum32);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      GroupScales<F> scales;
      LoadScales<F>(layout, tile, v * kRowLanes, g, scales);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        VI32 dot[F::kScales];
#pragma GCC unroll 2
        for (int s = 0; s < F::kScales; ++s) dot[s] = sum32[r][s][v];
        y[r][v] = AddGroup<F>(y[r][v], dot, scales, x[r]);
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
  const uint8_t* HWY_RESTRICT quants = tile;
  const ActivationGroup* HWY_RESTRICT x = slice.x.Row(row);
  VF y[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) y[r][v] = hn::Zero(df);
  }
  TileAhead ahead(layout, tile);
  for (int64_t g = 0; g < layout.groups; ++g, quants += F::kQuantBytes, x += slice.x.block_rows) {
    if (row == 0) ahead.Step();
    AddGroupOfRows<F, kRows, false>(layout, tile, g, quants, x, y);
  }
  HWY_ALIGN float sums[kRows * kTileRows];
  StoreSums<kRows>(y, sums);
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// Many rows: groups [begin, end) of a tile, a byte for each weight at `bytes`, for kRows rows whose sums are in `sums`.
// `ahead`: not null for the first rows.
template <class F, int kRows>
HWY_NOINLINE void AddGroups(const QuantSlice& slice, const uint8_t* HWY_RESTRICT tile,
                            const uint8_t* HWY_RESTRICT bytes, int64_t begin, int64_t end, int64_t row,
                            TileAhead* ahead, float* HWY_RESTRICT sums) {
  const ActivationGroup* HWY_RESTRICT x = slice.x.Row(row) + begin * slice.x.block_rows;
  VF y[kRows][kVectors];
  LoadSums<kRows>(sums, y);
  for (int64_t g = begin; g < end; ++g, bytes += kByteGroup, x += slice.x.block_rows) {
    if (ahead != nullptr) ahead->Step();
    AddGroupOfRows<F, kRows, true>(*slice.layout, tile, g, bytes, x, y);
  }
  StoreSums<kRows>(y, sums);
}

template <class F>
struct PassStep {
  const QuantSlice& slice;
  const uint8_t* tile;
  const uint8_t* bytes;
  int64_t begin, end;  // groups
  int64_t first_row;
  TileAhead& ahead;
  float* sums;
  template <int kRows>
  HWY_INLINE void Do(int64_t row) const {
    AddGroups<F, kRows>(slice, tile, bytes, begin, end, row, row == first_row ? &ahead : nullptr,
                        sums + (row - first_row) * kTileRows);
  }
};

template <class F>
void MultiplyMany(const QuantSlice& slice) {
  const QuantLayout& layout = *slice.layout;
  HWY_ALIGN uint8_t unpacked[kPassGroups * kByteGroup];
  HWY_ALIGN float sums[kPassRows * kTileRows];
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    for (int64_t t = slice.begin_tile; t < slice.end_tile; ++t) {
      const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
      std::fill(sums, sums + (end_row - first_row) * kTileRows, 0.0f);
      TileAhead ahead(layout, tile);
      for (int64_t begin = 0; begin < layout.groups; begin += kPassGroups) {
        const int64_t end = std::min(layout.groups, begin + kPassGroups);
        const uint8_t* bytes = tile + begin * F::kQuantBytes;
        if constexpr (F::kBits < 8) {
          for (int64_t g = begin; g < end; ++g) {
            UnpackQuads<F, 0>(tile + g * F::kQuantBytes, unpacked + (g - begin) * kByteGroup);
          }
          bytes = unpacked;
        }
        ForRowSteps<kMaxRows>(first_row, end_row, PassStep<F>{slice, tile, bytes, begin, end, first_row, ahead, sums});
      }
      FinishTile(slice, t, first_row, end_row, sums);
    }
  }
}

template <class F>
void Multiply(const QuantSlice& slice) {
  if (slice.x_rows > kMaxRows) {
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
