#include "kernels/attention_part.h"

#include <algorithm>
#include <limits>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_part.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/cache_control.h"
#include "hwy/contrib/math/math-inl.h"
#include "kernels/exp-inl.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kKeyTile>;
using VF = hn::Vec<DF>;
constexpr DF df;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(df));

// Stored elements as f32.
HWY_INLINE VF LoadKv(const float* p) { return hn::LoadU(df, p); }
HWY_INLINE VF LoadKv(const uint16_t* p) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::LoadU(du, p)));
}
HWY_INLINE VF LoadKvN(const float* p, size_t n) { return hn::LoadN(df, p, n); }
HWY_INLINE VF LoadKvN(const uint16_t* p, size_t n) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::LoadN(du, p, n)));
}

// Accumulators that fit into the registers beside what they are made of, and rows that share them.
constexpr int kAccumulators = HWY_TARGET == HWY_AVX2 ? 12 : 24;
constexpr int kRowBlock = 6;
constexpr int kVectorsPerTile = kKeyTile / kLanes;

// The hardware prefetches within a page, too late for blocks of the cache that lie apart. So while one stream of few
// rows is multiplied another one is fetched, a line at a time: the values of the same tokens during the keys, the next
// part's keys during the values.
constexpr int kLineBytes = 64;

// scores[r][tile][t] = q[r] · key[t] for kTiles tiles of kKeyTile tokens. Dimensions are added in order, so that the
// result is the same for every kRows and kTiles. `ahead`: as many bytes as a tile to prefetch for each; or null.
template <int kRows, int kTiles, class T>
HWY_INLINE void ScoreTiles(const T* const* HWY_RESTRICT tiles, const T* const* HWY_RESTRICT ahead, int head_dim,
                           const float* HWY_RESTRICT q, float* HWY_RESTRICT scores) {
  constexpr int kLinesEvery = std::max(1, kLineBytes / (kKeyTile * static_cast<int>(sizeof(T))));
  constexpr int kVectors = kTiles * kVectorsPerTile;
  VF sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 24
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(df);
  }
  const auto key = [&](int v, int d) HWY_ATTR {
    return LoadKv(tiles[v / kVectorsPerTile] + d * kKeyTile + v % kVectorsPerTile * kLanes);
  };
  for (int d = 0; d < head_dim; ++d) {
    if (ahead != nullptr && d % kLinesEvery == 0) {
#pragma GCC unroll 4
      for (int i = 0; i < kTiles; ++i) hwy::Prefetch(ahead[i] + d * kKeyTile);
    }
    // Of keys and queries, the fewer stay in registers.
    if constexpr (kVectors <= kRows) {
      VF keys[kVectors];
#pragma GCC unroll 24
      for (int v = 0; v < kVectors; ++v) keys[v] = key(v, d);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const VF query = hn::Set(df, q[r * head_dim + d]);
#pragma GCC unroll 24
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(query, keys[v], sum[r][v]);
      }
    } else {
      VF queries[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) queries[r] = hn::Set(df, q[r * head_dim + d]);
#pragma GCC unroll 24
      for (int v = 0; v < kVectors; ++v) {
        const VF k = key(v, d);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[r][v] = hn::MulAdd(queries[r], k, sum[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 24
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], df, scores + r * kPartTokens + v * kLanes);
  }
}

template <int kRows, class T>
HWY_NOINLINE void ScoreRows(const T* const* tiles, const T* const* ahead, int count, int head_dim, const float* q,
                            float* scores) {
  constexpr int kTiles = std::clamp(kAccumulators / (kRows * kVectorsPerTile), 1, 4);
  const auto ahead_at = [&](int i) HWY_ATTR { return ahead == nullptr ? nullptr : ahead + i; };
  int i = 0;
  for (; i + kTiles <= count; i += kTiles) {
    ScoreTiles<kRows, kTiles>(tiles + i, ahead_at(i), head_dim, q, scores + i * kKeyTile);
  }
  if constexpr (kTiles > 1) {
    for (; i < count; ++i) ScoreTiles<kRows, 1>(tiles + i, ahead_at(i), head_dim, q, scores + i * kKeyTile);
  }
}

