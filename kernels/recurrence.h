// The recurrent layer of Griffin (De et al., arXiv 2402.19427, section 2.4): a short convolution along the sequence,
// and RG-LRU, a gated linear recurrence. Both go channel by channel; callers split channels over threads. What a token
// leaves is the same whether it comes with others or by itself.
#pragma once

#include <cstdint>

namespace linnet::kernels {

// Some tokens of one sequence, all arrays [tokens, width].
struct ConvolutionSpan {
  const float* x = nullptr;
  float* y = nullptr;  // not x
  int64_t tokens = 0;
  float* history = nullptr;  // [taps - 1, width]: the inputs before x, oldest first; afterwards those before what comes
};
struct ConvolutionWeights {
  int taps = 0;
  int64_t width = 0;
  const float* weights = nullptr;  // [taps, width], that of the oldest token first
  const float* bias = nullptr;     // [width]
};
// y[t] = bias + sum over k of weights[k] · x[t - taps + 1 + k], for channels [begin, end).
void ShortConvolution(const ConvolutionWeights& conv, const ConvolutionSpan& span, int64_t begin, int64_t end);

struct RgLruSpan {
  const float* x = nullptr;
  const float* input_gate = nullptr;  // before their sigmoids
  const float* recurrence_gate = nullptr;
  const float* multiplier = nullptr;  // what the output is multiplied by
  float* out = nullptr;               // may be x
  int64_t tokens = 0;
  bool begins = false;     // its first token is the sequence's first: there is no state yet
  float* state = nullptr;  // [width]
};
// a = exp(decay · sigmoid(recurrence_gate)); state = a · state + sqrt(1 - a²) · sigmoid(input_gate) · x, without the
// root for the first token; out = state · multiplier. decay: [width], -8 · softplus of the learned parameter.
void RgLru(const float* decay, int64_t width, const RgLruSpan& span, int64_t begin, int64_t end,
           bool reference = false);

}  // namespace linnet::kernels
