// Products on x86; shared_matmul_neon.cc has those on ARM.
#include "kernels/shared_matmul.h"

#include <algorithm>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/shared_matmul.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/quant_dot-inl.h"
#include "kernels/quant_steps-inl.h"
#include "kernels/shared_format-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET && HWY_ARCH_X86
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

// Rows of x and tiles of weights that one pass multiplies at a time: as many sums as there are registers for.
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3 ? 8 : 4;
constexpr int kMaxTiles = HWY_TARGET <= HWY_AVX3 ? 2 : 1;
static_assert(kActivationBlock % kMaxRows == 0);

// Chunks of weights of which many rows' products are made before the next ones are unpacked (quant_steps-inl.h).
constexpr int64_t kPassChunks = 4;
static_assert(kPassChunks % kInt8ChunksPerScale == 0 && kPassChunks % kInt4G64ChunksPerScale == 0);

constexpr int kChunkQuads = kChunk / 4;

// In what form the weights come to the products.
enum class From {
  kPacked,
  kBytes,  // one byte each
  kSplit,  // their magnitudes, one byte each; then -1 for negative ones; then for each output row the sum of those'
           // magnitudes in 32 bits
};
template <class F>
constexpr From kManyFrom = F::kDot == Dot::kPairwise16 && F::kBits == 8 ? From::kSplit
                           : F::kBits == 8                              ? From::kPacked
                                                                        : From::kBytes;
// Bytes of a chunk of a tile in that form.
template <class F, From kFrom>
constexpr int64_t kFormBytes = kFrom == From::kPacked  ? F::kChunkBytes
                               : kFrom == From::kBytes ? kByteChunk
                                                       : 2 * kByteChunk + kTileRows * int64_t{sizeof(int32_t)};

// Sums over so many chains, so that one does not wait for the other where there are few rows.
template <class F, int kSums>
constexpr int kChains = (F::kDot == Dot::kPairwise16 || kSums >= 8) ? 1
                        : kSums >= 4                                ? 2
                                                                    : 4;

// Where the integer sum of some chunks starts.
template <class F>
HWY_INLINE VI32 StartOf(int32_t negative_sum) {
  if constexpr (F::kSigned8) {
    return hn::Zero(di32);
  } else {
    return OffsetSum<F>(negative_sum);
  }
}

// Quads from kQuad on of a chunk of kTiles tiles for kRows rows. w: the chunk of the first tile; x: of the first row.
template <class F, From kFrom, int kRows, int kTiles, int kQuad = 0>
HWY_INLINE void AddFourWay(const uint8_t* HWY_RESTRICT w, int64_t tile_stride, const int8_t* HWY_RESTRICT x,
                           VI32 (*HWY_RESTRICT sum)[kTiles * kVectors]) {
  if constexpr (kQuad < kChunkQuads) {
    constexpr int kChain = kQuad % kChains<F, kRows * kTiles * kVectors>;
    VU8 weights[kTiles * kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kTiles * kVectors; ++i) {
      const uint8_t* const at = w + i / kVectors * tile_stride + i % kVectors * kVectorBytes;
      if constexpr (kFrom == From::kPacked) {
        weights[i] = Quad<F, kQuad % 8>(at + kQuad / 8 * F::kQuantBytes);
      } else {
        weights[i] = hn::LoadU(du8, at + kQuad * kQuadBytes);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x + r * kChunk + 4 * kQuad);
#pragma GCC unroll 8
      for (int i = 0; i < kTiles * kVectors; ++i) {
        VI32& s = sum[kChain * kRows + r][i];
        s = DotFour<F>(weights[i], a, s);
      }
    }
    AddFourWay<F, kFrom, kRows, kTiles, kQuad + 1>(w, tile_stride, x, sum);
  }
}

