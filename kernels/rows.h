// Operations on rows of f32: norms, rotary positions, gates, softmax. Each runs on the calling thread; callers split
// rows over threads. Vectorized ones agree with the scalar reference to the tolerance stated; `reference` asks for the
// latter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace linnet::kernels {

// y = x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich, arXiv 1910.07467). x, y: [n]; y may be x. weight: [n] or
// null.
void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* y, bool reference = false);
// y = (x - mean) / sqrt(var + eps) · weight + bias. weight, bias: [n] or null.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y,
               bool reference = false);

// x += scale · y. [n]
void AddInPlace(float* x, const float* y, int64_t n, float scale = 1);
// x *= scale. [n]
void ScaleInPlace(float* x, float scale, int64_t n);
// x = cap · tanh(x / cap). [n]. Vectorized: within 3e-7 · cap.
void SoftCap(float cap, float* x, int64_t n, bool reference = false);
// What an FFN puts its inner values through. Vectorized ones are within 2e-6 of their value, GELU with erf within 1e-6
// of |z| too.
enum class ActivationKind {
  kNone,
  kSilu,         // z / (1 + exp(-z)) (Elfwing et al., arXiv 1702.03118)
  kGelu,         // z · Φ(z), with erf (Hendrycks and Gimpel, arXiv 1606.08415)
  kGeluTanh,     // its approximation by tanh
  kGeluQuick,    // z / (1 + exp(-1.702 z))
  kRelu,         // max(z, 0)
  kReluSquared,  // its square (So et al., arXiv 2109.08668)
};
// z = its activation. [n]
void Activate(ActivationKind kind, float* z, int64_t n, bool reference = false);
// gate = activation(gate) · up. [n]
void GateMul(ActivationKind kind, float* gate, const float* up, int64_t n, bool reference = false);
// z = sum of activation(scale[i] · z + bias[i]) over i < terms. z: [n]; scale, bias: [terms, n].
void ActivateSeries(ActivationKind kind, int terms, const float* scale, const float* bias, float* z, int64_t n,
                    bool reference = false);

// Rotary position embedding (Su et al., arXiv 2104.09864) as tables of cos and sin.
struct RopeTable {
  int rotary_dim = 0;           // even, <= head_dim; the rest of a head passes through
  bool interleaved = false;     // pairs (2i, 2i+1) instead of (i, i + rotary_dim/2)
  std::vector<float> inv_freq;  // [rotary_dim/2], scaling applied
  float magnitude = 1;          // multiplies cos and sin (YaRN, longrope)
};
// Rotates `heads` heads of one token in place. x: [heads, head_dim]. Angles are position · inv_freq in f32, as the
// reference implementation computes them.
void Rope(const RopeTable& table, int64_t position, int heads, int head_dim, float* x);
// The same in two steps, for callers that rotate at one position many times (every layer, queries and keys):
// cos, sin: [rotary_dim/2].
void RopeAngles(const RopeTable& table, int64_t position, float* cos, float* sin);
void RopeRotate(const RopeTable& table, const float* cos, const float* sin, int heads, int head_dim, float* x);

// x = exp(x - max); their sum. [n]
double ExpInPlace(float* x, float max, int64_t n);
// log(sum(exp(x))) without overflow. [n]
double LogSumExp(const float* x, int64_t n);
float MaxOf(const float* x, int64_t n);
int64_t ArgMax(const float* x, int64_t n);  // the first of equals
// Where the first element above `limit` is; n: there is none.
int64_t FirstAbove(const float* x, int64_t n, float limit);

}  // namespace linnet::kernels
