#include "kernels/rows.h"

#include <algorithm>
#include <cmath>

#include "absl/log/check.h"
#include "kernels/isa.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/exp-inl.h"
#include "kernels/float_vectors-inl.h"
// clang-format on

#ifndef LINNET_KERNELS_ROWS_ONCE_
#define LINNET_KERNELS_ROWS_ONCE_
namespace linnet::kernels {

struct RowTable {
  double (*sum_squares)(const float* x, float mean, int64_t n);  // of x - mean
  double (*sum)(const float* x, int64_t n);
  void (*scale)(const float* x, const float* weight, const float* bias, float mean, float factor, int64_t n, float* y);
  void (*add)(float* x, const float* y, float scale, int64_t n);
  void (*soft_cap)(float cap, float* x, int64_t n);
  // z = activation(z), times `up` where that is not null.
  void (*activate)(ActivationKind kind, float* z, const float* up, int64_t n);
  float (*max)(const float* x, int64_t n);
  double (*sum_exp)(const float* x, float max, int64_t n, float* out);  // out, where not null, receives exp(x - max)
  void (*rotate_halves)(const float* cos, const float* sin, int half, float* x);
  int64_t (*first_above)(const float* x, int64_t n, float limit);
};

}  // namespace linnet::kernels
#endif

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {

double SumSquares(const float* x, float mean, int64_t n) {
  const VF mean_v = hn::Set(df, mean);
  VF sum = hn::Zero(df);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF v = hn::Sub(hn::LoadU(df, x + i), mean_v);
    sum = hn::MulAdd(v, v, sum);
  }
  double total = hn::ReduceSum(df, sum);
  for (; i < n; ++i) total += static_cast<double>(x[i] - mean) * (x[i] - mean);
  return total;
}

double Sum(const float* x, int64_t n) {
  VF sum = hn::Zero(df);
  for (int64_t i = 0; i < n; i += kLanes) sum = hn::Add(sum, hn::LoadN(df, x + i, Count(i, n)));
  return hn::ReduceSum(df, sum);
}

void Scale(const float* x, const float* weight, const float* bias, float mean, float factor, int64_t n, float* y) {
  const VF mean_v = hn::Set(df, mean), factor_v = hn::Set(df, factor);
  for (int64_t i = 0; i < n; i += kLanes) {
    const size_t count = Count(i, n);
    VF v = hn::Mul(hn::Sub(hn::LoadN(df, x + i, count), mean_v), factor_v);
    if (weight != nullptr) v = hn::Mul(v, hn::LoadN(df, weight + i, count));
    if (bias != nullptr) v = hn::Add(v, hn::LoadN(df, bias + i, count));
    hn::StoreN(v, df, y + i, count);
  }
}

void Add(float* x, const float* y, float scale, int64_t n) {
  const VF scale_v = hn::Set(df, scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const size_t count = Count(i, n);
    hn::StoreN(hn::MulAdd(scale_v, hn::LoadN(df, y + i, count), hn::LoadN(df, x + i, count)), df, x + i, count);
  }
}

void SoftCapRow(float cap, float* x, int64_t n) {
  const VF one = hn::Set(df, 1.0f), cap_v = hn::Set(df, cap), minus_twice = hn::Set(df, -2.0f / cap);
  for (int64_t i = 0; i < n; i += kLanes) {
    const size_t count = Count(i, n);
    const VF v = hn::LoadN(df, x + i, count);
    const VF e = FastExp(df, hn::Mul(hn::Abs(v), minus_twice));
    const VF tanh = hn::Div(hn::Sub(one, e), hn::Add(one, e));  // of |v| / cap
    hn::StoreN(hn::CopySign(hn::Mul(cap_v, tanh), v), df, x + i, count);
  }
}

// z / (1 + e^-a), by the exponential that cannot overflow.
HWY_INLINE VF TimesSigmoid(VF z, VF a) {
  const VF one = hn::Set(df, 1.0f), e = FastExp(df, hn::Neg(hn::Abs(a)));
  return hn::Div(hn::Mul(z, hn::IfThenElse(hn::Lt(a, hn::Zero(df)), e, one)), hn::Add(one, e));
}

