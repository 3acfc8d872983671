// How wide the steps of 8-bit activations are.
#pragma once

namespace linnet::kernels {

// Below this inputs count as zero: 127 / max|x| would overflow.
inline constexpr float kSmallestActivation = 1e-35f;
inline constexpr float kLargestQ = 127.0f;

// Of inputs whose largest magnitude is amax: the step, infinite where amax is, and its inverse.
inline float ActivationScale(float amax) { return amax < kSmallestActivation ? 0.0f : amax / kLargestQ; }
inline float InverseActivationScale(float amax) { return amax < kSmallestActivation ? 0.0f : kLargestQ / amax; }

}  // namespace linnet::kernels
