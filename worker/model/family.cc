#include "worker/model/family.h"

namespace linnet::worker {
namespace {

const Family* const kFamilies[] = {&kLlamaFamily, &kQwen2Family};

}  // namespace

std::string Family::TensorName(TensorRole role, int layer) const {
  for (const TensorNaming& naming : tensors()) {
    if (naming.role != role) continue;
    std::string name(naming.pattern);
    if (const size_t at = name.find('$'); at != std::string::npos) name.replace(at, 1, std::to_string(layer));
    return name;
  }
  return "";
}

const Family* FindFamily(std::string_view architecture) {
  for (const Family* family : kFamilies) {
    if (family->name == architecture) return family;
  }
  return nullptr;
}

std::vector<std::string> FamilyNames() {
  std::vector<std::string> names;
  for (const Family* family : kFamilies) names.emplace_back(family->name);
  return names;
}

}  // namespace linnet::worker
