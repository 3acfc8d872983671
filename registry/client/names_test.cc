#include "registry/client/names.h"

#include <gtest/gtest.h>

#include "absl/status/status_matchers.h"
#include "base/error.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOkAndHolds;

TEST(NamesTest, IdsFollowTheRuleAtItsEdges) {
  for (const char* good : {"a", "0", "smollm2-135m", "qwen2.5_1.5b", "a.-_"}) EXPECT_TRUE(IsValidId(good)) << good;
  EXPECT_TRUE(IsValidId(std::string(63, 'a')));
  EXPECT_FALSE(IsValidId(std::string(64, 'a')));
  for (const char* bad : {"", "-a", ".a", "_a", "A", "a b", "a/b", "a@b", "é", "a\n"})
    EXPECT_FALSE(IsValidId(bad)) << bad;
  EXPECT_FALSE(IsValidId(std::string_view("a\0b", 3)));
}

TEST(NamesTest, NamesParseToWhatTheyWereMadeOf) {
  EXPECT_THAT(ParseModelName(ModelName("m")), IsOkAndHolds("m"));
  EXPECT_THAT(ParseVariantName(VariantName("m", "q4_1")), IsOkAndHolds(VariantId{"m", "q4_1"}));
  EXPECT_THAT(ParseDeviceProfileName(DeviceProfileName("pi5")), IsOkAndHolds("pi5"));
  EXPECT_THAT(ParseDeploymentName(DeploymentName("shop")), IsOkAndHolds("shop"));
  EXPECT_THAT(ParseWorkerName(WorkerName("node-1")), IsOkAndHolds("node-1"));
}

TEST(NamesTest, OtherNamesAreRefused) {
  for (const char* bad :
       {"", "models/", "models", "model/x", "models/x/", "models/x/variants/y", "Models/x", "models/../x"}) {
    EXPECT_EQ(ParseModelName(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  for (const char* bad : {"models/x", "models/x/variants", "models/x/variants/", "models//variants/y",
                          "models/x/variants/y/z", "models/-/variants/y", "models/x/Variants/y"}) {
    EXPECT_EQ(ParseVariantName(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(NamesTest, ReferenceHasThreeForms) {
  EXPECT_THAT(ParseModelReference("smollm2-135m"), IsOkAndHolds(ModelReference{.model = "smollm2-135m"}));
  EXPECT_THAT(ParseModelReference("m@stable"), IsOkAndHolds(ModelReference{.model = "m", .alias = "stable"}));
  EXPECT_THAT(ParseModelReference("m/q4_1"), IsOkAndHolds(ModelReference{.model = "m", .variant = "q4_1"}));
  for (const char* same : {"m", "m@stable", "m/q4_1"}) {
    EXPECT_EQ(FormatModelReference(ParseModelReference(same).value()), same);
  }
}

TEST(NamesTest, MalformedReferenceNamesItselfAndTheForms) {
  for (const char* bad : {"", "@a", "/v", "m@", "m/", "m@a/v", "m/v@a", "m/v/w", "M", "models/m/variants/v", " m"}) {
    EXPECT_EQ(ParseModelReference(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  const absl::Status status = ParseModelReference("My Model").status();
  EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
  EXPECT_NE(status.message().find("My Model"), std::string::npos) << status;
  EXPECT_NE(status.message().find("{model}@{alias}"), std::string::npos) << status;
}

TEST(NamesTest, MessageIsBoundedAndPrintableWhateverCame) {
  const absl::Status status = ParseModelReference(std::string(1 << 20, '\x01')).status();
  EXPECT_LT(status.message().size(), 2000u);
  EXPECT_EQ(status.message().find('\x01'), std::string::npos);
}

}  // namespace
}  // namespace linnet::registry
