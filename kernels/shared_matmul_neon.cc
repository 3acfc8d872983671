// Products on ARM where groups share scales: quant_dot_neon-inl.h has the instructions.
#include <algorithm>
#include <type_traits>

#include "absl/log/check.h"
#include "kernels/shared_matmul.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/shared_matmul_neon.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_dot_neon-inl.h"
#include "kernels/quant_steps-inl.h"
#include "kernels/shared_format-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Chunks of weights of which many rows' products are made before the next ones are unpacked (quant_steps-inl.h).
constexpr int64_t kPassChunks = kPassGroups / kGroupsPerChunk;
static_assert(kPassChunks % kInt8ChunksPerScale == 0 && kPassChunks % kInt4G64ChunksPerScale == 0);

// The activations of some rows between two scales: chunks [begin, end).
template <class F>
struct SharedSum {
  const ActivationChunks& x;
  int64_t row, begin, end;

  // Calls add(group, q) for each group, counted from `begin`; q: the first row's, each further one kChunk bytes on.
  template <class Add>
  HWY_INLINE void ForGroups(const Add& add) const {
    const int64_t step = x.block_rows * kChunk;
    const int8_t* q = x.Row(row) + begin * step;
    for (int64_t g = 0; g < (end - begin) * kGroupsPerChunk; g += kGroupsPerChunk, q += step) {
#pragma GCC unroll 2
      for (int half = 0; half < kGroupsPerChunk; ++half) add(g + half, q + half * kGroup);
    }
  }
  // Of the first row; the others' follow.
  HWY_INLINE int64_t ScaleAt() const { return x.ScaleAt(row) + begin / F::kChunksPerScale * x.block_rows; }
};
// Calls add(sum) for what is between two scales within chunks [begin, end).
template <class F, class Add>
HWY_INLINE void ForSums(const ActivationChunks& x, int64_t row, int64_t begin, int64_t end, const Add& add) {
  for (int64_t c = begin; c < end; c += F::kChunksPerScale) {
    add(SharedSum<F>{x, row, c, std::min(end, c + F::kChunksPerScale)});
  }
}

