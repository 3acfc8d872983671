#include "worker/server/lifecycle.h"

#include <utility>

#include "absl/log/check.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

bool Allowed(v1::VariantState from, v1::VariantState to) {
  switch (to) {
    case v1::VARIANT_STATE_FETCHING:
      return from == v1::VARIANT_STATE_UNSPECIFIED || from == v1::VARIANT_STATE_FAILED ||
             from == v1::VARIANT_STATE_LOADING;
    case v1::VARIANT_STATE_LOADING:
      return from == v1::VARIANT_STATE_FETCHING;
    case v1::VARIANT_STATE_READY:
      return from == v1::VARIANT_STATE_LOADING;
    case v1::VARIANT_STATE_FAILED:
      return from == v1::VARIANT_STATE_FETCHING || from == v1::VARIANT_STATE_LOADING;
    case v1::VARIANT_STATE_UNLOADING:
      return from != v1::VARIANT_STATE_UNSPECIFIED && from != v1::VARIANT_STATE_UNLOADING;
    default:
      return false;
  }
}

}  // namespace

std::string_view StateName(v1::VariantState state) {
  std::string_view name = v1::VariantState_Name(state);
  constexpr std::string_view kPrefix = "VARIANT_STATE_";
  if (name.substr(0, kPrefix.size()) == kPrefix) name.remove_prefix(kPrefix.size());
  return name;
}

absl::Status VariantLifecycle::Transition(v1::VariantState to) {
  if (to == v1::VARIANT_STATE_FAILED) return absl::FailedPreconditionError("FAILED needs an error: call Fail");
  if (!Allowed(state_, to)) {
    return absl::FailedPreconditionError(
        base::StrCat("a variant does not go from ", StateName(state_), " to ", StateName(to)));
  }
  state_ = to;
  error_ = absl::OkStatus();
  return absl::OkStatus();
}

absl::Status VariantLifecycle::Fail(absl::Status why) {
  CHECK(!why.ok());
  if (!Allowed(state_, v1::VARIANT_STATE_FAILED)) {
    return absl::FailedPreconditionError(base::StrCat("a variant does not go from ", StateName(state_), " to FAILED"));
  }
  state_ = v1::VARIANT_STATE_FAILED;
  error_ = std::move(why);
  return absl::OkStatus();
}

}  // namespace linnet::worker
