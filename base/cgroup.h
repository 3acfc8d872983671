// Where this process stands in the cgroup tree, for one controller; v1, v2 and both at once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace linnet::base {

struct CgroupLevels {
  int version = 0;                   // 1, 2; 0: none found
  std::vector<std::string> folders;  // from the process's own up to the root that is visible; limits apply at each
};

// `controller`: "cpu" or "memory". `root` stands for "/".
CgroupLevels FindCgroup(const std::string& root, std::string_view controller);

// Small files of /proc and /sys, missing or malformed ones as nullopt.
std::optional<std::string> ReadSmallFile(const std::string& path);
// A file that holds one number; "max" is nullopt.
std::optional<int64_t> ReadNumberFile(const std::string& path);
// The value in bytes of "key: 12 kB" or "key 4096" lines.
std::optional<uint64_t> FindValue(std::string_view text, std::string_view key);
// "0-3,8,10-11" -> 0 1 2 3 8 10 11. Malformed parts are left out.
std::vector<int> ParseCpuList(std::string_view list);

}  // namespace linnet::base
