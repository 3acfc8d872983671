#include "gateway/worker_table.h"

#include <gtest/gtest.h>

#include "gateway/gateway_fixture.h"

namespace linnet::gateway {
namespace {

class WorkerTableTest : public GatewayFixture {
 protected:
  static bool Reachable(const FleetSnapshot& fleet, const std::string& address) {
    for (const auto& worker : fleet.workers) {
      if (worker->address == address) return worker->reachable;
    }
    return false;
  }
  void SetRegistryWorkers(const std::vector<std::string>& addresses) {
    auto snapshot = std::make_shared<registry::RegistrySnapshot>();
    for (const std::string& address : addresses) snapshot->workers["workers/" + address].set_address(address);
    workers_->SetRegistry(snapshot);
  }
};

TEST_F(WorkerTableTest, AWorkersStatusArrivesAndFollowsItsChanges) {
  FakeWorker& a = AddWorker("a");
  StartGateway();
  a.ChangeStatus([](auto& status) { status.mutable_variants(0)->set_queued_requests(5); });
  EXPECT_TRUE(WaitForFleet([](const FleetSnapshot& fleet) {
    return fleet.workers.size() == 1 && fleet.workers[0]->status.variants_size() == 1 &&
           fleet.workers[0]->status.variants(0).queued_requests() == 5;
  }));
}

TEST_F(WorkerTableTest, AKilledWorkerIsNoticedAndFoundAgain) {
  FakeWorker& a = AddWorker("a");
  StartGateway();
  a.Kill();
  EXPECT_TRUE(WaitForReachable(0));
  EXPECT_EQ(gateway_->Ready().code(), absl::StatusCode::kUnavailable);
  a.Restart();
  EXPECT_TRUE(WaitForReachable(1));
  EXPECT_TRUE(gateway_->Ready().ok());
}

TEST_F(WorkerTableTest, ASilentWorkerIsNotReady) {
  FakeWorker& a = AddWorker("a");
  StartGateway();
  a.FallSilent();
  EXPECT_TRUE(WaitForReachable(0));
}

TEST_F(WorkerTableTest, WorkersOfTheRegistryComeAsTheyAreListed) {
  FakeWorker& a = AddWorker("a");
  StartGateway();
  FakeWorker b("b", {"qwen/q4_0"});
  SetRegistryWorkers({b.address()});
  EXPECT_TRUE(WaitForReachable(2));
  EXPECT_TRUE(gateway_->RouteFor("qwen").ok());
  // A registry that has just restarted lists nobody; who answers stays.
  SetRegistryWorkers({});
  a.ChangeStatus([](auto& status) { status.set_version("later"); });
  EXPECT_TRUE(WaitForFleet(
      [&](const FleetSnapshot& fleet) { return fleet.registry->workers.empty() && Reachable(fleet, b.address()); }));
  StopGateway();
}

TEST_F(WorkerTableTest, AliasesComeFromTheRegistry) {
  AddWorker("a");
  StartGateway();
  auto snapshot = std::make_shared<registry::RegistrySnapshot>();
  (*snapshot->models["models/smol"].mutable_aliases())["stable"] = "q4_1";
  workers_->SetRegistry(snapshot);
  EXPECT_TRUE(WaitForFleet([](const FleetSnapshot& fleet) { return !fleet.registry->models.empty(); }));
  EXPECT_TRUE(gateway_->RouteFor("smol@stable").ok());
}

// With a clock of its own, and no thread.
class WorkerLinkTest : public ::testing::Test {};

TEST_F(WorkerLinkTest, AnAddressThatNobodyListensAtIsTriedAgainAfterABackoff) {
  struct Changes {
    base::Mutex mu;
    base::CondVar more;
    int count ABSL_GUARDED_BY(mu) = 0;
    void WaitFor(int n) {
      base::MutexLock lock(&mu);
      while (count < n) more.Wait(&mu);
    }
  };
  const auto changes = std::make_shared<Changes>();
  base::FakeClock clock;
  int stubs = 0;
  WorkerLink link({.address = "127.0.0.1:1",
                   .clock = &clock,
                   .make_stub =
                       [&](const std::string& address) {
                         ++stubs;
                         return MakeWorkerStub(address);
                       },
                   .on_change =
                       [changes] {
                         base::MutexLock lock(&changes->mu);
                         ++changes->count;
                         changes->more.NotifyAll();
                       }});
  link.Tick();
  changes->WaitFor(1);
  EXPECT_FALSE(link.View()->reachable);
  link.Tick();  // takes note of the failure
  clock.Advance(absl::Seconds(11));
  EXPECT_EQ(link.Unheard(), absl::Seconds(11));
  link.Tick();  // tries again
  changes->WaitFor(3);
  EXPECT_EQ(stubs, 1) << "a channel that failed goes on to be used: it reconnects by itself";
}

}  // namespace
}  // namespace linnet::gateway
