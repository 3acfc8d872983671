#include "base/cgroup.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/file.h"
#include "base/strings.h"

namespace linnet::base {
namespace {

struct Mount {
  std::string root;   // the part of the hierarchy that is mounted
  std::string point;  // where
};

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string_view Stripped(std::string_view text) { return ToStd(absl::StripAsciiWhitespace(ToAbsl(text))); }

bool HasItem(std::string_view list, std::string_view item) {
  for (const std::string_view part : base::StrSplit(list, ',')) {
    if (part == item) return true;
  }
  return false;
}

// The process's path within the hierarchy: version 1 where a line names the controller, else version 2.
int FindPath(std::string_view proc_cgroup, std::string_view controller, std::string* path) {
  int version = 0;
  for (const std::string_view line : base::StrSplit(proc_cgroup, '\n')) {
    const std::vector<std::string_view> parts = base::StrSplit(line, ':', 3);  // id:controllers:path
    if (parts.size() != 3) continue;
    if (HasItem(parts[1], controller)) {
      *path = std::string(parts[2]);
      return 1;
    }
    if (parts[0] == "0" && parts[1].empty()) {
      *path = std::string(parts[2]);
      version = 2;
    }
  }
  return version;
}

// proc(5), mountinfo: "id parent major:minor ROOT POINT options... - TYPE source SUPEROPTIONS".
std::vector<Mount> FindMounts(std::string_view mountinfo, int version, std::string_view controller) {
  std::vector<Mount> mounts;
  for (const std::string_view line : base::StrSplit(mountinfo, '\n')) {
    const std::vector<std::string_view> halves = base::StrSplit(line, " - ", 2);
    if (halves.size() != 2) continue;
    const std::vector<std::string_view> left = base::StrSplit(halves[0], ' ');
    const std::vector<std::string_view> right = base::StrSplit(halves[1], ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const bool wanted = version == 2 ? right[0] == "cgroup2" : right[0] == "cgroup" && HasItem(right[2], controller);
    if (wanted) mounts.push_back({std::string(left[3]), std::string(left[4])});
  }
  // The usual places, for when mountinfo does not tell.
  if (version == 2) {
    mounts.push_back({"/", "/sys/fs/cgroup"});
  } else {
    mounts.push_back({"/", base::StrCat("/sys/fs/cgroup/", controller)});
    if (controller == "cpu") mounts.push_back({"/", "/sys/fs/cgroup/cpu,cpuacct"});
  }
  return mounts;
}

}  // namespace

CgroupLevels FindCgroup(const std::string& root, std::string_view controller) {
  CgroupLevels levels;
  std::string path;
  const int version = FindPath(ReadSmallFile(base::StrCat(root, "/proc/self/cgroup")).value_or(""), controller, &path);
  if (version == 0) return levels;
  const std::string mountinfo = ReadSmallFile(base::StrCat(root, "/proc/self/mountinfo")).value_or("");
  for (const Mount& mount : FindMounts(mountinfo, version, controller)) {
    const std::string top = base::StrCat(root, mount.point);
    if (!IsFolder(top)) continue;
    std::string relative = path == "/" ? "" : path;
    if (mount.root != "/") {
      const bool below = path == mount.root || path.starts_with(mount.root + "/");
      relative = below ? path.substr(mount.root.size()) : "";
    }
    // A container that sees its own cgroup as the root reads a path of the host here, or one with "..".
    if (relative.find("..") != std::string::npos || !IsFolder(top + relative)) relative.clear();
    levels.version = version;
    while (true) {
      levels.folders.push_back(top + relative);
      if (relative.empty()) break;
      relative.resize(relative.rfind('/') == std::string::npos ? 0 : relative.rfind('/'));
    }
    return levels;
  }
  return levels;
}

std::optional<std::string> ReadSmallFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, 4 << 20);
  if (!text.ok()) return std::nullopt;
  return *std::move(text);
}

std::optional<int64_t> ReadNumberFile(const std::string& path) {
  const std::optional<std::string> text = ReadSmallFile(path);
  int64_t value = 0;
  if (!text.has_value() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return std::nullopt;
  return value;
}

std::optional<uint64_t> FindValue(std::string_view text, std::string_view key) {
  for (const std::string_view line : base::StrSplit(text, '\n')) {
    if (!line.starts_with(key)) continue;
    std::string_view rest = line.substr(key.size());
    if (rest.empty() || (rest[0] != ':' && rest[0] != ' ')) continue;
    if (rest[0] == ':') rest.remove_prefix(1);
    rest = Stripped(rest);
    const bool kilobytes = rest.ends_with(" kB");
    uint64_t value = 0;
    if (!absl::SimpleAtoi(ToAbsl(kilobytes ? rest.substr(0, rest.size() - 3) : rest), &value)) continue;
    return kilobytes ? value * 1024 : value;
  }
  return std::nullopt;
}

std::vector<int> ParseCpuList(std::string_view list) {
  constexpr int kMaxCpu = 1 << 16;
  std::vector<int> cpus;
  for (const std::string_view part : base::StrSplit(Stripped(list), ',')) {
    const std::vector<std::string_view> ends = base::StrSplit(part, '-', 2);
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(ToAbsl(ends[0]), &first) || !absl::SimpleAtoi(ToAbsl(ends.back()), &last)) continue;
    if (first < 0 || last > kMaxCpu) continue;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  std::ranges::sort(cpus);
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

}  // namespace linnet::base