// z · Φ(z), Φ(z) = erfc(-z / √2) / 2. erfc by its Chebyshev fit of fractional error 1.2e-7 (Press et al., Numerical
// Recipes, section 6.2).
HWY_INLINE VF Gelu(VF z) {
  const VF x = hn::Mul(hn::Abs(z), hn::Set(df, 0.70710678118654752440f));
  const VF t = hn::Div(hn::Set(df, 1.0f), hn::MulAdd(hn::Set(df, 0.5f), x, hn::Set(df, 1.0f)));
  VF p = hn::Set(df, 0.17087277f);
  for (const float c : {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f, 0.09678418f, 0.37409196f,
                        1.00002368f, -1.26551223f}) {
    p = hn::MulAdd(p, t, hn::Set(df, c));
  }
  const VF tail = hn::Mul(hn::Mul(t, hn::Set(df, 0.5f)), FastExp(df, hn::NegMulAdd(x, x, p)));  // Φ(-|z|)
  return hn::Mul(z, hn::IfThenElse(hn::Lt(z, hn::Zero(df)), tail, hn::Sub(hn::Set(df, 1.0f), tail)));
}

template <ActivationKind kKind>
HWY_INLINE VF Activated(VF z) {
  switch (kKind) {
    case ActivationKind::kNone:
      return z;
    case ActivationKind::kSilu:
      return TimesSigmoid(z, z);
    case ActivationKind::kGelu:
      return Gelu(z);
    case ActivationKind::kGeluTanh: {
      // (1 + tanh(u)) / 2 is the sigmoid of 2u.
      const VF cubic =
          hn::MulAdd(hn::Mul(z, z), hn::Set(df, 0.044715f * 1.5957691216057308f), hn::Set(df, 1.5957691216057308f));
      return TimesSigmoid(z, hn::Mul(z, cubic));
    }
    case ActivationKind::kGeluQuick:
      return TimesSigmoid(z, hn::Mul(z, hn::Set(df, 1.702f)));
    case ActivationKind::kRelu:
      return hn::Max(z, hn::Zero(df));
    case ActivationKind::kReluSquared: {
      const VF positive = hn::Max(z, hn::Zero(df));
      return hn::Mul(positive, positive);
    }
  }
}

template <ActivationKind kKind>
void ActivateAs(float* z, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const size_t count = Count(i, n);
    VF v = Activated<kKind>(hn::LoadN(df, z + i, count));
    if (up != nullptr) v = hn::Mul(v, hn::LoadN(df, up + i, count));
    hn::StoreN(v, df, z + i, count);
  }
}

void ActivateRow(ActivationKind kind, float* z, const float* up, int64_t n) {
  switch (kind) {
    case ActivationKind::kNone:
      return ActivateAs<ActivationKind::kNone>(z, up, n);
    case ActivationKind::kSilu:
      return ActivateAs<ActivationKind::kSilu>(z, up, n);
    case ActivationKind::kGelu:
      return ActivateAs<ActivationKind::kGelu>(z, up, n);
    case ActivationKind::kGeluTanh:
      return ActivateAs<ActivationKind::kGeluTanh>(z, up, n);
    case ActivationKind::kGeluQuick:
      return ActivateAs<ActivationKind::kGeluQuick>(z, up, n);
    case ActivationKind::kRelu:
      return ActivateAs<ActivationKind::kRelu>(z, up, n);
    case ActivationKind::kReluSquared:
      return ActivateAs<ActivationKind::kReluSquared>(z, up, n);
  }
}