// 8 bits, few rows: the sign moves from the weight to the activation, so that sums of two products fit into 16 bits.
template <class F, int kRows, int kQuad = 0>
HWY_INLINE void AddBySigns(const uint8_t* HWY_RESTRICT w, const int8_t* HWY_RESTRICT x,
                           VI32 (*HWY_RESTRICT sum)[kVectors]) {
  if constexpr (kQuad < kChunkQuads) {
    VI8 weights[kVectors];
    VU8 magnitudes[kVectors];
#pragma GCC unroll 2
    for (int i = 0; i < kVectors; ++i) {
      weights[i] =
          hn::BitCast(di8, hn::Xor(hn::LoadU(du8, w + kQuad * kQuadBytes + i * kVectorBytes), hn::Set(du8, 0x80)));
      magnitudes[i] = hn::BitCast(du8, hn::Abs(weights[i]));  // -128 becomes 128
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x + r * kChunk + 4 * kQuad);
#pragma GCC unroll 2
      for (int i = 0; i < kVectors; ++i) {
        const VI16 products =
            hn::SatWidenMulPairwiseAdd(di16, magnitudes[i], hn::IfNegativeThenNegOrUndefIfZero(weights[i], a));
        sum[r][i] = hn::Add(sum[r][i], hn::WidenMulPairwiseAdd(di32, products, hn::Set(di16, 1)));
        Pin(sum[r][i]);
      }
    }
    AddBySigns<F, kRows, kQuad + 1>(w, x, sum);
  }
}

// 8 bits, many rows: the same with signs that were split off before. For a negative weight w the product w * a is
// |w| * ~a + |w|, since ~a = -a - 1: a's sign is changed by an exclusive or, and the rest is the same for all rows.
template <int kRows, int kTiles, int kQuad = 0>
HWY_INLINE void AddSplit(const uint8_t* HWY_RESTRICT w, int64_t tile_stride, const int8_t* HWY_RESTRICT x,
                         VI32 (*HWY_RESTRICT sum)[kTiles * kVectors]) {
  if constexpr (kQuad < kChunkQuads) {
    VU8 magnitudes[kTiles * kVectors];
    VI8 signs[kTiles * kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kTiles * kVectors; ++i) {
      const uint8_t* const at = w + i / kVectors * tile_stride + kQuad * kQuadBytes + i % kVectors * kVectorBytes;
      magnitudes[i] = hn::LoadU(du8, at);
      signs[i] = hn::BitCast(di8, hn::LoadU(du8, at + kByteChunk));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x + r * kChunk + 4 * kQuad);
#pragma GCC unroll 4
      for (int i = 0; i < kTiles * kVectors; ++i) {
        const VI16 products = hn::SatWidenMulPairwiseAdd(di16, magnitudes[i], hn::Xor(a, signs[i]));
        sum[r][i] = hn::Add(sum[r][i], hn::WidenMulPairwiseAdd(di32, products, hn::Set(di16, 1)));
        Pin(sum[r][i]);
      }
    }
    AddSplit<kRows, kTiles, kQuad + 1>(w, tile_stride, x, sum);
  }
}

// What AddSplit leaves to be added for a chunk: the magnitudes of negative weights.
template <int kRows, int kTiles>
HWY_INLINE void AddNegative(const uint8_t* HWY_RESTRICT w, int64_t tile_stride,
                            VI32 (*HWY_RESTRICT sum)[kTiles * kVectors]) {
#pragma GCC unroll 4
  for (int i = 0; i < kTiles * kVectors; ++i) {
    const VI32 negative = hn::BitCast(
        di32, hn::LoadU(du8, w + i / kVectors * tile_stride + 2 * kByteChunk + i % kVectors * kVectorBytes));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[r][i] = hn::Add(sum[r][i], negative);
  }
}