// Values of consecutive tokens as f32.
template <class T>
struct PlainValues {
  static constexpr int kBytes = sizeof(T);
  const T* p;  // [tokens, dim]
  int64_t dim;
  HWY_INLINE VF Load(int64_t t, int d) const { return LoadKv(p + t * dim + d); }
  HWY_INLINE VF LoadN(int64_t t, int d, size_t n) const { return LoadKvN(p + t * dim + d, n); }
};
struct Q8Values {
  static constexpr int kBytes = 1;
  const int8_t* p;         // [tokens, groups, kGroup], padded
  const uint16_t* scales;  // [tokens, groups] f16
  int64_t groups;
  HWY_INLINE VF Load(int64_t t, int d) const {
    const hn::RebindToSigned<DF> di;
    const hn::Rebind<int8_t, DF> d8;
    const hn::Rebind<hwy::float16_t, DF> dh;
    const hn::Rebind<uint16_t, DF> du;
    const int64_t group = t * groups + d / kGroup;
    const VF scale = hn::PromoteTo(df, hn::BitCast(dh, hn::Set(du, scales[group])));
    return hn::Mul(hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, p + group * kGroup + d % kGroup))), scale);
  }
  HWY_INLINE VF LoadN(int64_t t, int d, size_t) const { return Load(t, d); }
};

// out[r][d ...] += p[r][t] * value[t][d ...] for kVectors vectors of dimensions, tokens in order. The last vector may
// be short: `last` lanes. `ahead`: as many bytes as the values to prefetch, or null.
template <int kRows, int kVectors, class V>
HWY_INLINE void AddValues(const V& values, const std::byte* ahead, int tokens, int d, int value_dim,
                          const float* HWY_RESTRICT p, float* HWY_RESTRICT out, size_t last) {
  constexpr int kAheadBytes = kVectors * kLanes * V::kBytes;
  VF sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = hn::LoadN(df, out + r * value_dim + d + v * kLanes, v == kVectors - 1 ? last : kLanes);
  }
  for (int t = 0; t < tokens; ++t) {
    if (ahead != nullptr) {
#pragma GCC unroll 4
      for (int i = 0; i < kAheadBytes; i += kLineBytes) hwy::Prefetch(ahead + (t * value_dim + d) * V::kBytes + i);
    }
    VF value[kVectors];
    if (last == kLanes) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) value[v] = values.Load(t, d + v * kLanes);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) value[v] = values.LoadN(t, d + v * kLanes, v == kVectors - 1 ? last : kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VF weight = hn::Set(df, p[r * kPartTokens + t]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      hn::StoreN(sum[r][v], df, out + r * value_dim + d + v * kLanes, v == kVectors - 1 ? last : kLanes);
  }
}

template <int kRows, class V>
HWY_NOINLINE void AddValuesRows(const V& values, const std::byte* ahead, int tokens, int value_dim, const float* p,
                                float* out) {
  constexpr int kVectors = std::clamp(kAccumulators / kRows, 1, 4);
  int d = 0;
  for (; d + kVectors * kLanes <= value_dim; d += kVectors * kLanes) {
    AddValues<kRows, kVectors>(values, ahead, tokens, d, value_dim, p, out, kLanes);
  }
  for (; d < value_dim; d += kLanes) {
    AddValues<kRows, 1>(values, ahead, tokens, d, value_dim, p, out,
                        static_cast<size_t>(std::min(kLanes, value_dim - d)));
  }
}

