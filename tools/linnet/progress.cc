#include "tools/linnet/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

constexpr int64_t kShowAfterNs = 1'000'000'000;
constexpr int64_t kRedrawNs = 100'000'000;
constexpr int kBarWidth = 30;

std::string Amount(Progress::Unit unit, uint64_t count) {
  return unit == Progress::Unit::kBytes ? DecimalBytes(count) : absl::StrFormat("%d tokens", count);
}

}  // namespace

Progress::Progress(std::string what, bool quiet, Unit unit)
    : what_(std::move(what)),
      enabled_(!quiet && isatty(STDERR_FILENO) == 1),
      unit_(unit),
      start_ns_(base::Clock::Real()->MonotonicNs()) {}

void Progress::Update(uint64_t done, uint64_t total) {
  if (!enabled_ || total == 0) return;
  if (!started_) {
    started_ = true;
    first_done_ = done;  // an upload that resumes did not send these now
  }
  const int64_t now_ns = base::Clock::Real()->MonotonicNs();
  if (now_ns - start_ns_ < kShowAfterNs || now_ns - last_ns_ < kRedrawNs) return;
  last_ns_ = now_ns;
  drawn_ = true;
  const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int filled = static_cast<int>(part * kBarWidth);
  const double seconds = static_cast<double>(now_ns - start_ns_) * 1e-9;
  const uint64_t moved = done > first_done_ ? done - first_done_ : 0;
  absl::FPrintF(stderr, "\r\033[K%s [%s%s] %3.0f%%  %s of %s, %s/s", what_, std::string(filled, '#'),
                std::string(kBarWidth - filled, '.'), part * 100, Amount(unit_, done), Amount(unit_, total),
                Amount(unit_, static_cast<uint64_t>(static_cast<double>(moved) / seconds)));
  std::fflush(stderr);
}

void Progress::Finish() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace linnet::cli
