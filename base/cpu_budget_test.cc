#include "base/cpu_budget.h"

#include <gtest/gtest.h>

#include "base/cgroup.h"
#include "base/testing.h"

namespace linnet::base {
namespace {

using ::testing::Test;

class CpuBudgetTest : public Test {
 protected:
  void Allow(std::string_view cpus) {
    tree_.Write("proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t" + std::string(cpus) + "\n");
  }
  CpuBudget Detect() const { return DetectCpuBudget(tree_.root()); }

  FileTree tree_;
};

TEST_F(CpuBudgetTest, AffinityAloneDecidesWithoutCgroup) {
  Allow("0-3,8");
  const CpuBudget budget = Detect();
  EXPECT_EQ(budget.affinity_cpus, 5);
  EXPECT_EQ(budget.quota_cpus, 0);
  EXPECT_EQ(budget.threads, 5);
}

TEST_F(CpuBudgetTest, NothingKnownIsOneThread) { EXPECT_EQ(Detect().threads, 1); }

TEST_F(CpuBudgetTest, V2QuotaOfAnyLevelLimits) {
  Allow("0-7");
  tree_.Write("proc/self/cgroup", "0::/kubepods/pod1/c1\n");
  tree_.Write("proc/self/mountinfo", "30 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
  tree_.Write("sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "max 100000\n");
  tree_.Write("sys/fs/cgroup/kubepods/pod1/cpu.max", "250000 100000\n");
  tree_.Write("sys/fs/cgroup/kubepods/cpu.max", "600000 100000\n");
  const CpuBudget budget = Detect();
  EXPECT_DOUBLE_EQ(budget.quota_cpus, 2.5);
  EXPECT_EQ(budget.threads, 2);
}

TEST_F(CpuBudgetTest, QuotaBelowOneIsOneThread) {
  Allow("0-7");
  tree_.Write("proc/self/cgroup", "0::/\n");
  tree_.Write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(Detect().quota_cpus, 0.5);
  EXPECT_EQ(Detect().threads, 1);
}

TEST_F(CpuBudgetTest, QuotaAboveTheAffinityChangesNothing) {
  Allow("0-1");
  tree_.Write("proc/self/cgroup", "0::/\n");
  tree_.Write("sys/fs/cgroup/cpu.max", "800000 100000\n");
  EXPECT_EQ(Detect().threads, 2);
}

// As in a container: the path is of the host's tree, of which only the container's own part is mounted.
TEST_F(CpuBudgetTest, V2PathOutsideThePrivateNamespaceUsesTheMountsRoot) {
  Allow("0-7");
  tree_.Write("proc/self/cgroup", "0::/../../system.slice/docker-abc.scope\n");
  tree_.Write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(Detect().threads, 3);
}

TEST_F(CpuBudgetTest, MountOfASubtreeIsRelativeToIt) {
  Allow("0-7");
  tree_.Write("proc/self/cgroup", "0::/docker/abc/inner\n");
  tree_.Write("proc/self/mountinfo", "30 23 0:28 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  tree_.Write("sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
  EXPECT_EQ(Detect().threads, 2);
}

TEST_F(CpuBudgetTest, V1QuotaInHybridMode) {
  Allow("0-7");
  tree_.Write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/a\n1:cpu,cpuacct:/pod/c1\n0::/\n");
  tree_.Write("proc/self/mountinfo",
              "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
              "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
  tree_.Write("sys/fs/cgroup/unified/cpu.max", "100000 100000\n");
  tree_.Write("sys/fs/cgroup/cpu,cpuacct/pod/c1/cpu.cfs_quota_us", "-1\n");
  tree_.Write("sys/fs/cgroup/cpu,cpuacct/pod/c1/cpu.cfs_period_us", "100000\n");
  tree_.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "400000\n");
  tree_.Write("sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(Detect().quota_cpus, 4);
  EXPECT_EQ(Detect().threads, 4);
}

TEST_F(CpuBudgetTest, V1WithoutQuotaIsUnlimited) {
  Allow("0-3");
  tree_.Write("proc/self/cgroup", "1:cpu:/\n0::/\n");
  tree_.Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  tree_.Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Detect().quota_cpus, 0);
  EXPECT_EQ(Detect().threads, 4);
}

TEST_F(CpuBudgetTest, MalformedFilesAreIgnored) {
  Allow("0-3");
  tree_.Write("proc/self/cgroup", "nonsense\n::\n0::/a/b\n");
  tree_.Write("proc/self/mountinfo", "- - -\n\n1 2 - cgroup2\n");
  tree_.Write("sys/fs/cgroup/cpu.max", "many few\n");
  EXPECT_EQ(Detect().threads, 4);
}

TEST_F(CpuBudgetTest, HybridCpuCountsPerformanceCoresOfTheAffinity) {
  Allow("0-15");
  tree_.Write("sys/devices/cpu_core/cpus", "0-7\n");
  tree_.Write("sys/devices/cpu_atom/cpus", "8-15\n");
  EXPECT_EQ(Detect().performance_cores, 8);
  EXPECT_EQ(Detect().threads, 8);
  Allow("6-9");
  EXPECT_EQ(Detect().performance_cores, 2);
  Allow("8-11");  // pinned to efficiency cores: all alike
  EXPECT_EQ(Detect().performance_cores, 0);
  EXPECT_EQ(Detect().threads, 4);
}

TEST_F(CpuBudgetTest, ArmCapacitiesTellTheLittleCores) {
  Allow("0-3");
  for (const auto& [cpu, capacity] : {std::pair{"0", "250"}, {"1", "250"}, {"2", "800"}, {"3", "1024"}}) {
    tree_.Write(std::string("sys/devices/system/cpu/cpu") + cpu + "/cpu_capacity", capacity);
  }
  EXPECT_EQ(Detect().performance_cores, 2);
  EXPECT_EQ(Detect().threads, 2);
}

TEST_F(CpuBudgetTest, ThisMachineHasSome) {
  const CpuBudget budget = DetectCpuBudget();
  EXPECT_GE(budget.affinity_cpus, 1);
  EXPECT_GE(budget.threads, 1);
  EXPECT_LE(budget.threads, budget.affinity_cpus);
}

TEST(ParseCpuList, RangesSinglesAndNonsense) {
  EXPECT_EQ(ParseCpuList("0-3,8,10-11\n"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(ParseCpuList(""), std::vector<int>{});
  EXPECT_EQ(ParseCpuList("x,2,-,3-1,0-99999999999"), std::vector<int>{2});
}

}  // namespace
}  // namespace linnet::base
