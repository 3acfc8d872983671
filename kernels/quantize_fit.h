// Scales that make the weighted squared error of a small group of weights least. Internal to the quantizers.
//
// For a given inverse scale every weight has a nearest level, and for given levels the best scale is a quotient of two
// sums (weighted least squares). So: try inverse scales on a grid around the one that just covers the group, take the
// best by the error that remains after refitting, then round and refit in turn until nothing improves. All sums run
// over eight lanes in a fixed order: the same bytes come out on every CPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace linnet::kernels::quantize_internal {

inline constexpr int kLanes = 8;
// A group whose largest magnitude is below this is zero in every format: 16-bit scales end at 2^-24.
inline constexpr float kSmallest = 1e-12f;
inline constexpr int kRefits = 4;

// Ties to even. REQUIRES: |v| < 2^22.
inline float Nearest(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (v + kMagic) - kMagic;
}
inline float Clamp(float v, float low, float high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

// Sums over a group, one per lane, added up in a fixed order.
struct LaneSum {
  float lane[kLanes] = {};
  float Total() const {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  }
};

// The levels that a format has, and how far around the covering scale the search looks: the largest weight is tried at
// the levels from last - below to last + above.
struct Search {
  float low = 0, high = 0;
  float below = 0, above = 0;
  int steps = 0;
};

// --- x ~ scale * q -----------------------------------------------------------------------------------------------

struct ScaleSums {
  float xq = 0, qq = 0;
  // What the best scale for these q takes off the weighted sum of squares of x.
  float Gain() const { return qq > 0 ? xq * xq / qq : 0; }
  float Scale() const { return qq > 0 ? xq / qq : 0; }
};

template <int N>
ScaleSums SumsAt(const float* x, const float* w, int64_t n, float inverse, const Search& search) {
  LaneSum xq, qq;
  const float low = search.low, high = search.high;
  const int64_t count = N > 0 ? N : n;
  for (int64_t i = 0; i < count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = Nearest(Clamp(x[i + l] * inverse, low, high));
      const float wq = w[i + l] * q;
      xq.lane[l] += wq * x[i + l];
      qq.lane[l] += wq * q;
    }
  }
  return {xq.Total(), qq.Total()};
}

// The scale, of either sign; 0 where x is all zero. x: [N], finite; w: [N], > 0. N = 0: n of them instead, a multiple
// of kLanes.
template <int N>
float FitScale(const float* x, const float* w, const Search& search, int64_t n = N) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  if (std::fabs(largest) < kSmallest) return 0;
  float best_gain = 0, scale = 0;
  for (const float last : {search.low, search.high}) {
    if (last == search.high && search.low == -search.high) break;  // nothing that the other sign did not show
    const float sign = last < 0 ? -1.0f : 1.0f;
    const float step = (search.below + search.above) / static_cast<float>(search.steps);
    for (int k = 0; k <= search.steps; ++k) {
      const float level = std::fabs(last) - search.below + step * static_cast<float>(k);
      const ScaleSums sums = SumsAt<N>(x, w, n, sign * level / largest, search);
      if (sums.Gain() > best_gain) {
        best_gain = sums.Gain();
        scale = sums.Scale();
      }
    }
  }
  for (int i = 0; i < kRefits && scale != 0; ++i) {
    const ScaleSums sums = SumsAt<N>(x, w, n, 1 / scale, search);
    if (sums.Gain() <= best_gain) break;
    best_gain = sums.Gain();
    scale = sums.Scale();
  }
  return scale;
}

// q: [N], the nearest levels for a scale that is fixed (as stored). 0 where the scale is 0.
template <int N>
void RoundToScale(const float* x, float scale, const Search& search, float* q) {
  const float inverse = scale != 0 ? 1 / scale : 0;
  for (int i = 0; i < N; ++i) q[i] = Nearest(Clamp(x[i] * inverse, search.low, search.high));
}

// --- x ~ scale * q + min, q in [0, high] -------------------------------------------------------------------------

struct Affine {
  float scale = 0, min = 0;
};

