#include "base/backoff.h"

#include <algorithm>

namespace linnet::base {
namespace {

// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): any seed will do.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace

Backoff::Backoff(Options options, uint64_t seed) : options_(options), random_state_(seed) { Reset(); }

absl::Duration Backoff::Next() {
  ++attempts_;
  const double uniform = static_cast<double>(NextRandom(random_state_) >> 11) * 0x1p-53;  // [0, 1)
  const absl::Duration delay = nominal_ * (1.0 - std::clamp(options_.jitter, 0.0, 1.0) * uniform);
  nominal_ = std::min(options_.max, nominal_ * std::max(1.0, options_.multiplier));
  return delay;
}

void Backoff::Reset() {
  attempts_ = 0;
  nominal_ = std::clamp(options_.initial, absl::ZeroDuration(), std::max(options_.max, absl::ZeroDuration()));
}

}  // namespace linnet::base
