#include "kernels/attention_part.h"

#include <algorithm>
#include <limits>

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_part.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
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

// scores[r][t] = q[r] · key[t] for a tile of kKeyTile tokens. Dimensions are added in order, so that the result is the
// same for every kRows.
template <int kRows, class T>
HWY_INLINE void ScoreTile(const T* HWY_RESTRICT keys, int head_dim, const float* HWY_RESTRICT q,
                          float* HWY_RESTRICT scores) {
  for (int lane0 = 0; lane0 < kKeyTile; lane0 += kLanes) {
    VF sum[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[r] = hn::Zero(df);
    for (int d = 0; d < head_dim; ++d) {
      const VF key = LoadKv(keys + d * kKeyTile + lane0);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(hn::Set(df, q[r * head_dim + d]), key, sum[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) hn::StoreU(sum[r], df, scores + r * kPartTokens + lane0);
  }
}

// out[r][d ...] += p[r][t] * value[t][d ...] for kVectors vectors of dimensions, tokens in order. The last vector may
// be short: `last` lanes.
template <int kRows, int kVectors, class T>
HWY_INLINE void AddValues(const T* HWY_RESTRICT values, int tokens, int head_dim, const float* HWY_RESTRICT p,
                          float* HWY_RESTRICT out, size_t last) {
  VF sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = hn::LoadN(df, out + r * head_dim + v * kLanes, v == kVectors - 1 ? last : kLanes);
  }
  for (int t = 0; t < tokens; ++t) {
    VF value[kVectors];
    if (last == kLanes) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) value[v] = LoadKv(values + t * head_dim + v * kLanes);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        value[v] = LoadKvN(values + t * head_dim + v * kLanes, v == kVectors - 1 ? last : kLanes);
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
      hn::StoreN(sum[r][v], df, out + r * head_dim + v * kLanes, v == kVectors - 1 ? last : kLanes);
  }
}

template <int kRows, class T>
HWY_NOINLINE void AddValuesRows(const T* values, int tokens, int head_dim, const float* p, float* out) {
  constexpr int kVectors = kRows >= 8 ? 2 : 4;
  int d = 0;
  for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes) {
    AddValues<kRows, kVectors>(values + d, tokens, head_dim, p, out + d, kLanes);
  }
  for (; d < head_dim; d += kLanes) {
    AddValues<kRows, 1>(values + d, tokens, head_dim, p, out + d, static_cast<size_t>(std::min(kLanes, head_dim - d)));
  }
}

// Softmax numerators of one row over `tokens` scores from `first` on in the row's scratch, of which [from, to) are
// visible.
HWY_INLINE void Exponentiate(float* HWY_RESTRICT scores, int first, int end, int from, int to, float softcap,
                             float* max, float* sum) {
  const hn::RebindToSigned<DF> di;
  const VF minus_infinity = hn::Set(df, -std::numeric_limits<float>::infinity());
  const auto from_v = hn::Set(di, from), to_v = hn::Set(di, to);
  VF largest = minus_infinity;
  for (int t = first; t < end; t += kLanes) {
    VF s = hn::LoadU(df, scores + t);
    if (softcap > 0) {
      const VF cap = hn::Set(df, softcap);
      s = hn::Mul(cap, hn::Tanh(df, hn::Div(s, cap)));
    }
    const auto at = hn::Iota(di, t);
    const auto visible = hn::And(hn::Ge(at, from_v), hn::Lt(at, to_v));
    s = hn::IfThenElse(hn::RebindMask(df, visible), s, minus_infinity);
    hn::StoreU(s, df, scores + t);
    largest = hn::Max(largest, s);
  }
  *max = hn::ReduceMax(df, largest);
  *sum = 0;
  const bool none = *max == -std::numeric_limits<float>::infinity();
  const VF max_v = hn::Set(df, *max);
  VF total = hn::Zero(df);
  for (int t = first; t < end; t += kLanes) {
    const VF s = hn::LoadU(df, scores + t);
    VF p = hn::Exp(df, hn::Sub(s, max_v));
    p = none ? hn::Zero(df) : hn::IfThenZeroElse(hn::Eq(s, minus_infinity), p);
    hn::StoreU(p, df, scores + t);
    total = hn::Add(total, p);
  }
  // Always the same number of lanes in the same order, whatever [first, end) is: zeros change nothing.
  *sum = hn::ReduceSum(df, total);
}

