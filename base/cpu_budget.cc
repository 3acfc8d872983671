#include "base/cpu_budget.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/cgroup.h"
#include "base/strings.h"

namespace linnet::base {
namespace {

std::vector<int> AllowedCpus(const std::string& root) {
  std::vector<int> cpus;
  if (root == "/") {
    // Machines of more than CPU_SETSIZE processors need a larger set.
    constexpr int kMaxCpus = 8192;
    cpu_set_t* const set = CPU_ALLOC(kMaxCpus);
    const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0) {
      for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
        if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
      }
    }
    CPU_FREE(set);
    return cpus;
  }
  const std::string status = ReadSmallFile(base::StrCat(root, "/proc/self/status")).value_or("");
  for (const std::string_view line : base::StrSplit(status, '\n')) {
    constexpr std::string_view kKey = "Cpus_allowed_list:";
    if (line.starts_with(kKey)) cpus = ParseCpuList(line.substr(kKey.size()));
  }
  return cpus;
}

// In CPUs; 0: none.
double QuotaAt(int version, const std::string& folder) {
  if (version == 1) {
    const int64_t quota_us = ReadNumberFile(base::StrCat(folder, "/cpu.cfs_quota_us")).value_or(-1);
    const int64_t period_us = ReadNumberFile(base::StrCat(folder, "/cpu.cfs_period_us")).value_or(0);
    return quota_us > 0 && period_us > 0 ? static_cast<double>(quota_us) / static_cast<double>(period_us) : 0;
  }
  const std::string text =
      ReadSmallFile(base::StrCat(folder, "/cpu.max")).value_or("");  // "200000 100000" or "max ..."
  const std::vector<std::string_view> parts = base::StrSplit(ToStd(absl::StripAsciiWhitespace(text)), ' ');
  int64_t quota_us = 0, period_us = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(ToAbsl(parts[0]), &quota_us) ||
      !absl::SimpleAtoi(ToAbsl(parts[1]), &period_us))
    return 0;
  return quota_us > 0 && period_us > 0 ? static_cast<double>(quota_us) / static_cast<double>(period_us) : 0;
}

double Quota(const std::string& root) {
  const CgroupLevels levels = FindCgroup(root, "cpu");
  double least = 0;
  for (const std::string& folder : levels.folders) {
    const double quota = QuotaAt(levels.version, folder);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
  }
  return least;
}

// Of `allowed`, those that are performance cores; 0 where all are alike.
int PerformanceCores(const std::string& root, const std::vector<int>& allowed) {
  const std::string devices = base::StrCat(root, "/sys/devices");
  // x86: a PMU of its own for each kind of core.
  const auto big = ReadSmallFile(base::StrCat(devices, "/cpu_core/cpus"));
  const auto little = ReadSmallFile(base::StrCat(devices, "/cpu_atom/cpus"));
  std::set<int> performance;
  if (big.has_value() && little.has_value()) {
    const std::vector<int> cpus = ParseCpuList(*big);
    performance.insert(cpus.begin(), cpus.end());
  } else {
    // Arm: capacity relative to the fastest core's 1024. Middle cores of three-tier chips are worth having.
    std::map<int, int64_t> capacity;
    int64_t most = 0;
    for (const int cpu : allowed) {
      const auto value = ReadNumberFile(base::StrCat(devices, "/system/cpu/cpu", cpu, "/cpu_capacity"));
      if (!value.has_value()) return 0;
      capacity[cpu] = *value;
      most = std::max(most, *value);
    }
    for (const auto& [cpu, value] : capacity) {
      if (value * 2 >= most) performance.insert(cpu);
    }
  }
  const auto count = std::ranges::count_if(allowed, [&](int cpu) { return performance.contains(cpu); });
  return static_cast<size_t>(count) == allowed.size() ? 0 : static_cast<int>(count);
}

}  // namespace

CpuBudget DetectCpuBudget(const std::string& root) {
  const std::vector<int> allowed = AllowedCpus(root);
  CpuBudget budget;
  budget.affinity_cpus = static_cast<int>(allowed.size());
  budget.quota_cpus = Quota(root);
  budget.performance_cores = PerformanceCores(root, allowed);
  budget.threads = std::max(1, budget.affinity_cpus);
  if (budget.performance_cores > 0) budget.threads = std::min(budget.threads, budget.performance_cores);
  // A little under a whole number is meant as that number ("1.99").
  if (budget.quota_cpus > 0 && budget.quota_cpus < budget.threads) {
    budget.threads = std::max(1, static_cast<int>(budget.quota_cpus + 0.02));
  }
  return budget;
}

}  // namespace linnet::base
