// Products of many rows on the tile unit of x86 servers (AMX, Intel SDM volume 1 chapter 18) where groups of weights
// share scales: sums of 32 rows of activations by 32 output rows stay in four tile registers from one scale to the
// next. Fewer rows go the way of AVX-512-VNNI; the bits are the same.
#include <algorithm>

#include "kernels/amx_config.h"
#include "kernels/shared_matmul.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/shared_matmul_amx.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/shared_format-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_TARGET == HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

constexpr int kTileDots = kTileRows * kTileRows;
constexpr int kTileBytes = kTileRows * kChunk;  // of activations or weights
constexpr int64_t kPassRows = 32;               // whose activations ...
constexpr int64_t kPassChunks = 8;              // ... are in the first-level cache together
static_assert(kActivationBlock == 16 && kVectors == 1);
static_assert(kPassChunks % kInt8ChunksPerScale == 0 && kPassChunks % kInt4G64ChunksPerScale == 0);

// Tile registers: 0 to 3 hold sums ([block of rows][tile of weights]), 4 and 5 activations, 6 and 7 weights. All have
// 16 rows of 64 bytes.
AmxConfig WholeTiles() {
  AmxConfig config;
  std::fill_n(config.row_bytes, 8, uint16_t{64});
  std::fill_n(config.rows, 8, uint8_t{kTileRows});
  return config;
}

// Bytes as they are packed are a tile, but unsigned. Others are unpacked to signed ones.
template <class F>
constexpr bool kUnsigned = F::kBits == 8;

template <int kTile>
HWY_INLINE void ZeroTile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
HWY_INLINE void LoadTile(const void* from) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(kTile) : "memory");
}
template <int kTile>
HWY_INLINE void StoreTile(int32_t* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(kTile) : "memory");
}
// Signed activations by weights.
template <class F, int kSum, int kActivations, int kWeights>
HWY_INLINE void DotTile() {
  if constexpr (kUnsigned<F>) {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kActivations), "i"(kWeights));
  } else {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kActivations), "i"(kWeights));
  }
}

// `count` chunks of kBlocks blocks of 16 rows by kTiles tiles. x: the first block's first chunk; w: the first tile's.
// dots: [block][tile][16][16].
template <class F, int kBlocks, int kTiles>
HWY_INLINE void DotTiles(const int8_t* x, int64_t block_stride, const uint8_t* w, int64_t tile_stride, int count,
                         int32_t* dots) {
  ZeroTile<0>();
  if constexpr (kTiles == 2) ZeroTile<1>();
  if constexpr (kBlocks == 2) ZeroTile<2>();
  if constexpr (kBlocks == 2 && kTiles == 2) ZeroTile<3>();
  for (int i = 0; i < count; ++i, x += kTileBytes, w += kTileBytes) {
    LoadTile<6>(w);
    LoadTile<4>(x);
    DotTile<F, 0, 4, 6>();
    if constexpr (kTiles == 2) {
      LoadTile<7>(w + tile_stride);
      DotTile<F, 1, 4, 7>();
    }
    if constexpr (kBlocks == 2) {
      LoadTile<5>(x + block_stride);
      DotTile<F, 2, 5, 6>();
    }
    if constexpr (kBlocks == 2 && kTiles == 2) DotTile<F, 3, 5, 7>();
  }
  StoreTile<0>(dots);
  if constexpr (kTiles == 2) StoreTile<1>(dots + kTileDots);
  if constexpr (kBlocks == 2) StoreTile<2>(dots + 2 * kTileDots);
  if constexpr (kBlocks == 2 && kTiles == 2) StoreTile<3>(dots + 3 * kTileDots);
}

// Where some tiles of weights are: from the chunk on that a pass begins with, and their scales of chunk 0.
struct TileWeights {
  const uint8_t* at;
  int64_t stride;
  const uint8_t* scales;
  int64_t scales_stride;
};

// Adds dots of the sum that begins with chunk c to sums, [tile][32 rows][16].
template <class F, int kBlocks, int kTiles>
HWY_INLINE void AddDots(const ActivationChunks& x, int64_t row, int64_t c, const TileWeights& w, const int32_t* dots,
                        float* HWY_RESTRICT sums) {
  VF w_scale[kTiles];
  if constexpr (!F::kScaleOfRow) {
    for (int t = 0; t < kTiles; ++t) w_scale[t] = ChunkScale(w.scales + t * w.scales_stride, c, 0);
  }
  for (int b = 0; b < kBlocks; ++b) {
    const int64_t scale_at = x.ScaleAt(row + b * kActivationBlock) + c / F::kChunksPerScale * kActivationBlock;
    const float* const scale = x.scale + scale_at;
    const int32_t* const negative_sum = x.negative_sum + scale_at;
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      const VF x_scale = hn::Set(df, scale[r]);
      [[maybe_unused]] VI32 start;
      if constexpr (kUnsigned<F>) start = hn::ShiftLeft<7>(hn::Set(di32, negative_sum[r]));
#pragma GCC unroll 2
      for (int t = 0; t < kTiles; ++t) {
        VI32 dot = hn::Load(di32, dots + (2 * b + t) * kTileDots + r * kTileRows);
        if constexpr (kUnsigned<F>) dot = hn::Add(dot, start);
        float* const at = sums + (t * kPassRows + b * kActivationBlock + r) * kTileRows;
        const VF both = F::kScaleOfRow ? x_scale : hn::Mul(w_scale[t], x_scale);
        hn::Store(hn::MulAdd(hn::ConvertTo(df, dot), both, hn::Load(df, at)), df, at);
      }
    }
  }
}