float MaxIn(const float* x, int64_t n) {
  VF max = hn::Set(df, x[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) max = hn::Max(max, hn::LoadU(df, x + i));
  float result = hn::ReduceMax(df, max);
  for (; i < n; ++i) result = std::max(result, x[i]);
  return result;
}

double SumExp(const float* x, float max, int64_t n, float* out) {
  const VF max_v = hn::Set(df, max);
  double total = 0;
  // Sums of at most 1024 vectors in f32, those in f64.
  for (int64_t begin = 0; begin < n; begin += 1024 * kLanes) {
    const int64_t end = std::min(n, begin + 1024 * kLanes);
    VF sum = hn::Zero(df);
    for (int64_t i = begin; i < end; i += kLanes) {
      const size_t count = Count(i, end);
      VF e = FastExp(df, hn::Sub(hn::LoadN(df, x + i, count), max_v));
      if (count < static_cast<size_t>(kLanes)) e = hn::IfThenElseZero(hn::FirstN(df, count), e);
      sum = hn::Add(sum, e);
      if (out != nullptr) hn::StoreN(e, df, out + i, count);
    }
    total += hn::ReduceSum(df, sum);
  }
  return total;
}

void RotateHalves(const float* cos, const float* sin, int half, float* x) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const size_t count = Count(i, half);
    const VF c = hn::LoadN(df, cos + i, count), s = hn::LoadN(df, sin + i, count);
    const VF a = hn::LoadN(df, x + i, count), b = hn::LoadN(df, x + half + i, count);
    hn::StoreN(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), df, x + i, count);
    hn::StoreN(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), df, x + half + i, count);
  }
}

int64_t FirstAboveIn(const float* x, int64_t n, float limit) {
  const VF limit_v = hn::Set(df, limit);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const intptr_t lane = hn::FindFirstTrue(df, hn::Gt(hn::LoadU(df, x + i), limit_v));
    if (lane >= 0) return i + lane;
  }
  for (; i < n; ++i) {
    if (x[i] > limit) return i;
  }
  return n;
}

constexpr RowTable kRows = {SumSquares,  Sum,   Scale,  Add,          SoftCapRow,
                            ActivateRow, MaxIn, SumExp, RotateHalves, FirstAboveIn};

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

double SumSquaresScalar(const float* x, float mean, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  return sum;
}
double SumScalar(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}
void ScaleScalar(const float* x, const float* weight, const float* bias, float mean, float factor, int64_t n,
                 float* y) {
  for (int64_t i = 0; i < n; ++i) {
    float v = (x[i] - mean) * factor;
    if (weight != nullptr) v *= weight[i];
    if (bias != nullptr) v += bias[i];
    y[i] = v;
  }
}
void AddScalar(float* x, const float* y, float scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = std::fma(scale, y[i], x[i]);
}
void SoftCapScalar(float cap, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = cap * std::tanh(x[i] / cap);
}
float ActivatedScalar(ActivationKind kind, float z) {
  switch (kind) {
    case ActivationKind::kNone:
      return z;
    case ActivationKind::kSilu:
      return z / (1.0f + std::exp(-z));
    case ActivationKind::kGelu:
      return 0.5f * z * std::erfc(-z * 0.70710678118654752440f);
    case ActivationKind::kGeluTanh:
      return 0.5f * z * (1.0f + std::tanh(0.79788456080286535588f * (z + 0.044715f * z * z * z)));
    case ActivationKind::kGeluQuick:
      return z / (1.0f + std::exp(-1.702f * z));
    case ActivationKind::kRelu:
      return std::max(z, 0.0f);
    case ActivationKind::kReluSquared:
      return std::max(z, 0.0f) * std::max(z, 0.0f);
  }
  return z;
}
void ActivateScalar(ActivationKind kind, float* z, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) z[i] = ActivatedScalar(kind, z[i]) * (up != nullptr ? up[i] : 1.0f);
}
float MaxScalar(const float* x, int64_t n) { return *std::max_element(x, x + n); }
double SumExpScalar(const float* x, float max, int64_t n, float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float e = std::exp(x[i] - max);
    sum += e;
    if (out != nullptr) out[i] = e;
  }
  return sum;
}
void RotateHalvesScalar(const float* cos, const float* sin, int half, float* x) {
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * cos[i] - b * sin[i];
    x[half + i] = b * cos[i] + a * sin[i];
  }
}

int64_t FirstAboveScalar(const float* x, int64_t n, float limit) {
  return std::find_if(x, x + n, [limit](float v) { return v > limit; }) - x;
}

constexpr RowTable kScalarRows = {SumSquaresScalar, SumScalar, ScaleScalar,  AddScalar,          SoftCapScalar,
                                  ActivateScalar,   MaxScalar, SumExpScalar, RotateHalvesScalar, FirstAboveScalar};

const RowTable& TableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kRows, kScalarRows); }

