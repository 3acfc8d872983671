#include "base/memory.h"

#include <algorithm>
#include <optional>

#include "base/cgroup.h"
#include "base/strings.h"

namespace linnet::base {
namespace {

struct Files {
  const char* limit;
  const char* usage;
  const char* droppable;  // key of memory.stat: pages of files that the kernel gives up first
};

constexpr Files kV1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};
constexpr Files kV2 = {"/memory.max", "/memory.current", "inactive_file"};

}  // namespace

MemoryBudget DetectMemoryBudget(const std::string& root) {
  const std::string meminfo = ReadSmallFile(base::StrCat(root, "/proc/meminfo")).value_or("");
  MemoryBudget budget;
  budget.total_bytes = FindValue(meminfo, "MemTotal").value_or(0);
  budget.available_bytes = FindValue(meminfo, "MemAvailable").value_or(budget.total_bytes);

  const CgroupLevels levels = FindCgroup(root, "memory");
  const Files& files = levels.version == 1 ? kV1 : kV2;
  for (const std::string& folder : levels.folders) {
    const std::optional<int64_t> limit = ReadNumberFile(base::StrCat(folder, files.limit));
    // v1 has no word for "none": a number near 2^63, or any above what the machine has.
    if (!limit.has_value() || *limit < 0) continue;
    const uint64_t limit_bytes = static_cast<uint64_t>(*limit);
    if (budget.total_bytes != 0 && limit_bytes >= budget.total_bytes && levels.version == 1 &&
        limit_bytes > (uint64_t{1} << 60)) {
      continue;
    }
    const auto usage =
        static_cast<uint64_t>(std::max<int64_t>(0, ReadNumberFile(base::StrCat(folder, files.usage)).value_or(0)));
    const std::string stat = ReadSmallFile(base::StrCat(folder, "/memory.stat")).value_or("");
    const uint64_t droppable = std::min(usage, FindValue(stat, files.droppable).value_or(0));
    const uint64_t held = std::min(limit_bytes, usage - droppable);
    if (budget.total_bytes == 0 || limit_bytes < budget.total_bytes) budget.total_bytes = limit_bytes;
    budget.available_bytes = std::min(budget.available_bytes, limit_bytes - held);
  }
  return budget;
}

ProcessMemory ReadProcessMemory() {
  const std::string status = ReadSmallFile("/proc/self/status").value_or("");
  ProcessMemory memory;
  memory.resident_bytes = FindValue(status, "VmRSS").value_or(0);
  memory.peak_resident_bytes = FindValue(status, "VmHWM").value_or(memory.resident_bytes);
  memory.anonymous_bytes = FindValue(status, "RssAnon").value_or(0);
  memory.file_bytes = FindValue(status, "RssFile").value_or(0);
  return memory;
}

}  // namespace linnet::base