// 4 bits: the products of a group's eight quads are added in 16 bits.
template <class F, From kFrom, int kRows, int kTiles, int kQuad>
HWY_INLINE void AddNibbles(const uint8_t* HWY_RESTRICT w, int64_t tile_stride, const int8_t* HWY_RESTRICT x,
                           VI16 (*HWY_RESTRICT sum)[kTiles * kVectors]) {
  static_assert(F::kQuadsPer16 == 8);
  if constexpr (kQuad < 8) {
    VU8 weights[kTiles * kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kTiles * kVectors; ++i) {
      const uint8_t* const at = w + i / kVectors * tile_stride + i % kVectors * kVectorBytes;
      weights[i] = kFrom == From::kPacked ? Quad<F, kQuad>(at) : hn::LoadU(du8, at + kQuad * kQuadBytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VI8 a = BroadcastQuad(x + r * kChunk + 4 * kQuad);
#pragma GCC unroll 4
      for (int i = 0; i < kTiles * kVectors; ++i) {
        const VI16 products = hn::SatWidenMulPairwiseAdd(di16, weights[i], a);
        sum[r][i] = kQuad == 0 ? products : hn::Add(sum[r][i], products);
        Pin(sum[r][i]);
      }
    }
    AddNibbles<F, kFrom, kRows, kTiles, kQuad + 1>(w, tile_stride, x, sum);
  }
}

// All products of the F::kChunksPerScale chunks from `c` on (`count` of them, where the row ends), summed up in y.
// w: chunk c of the first tile; x_row: the first row, of which c counts. scales: of chunk 0 of each tile.
template <class F, From kFrom, int kRows, int kTiles>
HWY_INLINE void AddSum(const uint8_t* HWY_RESTRICT w, int64_t tile_stride, int count, const ActivationChunks& x,
                       int64_t row, int64_t c, const uint8_t* HWY_RESTRICT w_scales, int64_t scales_stride,
                       VF (*HWY_RESTRICT y)[kTiles * kVectors]) {
  constexpr int kWidth = kTiles * kVectors;
  constexpr int kParts = kChains<F, kRows * kWidth>;
  const int64_t scale_at = x.ScaleAt(row) + c / F::kChunksPerScale * x.block_rows;
  VI32 sum[kParts * kRows][kWidth];
#pragma GCC unroll 32
  for (int r = 0; r < kParts * kRows; ++r) {
    const VI32 start = r < kRows ? StartOf<F>(x.negative_sum[scale_at + r]) : hn::Zero(di32);
#pragma GCC unroll 8
    for (int i = 0; i < kWidth; ++i) sum[r][i] = start;
  }
  const int64_t x_step = x.block_rows * kChunk;
  const int8_t* q = x.Row(row) + c * x_step;
  for (int i = 0; i < count; ++i, w += kFormBytes<F, kFrom>, q += x_step) {
    if constexpr (F::kDot != Dot::kPairwise16) {
      AddFourWay<F, kFrom, kRows, kTiles>(w, tile_stride, q, sum);
    } else if constexpr (kFrom == From::kSplit) {
      AddNegative<kRows, kTiles>(w, tile_stride, sum);
      AddSplit<kRows, kTiles>(w, tile_stride, q, sum);
    } else if constexpr (F::kBits == 8) {
      AddBySigns<F, kRows>(w, q, sum);
    } else {
#pragma GCC unroll 2
      for (int g = 0; g < kGroupsPerChunk; ++g) {
        VI16 sum16[kRows][kWidth];
        AddNibbles<F, kFrom, kRows, kTiles, 0>(w + g * kFormBytes<F, kFrom> / 2, tile_stride, q + g * kGroup, sum16);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
          for (int v = 0; v < kWidth; ++v) {
            sum[r][v] = hn::Add(sum[r][v], hn::WidenMulPairwiseAdd(di32, sum16[r][v], hn::Set(di16, 1)));
            Pin(sum[r][v]);
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kWidth; ++i) {
    [[maybe_unused]] VF w_scale;
    if constexpr (!F::kScaleOfRow) {
      w_scale = ChunkScale(w_scales + i / kVectors * scales_stride, c, i % kVectors * kRowLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      VI32 dot = sum[r][i];
#pragma GCC unroll 4
      for (int part = 1; part < kParts; ++part) dot = hn::Add(dot, sum[part * kRows + r][i]);
      VF scale = hn::Set(df, x.scale[scale_at + r]);
      if constexpr (!F::kScaleOfRow) scale = hn::Mul(w_scale, scale);
      y[r][i] = hn::MulAdd(hn::ConvertTo(df, dot), scale, y[r][i]);
    }
  }
}

// Few rows: kRows of them, from `row` on, with one tile, its weights unpacked in registers.
template <class F, int kRows>
HWY_NOINLINE void MultiplyTile(const QuantSlice& slice, int64_t tile_index, int64_t row) {
  const QuantLayout& layout = *slice.layout;
  const uint8_t* HWY_RESTRICT tile = slice.packed + tile_index * layout.tile_bytes;
  const uint8_t* HWY_RESTRICT w = tile;
  VF y[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) y[r][v] = hn::Zero(df);
  }
  TileAhead ahead(tile, layout.tile_bytes, slice.chunks.scales, (slice.x_rows + kMaxRows - 1) / kMaxRows,
                  row / kMaxRows);
  for (int64_t c = 0; c < layout.chunks; c += F::kChunksPerScale, w += F::kChunksPerScale * F::kChunkBytes) {
    ahead.Step();
    const int count = static_cast<int>(std::min<int64_t>(F::kChunksPerScale, layout.chunks - c));
    AddSum<F, From::kPacked, kRows, 1>(w, 0, count, slice.chunks, row, c, tile + layout.scales_offset, 0, y);
  }
  HWY_ALIGN float sums[kRows * kTileRows];
  StoreSums<kRows>(y, sums);
  ScaleByRow<F>(tile + layout.scales_offset, kRows, sums);
  FinishTile(slice, tile_index, row, row + kRows, sums);
}

// Many rows: chunks [begin, end) of kTiles tiles.
template <class F, int kTiles>
struct ManyStep {
  const QuantSlice& slice;
  const uint8_t* w;  // chunk `begin` of the first tile, in the form of kManyFrom
  int64_t tile_stride;
  const uint8_t* w_scales;
  int64_t begin, end;
  int64_t first_row;
  TileAhead* ahead;
  float* sums;  // [tile][row - first_row][16]

  template <int kRows>
  HWY_NOINLINE void Do(int64_t row) const {
    constexpr From kFrom = kManyFrom<F>;
    float* const at = sums + (row - first_row) * kTileRows;
    const uint8_t* weights = w;
    for (int64_t c = begin; c < end; c += F::kChunksPerScale) {
      for (int t = 0; t < kTiles; ++t) ahead[t].Step();
      VF y[kRows][kTiles * kVectors];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int i = 0; i < kTiles * kVectors; ++i) y[r][i] = hn::Load(df, At(at, r, i));
      }
      const int count = static_cast<int>(std::min<int64_t>(F::kChunksPerScale, end - c));
      AddSum<F, kFrom, kRows, kTiles>(weights, tile_stride, count, slice.chunks, row, c, w_scales,
                                      slice.layout->tile_bytes, y);
      weights += F::kChunksPerScale * kFormBytes<F, kFrom>;
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int i = 0; i < kTiles * kVectors; ++i) hn::Store(y[r][i], df, At(at, r, i));
      }
    }
  }
  static HWY_INLINE float* At(float* sums, int r, int i) {
    return sums + i / kVectors * kPassRows * kTileRows + r * kTileRows + i % kVectors * kRowLanes;
  }
};

