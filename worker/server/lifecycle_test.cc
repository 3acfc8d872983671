#include "worker/server/lifecycle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace linnet::worker {
namespace {

const std::vector<v1::VariantState> kAll = {v1::VARIANT_STATE_UNSPECIFIED, v1::VARIANT_STATE_FETCHING,
                                            v1::VARIANT_STATE_LOADING,     v1::VARIANT_STATE_READY,
                                            v1::VARIANT_STATE_UNLOADING,   v1::VARIANT_STATE_FAILED};

// A lifecycle that has come to `state` by the shortest way.
VariantLifecycle At(v1::VariantState state) {
  VariantLifecycle lifecycle;
  const auto go = [&](v1::VariantState to) { EXPECT_TRUE(lifecycle.Transition(to).ok()); };
  switch (state) {
    case v1::VARIANT_STATE_FETCHING:
    case v1::VARIANT_STATE_FAILED:
      go(v1::VARIANT_STATE_FETCHING);
      break;
    case v1::VARIANT_STATE_LOADING:
    case v1::VARIANT_STATE_READY:
    case v1::VARIANT_STATE_UNLOADING:
      go(v1::VARIANT_STATE_FETCHING);
      go(v1::VARIANT_STATE_LOADING);
      break;
    default:
      break;
  }
  if (state == v1::VARIANT_STATE_FAILED) {
    EXPECT_TRUE(lifecycle.Fail(absl::InternalError("why")).ok());
  }
  if (state == v1::VARIANT_STATE_READY || state == v1::VARIANT_STATE_UNLOADING) go(v1::VARIANT_STATE_READY);
  if (state == v1::VARIANT_STATE_UNLOADING) go(v1::VARIANT_STATE_UNLOADING);
  EXPECT_EQ(lifecycle.state(), state);
  return lifecycle;
}

TEST(VariantLifecycleTest, TakesTheArrowsOfTheDrawingAndNoOther) {
  const std::vector<std::pair<v1::VariantState, v1::VariantState>> arrows = {
      {v1::VARIANT_STATE_UNSPECIFIED, v1::VARIANT_STATE_FETCHING},
      {v1::VARIANT_STATE_FETCHING, v1::VARIANT_STATE_LOADING},
      {v1::VARIANT_STATE_LOADING, v1::VARIANT_STATE_READY},
      {v1::VARIANT_STATE_LOADING, v1::VARIANT_STATE_FETCHING},
      {v1::VARIANT_STATE_READY, v1::VARIANT_STATE_UNLOADING},
      {v1::VARIANT_STATE_FETCHING, v1::VARIANT_STATE_UNLOADING},
      {v1::VARIANT_STATE_LOADING, v1::VARIANT_STATE_UNLOADING},
      {v1::VARIANT_STATE_FAILED, v1::VARIANT_STATE_UNLOADING},
      {v1::VARIANT_STATE_FAILED, v1::VARIANT_STATE_FETCHING},
  };
  for (const v1::VariantState from : kAll) {
    for (const v1::VariantState to : kAll) {
      VariantLifecycle lifecycle = At(from);
      const bool drawn = std::find(arrows.begin(), arrows.end(), std::pair(from, to)) != arrows.end();
      EXPECT_EQ(lifecycle.Transition(to).ok(), drawn) << StateName(from) << " to " << StateName(to);
      EXPECT_EQ(lifecycle.state(), drawn ? to : from);
    }
  }
}

TEST(VariantLifecycleTest, FailsOnlyWhileFetchingOrLoading) {
  for (const v1::VariantState from : kAll) {
    VariantLifecycle lifecycle = At(from);
    const bool may = from == v1::VARIANT_STATE_FETCHING || from == v1::VARIANT_STATE_LOADING;
    EXPECT_EQ(lifecycle.Fail(absl::DataLossError("bad bytes")).ok(), may) << StateName(from);
    EXPECT_EQ(std::string(lifecycle.error().message()), may                                ? "bad bytes"
                                                        : from == v1::VARIANT_STATE_FAILED ? "why"
                                                                                           : "");
  }
}

TEST(VariantLifecycleTest, ErrorGoesWithTheNextAttempt) {
  VariantLifecycle lifecycle = At(v1::VARIANT_STATE_FAILED);
  EXPECT_EQ(std::string(lifecycle.error().message()), "why");
  ASSERT_TRUE(lifecycle.Transition(v1::VARIANT_STATE_FETCHING).ok());
  EXPECT_TRUE(lifecycle.error().ok());
}

}  // namespace
}  // namespace linnet::worker
