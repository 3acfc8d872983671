#include "base/memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/testing.h"

namespace linnet::base {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class MemoryBudgetTest : public testing::Test {
 protected:
  MemoryBudgetTest() {
    tree_.Write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\n");
  }
  MemoryBudget Detect() const { return DetectMemoryBudget(tree_.root()); }

  FileTree tree_;
};

TEST_F(MemoryBudgetTest, MachineAlone) {
  EXPECT_EQ(Detect().total_bytes, 8192 * kMiB);
  EXPECT_EQ(Detect().available_bytes, 4096 * kMiB);
}

TEST_F(MemoryBudgetTest, V2LimitLessUsageWhereDroppableCacheIsFree) {
  tree_.Write("proc/self/cgroup", "0::/pod/c\n");
  tree_.Write("sys/fs/cgroup/pod/c/memory.max", "1073741824\n");
  tree_.Write("sys/fs/cgroup/pod/c/memory.current", "536870912\n");
  tree_.Write("sys/fs/cgroup/pod/c/memory.stat", "anon 1\nfile 400000000\ninactive_file 268435456\nactive_file 5\n");
  EXPECT_EQ(Detect().total_bytes, 1024 * kMiB);
  EXPECT_EQ(Detect().available_bytes, 768 * kMiB);
}

TEST_F(MemoryBudgetTest, TheTightestLevelDecides) {
  tree_.Write("proc/self/cgroup", "0::/pod/c\n");
  tree_.Write("sys/fs/cgroup/pod/c/memory.max", "max\n");
  tree_.Write("sys/fs/cgroup/pod/c/memory.current", "1048576\n");
  tree_.Write("sys/fs/cgroup/pod/memory.max", "104857600\n");
  tree_.Write("sys/fs/cgroup/pod/memory.current", "52428800\n");
  EXPECT_EQ(Detect().total_bytes, 100 * kMiB);
  EXPECT_EQ(Detect().available_bytes, 50 * kMiB);
}

TEST_F(MemoryBudgetTest, UsageAboveTheLimitLeavesNothing) {
  tree_.Write("proc/self/cgroup", "0::/\n");
  tree_.Write("sys/fs/cgroup/memory.max", "1048576\n");
  tree_.Write("sys/fs/cgroup/memory.current", "2097152\n");
  EXPECT_EQ(Detect().available_bytes, 0u);
}

TEST_F(MemoryBudgetTest, TheMachineMayHaveLessThanTheCgroupAllows) {
  tree_.Write("proc/self/cgroup", "0::/\n");
  tree_.Write("sys/fs/cgroup/memory.max", "17179869184\n");
  tree_.Write("sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(Detect().total_bytes, 8192 * kMiB);
  EXPECT_EQ(Detect().available_bytes, 4096 * kMiB);
}

TEST_F(MemoryBudgetTest, V1InHybridMode) {
  tree_.Write("proc/self/cgroup", "4:memory:/pod/c\n1:cpu:/\n0::/\n");
  tree_.Write("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  tree_.Write("sys/fs/cgroup/memory/pod/c/memory.limit_in_bytes", "2147483648\n");
  tree_.Write("sys/fs/cgroup/memory/pod/c/memory.usage_in_bytes", "1073741824\n");
  tree_.Write("sys/fs/cgroup/memory/pod/c/memory.stat", "cache 1\ninactive_file 5\ntotal_inactive_file 536870912\n");
  tree_.Write("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
  tree_.Write("sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "1073741824\n");
  EXPECT_EQ(Detect().total_bytes, 2048 * kMiB);
  EXPECT_EQ(Detect().available_bytes, 1536 * kMiB);
}

TEST_F(MemoryBudgetTest, ThisMachineHasSome) {
  const MemoryBudget budget = DetectMemoryBudget();
  EXPECT_GT(budget.total_bytes, 64 * kMiB);
  EXPECT_GT(budget.available_bytes, 0u);
  EXPECT_LE(budget.available_bytes, budget.total_bytes);
}

TEST(ProcessMemory, GrowsWithWhatIsTouched) {
  const ProcessMemory before = ReadProcessMemory();
  EXPECT_GT(before.resident_bytes, 0u);
  EXPECT_GE(before.peak_resident_bytes, before.resident_bytes);
  const std::vector<char> block(64 * kMiB, 'x');
  const ProcessMemory after = ReadProcessMemory();
  EXPECT_EQ(block[block.size() / 2], 'x');
  EXPECT_GE(after.anonymous_bytes, before.anonymous_bytes + 48 * kMiB);
  EXPECT_GE(after.peak_resident_bytes, after.resident_bytes);
}

}  // namespace
}  // namespace linnet::base