// Chunks [begin, end) of kTiles tiles for kBlocks blocks of rows from `row` on.
template <class F, int kBlocks, int kTiles>
HWY_NOINLINE void AddChunks(const ActivationChunks& x, int64_t row, int64_t begin, int64_t end, const TileWeights& w,
                            float* HWY_RESTRICT sums) {
  HWY_ALIGN int32_t dots[2][4 * kTileDots];
  const int64_t block_stride = x.chunks * kTileBytes;
  const int8_t* const q = x.Row(row);
  int64_t before = -1;
  for (int64_t c = begin; c < end; c += F::kChunksPerScale) {
    const int64_t which = c / F::kChunksPerScale & 1;
    DotTiles<F, kBlocks, kTiles>(q + c * kTileBytes, block_stride, w.at + (c - begin) * kTileBytes, w.stride,
                                 static_cast<int>(std::min<int64_t>(F::kChunksPerScale, end - c)), dots[which]);
    // The tile unit works on these chunks while vectors scale the sums of those before.
    if (before >= 0) AddDots<F, kBlocks, kTiles>(x, row, before, w, dots[which ^ 1], sums);
    before = c;
  }
  AddDots<F, kBlocks, kTiles>(x, row, before, w, dots[before / F::kChunksPerScale & 1], sums);
}

template <class F, int kTiles>
HWY_INLINE void MultiplyOnAmx(const QuantSlice& slice, int64_t t, int64_t first_row, int64_t end_row,
                              uint8_t* HWY_RESTRICT bytes, float* HWY_RESTRICT sums) {
  const QuantLayout& layout = *slice.layout;
  const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
  std::fill(sums, sums + kTiles * kPassRows * kTileRows, 0.0f);
  for (int64_t begin = 0; begin < layout.chunks; begin += kPassChunks) {
    const int64_t end = std::min(layout.chunks, begin + kPassChunks);
    TileWeights w = {.at = tile + begin * F::kChunkBytes,
                     .stride = layout.tile_bytes,
                     .scales = tile + layout.scales_offset,
                     .scales_stride = layout.tile_bytes};
    if constexpr (!kUnsigned<F>) {
      for (int i = 0; i < kTiles; ++i) {
        for (int64_t g = 0; g < (end - begin) * kGroupsPerChunk; ++g) {
          UnpackQuads<F, F::kOffset>(w.at + i * layout.tile_bytes + g * F::kQuantBytes,
                                     bytes + i * kPassChunks * kTileBytes + g * kByteGroup);
        }
      }
      w.at = bytes;
      w.stride = kPassChunks * kTileBytes;
    }
    // Rows of the last block that do not exist are computed from whatever lies there, and dropped.
    if (end_row - first_row > kActivationBlock) {
      AddChunks<F, 2, kTiles>(slice.chunks, first_row, begin, end, w, sums);
    } else {
      AddChunks<F, 1, kTiles>(slice.chunks, first_row, begin, end, w, sums);
    }
  }
  for (int i = 0; i < kTiles; ++i) {
    float* const of_tile = sums + i * kPassRows * kTileRows;
    ScaleByRow<F>(tile + i * layout.tile_bytes + layout.scales_offset, end_row - first_row, of_tile);
    FinishTile(slice, t + i, first_row, end_row, of_tile);
  }
}

template <class F>
void MultiplyOnTiles(const QuantSlice& slice) {
  HWY_ALIGN uint8_t bytes[kUnsigned<F> ? 1 : 2 * kPassChunks * kTileBytes];
  HWY_ALIGN float sums[2 * kPassRows * kTileRows];
  const AmxConfig config = WholeTiles();
  asm volatile("ldtilecfg %0" ::"m"(config));
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    int64_t t = slice.begin_tile;
    for (; t + 2 <= slice.end_tile; t += 2) MultiplyOnAmx<F, 2>(slice, t, first_row, end_row, bytes, sums);
    if (t < slice.end_tile) MultiplyOnAmx<F, 1>(slice, t, first_row, end_row, bytes, sums);
  }
  asm volatile("tilerelease");
}

template <class F>
void MultiplyAmx(const QuantSlice& slice) {
  if (slice.chunks.block_rows == kActivationBlock) {
    MultiplyOnTiles<F>(slice);
  } else {
    SharedMatmulTableFor(Isa::kAvx512Vnni).For(slice.layout->type)(slice);
  }
}

using AmxFormats = SharedFormats<Dot::kFourWay>;
constexpr SharedMatmulTable kAmxSharedMatmul = {Isa::kAvx512Amx, MultiplyAmx<AmxFormats::Int8>,
                                                MultiplyAmx<AmxFormats::Int4G64>};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_TARGET == HWY_AVX3_DL

#if HWY_ONCE && defined(__x86_64__) && !LINNET_SIMD_AVX2_ONLY
namespace linnet::kernels {

const SharedMatmulTable& AmxSharedMatmulTable() { return N_AVX3_DL::kAmxSharedMatmul; }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
