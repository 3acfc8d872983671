#include "kernels/dense_matmul.h"

#include <algorithm>
#include <type_traits>

#include "absl/log/log.h"
#include "kernels/weights_ahead.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dense_matmul.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/tile_sums-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Rows of x that one pass over a tile's weights serves: as many as there are registers for.
constexpr int kMaxRows = kVectors == 1 ? 24 : 6;
// Tiles side by side where rows are few: a sum is a chain of additions, each of which waits for the one before.
constexpr int kFewTiles = kVectors > 2 ? 1 : 2;
constexpr int kFewRows = kMaxRows / kFewTiles;

// Rows of several panels go through some tiles together, some inputs at a time, so that these inputs' weights are
// widened once and stay in the first-level cache while panels pass by, and the panels' inputs stay in the second-level
// cache while tiles do.
constexpr int64_t kPassInputs = 128;
constexpr int64_t kPassRows = 120;
constexpr int64_t kPassTiles = 8;
static_assert(kPassInputs % kPanelInputs == 0 && kPassRows % kMaxRows == 0);

// Weights as stored.
struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

HWY_INLINE VF LoadWeights(const float* w) { return hn::Load(df, w); }
HWY_INLINE VF LoadWeights(const F16* w) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::Load(du, reinterpret_cast<const uint16_t*>(w))));
}
HWY_INLINE VF LoadWeights(const Bf16* w) {
  const hn::Rebind<uint16_t, DF> du;
  const hn::RebindToUnsigned<DF> du32;
  return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::Load(du, reinterpret_cast<const uint16_t*>(w)))));
}

// What AddInputs works on: `inputs` inputs of a panel, with tiles that are tile_step weights apart. The sums are
// [row][16], those of the next tile sums_step elements on.
template <class T>
struct Part {
  const T* w;
  int64_t tile_step;
  const float* x;
  int64_t inputs;
  float* sums;
  int64_t sums_step;
};

// Prefetches side by side what follows in kTiles tiles, a little with each kPanelInputs inputs.
template <int kTiles>
class TilesAhead {
 public:
  HWY_INLINE TilesAhead(const uint8_t* tile, int64_t tile_step_bytes, const DenseLayout& layout) {
    const int64_t steps = (layout.cols + kPanelInputs - 1) / kPanelInputs;
    for (int t = 0; t < kTiles; ++t) tiles_[t] = TileAhead(tile + t * tile_step_bytes, layout.tile_bytes, steps);
  }
  HWY_INLINE void Step() {
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) tiles_[t].Step();
  }

 private:
  TileAhead tiles_[kTiles];
};

// Brings `bytes` of weights that are wanted next into the second-level cache, step_bytes with each kPanelInputs inputs.
class PartAhead {
 public:
  PartAhead() = default;  // of nothing
  PartAhead(const uint8_t* next, int64_t step_bytes) : next_(next), step_bytes_(step_bytes) {}
  HWY_INLINE void Step() {
    for (int64_t at = 0; at < step_bytes_; at += kLineBytes, next_ += kLineBytes) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const uint8_t* next_ = nullptr;
  int64_t step_bytes_ = 0;
};

// One input of kRows rows: x[0], x[4], ...
template <class T, int kRows, int kTiles>
HWY_INLINE void AddInput(const T* HWY_RESTRICT w, int64_t tile_step, const float* HWY_RESTRICT x,
                         VF (*HWY_RESTRICT y)[kRows][kVectors]) {
  VF weights[kTiles][kVectors];
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[t][v] = LoadWeights(w + t * tile_step + v * kRowLanes);
  }
#pragma GCC unroll 24
  for (int r = 0; r < kRows; ++r) {
    const VF input = hn::Set(df, x[r * kPanelInputs]);
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) y[t][r][v] = hn::MulAdd(input, weights[t][v], y[t][r][v]);
    }
  }
}

template <int kRows, int kTiles, class T, class Ahead>
HWY_NOINLINE void AddInputs(const Part<T>& part, Ahead ahead) {
  const T* HWY_RESTRICT w = part.w;
  const float* HWY_RESTRICT x = part.x;
  const int64_t tile_step = part.tile_step;
  VF y[kTiles][kRows][kVectors];
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) LoadSums<kRows>(part.sums + t * part.sums_step, y[t]);
  int64_t k = 0;
  for (; k + kPanelInputs <= part.inputs; k += kPanelInputs) {
    ahead.Step();
#pragma GCC unroll 4
    for (int i = 0; i < kPanelInputs; ++i) AddInput<T, kRows, kTiles>(w + i * kTileRows, tile_step, x + i, y);
    w += kPanelInputs * kTileRows;
    x += kRows * kPanelInputs;
  }
  for (; k < part.inputs; ++k, w += kTileRows, ++x) AddInput<T, kRows, kTiles>(w, tile_step, x, y);
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) StoreSums<kRows>(y[t], part.sums + t * part.sums_step);
}

// More than kLeast and at most kRows rows.
template <int kTiles, int kLeast, int kRows, class T, class Ahead>
HWY_INLINE void AddInputsOfRows(int64_t rows, const Part<T>& part, const Ahead& ahead) {
  if (rows == kRows) return AddInputs<kRows, kTiles>(part, ahead);
  if constexpr (kRows - 1 > kLeast) AddInputsOfRows<kTiles, kLeast, kRows - 1>(rows, part, ahead);
}

HWY_INLINE void FinishTile(const DenseSlice& slice, int64_t tile, int64_t row, int64_t end, const float* sums) {
  FinishOutputs(slice.out, (tile - slice.begin_tile) * kTileRows,
                std::min<int64_t>(kTileRows, slice.layout->rows - tile * kTileRows), row, end, sums);
}

