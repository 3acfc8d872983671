#include "base/clock.h"

#include <chrono>

namespace linnet::base {
namespace {

class RealClock : public Clock {
 public:
  absl::Time WallNow() const override { return absl::Now(); }
  int64_t MonotonicNs() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace

Clock* Clock::Real() {
  static RealClock* clock = new RealClock;
  return clock;
}

}  // namespace linnet::base