// One sum for kRows rows of x. quads(g): the g-th group of its weights. w_scales: the tile's.
template <class F, int kRows, class Quads>
HWY_INLINE void AddSum(const Quads& quads, const uint8_t* HWY_RESTRICT w_scales, const SharedSum<F>& sum,
                       Sums<F, kRows>& y) {
  constexpr int kWidth = kWidthOf<F, kRows>;
  const int64_t scale_at = sum.ScaleAt();
#pragma GCC unroll 2
  for (int v0 = 0; v0 < kVectors; v0 += kWidth) {
    VI32 dot[kRows][kWidth];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      VI32 start = hn::Zero(di32);
      if constexpr (std::remove_cvref_t<decltype(quads(0))>::kFromZero)
        start = OffsetSum<F>(sum.x.negative_sum[scale_at + r]);
#pragma GCC unroll 4
      for (int v = 0; v < kWidth; ++v) dot[r][v] = start;
    }
    sum.ForGroups([&](int64_t g, const int8_t* q)
                      HWY_ATTR { AddDots<F, kRows, kWidth>(quads(g), v0, q, kChunk, dot, dot); });
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) {
      [[maybe_unused]] VF w_scale;
      if constexpr (!F::kScaleOfRow) w_scale = ChunkScale(w_scales, sum.begin, (v0 + v) * kRowLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        VF scale = hn::Set(df, sum.x.scale[scale_at + r]);
        if constexpr (!F::kScaleOfRow) scale = hn::Mul(w_scale, scale);
        y.Set(r, v0 + v, hn::MulAdd(hn::ConvertTo(df, dot[r][v]), scale, y.Get(r, v0 + v)));
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
  HWY_ALIGN float sums[kRows * kTileRows] = {};
  TileAhead ahead(tile, layout.tile_bytes, slice.chunks.scales);
  {
    Sums<F, kRows> y(sums);
    ForSums<F>(slice.chunks, row, 0, layout.chunks, [&](const SharedSum<F>& sum) HWY_ATTR {
      if (row == 0) ahead.Step();
      const uint8_t* const quants = tile + sum.begin * F::kChunkBytes;
      const auto quads = [quants](int64_t g) HWY_ATTR { return PackedQuads<F>{quants + g * F::kQuantBytes}; };
      AddSum<F, kRows>(quads, tile + layout.scales_offset, sum, y);
    });
  }
  ScaleByRow<F>(tile + layout.scales_offset, kRows, sums);
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// How many rows go over chunks [begin, end) of a tile that were unpacked for it, and add to `sums`.
template <class F>
struct SharedBytesWay {
  using Quads = ByteQuads<F>;
  static constexpr int kMaxRows = kMaxRowsOf<F::kDot>;

  template <int kRows>
  static HWY_NOINLINE void Add(const Quads* HWY_RESTRICT unpacked, const uint8_t* HWY_RESTRICT w_scales,
                               const ActivationChunks& x, int64_t row, int64_t begin, int64_t end,
                               float* HWY_RESTRICT sums) {
    Sums<F, kRows> y(sums);
    ForSums<F>(x, row, begin, end, [&](const SharedSum<F>& sum) HWY_ATTR {
      const Quads* const at = unpacked + (sum.begin - begin) * kGroupsPerChunk;
      AddSum<F, kRows>([at](int64_t g) HWY_ATTR -> const Quads& { return at[g]; }, w_scales, sum, y);
    });
  }
  static HWY_INLINE void Finish(int64_t, float*) {}
};
// Sums are those of smmla, which leave no registers for y: it is in `sums`, [pairs of rows][pairs of outputs][4].
template <class F>
struct SharedPairsWay {
  using Quads = PairedQuads<F>;
  static constexpr int kMaxRows = 4;

  template <int kRows>
  static HWY_NOINLINE void Add(const Quads* HWY_RESTRICT unpacked, const uint8_t* HWY_RESTRICT w_scales,
                               const ActivationChunks& x, int64_t row, int64_t begin, int64_t end,
                               float* HWY_RESTRICT sums) {
    constexpr int kRowPairs = (kRows + 1) / 2;
    ForSums<F>(x, row, begin, end, [&](const SharedSum<F>& sum) HWY_ATTR {
      VI32 dot[kRowPairs][kPairs];
#pragma GCC unroll 2
      for (int p = 0; p < kRowPairs; ++p) {
#pragma GCC unroll 8
        for (int j = 0; j < kPairs; ++j) dot[p][j] = hn::Zero(di32);
      }
      const Quads* const at = unpacked + (sum.begin - begin) * kGroupsPerChunk;
      sum.ForGroups([&](int64_t g, const int8_t* q)
                        HWY_ATTR { AddDotsInPairs<F, kRows, 4>(at[g], 0, q, kChunk, dot); });
      HWY_ALIGN float pairs[2 * kTileRows];
      if constexpr (!F::kScaleOfRow) {
        for (int v = 0; v < kVectors; ++v) {
          StorePairs(ChunkScale(w_scales, sum.begin, v * kRowLanes), pairs + 2 * v * kRowLanes);
        }
      }
      const float* const x_scales = x.scale + sum.ScaleAt();
#pragma GCC unroll 2
      for (int p = 0; p < kRowPairs; ++p) {
        const VF x_scale = PairOf(x_scales[2 * p], x_scales[std::min(2 * p + 1, kRows - 1)]);
#pragma GCC unroll 8
        for (int j = 0; j < kPairs; ++j) {
          float* const y = sums + (p * kPairs + j) * 4;
          VF scale = x_scale;
          if constexpr (!F::kScaleOfRow) scale = hn::Mul(hn::Load(df, pairs + 4 * j), scale);
          hn::Store(hn::MulAdd(hn::ConvertTo(df, dot[p][j]), scale, hn::Load(df, y)), df, y);
        }
      }
    });
  }
  static HWY_INLINE void Finish(int64_t rows, float* sums) {
    for (int64_t r = 0; r < rows; r += 2) UnpairSums(sums + r * kTileRows);
  }
};

template <class Way>
struct SharedPassStep {
  const QuantSlice& slice;
  const typename Way::Quads* unpacked;
  const uint8_t* w_scales;
  int64_t begin, end;  // chunks
  int64_t first_row;
  float* sums;
  template <int kRows>
  HWY_INLINE void Do(int64_t row) const {
    Way::template Add<kRows>(unpacked, w_scales, slice.chunks, row, begin, end, sums + (row - first_row) * kTileRows);
  }
};

template <class F, class Way>
void MultiplySharedMany(const QuantSlice& slice) {
  static_assert(kActivationBlock % Way::kMaxRows == 0 && kPassRows % 2 == 0);
  const QuantLayout& layout = *slice.layout;
  typename Way::Quads unpacked[kPassGroups];
  HWY_ALIGN float sums[kPassRows * kTileRows];
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    for (int64_t t = slice.begin_tile; t < slice.end_tile; ++t) {
      const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
      const uint8_t* const w_scales = tile + layout.scales_offset;
      std::fill(sums, sums + kPassRows * kTileRows, 0.0f);
      TileAhead ahead(tile, layout.tile_bytes, layout.chunks);
      for (int64_t begin = 0; begin < layout.chunks; begin += kPassChunks) {
        const int64_t end = std::min(layout.chunks, begin + kPassChunks);
        for (int64_t c = begin; c < end; ++c) {
          ahead.Step();
          for (int half = 0; half < kGroupsPerChunk; ++half) {
            unpacked[(c - begin) * kGroupsPerChunk + half].Unpack(tile + c * F::kChunkBytes + half * F::kQuantBytes);
          }
        }
        ForRowSteps<Way::kMaxRows>(first_row, end_row,
                                   SharedPassStep<Way>{slice, unpacked, w_scales, begin, end, first_row, sums});
      }
      Way::Finish(end_row - first_row, sums);
      ScaleByRow<F>(w_scales, end_row - first_row, sums);
      FinishTile(slice, t, first_row, end_row, sums);
    }
  }
}

template <class F, template <class> class Way>
void MultiplyShared(const QuantSlice& slice) {
  if (slice.x_rows > kMaxRowsOf<F::kDot>) {
    MultiplySharedMany<F, Way<F>>(slice);
  } else {
    MultiplyFew<F, kMaxRowsOf<F::kDot>>(slice);
  }
}

template <Dot kDot, template <class> class Way>
constexpr SharedMatmulTable MakeTable(Isa isa) {
  using F = SharedFormats<kDot>;
  return {isa, MultiplyShared<typename F::Int8, Way>, MultiplyShared<typename F::Int4G64, Way>};
}

constexpr SharedMatmulTable kNeonTable = MakeTable<Dot::kWidening, SharedBytesWay>(Isa::kNeon);
constexpr SharedMatmulTable kDotprodTable = MakeTable<Dot::kSdot, SharedBytesWay>(Isa::kNeonDotprod);
constexpr SharedMatmulTable kI8mmTable = MakeTable<Dot::kSdot, SharedPairsWay>(Isa::kNeonI8mm);

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64

#if HWY_ONCE && defined(__aarch64__)
namespace linnet::kernels {

const SharedMatmulTable& NeonSharedMatmulTable(Isa isa) {
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
