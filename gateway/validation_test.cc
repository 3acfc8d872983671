#include "gateway/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/testing.h"

namespace linnet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ValidationTest : public ::testing::Test {
 protected:
  ValidationTest() {
    request_.set_model("smol");
    request_.mutable_input()->set_text("Once");
  }
  // The fields that are named as bad.
  std::vector<std::string> Bad(uint64_t max_bytes = 1 << 20) const {
    const absl::Status status = ValidateGenerate(request_, max_bytes);
    if (status.ok()) return {};
    EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD");
    return base::InvalidFields(status);
  }
  v1::GenerateRequest request_;
};

TEST_F(ValidationTest, AMinimalRequestIsValid) { EXPECT_THAT(Bad(), IsEmpty()); }

TEST_F(ValidationTest, AllBadFieldsAreNamedAtOnce) {
  request_.Clear();
  request_.mutable_sampling()->set_temperature(-1);
  EXPECT_THAT(Bad(), ElementsAre("model", "input", "sampling.temperature"));
}

TEST_F(ValidationTest, TooManyBytesAreBad) {
  request_.mutable_input()->set_text(std::string(2000, 'x'));
  EXPECT_THAT(Bad(1000), ElementsAre("input"));
}

TEST_F(ValidationTest, AMalformedModelNameIsBad) {
  request_.set_model("../etc/passwd");
  EXPECT_THAT(Bad(), ElementsAre("model"));
}

TEST_F(ValidationTest, CountingChecksModelAndInputToo) {
  v1::CountTokensRequest request;
  EXPECT_EQ(base::ErrorReason(ValidateCountTokens(request, 1000)), "INVALID_FIELD");
  request.set_model("smol");
  request.mutable_input()->set_text("x");
  EXPECT_TRUE(ValidateCountTokens(request, 1000).ok());
}

}  // namespace
}  // namespace linnet::gateway