// Calls f.template Do<n>(row) for blocks of n rows that cover [row, rows).
template <int kRows = kRowBlock, class Step>
HWY_INLINE void ForRowBlocks(int row, int rows, const Step& f) {
  for (; row + kRows <= rows; row += kRows) f.template Do<kRows>(row);
  if constexpr (kRows > 1) ForRowBlocks<kRows - 1>(row, rows, f);
}
template <class T>
struct ScoreStep {
  const AttentionPart& a;
  const T* const* tiles;
  const T* const* ahead;  // for the first rows
  int count;
  float* scores;
  template <int kRows>
  HWY_INLINE void Do(int row) const {
    ScoreRows<kRows>(tiles, row == 0 ? ahead : nullptr, count, a.kv->head_dim, a.q + row * a.kv->head_dim,
                     scores + row * kPartTokens);
  }
};
template <class V>
struct ValueStep {
  const AttentionPart& a;
  V values;
  const std::byte* ahead;  // for the first rows
  int tokens;
  const float* p;
  template <int kRows>
  HWY_INLINE void Do(int row) const {
    AddValuesRows<kRows>(values, row == 0 ? ahead : nullptr, tokens, a.kv->value_dim, p + row * kPartTokens,
                         a.out + row * a.kv->value_dim);
  }
};

// Softmax numerators of one row: 2^(score - max) for the scores of the places [first, end), whole tiles, of which
// [from, to) are visible; 0 for the others. Lanes are added in the same order whatever [first, end) is: zeros change
// nothing.
HWY_INLINE void Exponentiate(float* HWY_RESTRICT scores, int first, int end, int from, int to, float softcap,
                             float slope, float own_place, float* max, float* sum) {
  const hn::RebindToSigned<DF> di;
  const VF minus_infinity = hn::Set(df, -std::numeric_limits<float>::infinity());
  if (softcap > 0) {
    const VF cap = hn::Set(df, softcap * kLog2E), inverse = hn::Set(df, 1.0f / softcap);
    for (int t = first; t < end; t += kLanes) {
      hn::StoreU(hn::Mul(cap, hn::Tanh(df, hn::Mul(hn::LoadU(df, scores + t), inverse))), df, scores + t);
    }
  }
  if (slope != 0) {
    const VF slope_v = hn::Set(df, slope), own = hn::Set(df, own_place);
    for (int t = first; t < end; t += kLanes) {
      const VF distance = hn::Sub(hn::Iota(df, t), own);
      hn::StoreU(hn::MulAdd(slope_v, distance, hn::LoadU(df, scores + t)), df, scores + t);
    }
  }
  VF largest = minus_infinity;
  for (int t = first; t < end; t += kLanes) {
    VF s = hn::LoadU(df, scores + t);
    if (t < from || t + kLanes > to) {
      const auto at = hn::Iota(di, t);
      const auto visible = hn::And(hn::Ge(at, hn::Set(di, from)), hn::Lt(at, hn::Set(di, to)));
      s = hn::IfThenElse(hn::RebindMask(df, visible), s, minus_infinity);
      hn::StoreU(s, df, scores + t);
    }
    largest = hn::Max(largest, s);
  }
  *max = hn::ReduceMax(df, largest);
  // Where nothing is visible all are minus infinity, and stay so whatever is subtracted.
  const VF max_v = hn::Set(df, *max == -std::numeric_limits<float>::infinity() ? 0.0f : *max);
  VF total = hn::Zero(df);
  for (int t = first; t < end; t += kLanes) {
    const VF p = FastExp2(df, hn::Sub(hn::LoadU(df, scores + t), max_v));
    hn::StoreU(p, df, scores + t);
    total = hn::Add(total, p);
  }
  *sum = hn::ReduceSum(df, total);
}

// [n] as f32, n a multiple of the lanes, or the end of what may be read.
template <class V>
HWY_INLINE void Widen(const V& values, int64_t rows, int n, float* to) {
  for (int64_t t = 0; t < rows; ++t, to += n) {
    int d = 0;
    for (; d + kLanes <= n; d += kLanes) hn::StoreU(values.Load(t, d), df, to + d);
    const size_t rest = static_cast<size_t>(n - d);
    if (rest > 0) hn::StoreN(values.LoadN(t, d, rest), df, to + d, rest);
  }
}