// A chunk in the form of From::kSplit.
HWY_INLINE void SplitSigns(const uint8_t* HWY_RESTRICT packed, uint8_t* HWY_RESTRICT out) {
  for (int v = 0; v < kVectors; ++v) {
    VI16 negative = hn::Zero(di16);
    for (int q = 0; q < kChunkQuads; ++q) {
      const int64_t at = q * kQuadBytes + v * kVectorBytes;
      const VI8 w = hn::BitCast(di8, hn::Xor(hn::LoadU(du8, packed + at), hn::Set(du8, 0x80)));
      const VU8 magnitude = hn::BitCast(du8, hn::Abs(w));  // -128 becomes 128
      const VI8 sign = hn::BroadcastSignBit(w);
      hn::Store(magnitude, du8, out + at);
      hn::Store(hn::BitCast(du8, sign), du8, out + kByteChunk + at);
      negative = hn::Add(negative, hn::SatWidenMulPairwiseAdd(di16, magnitude, sign));
    }
    const VI32 sum = hn::WidenMulPairwiseAdd(di32, negative, hn::Set(di16, -1));
    hn::Store(hn::BitCast(du8, sum), du8, out + 2 * kByteChunk + v * kVectorBytes);
  }
}

// `count` chunks of a tile in the form of kManyFrom.
template <class F>
HWY_INLINE void UnpackChunks(const uint8_t* HWY_RESTRICT packed, int64_t count, uint8_t* HWY_RESTRICT out) {
  if constexpr (kManyFrom<F> == From::kSplit) {
    for (int64_t c = 0; c < count; ++c) SplitSigns(packed + c * F::kChunkBytes, out + c * kFormBytes<F, From::kSplit>);
  } else {
    for (int64_t g = 0; g < count * kGroupsPerChunk; ++g) {
      UnpackQuads<F, 0>(packed + g * F::kQuantBytes, out + g * kByteGroup);
    }
  }
}

