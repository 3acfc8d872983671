// Exponential backoff with jitter, as a pure function of its seed: whoever uses it keeps the time.
//
//   Backoff backoff({.initial = absl::Milliseconds(100), .max = absl::Seconds(10)}, seed);
//   while (!Connect().ok()) wait_for(backoff.Next());
//   backoff.Reset();
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace linnet::base {

// Not thread-safe.
class Backoff {
 public:
  struct Options {
    absl::Duration initial = absl::Milliseconds(100);
    absl::Duration max = absl::Seconds(10);  // no delay is longer
    double multiplier = 2.0;                 // >= 1
    double jitter = 0.5;                     // a delay is drawn from [1 - jitter, 1] of the nominal one
  };
  // Clients that must not come back in step take different seeds.
  Backoff(Options options, uint64_t seed);

  absl::Duration Next();
  void Reset();
  // How many times Next() was called since Reset().
  int attempts() const { return attempts_; }

 private:
  const Options options_;
  uint64_t random_state_;
  absl::Duration nominal_;
  int attempts_ = 0;
};

}  // namespace linnet::base