template <class T>
void PartOf(const AttentionPart& a) {
  const KvBlocks& kv = *a.kv;
  const int head_dim = kv.head_dim;
  const int64_t base = a.begin / kPartTokens * kPartTokens;
  const int64_t tokens_of_head = int64_t{kv.block_tokens} * head_dim;
  const int first = static_cast<int>((a.begin - base) / kKeyTile * kKeyTile), end = static_cast<int>(a.end - base);
  for (int t = first; t < end; t += kKeyTile) {
    const int64_t token = base + t;
    const T* const block = reinterpret_cast<const T*>(kv.blocks[static_cast<size_t>(token / kv.block_tokens)]);
    const T* const keys = block + a.kv_head * tokens_of_head + token % kv.block_tokens * head_dim;
    int r = 0;
    for (; r + 8 <= a.rows; r += 8) ScoreTile<8>(keys, head_dim, a.q + r * head_dim, a.scores + r * kPartTokens + t);
    for (; r + 4 <= a.rows; r += 4) ScoreTile<4>(keys, head_dim, a.q + r * head_dim, a.scores + r * kPartTokens + t);
    if (r + 3 == a.rows) {
      ScoreTile<3>(keys, head_dim, a.q + r * head_dim, a.scores + r * kPartTokens + t);
      r += 3;
    }
    for (; r < a.rows; ++r) ScoreTile<1>(keys, head_dim, a.q + r * head_dim, a.scores + r * kPartTokens + t);
  }
  const int padded_end = (end + kKeyTile - 1) / kKeyTile * kKeyTile;
  for (int r = 0; r < a.rows; ++r) {
    const auto in_part = [&](int64_t token)
                             HWY_ATTR { return static_cast<int>(std::clamp<int64_t>(token - base, 0, kPartTokens)); };
    Exponentiate(a.scores + r * kPartTokens, first, padded_end, in_part(a.first_visible[r]), in_part(a.end_visible[r]),
                 a.softcap, a.max + r, a.sum + r);
  }
  std::fill(a.out, a.out + a.rows * head_dim, 0.0f);
  const int64_t values_offset = kv.kv_heads * tokens_of_head;
  for (int t = static_cast<int>(a.begin - base); t < end;) {
    const int64_t token = base + t;
    const int64_t in_block = token % kv.block_tokens;
    const int count = static_cast<int>(std::min<int64_t>(end - t, kv.block_tokens - in_block));
    const T* const block = reinterpret_cast<const T*>(kv.blocks[static_cast<size_t>(token / kv.block_tokens)]);
    const T* const values = block + values_offset + a.kv_head * tokens_of_head + in_block * head_dim;
    int r = 0;
    for (; r + 8 <= a.rows; r += 8)
      AddValuesRows<8>(values, count, head_dim, a.scores + r * kPartTokens + t, a.out + r * head_dim);
    for (; r + 4 <= a.rows; r += 4)
      AddValuesRows<4>(values, count, head_dim, a.scores + r * kPartTokens + t, a.out + r * head_dim);
    if (r + 3 == a.rows) {
      AddValuesRows<3>(values, count, head_dim, a.scores + r * kPartTokens + t, a.out + r * head_dim);
      r += 3;
    }
    for (; r < a.rows; ++r)
      AddValuesRows<1>(values, count, head_dim, a.scores + r * kPartTokens + t, a.out + r * head_dim);
    t += count;
  }
}

void Part(const AttentionPart& part) {
  if (part.kv->type == DType::kF32) {
    PartOf<float>(part);
  } else {
    PartOf<uint16_t>(part);
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

constexpr AttentionTable kAttention = {Part, ToF16};
constexpr const AttentionTable* kAttentionTable = &kAttention;

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {

const AttentionTable* AttentionTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kAttentionTable, nullptr); }

}  // namespace linnet::kernels
#endif  // HWY_ONCE
