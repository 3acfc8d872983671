// Time, injected: code that measures or waits takes a Clock, and tests give it a FakeClock.
#pragma once

#include <atomic>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace linnet::base {

// Thread-safe. Now() never goes backwards (monotonic); WallNow() is the calendar and may jump.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time WallNow() const = 0;
  // Nanoseconds since an arbitrary start.
  virtual int64_t MonotonicNs() const = 0;
  absl::Duration Since(int64_t start_ns) const { return absl::Nanoseconds(MonotonicNs() - start_ns); }

  // The real clock; lives for ever.
  static Clock* Real();
};

class FakeClock : public Clock {
 public:
  absl::Time WallNow() const override { return absl::FromUnixNanos(1'700'000'000'000'000'000 + ns_.load()); }
  int64_t MonotonicNs() const override { return ns_.load(); }
  void Advance(absl::Duration d) { ns_ += absl::ToInt64Nanoseconds(d); }

 private:
  std::atomic<int64_t> ns_{0};
};

}  // namespace linnet::base
