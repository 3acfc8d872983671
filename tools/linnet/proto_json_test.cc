#include "tools/linnet/proto_json.h"

#include <gtest/gtest.h>

#include "linnet/registry/v1/resources.pb.h"
#include "linnet/v1/generation.pb.h"

namespace linnet::cli {
namespace {

TEST(ProtoJsonTest, NumbersStayNumbersAndTimesAreText) {
  registry::v1::Variant variant;
  variant.set_name("models/m/variants/v");
  variant.set_weight_bytes(9'007'199'254'740'993);  // beyond what a double holds
  (*variant.mutable_tensor_types())["Q4_1"] = 7;
  (*variant.mutable_tensor_types())["F32"] = 1;
  variant.add_blobs()->set_role("main");
  variant.mutable_create_time()->set_seconds(1'700'000'000);
  const auto json = ToJson(variant);
  EXPECT_EQ(json["weight_bytes"].get<uint64_t>(), 9'007'199'254'740'993);
  EXPECT_EQ(json["tensor_types"].dump(), R"({"F32":1,"Q4_1":7})");
  EXPECT_EQ(json["blobs"][0]["role"], "main");
  EXPECT_EQ(json["create_time"], "2023-11-14T22:13:20+00:00");
  EXPECT_EQ(json["etag"], "");                 // at its default, and there all the same
  EXPECT_FALSE(json.contains("update_time"));  // not set
}

TEST(ProtoJsonTest, EnumsAreNamesAndDurationsSeconds) {
  v1::Finish finish;
  finish.set_reason(v1::FINISH_REASON_LENGTH);
  finish.mutable_timings()->mutable_prefill()->set_nanos(250'000'000);
  const auto json = ToJson(finish);
  EXPECT_EQ(json["reason"], "FINISH_REASON_LENGTH");
  EXPECT_DOUBLE_EQ(json["timings"]["prefill"].get<double>(), 0.25);
}

TEST(ProtoJsonTest, OptionalFieldsAreThereOnlyWhenSet) {
  v1::Sampling sampling;
  sampling.set_temperature(0);
  const auto json = ToJson(sampling);
  EXPECT_EQ(json["temperature"], 0);
  EXPECT_FALSE(json.contains("top_k"));
}

}  // namespace
}  // namespace linnet::cli
