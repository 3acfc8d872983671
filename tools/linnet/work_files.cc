#include "tools/linnet/work_files.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/linnet/home.h"

namespace linnet::cli {

WorkFiles::~WorkFiles() {
  std::error_code ignored;
  for (const std::string& path : paths_) std::filesystem::remove(path, ignored);
}

absl::StatusOr<std::string> WorkFiles::Add(const std::string& name) {
  const std::string folder = absl::StrCat(LinnetHome(), "/tmp");
  LINNET_RETURN_IF_ERROR(base::MakeDirs(folder));
  paths_.push_back(absl::StrCat(folder, "/", name));
  return paths_.back();
}

absl::Status CheckMayWrite(const std::string& path, bool replace) {
  std::error_code error;
  if (replace || !std::filesystem::exists(path, error)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAlreadyExists, "RESOURCE_EXISTS", absl::StrCat(path, " exists already"),
                     {{"resource", path}});
}

}  // namespace linnet::cli
