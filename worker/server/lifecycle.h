// Where a variant stands on its way into this worker and out of it.
//
//                 fetch            blobs here          model + engine up          removed, replaced, worker stops
//   (unspecified) ─────▶ FETCHING ───────────▶ LOADING ────────────────▶ READY ─────────────────▶ UNLOADING ─▶ (gone)
//                          ▲   │                  │                                                  ▲
//                    retry │   │ error            │ error                                            │
//                          │   ▼                  ▼                                                  │
//                         FAILED ◀────────────────┘                       FETCHING, LOADING, FAILED ─┘ no longer wanted
//
// A blob that proves corrupt while it is loaded takes its variant from LOADING back to FETCHING.
// UNLOADING is the end: the object goes with it, and a variant that comes back starts with a new one.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "linnet/worker/v1/worker.pb.h"

namespace linnet::worker {

// "FETCHING"
std::string_view StateName(v1::VariantState state);

// Not thread-safe: its owner's lock guards it.
class VariantLifecycle {
 public:
  v1::VariantState state() const { return state_; }
  // Why it is FAILED; OK in every other state.
  const absl::Status& error() const { return error_; }

  // FAILED_PRECONDITION, and nothing changes, where the drawing has no such arrow.
  absl::Status Transition(v1::VariantState to);
  // To FAILED. REQUIRES: !why.ok().
  absl::Status Fail(absl::Status why);

 private:
  v1::VariantState state_ = v1::VARIANT_STATE_UNSPECIFIED;
  absl::Status error_;
};

}  // namespace linnet::worker
