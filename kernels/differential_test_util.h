// What tests draw that compare instruction sets over shapes, types and values that no list of cases thought of.
//
// LINNET_DIFFERENTIAL_DRAWS says how many draws there are, LINNET_DIFFERENTIAL_SEED where they begin: a draw's number
// is its seed, so that a failed one runs again by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/kernel_test_data.h"

namespace linnet::kernels::testing {

class Draw {
 public:
  explicit Draw(int64_t seed) : random_(static_cast<uint32_t>(seed)) {}
  // [0, count)
  int64_t Below(int64_t count) { return std::uniform_int_distribution<int64_t>(0, count - 1)(random_); }
  bool OneIn(int64_t count) { return Below(count) == 0; }
  // [1, most], small ones as often as large ones.
  int64_t Size(int64_t most) {
    const double log = std::uniform_real_distribution<double>(0, std::log2(most + 1.0))(random_);
    return std::clamp(static_cast<int64_t>(std::exp2(log)), int64_t{1}, most);
  }
  std::vector<float> Floats(int64_t count) { return RandomFloats(count, random_); }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_;
};

inline int64_t DrawsFromEnvironment(const char* name, int64_t otherwise) {
  const char* const value = std::getenv(name);
  int64_t number = otherwise;
  if (value != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(value, &number) && number >= 0) << name << "=" << value << " is no number";
  }
  return number;
}

// Calls compare(draw) for each, up to the first that fails.
inline void ForEachDraw(absl::FunctionRef<void(const Draw& draw)> compare) {
  const int64_t first = DrawsFromEnvironment("LINNET_DIFFERENTIAL_SEED", 0);
  const int64_t draws = DrawsFromEnvironment("LINNET_DIFFERENTIAL_DRAWS", 200);  // 2 s
  ASSERT_GT(draws, 0);
  for (int64_t seed = first; seed < first + draws && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("LINNET_DIFFERENTIAL_SEED=", seed));
    compare(Draw(seed));
  }
}

}  // namespace linnet::kernels::testing
