// Files that commands write: in $LINNET_HOME/tmp those that live as long as the command, and those that were asked for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::cli {

class WorkFiles {
 public:
  WorkFiles() = default;
  ~WorkFiles();
  WorkFiles(const WorkFiles&) = delete;
  WorkFiles& operator=(const WorkFiles&) = delete;

  // The path of a file of this name, which need not be there; makes the folder.
  absl::StatusOr<std::string> Add(const std::string& name);

 private:
  std::vector<std::string> paths_;
};

// ALREADY_EXISTS RESOURCE_EXISTS where a file that was asked for is there and not to be replaced.
absl::Status CheckMayWrite(const std::string& path, bool replace);

}  // namespace linnet::cli
