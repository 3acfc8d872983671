#include "gateway/validation.h"

#include <cstddef>
#include <string>

#include "base/strings.h"
#include "proto/generation_rules.h"
#include "registry/client/names.h"

namespace linnet::gateway {
namespace {

void CheckModel(const std::string& model, Violations& bad) {
  if (model.empty()) {
    bad.emplace_back("model", "is required: {model}, {model}@{alias} or {model}/{variant}");
  } else if (auto reference = registry::ParseModelReference(model); !reference.ok()) {
    bad.emplace_back("model", std::string(reference.status().message()));
  }
}

void CheckSize(size_t bytes, uint64_t max_bytes, Violations& bad) {
  if (bytes > max_bytes) {
    bad.emplace_back("input", base::StrCat("the request may have at most ", max_bytes, " bytes, has ", bytes));
  }
}

}  // namespace

absl::Status ValidateGenerate(const v1::GenerateRequest& request, uint64_t max_request_bytes) {
  Violations bad;
  CheckModel(request.model(), bad);
  CheckGenerate(request, bad);
  CheckSize(request.ByteSizeLong(), max_request_bytes, bad);
  return ToStatus(bad);
}

absl::Status ValidateCountTokens(const v1::CountTokensRequest& request, uint64_t max_request_bytes) {
  Violations bad;
  CheckModel(request.model(), bad);
  CheckInput(request.input(), bad);
  CheckSize(request.ByteSizeLong(), max_request_bytes, bad);
  return ToStatus(bad);
}

}  // namespace linnet::gateway