// The tokens [a.begin, a.end) as places in the part: scores and values begin at the tile and at the token.
struct PartRange {
  int64_t base;                // token of place 0
  int tile_begin, begin, end;  // places
};

template <class T>
HWY_INLINE void ScorePart(const AttentionPart& a, const PartRange& range, bool widen) {
  const int head_dim = a.kv->head_dim;
  constexpr int kMaxTiles = kPartTokens / kKeyTile;
  const T* tiles[kMaxTiles];
  const T* values[kMaxTiles];
  const float* wide_tiles[kMaxTiles];
  int count = 0;
  for (int t = range.tile_begin; t < range.end; t += kKeyTile, ++count) {
    const int64_t token = range.base + t;
    tiles[count] = reinterpret_cast<const T*>(a.kv->KeyTile(a.kv_head, token));
    values[count] =
        reinterpret_cast<const T*>(a.kv->HeadValues(a.kv_head, token)) + token % a.kv->block_tokens * a.kv->value_dim;
    if (!widen) continue;
    float* const wide = a.wide + count * kKeyTile * head_dim;
    Widen(PlainValues<T>{tiles[count], kKeyTile}, head_dim, kKeyTile, wide);
    wide_tiles[count] = wide;
  }
  float* const scores = a.scores + range.tile_begin;
  if (widen) {
    ForRowBlocks(0, a.rows, ScoreStep<float>{a, wide_tiles, nullptr, count, scores});
  } else {
    ForRowBlocks(0, a.rows, ScoreStep<T>{a, tiles, values, count, scores});
  }
}

HWY_INLINE void ScorePartQ8(const AttentionPart& a, const PartRange& range) {
  const int block_tokens = a.kv->block_tokens;
  for (int t = range.tile_begin; t < range.end;) {
    const int64_t in_block = (range.base + t) % block_tokens;
    const int64_t tiles =
        std::min<int64_t>((range.end - t + kKeyTile - 1) / kKeyTile, (block_tokens - in_block) / kKeyTile);
    a.multiply_keys({.packed = reinterpret_cast<const uint8_t*>(a.kv->KeyTile(a.kv_head, range.base + t)),
                     .layout = a.key_layout,
                     .begin_tile = 0,
                     .end_tile = tiles,
                     .x = a.q8,
                     .x_rows = a.rows,
                     .out = {.y = a.scores + t, .stride = kPartTokens}});
    t += static_cast<int>(tiles) * kKeyTile;
  }
}

HWY_INLINE PlainValues<float> ValuesAt(const AttentionPart& a, const float* head, int64_t in_block) {
  return {head + in_block * a.kv->value_dim, a.kv->value_dim};
}
HWY_INLINE PlainValues<uint16_t> ValuesAt(const AttentionPart& a, const uint16_t* head, int64_t in_block) {
  return {head + in_block * a.kv->value_dim, a.kv->value_dim};
}
HWY_INLINE Q8Values ValuesAt(const AttentionPart& a, const int8_t* head, int64_t in_block) {
  const int64_t groups = a.kv->value_groups();
  const auto* const scales = reinterpret_cast<const uint16_t*>(head + a.kv->block_tokens * groups * kGroup);
  return {head + in_block * groups * kGroup, scales + in_block * groups, groups};
}

template <class T>
HWY_INLINE void AddPart(const AttentionPart& a, const PartRange& range, bool widen) {
  const int value_dim = a.kv->value_dim, block_tokens = a.kv->block_tokens;
  std::fill(a.out, a.out + a.rows * value_dim, 0.0f);
  for (int t = range.begin; t < range.end;) {
    const int64_t in_block = (range.base + t) % block_tokens;
    const int tokens = static_cast<int>(std::min<int64_t>(range.end - t, block_tokens - in_block));
    const auto values = ValuesAt(a, reinterpret_cast<const T*>(a.kv->HeadValues(a.kv_head, range.base + t)), in_block);
    if (widen) {
      Widen(values, tokens, value_dim, a.wide + (t - range.begin) * value_dim);
    } else {
      const int64_t next = range.base + t + kPartTokens;
      const std::byte* const ahead = next < a.next_end ? a.kv->KeyTile(a.kv_head, next) : nullptr;
      ForRowBlocks(0, a.rows, ValueStep<decltype(values)>{a, values, ahead, tokens, a.scores + t});
    }
    t += tokens;
  }
  if (!widen) return;
  const PlainValues<float> wide = {a.wide, value_dim};
  ForRowBlocks(0, a.rows, ValueStep<decltype(wide)>{a, wide, nullptr, range.end - range.begin, a.scores + range.begin});
}

