// Files in $LINNET_HOME/tmp that live as long as the command.
#pragma once

#include <string>
#include <vector>

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

}  // namespace linnet::cli
