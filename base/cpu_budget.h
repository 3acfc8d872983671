// How many CPUs this process may use: the cgroup's quota (v1 and v2), the scheduling affinity and, on hybrid CPUs, the
// performance cores; not what the host has.
#pragma once

#include <string>

namespace linnet::base {

struct CpuBudget {
  int affinity_cpus = 0;      // sched_getaffinity
  double quota_cpus = 0;      // cgroup quota / period over all levels; 0: none
  int performance_cores = 0;  // 0: not a hybrid CPU
  // max(1, min of those that apply; a quota is rounded down, but not below 1)
  int threads = 1;
};

// `root` stands for "/" (tests give a folder with proc and sys files in it).
CpuBudget DetectCpuBudget(const std::string& root = "/");

}  // namespace linnet::base