const RowTable& Table(bool reference) {
  if (reference) return kScalarRows;
  const auto isa = ActiveIsa();
  CHECK_OK(isa.status());
  return TableFor(*isa);
}

}  // namespace

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* y, bool reference) {
  const RowTable& table = Table(reference);
  const double mean_square = table.sum_squares(x, 0.0f, n) / static_cast<double>(n);
  table.scale(x, weight, nullptr, 0.0f, static_cast<float>(1.0 / std::sqrt(mean_square + eps)), n, y);
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y, bool reference) {
  const RowTable& table = Table(reference);
  const auto mean = static_cast<float>(table.sum(x, n) / static_cast<double>(n));
  const double variance = table.sum_squares(x, mean, n) / static_cast<double>(n);
  table.scale(x, weight, bias, mean, static_cast<float>(1.0 / std::sqrt(variance + eps)), n, y);
}

void AddInPlace(float* x, const float* y, int64_t n, float scale) { Table(false).add(x, y, scale, n); }
void ScaleInPlace(float* x, float scale, int64_t n) { Table(false).scale(x, nullptr, nullptr, 0, scale, n, x); }
void SoftCap(float cap, float* x, int64_t n, bool reference) { Table(reference).soft_cap(cap, x, n); }

void Activate(ActivationKind kind, float* z, int64_t n, bool reference) {
  Table(reference).activate(kind, z, nullptr, n);
}
void GateMul(ActivationKind kind, float* gate, const float* up, int64_t n, bool reference) {
  Table(reference).activate(kind, gate, up, n);
}

void ActivateSeries(ActivationKind kind, int terms, const float* scale, const float* bias, float* z, int64_t n,
                    bool reference) {
  const RowTable& table = Table(reference);
  thread_local std::vector<float> storage;
  storage.resize(2 * static_cast<size_t>(n));
  float* const sum = storage.data();
  float* const term = sum + n;
  std::fill_n(sum, n, 0.0f);
  for (int i = 0; i < terms; ++i) {
    table.scale(z, scale + i * n, bias + i * n, 0, 1, n, term);
    table.activate(kind, term, nullptr, n);
    table.add(sum, term, 1, n);
  }
  std::copy_n(sum, n, z);
}

void RopeAngles(const RopeTable& table, int64_t position, float* cos, float* sin) {
  for (int i = 0; i < table.rotary_dim / 2; ++i) {
    const float angle = static_cast<float>(position) * table.inv_freq[static_cast<size_t>(i)];
    cos[i] = std::cos(angle) * table.magnitude;
    sin[i] = std::sin(angle) * table.magnitude;
  }
}

void RopeRotate(const RopeTable& table, const float* cos, const float* sin, int heads, int head_dim, float* x) {
  const int half = table.rotary_dim / 2;
  const RowTable& rows = Table(false);
  for (int h = 0; h < heads; ++h, x += head_dim) {
    if (!table.interleaved) {
      rows.rotate_halves(cos, sin, half, x);
      continue;
    }
    for (int i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
  }
}

void Rope(const RopeTable& table, int64_t position, int heads, int head_dim, float* x) {
  thread_local std::vector<float> angles;
  angles.resize(static_cast<size_t>(table.rotary_dim));
  float* const cos = angles.data();
  float* const sin = cos + table.rotary_dim / 2;
  RopeAngles(table, position, cos, sin);
  RopeRotate(table, cos, sin, heads, head_dim, x);
}

double ExpInPlace(float* x, float max, int64_t n) { return Table(false).sum_exp(x, max, n, x); }

float MaxOf(const float* x, int64_t n) { return Table(false).max(x, n); }

double LogSumExp(const float* x, int64_t n) {
  const RowTable& table = Table(false);
  const float max = table.max(x, n);
  return max + std::log(table.sum_exp(x, max, n, nullptr));
}

int64_t FirstAbove(const float* x, int64_t n, float limit) { return Table(false).first_above(x, n, limit); }

int64_t ArgMax(const float* x, int64_t n) {
  // The value first, by vectors, then where it is.
  const float max = Table(false).max(x, n);
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] == max) return i;
  }
  return std::max_element(x, x + n) - x;  // only with NaNs among them
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
