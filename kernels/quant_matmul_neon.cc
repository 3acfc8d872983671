// Products on ARM: quant_dot_neon-inl.h has the instructions.
#include <algorithm>

#include "absl/log/check.h"
#include "kernels/quant_matmul.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quant_matmul_neon.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_dot_neon-inl.h"
#include "kernels/quant_format-inl.h"
#include "kernels/quant_steps-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_ARM_A64
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// A group of a tile as it lies in memory.
template <class F>
struct PackedGroup : PackedQuads<F> {
  PackedGroup(const QuantLayout& layout, const uint8_t* tile, int64_t g)
      : PackedQuads<F>{tile + g * F::kQuantBytes}, layout(layout), tile(tile), g(g) {}
  HWY_INLINE void Scales(int v, GroupScales<F>& out) const { LoadScales<F>(layout, tile, v * kRowLanes, g, out); }

  const QuantLayout& layout;
  const uint8_t* HWY_RESTRICT tile;
  int64_t g;
};

// A group of a tile with a signed byte for each weight, and scales in f32.
template <class F>
struct UnpackedGroup : ByteQuads<F> {
  alignas(16) float scales[F::kScales][kTileRows];
  alignas(16) float mins[kTileRows];

  HWY_INLINE void Unpack(const QuantLayout& layout, const uint8_t* tile, int64_t g) {
    ByteQuads<F>::Unpack(tile + g * F::kQuantBytes);
    for (int v = 0; v < kVectors; ++v) {
      GroupScales<F> s;
      LoadScales<F>(layout, tile, v * kRowLanes, g, s);
      for (int i = 0; i < F::kScales; ++i) hn::Store(s.scale[i], df, scales[i] + v * kRowLanes);
      if constexpr (F::kHasMin) hn::Store(s.min, df, mins + v * kRowLanes);
    }
  }
  HWY_INLINE void Scales(int v, GroupScales<F>& out) const {
    for (int i = 0; i < F::kScales; ++i) out.scale[i] = hn::Load(df, scales[i] + v * kRowLanes);
    if constexpr (F::kHasMin) out.min = hn::Load(df, mins + v * kRowLanes);
  }
};

// One group for kRows rows of x: y += scale * dot (+ min * sum).
template <class F, int kRows, class Group>
HWY_INLINE void AddGroupOfRows(const Group& group, const ActivationGroup* HWY_RESTRICT x, Sums<F, kRows>& y) {
  constexpr int kWidth = kWidthOf<F, kRows>;
#pragma GCC unroll 2
  for (int v0 = 0; v0 < kVectors; v0 += kWidth) {
    VI32 sum[F::kScales][kRows][kWidth];
#pragma GCC unroll 2
    for (int s = 0; s < F::kScales; ++s) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const VI32 start = Group::kFromZero ? StartSum<F>(x[r], s) : hn::Zero(di32);
#pragma GCC unroll 4
        for (int v = 0; v < kWidth; ++v) sum[s][r][v] = start;
      }
    }
    AddDots<F, kRows, kWidth>(group, v0, x->q, sizeof(ActivationGroup), sum[0], sum[F::kScales - 1]);
#pragma GCC unroll 4
    for (int v = 0; v < kWidth; ++v) {
      GroupScales<F> scales;
      group.Scales(v0 + v, scales);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        VI32 dot[F::kScales];
#pragma GCC unroll 2
        for (int s = 0; s < F::kScales; ++s) dot[s] = sum[s][r][v];
        y.Set(r, v0 + v, AddGroup<F>(y.Get(r, v0 + v), dot, scales, x[r]));
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
  HWY_ALIGN float sums[kRows * kTileRows] = {};
  TileAhead ahead(tile, layout.tile_bytes, layout.groups);
  {
    Sums<F, kRows> y(sums);
    for (int64_t g = 0; g < layout.groups; ++g, x += slice.x.block_rows) {
      if (row == 0) ahead.Step();
      AddGroupOfRows<F, kRows>(PackedGroup<F>(layout, tile, g), x, y);
    }
  }
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// Many rows: `count` unpacked groups for kRows rows whose sums are in `sums`. x: the first row's first of these groups.
template <class F, int kRows>
HWY_NOINLINE void AddGroups(const UnpackedGroup<F>* HWY_RESTRICT groups, int64_t count,
                            const ActivationGroup* HWY_RESTRICT x, int64_t stride, float* HWY_RESTRICT sums) {
  Sums<F, kRows> y(sums);
  for (int64_t g = 0; g < count; ++g, x += stride) AddGroupOfRows<F, kRows>(groups[g], x, y);
}

// --- i8mm ------------------------------------------------------------------------------------------------------------

// A group of a tile in pairs of output rows, with scales as the sums of smmla stand: the pair's two for each row of x.
template <class F>
struct PairedGroup : PairedQuads<F> {
  alignas(16) float scales[F::kScales][2 * kTileRows];
  alignas(16) float mins[2 * kTileRows];

  HWY_INLINE void Unpack(const QuantLayout& layout, const uint8_t* tile, int64_t g) {
    PairedQuads<F>::Unpack(tile + g * F::kQuantBytes);
    for (int v = 0; v < kVectors; ++v) {
      GroupScales<F> s;
      LoadScales<F>(layout, tile, v * kRowLanes, g, s);
      for (int i = 0; i < F::kScales; ++i) StorePairs(s.scale[i], scales[i] + 2 * v * kRowLanes);
      if constexpr (F::kHasMin) StorePairs(s.min, mins + 2 * v * kRowLanes);
    }
  }
};

// `count` groups for kRows rows of x, in pairs (of which the last may be the same row twice). Sums are those of smmla,
// which leave no registers for y: it is in `sums`, [pairs of rows][pairs of outputs][4].
template <class F, int kRows>
HWY_NOINLINE void AddGroupsInPairs(const PairedGroup<F>* HWY_RESTRICT groups, int64_t count,
                                   const ActivationGroup* HWY_RESTRICT x, int64_t stride, float* HWY_RESTRICT sums) {
  constexpr int kRowPairs = (kRows + 1) / 2;
  constexpr int kQuarters = 4 / F::kScales;  // that share a scale
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
      AddDotsInPairs<F, kRows, kQuarters>(w, s * kQuarters, x->q, sizeof(ActivationGroup), dot);
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
