#include "kernels/isa.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace linnet::kernels {
namespace {

using ::testing::Contains;
using ::testing::ExitedWithCode;

// ActiveIsa is chosen once per process, so each choice gets a process of its own: forked, not executed anew, which
// emulators cannot.
void PrintChoice(const char* wanted) {
  setenv("LINNET_ISA", wanted, 1);
  const auto isa = ActiveIsa();
  fprintf(stderr, "%s", isa.ok() ? std::string(IsaName(*isa)).c_str() : std::string(isa.status().message()).c_str());
  std::exit(isa.ok() ? 0 : absl::IsInvalidArgument(isa.status()) ? 3 : 4);
}

TEST(ActiveIsaDeathTest, IsTheOneThatTheVariableNames) {
  for (const Isa isa : SupportedIsas()) {
    const std::string name(IsaName(isa));
    EXPECT_EXIT(PrintChoice(name.c_str()), ExitedWithCode(0), name);
  }
  EXPECT_EXIT(PrintChoice(""), ExitedWithCode(0), std::string(IsaName(SupportedIsas().back())));
}

TEST(ActiveIsaDeathTest, AnUnknownOrUnsupportedOneIsAnErrorThatSaysWhatThereIs) {
  EXPECT_EXIT(PrintChoice("sse9"), ExitedWithCode(3), "LINNET_ISA=sse9 .*scalar");
#if defined(__x86_64__)
  EXPECT_EXIT(PrintChoice("neon"), ExitedWithCode(3), "LINNET_ISA=neon .*scalar");
#else
  EXPECT_EXIT(PrintChoice("avx2"), ExitedWithCode(3), "LINNET_ISA=avx2 .*scalar");
#endif
}

TEST(SupportedIsas, BeginsWithScalarAndAgreesWithTheFeatures) {
  const auto& isas = SupportedIsas();
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  const auto features = DetectCpuFeatures();
  const auto has = [&](Isa isa) { return std::find(isas.begin(), isas.end(), isa) != isas.end(); };
  if (has(Isa::kAvx2)) {
    EXPECT_THAT(features, Contains("avx2"));
  }
  if (has(Isa::kAvx512)) {
    EXPECT_THAT(features, Contains("avx512f"));
  }
  if (has(Isa::kAvx512Vnni)) {
    EXPECT_THAT(features, Contains("avx512_vnni"));
  }
  if (has(Isa::kAvx2Vnni)) {
    EXPECT_THAT(features, Contains("avx_vnni"));
  }
  if (has(Isa::kAvx512Amx)) {
    EXPECT_THAT(features, Contains("amx_int8"));
  }
  if (has(Isa::kNeonDotprod)) {
    EXPECT_THAT(features, Contains("dotprod"));
  }
  if (has(Isa::kNeonI8mm)) {
    EXPECT_THAT(features, Contains("i8mm"));
  }
  if (has(Isa::kNeon)) {
    EXPECT_THAT(features, Contains("neon"));
  }
}

TEST(SetIsaForTesting, Forces) {
  for (const Isa isa : SupportedIsas()) {
    SetIsaForTesting(isa);
    EXPECT_EQ(*ActiveIsa(), isa);
  }
}

}  // namespace
}  // namespace linnet::kernels
