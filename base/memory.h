// How much memory this process may still take: the smaller of the machine's MemAvailable and what the cgroup (v1, v2)
// leaves, where page cache that can be dropped counts as free.
#pragma once

#include <cstdint>
#include <string>

namespace linnet::base {

struct MemoryBudget {
  uint64_t total_bytes = 0;      // physical, or the cgroup's limit
  uint64_t available_bytes = 0;  // now
};
MemoryBudget DetectMemoryBudget(const std::string& root = "/");

// Of this process: resident now, and the most so far (VmHWM), and of the former what is anonymous and what is file
// pages.
struct ProcessMemory {
  uint64_t resident_bytes = 0;
  uint64_t peak_resident_bytes = 0;
  uint64_t anonymous_bytes = 0;
  uint64_t file_bytes = 0;
};
ProcessMemory ReadProcessMemory();

}  // namespace linnet::base