template <class F, int kTiles>
HWY_INLINE void MultiplyTiles(const QuantSlice& slice, int64_t t, int64_t first_row, int64_t end_row,
                              uint8_t* HWY_RESTRICT unpacked, float* HWY_RESTRICT sums) {
  constexpr From kFrom = kManyFrom<F>;
  const QuantLayout& layout = *slice.layout;
  const uint8_t* const tile = slice.packed + t * layout.tile_bytes;
  const int64_t steps = slice.chunks.scales, times = (end_row - first_row + kMaxRows - 1) / kMaxRows;
  TileAhead ahead[2] = {{tile, layout.tile_bytes, steps, times},
                        {tile + layout.tile_bytes, layout.tile_bytes, steps, times}};
  std::fill(sums, sums + kTiles * kPassRows * kTileRows, 0.0f);
  for (int64_t begin = 0; begin < layout.chunks; begin += kPassChunks) {
    const int64_t end = std::min(layout.chunks, begin + kPassChunks);
    const uint8_t* w = tile + begin * F::kChunkBytes;
    int64_t tile_stride = layout.tile_bytes;
    if constexpr (kFrom != From::kPacked) {
      tile_stride = kPassChunks * kFormBytes<F, kFrom>;
      for (int i = 0; i < kTiles; ++i) {
        UnpackChunks<F>(w + i * layout.tile_bytes, end - begin, unpacked + i * tile_stride);
      }
      w = unpacked;
    }
    ForRowSteps<kMaxRows>(
        first_row, end_row,
        ManyStep<F, kTiles>{slice, w, tile_stride, tile + layout.scales_offset, begin, end, first_row, ahead, sums});
  }
  for (int i = 0; i < kTiles; ++i) {
    float* const of_tile = sums + i * kPassRows * kTileRows;
    ScaleByRow<F>(tile + i * layout.tile_bytes + layout.scales_offset, end_row - first_row, of_tile);
    FinishTile(slice, t + i, first_row, end_row, of_tile);
  }
}

template <class F>
void MultiplyMany(const QuantSlice& slice) {
  HWY_ALIGN uint8_t unpacked[kMaxTiles * kPassChunks * kFormBytes<F, kManyFrom<F>>];
  HWY_ALIGN float sums[kMaxTiles * kPassRows * kTileRows];
  for (int64_t first_row = 0; first_row < slice.x_rows; first_row += kPassRows) {
    const int64_t end_row = std::min(slice.x_rows, first_row + kPassRows);
    int64_t t = slice.begin_tile;
    for (; t + kMaxTiles <= slice.end_tile; t += kMaxTiles) {
      MultiplyTiles<F, kMaxTiles>(slice, t, first_row, end_row, unpacked, sums);
    }
    if constexpr (kMaxTiles > 1) {
      if (t < slice.end_tile) MultiplyTiles<F, 1>(slice, t, first_row, end_row, unpacked, sums);
    }
  }
}

// To split signs off costs more than it saves for fewer rows.
template <class F>
constexpr int64_t kFewRows = kManyFrom<F> == From::kSplit ? 2 * kMaxRows : kMaxRows;

template <class F>
void MultiplyShared(const QuantSlice& slice) {
  if (slice.x_rows > kFewRows<F>) {
    MultiplyMany<F>(slice);
  } else {
    MultiplyFew<F, kMaxRows>(slice);
  }
}

template <Dot kDot>
constexpr SharedMatmulTable MakeTable(Isa isa) {
  using F = SharedFormats<kDot>;
  return {isa, MultiplyShared<typename F::Int8>, MultiplyShared<typename F::Int4G64>};
}

#if HWY_TARGET == HWY_AVX2
constexpr SharedMatmulTable kSharedMatmul = MakeTable<Dot::kPairwise16>(Isa::kAvx2);
constexpr SharedMatmulTable kVexVnniSharedMatmul = MakeTable<Dot::kVexVnni>(Isa::kAvx2Vnni);
#elif HWY_TARGET == HWY_AVX3
constexpr SharedMatmulTable kSharedMatmul = MakeTable<Dot::kPairwise16>(Isa::kAvx512);
#else
constexpr SharedMatmulTable kSharedMatmul = MakeTable<Dot::kFourWay>(Isa::kAvx512Vnni);
#endif

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET && HWY_ARCH_X86

#if HWY_ONCE
namespace linnet::kernels {

const SharedMatmulTable& SharedMatmulTableFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2Vnni) return N_AVX2::kVexVnniSharedMatmul;
#if !LINNET_SIMD_AVX2_ONLY
  if (isa == Isa::kAvx512Amx) return AmxSharedMatmulTable();
#endif
  LINNET_SELECT_BY_ISA(isa, kSharedMatmul, kScalarSharedMatmul);
#elif defined(__aarch64__)
  return isa == Isa::kScalar ? kScalarSharedMatmul : NeonSharedMatmulTable(isa);
#else
  return kScalarSharedMatmul;
#endif
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
