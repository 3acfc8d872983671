#include "registry/server/field_mask.h"

#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "base/strings.h"

namespace linnet::registry {
namespace {

using google::protobuf::util::FieldMaskUtil;

template <class T>
absl::Status Apply(const T& from, const google::protobuf::FieldMask& mask, std::initializer_list<const char*> settable,
                   T* to) {
  constexpr int kMaxPaths = 64;
  if (mask.paths_size() > kMaxPaths) {
    return base::FieldErrors({{"update_mask", base::StrCat("must have at most ", kMaxPaths, " paths")}});
  }
  google::protobuf::FieldMask effective;
  if (mask.paths().empty() || (mask.paths_size() == 1 && mask.paths(0) == "*")) {
    for (const char* field : settable) effective.add_paths(field);
  } else {
    for (const std::string& path : mask.paths()) {
      const std::string top = path.substr(0, path.find('.'));
      if (std::find(settable.begin(), settable.end(), top) == settable.end() || !FieldMaskUtil::IsValidPath<T>(path)) {
        return base::FieldErrors(
            {{"update_mask", base::StrCat("'", path.substr(0, 63), "' is not a field to update")}});
      }
      effective.add_paths(path);
    }
  }
  FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(from, effective, options, to);
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyMask(const v1::Model& from, const google::protobuf::FieldMask& mask, v1::Model* to) {
  return Apply(from, mask, {"display_name", "architecture", "license", "lineage", "labels", "aliases"}, to);
}

absl::Status ApplyMask(const v1::DeviceProfile& from, const google::protobuf::FieldMask& mask, v1::DeviceProfile* to) {
  return Apply(from, mask,
               {"display_name", "cpu_arch", "isa_features", "cpu_model", "performance_cores", "efficiency_cores",
                "memory_bytes", "memory_bandwidth_bytes_per_second", "int8_ops_per_second", "storage_bytes", "labels"},
               to);
}

absl::Status ApplyMask(const v1::Deployment& from, const google::protobuf::FieldMask& mask, v1::Deployment* to) {
  return Apply(from, mask, {"model", "profiles", "worker_selector", "constraints", "weights"}, to);
}

}  // namespace linnet::registry
