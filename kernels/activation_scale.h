// How wide the steps of 8-bit activations are.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace linnet::kernels {

// Below this inputs count as zero: 127 / max|x| would overflow.
inline constexpr float kSmallestActivation = 1e-35f;
inline constexpr float kLargestQ = 127.0f;

// The scale of inputs some of which are infinite or NaN, beside a q of zeros: products with them are NaN, wherever they
// are made.
inline constexpr float kNoScale = std::numeric_limits<float>::quiet_NaN();

// Without their sign, the bits of infinities and NaNs are larger integers than those of all numbers: the largest
// magnitude is found so, since what a floating-point maximum makes of a NaN differs between instruction sets.
inline int32_t MagnitudeBits(float x) { return std::bit_cast<int32_t>(x) & 0x7FFFFFFF; }
inline bool IsNumber(float amax) { return amax <= std::numeric_limits<float>::max(); }

// Of inputs whose largest magnitude is amax, a number: the step, and its inverse.
inline float ActivationScale(float amax) { return amax < kSmallestActivation ? 0.0f : amax / kLargestQ; }
inline float InverseActivationScale(float amax) { return amax < kSmallestActivation ? 0.0f : kLargestQ / amax; }

}  // namespace linnet::kernels
