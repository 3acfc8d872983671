// What a command that makes one model file of another starts from.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tools/linnet/command.h"
#include "tools/linnet/work_files.h"

namespace linnet::cli {

// Where the weights come from: a file, or a variant of the registry that is fetched first.
struct Source {
  std::string path;
  std::string name;   // of the file without its folder, or of the variant
  std::string model;  // {model} of the variant; "" for a file
};

// `typed`: a file, or MODEL/VARIANT of the registry, which is downloaded into `work`. NOT_FOUND where it is neither.
absl::StatusOr<Source> FindSource(const CommandContext& context, const std::string& typed, WorkFiles& work);

}  // namespace linnet::cli