struct AffineSums {
  float q = 0, qq = 0, xq = 0;  // weighted; x less its weighted mean
};

template <int N>
AffineSums AffineSumsAt(const float* centred, const float* w, float inverse, float begin, float high) {
  LaneSum sq, sqq, sxq;
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float q = Nearest(Clamp((centred[i + l] - begin) * inverse, 0.0f, high));
      const float wq = w[i + l] * q;
      sq.lane[l] += wq;
      sqq.lane[l] += wq * q;
      sxq.lane[l] += wq * centred[i + l];
    }
  }
  return {sq.Total(), sqq.Total(), sxq.Total()};
}

// The best scale (>= 0) and min; `min_below_zero`: min <= 0, as formats want that store its negative unsigned.
template <int N>
Affine FitAffine(const float* x, const float* w, const Search& search, bool min_below_zero) {
  LaneSum weight_sum, x_sum;
  float low = x[0], high = x[0];
  for (int i = 0; i < N; ++i) {
    weight_sum.lane[i % kLanes] += w[i];
    x_sum.lane[i % kLanes] += w[i] * x[i];
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  if (min_below_zero && low > 0) low = 0;
  const float weights = weight_sum.Total();
  const float mean = x_sum.Total() / weights;
  const float range = high - low;
  if (range < kSmallest) return {0, low};
  float centred[N];
  for (int i = 0; i < N; ++i) centred[i] = x[i] - mean;

  // What a choice of levels takes off the sum of squares around the mean, and the best scale and min for it.
  float best_gain = -INFINITY;
  Affine best = {0, low};
  const auto consider = [&](const AffineSums& sums) {
    const float spread = sums.qq - sums.q * sums.q / weights;
    const bool differ = spread > 1e-5f * sums.qq;  // else all levels are one, and any scale does
    if (!differ && !(min_below_zero && sums.qq > 0)) return false;
    float scale = differ ? sums.xq / spread : 0;
    float min = mean - scale * sums.q / weights;
    float gain = sums.xq * scale;
    if (min_below_zero && (!differ || min > 0)) {
      const float xq = sums.xq + mean * sums.q;
      scale = xq / sums.qq;
      min = 0;
      gain = xq * scale - weights * mean * mean;
    }
    if (!(scale > 0) || gain <= best_gain) return false;
    best_gain = gain;
    best = {scale, min};
    return true;
  };
  const float step = (search.below + search.above) / static_cast<float>(search.steps);
  for (int k = 0; k <= search.steps; ++k) {
    const float levels = search.high - search.below + step * static_cast<float>(k);
    const float inverse = levels / range;
    for (const float shift : {0.0f, 0.33f, -0.33f}) {
      consider(AffineSumsAt<N>(centred, w, inverse, low - mean + shift / inverse, search.high));
    }
  }
  for (int i = 0; i < kRefits && best.scale > 0; ++i) {
    if (!consider(AffineSumsAt<N>(centred, w, 1 / best.scale, best.min - mean, search.high))) break;
  }
  return best;
}

// Rounds to the nearest levels for a scale and min that are fixed, and returns the weighted squared error. Where the
// scale is 0, q is 0.
template <int N>
float RoundAffine(const float* x, const float* w, float scale, float min, float high, float* q) {
  const float inverse = scale != 0 ? 1 / scale : 0;
  LaneSum error;
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      q[i + l] = Nearest(Clamp((x[i + l] - min) * inverse, 0.0f, high));
      const float e = x[i + l] - (scale * q[i + l] + min);
      error.lane[l] += w[i + l] * (e * e);
    }
  }
  return error.Total();
}

// The same without a min, for levels in [low, high].
template <int N>
float RoundSymmetric(const float* x, const float* w, float scale, const Search& search, float* q) {
  RoundToScale<N>(x, scale, search, q);
  LaneSum error;
  for (int i = 0; i < N; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float e = x[i + l] - scale * q[i + l];
      error.lane[l] += w[i + l] * (e * e);
    }
  }
  return error.Total();
}

}  // namespace linnet::kernels::quantize_internal