void Part(const AttentionPart& a) {
  PartRange range = {.base = a.begin / kPartTokens * kPartTokens};
  range.begin = static_cast<int>(a.begin - range.base);
  range.tile_begin = range.begin / kKeyTile * kKeyTile;
  range.end = static_cast<int>(a.end - range.base);
  // What many rows read is widened to f32 once.
  const bool widen = a.rows >= 2 * kRowBlock;
  switch (a.kv->type) {
    case DType::kF32:
      ScorePart<float>(a, range, false);
      break;
    case DType::kF16:
      ScorePart<uint16_t>(a, range, widen);
      break;
    default:
      ScorePartQ8(a, range);
  }

  const int padded_end = (range.end + kKeyTile - 1) / kKeyTile * kKeyTile;
  for (int r = 0; r < a.rows; ++r) {
    const auto place = [&](int64_t token) HWY_ATTR {
      return static_cast<int>(std::clamp<int64_t>(token - range.base, 0, kPartTokens));
    };
    Exponentiate(a.scores + r * kPartTokens, range.tile_begin, padded_end, place(a.first_visible[r]),
                 place(a.end_visible[r]), a.softcap, a.slopes != nullptr ? a.slopes[r] : 0.0f,
                 static_cast<float>(a.end_visible[r] - 1 - range.base), a.max + r, a.sum + r);
  }

  switch (a.kv->type) {
    case DType::kF32:
      AddPart<float>(a, range, false);
      break;
    case DType::kF16:
      AddPart<uint16_t>(a, range, widen);
      break;
    default:
      AddPart<int8_t>(a, range, widen);
  }
}

void ScaleRow(const float* x, float factor, int n, float* y) {
  const VF f = hn::Set(df, factor);
  for (int i = 0; i < n; i += kLanes) {
    const size_t count = static_cast<size_t>(std::min(kLanes, n - i));
    hn::StoreN(hn::Mul(hn::LoadN(df, x + i, count), f), df, y + i, count);
  }
}

void ScaleAddRow(float* y, float keep, const float* x, float add, int n) {
  const VF k = hn::Set(df, keep), a = hn::Set(df, add);
  for (int i = 0; i < n; i += kLanes) {
    const size_t count = static_cast<size_t>(std::min(kLanes, n - i));
    const VF kept = hn::Mul(hn::LoadN(df, y + i, count), k);
    hn::StoreN(hn::MulAdd(hn::LoadN(df, x + i, count), a, kept), df, y + i, count);
  }
}

void ToF16(const float* from, int n, uint16_t* to) {
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<uint16_t, DF> du;
  const VF largest = hn::Set(df, 65504.0f), smallest = hn::Set(df, -65504.0f);
  for (int i = 0; i < n; i += kLanes) {
    const size_t count = static_cast<size_t>(std::min(kLanes, n - i));
    const VF v = hn::Min(hn::Max(hn::LoadN(df, from + i, count), smallest), largest);
    hn::StoreN(hn::BitCast(du, hn::DemoteTo(dh, v)), du, to + i, count);
  }
}

constexpr AttentionTable kAttention = {Part, ScaleRow, ScaleAddRow, ToF16};
constexpr const AttentionTable* kAttentionTable = &kAttention;

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {

const AttentionTable* AttentionTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kAttentionTable, nullptr); }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
