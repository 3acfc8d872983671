#include "registry/server/lease_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status_matchers.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;

v1::RenewLeaseRequest Renewal(const std::string& id, int seconds) {
  v1::RenewLeaseRequest request;
  request.mutable_worker()->set_name("workers/" + id);
  request.mutable_worker()->set_address("127.0.0.1:8083");
  request.mutable_worker()->set_state("READY");
  request.mutable_duration()->set_seconds(seconds);
  return request;
}

TEST(LeaseTableTest, LeaseEndsUnlessRenewed) {
  base::FakeClock clock;
  LeaseTable table(&clock);
  const auto response = table.Renew(Renewal("a", 15));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->renew_after().seconds(), 5);
  clock.Advance(absl::Seconds(14));
  EXPECT_EQ(table.List().workers_size(), 1);
  ASSERT_THAT(table.Renew(Renewal("a", 15)), IsOk());
  clock.Advance(absl::Seconds(14));
  EXPECT_EQ(table.List().workers_size(), 1);
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(table.List().workers_size(), 0);
  EXPECT_EQ(table.size(), 0u);
}

TEST(LeaseTableTest, ReleaseRemovesAtOnce) {
  base::FakeClock clock;
  LeaseTable table(&clock);
  ASSERT_THAT(table.Renew(Renewal("a", 15)), IsOk());
  v1::RenewLeaseRequest release;
  release.mutable_worker()->set_name("workers/a");
  release.set_release(true);
  ASSERT_THAT(table.Renew(release), IsOk());
  EXPECT_EQ(table.List().workers_size(), 0);
}

TEST(LeaseTableTest, ListIsSettlingUntilEveryWorkerCouldHaveRenewed) {
  base::FakeClock clock;
  LeaseTable table(&clock);
  EXPECT_TRUE(table.List().settling());
  clock.Advance(absl::Seconds(60));
  EXPECT_FALSE(table.List().settling());
}

TEST(LeaseTableTest, BadWorkerIsRefusedWithEveryField) {
  base::FakeClock clock;
  LeaseTable table(&clock);
  v1::RenewLeaseRequest request = Renewal("A B", 61);
  request.mutable_worker()->set_address("nowhere");
  request.mutable_worker()->set_state("SLEEPY");
  request.mutable_worker()->add_ready_variants("x");
  const absl::Status status = table.Renew(request).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  for (const char* field : {"worker.name", "worker.address", "worker.state", "worker.ready_variants", "duration"}) {
    EXPECT_THAT(status.message(), HasSubstr(field));
  }
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace linnet::registry