// One panel: its sums stay in registers, and weights are widened there.
template <class T, int kTiles, int kLeast, int kRows>
void MultiplyPanel(const DenseSlice& slice) {
  const DenseLayout& layout = *slice.layout;
  HWY_ALIGN float sums[kTiles * kRows * kTileRows];
  for (int64_t tile = slice.begin_tile; tile < slice.end_tile; tile += kTiles) {
    // Where the last tile is alone, it is computed twice.
    const int64_t tiles = std::min<int64_t>(kTiles, slice.end_tile - tile);
    const int64_t tile_step_bytes = tiles == kTiles ? layout.tile_bytes : 0;
    const uint8_t* const w = slice.packed + tile * layout.tile_bytes;
    std::fill(sums, sums + kTiles * kRows * kTileRows, 0.0f);
    const Part<T> part = {.w = reinterpret_cast<const T*>(w),
                          .tile_step = tile_step_bytes / static_cast<int64_t>(sizeof(T)),
                          .x = slice.x.data,
                          .inputs = layout.cols,
                          .sums = sums,
                          .sums_step = kRows * kTileRows};
    AddInputsOfRows<kTiles, kLeast, kRows>(slice.x.rows, part, TilesAhead<kTiles>(w, tile_step_bytes, layout));
    for (int64_t t = 0; t < tiles; ++t) FinishTile(slice, tile + t, 0, slice.x.rows, sums + t * kRows * kTileRows);
  }
}

// Inputs [begin, begin + count) of a tile in f32: where they lie, or widened to `buffer`.
template <class T>
HWY_INLINE const float* Widened(const T* HWY_RESTRICT w, int64_t count, float* HWY_RESTRICT buffer) {
  if constexpr (std::is_same_v<T, float>) {
    return w;
  } else {
    for (int64_t i = 0; i < count * kTileRows; i += kRowLanes) hn::Store(LoadWeights(w + i), df, buffer + i);
    return buffer;
  }
}

// Panels [panel, end_panel) with tiles [tile, end_tile), no more than a pass has.
template <class T>
void MultiplyPass(const DenseSlice& slice, int64_t panel, int64_t end_panel, int64_t tile, int64_t end_tile) {
  HWY_ALIGN float buffer[kPassInputs * kTileRows];
  HWY_ALIGN float sums[kPassTiles * kPassRows * kTileRows];
  const ActivationPanels& x = slice.x;
  const int64_t cols = slice.layout->cols;
  const int64_t row = panel * x.panel_rows, end_row = std::min(x.rows, end_panel * x.panel_rows);
  const auto weights_at = [&](int64_t t, int64_t k) {
    return reinterpret_cast<const T*>(slice.packed + t * slice.layout->tile_bytes) + k * kTileRows;
  };
  const auto sums_at = [&](int64_t t, int64_t r) { return sums + ((t - tile) * kPassRows + r - row) * kTileRows; };
  for (int64_t t = tile; t < end_tile; ++t) std::fill_n(sums_at(t, row), (end_row - row) * kTileRows, 0.0f);
  for (int64_t begin = 0; begin < cols; begin += kPassInputs) {
    const int64_t end = std::min(cols, begin + kPassInputs);
    for (int64_t t = tile; t < end_tile; ++t) {
      const float* const w = Widened(weights_at(t, begin), end - begin, buffer);
      const T* const next = t + 1 < end_tile ? weights_at(t + 1, begin) : weights_at(tile, end);
      PartAhead ahead(reinterpret_cast<const uint8_t*>(next),
                      kPanelInputs * kTileRows * static_cast<int64_t>(sizeof(T)));
      for (int64_t p = panel; p < end_panel; ++p) {
        const Part<float> part = {.w = w,
                                  .tile_step = 0,
                                  .x = x.At(p, begin),
                                  .inputs = end - begin,
                                  .sums = sums_at(t, p * x.panel_rows),
                                  .sums_step = 0};
        AddInputsOfRows<1, 0, kMaxRows>(x.RowsOf(p), part, ahead);
        ahead = PartAhead();
      }
    }
  }
  // Row by row: each lies on pages of its own.
  for (int64_t r = row; r < end_row; ++r) {
    for (int64_t t = tile; t < end_tile; ++t) FinishTile(slice, t, r, r + 1, sums_at(t, r));
  }
}

template <class T>
void Multiply(const DenseSlice& slice) {
  const ActivationPanels& x = slice.x;
  if (x.rows <= kFewRows) return MultiplyPanel<T, kFewTiles, 0, kFewRows>(slice);
  if constexpr (kFewRows < kMaxRows) {
    if (x.rows <= kMaxRows) return MultiplyPanel<T, 1, kFewRows, kMaxRows>(slice);
  }
  const int64_t pass_panels = kPassRows / x.panel_rows;
  for (int64_t panel = 0; panel < x.panels(); panel += pass_panels) {
    const int64_t end_panel = std::min(x.panels(), panel + pass_panels);
    for (int64_t tile = slice.begin_tile; tile < slice.end_tile; tile += kPassTiles) {
      MultiplyPass<T>(slice, panel, end_panel, tile, std::min(slice.end_tile, tile + kPassTiles));
    }
  }
}

constexpr DenseMatmulTable kDenseMatmul = {kMaxRows, Multiply<F16>, Multiply<Bf16>, Multiply<float>};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {

const DenseMatmulTable& DenseMatmulTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kDenseMatmul, kScalarDenseMatmul); }

DenseMatmulFn DenseMatmulTable::For(DType type) const {
  switch (type) {
    case DType::kF16:
      return f16;
    case DType::kBF16:
      return bf16;
    case DType::kF32:
      return f32;
    default:
      LOG(FATAL) << Info(type).name << " is group-quantized";
  }
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
