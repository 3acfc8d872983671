#include "worker/model/gguf_keys.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

constexpr size_t kProblemsShown = 50;

}  // namespace

absl::Status ModelFileError(std::string_view path, const std::vector<std::string>& problems) {
  const size_t shown = std::min(problems.size(), kProblemsShown);
  std::string message = base::StrCat(
      "model file ", path, " cannot be used: ", absl::StrJoin(problems.begin(), problems.begin() + shown, "; "));
  if (shown < problems.size()) base::StrAppend(&message, "; and ", problems.size() - shown, " more");
  base::StrAppend(&message, ". Convert or download the model again");
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE", message, {{"file", std::string(path)}});
}

std::string GgufKeys::Name(std::string_view key) const { return base::StrCat(architecture_, ".", key); }

int64_t GgufKeys::Checked(std::string_view key, const absl::StatusOr<int64_t>& value, int64_t low, int64_t high) {
  if (!value.ok()) {
    Complain(std::string(value.status().message()));
    return low;
  }
  if (*value < low || *value > high) {
    Complain(base::StrCat(Name(key), " is ", *value, ", must be from ", low, " to ", high));
    return low;
  }
  return *value;
}

double GgufKeys::Checked(std::string_view key, const absl::StatusOr<double>& value) {
  if (!value.ok()) {
    Complain(std::string(value.status().message()));
    return 1;
  }
  if (!(*value > 0) || !std::isfinite(*value)) {
    Complain(base::StrCat(Name(key), " is ", *value, ", must be positive and finite"));
    return 1;
  }
  return *value;
}

int64_t GgufKeys::Int(std::string_view key, int64_t low, int64_t high) {
  return Checked(key, file_.GetInt(Name(key)), low, high);
}
int64_t GgufKeys::IntOr(std::string_view key, int64_t fallback, int64_t low, int64_t high) {
  return Checked(key, file_.GetIntOr(Name(key), fallback), low, high);
}
std::vector<int64_t> GgufKeys::IntPerLayer(std::string_view key, int64_t layers, int64_t low, int64_t high) {
  const auto entry = file_.metadata().find(Name(key));
  if (entry == file_.metadata().end() || !std::holds_alternative<GgufArray>(entry->second)) {
    return std::vector<int64_t>(static_cast<size_t>(layers), Int(key, low, high));
  }
  std::vector<int64_t> values(static_cast<size_t>(layers), low);
  const auto* const array = std::get_if<std::vector<int64_t>>(&std::get<GgufArray>(entry->second));
  if (array == nullptr || array->size() != values.size()) {
    Complain(base::StrCat(Name(key), " must be an integer or an array of ", layers, " integers, one for each layer"));
    return values;
  }
  for (size_t l = 0; l < values.size(); ++l) values[l] = Checked(key, (*array)[l], low, high);
  return values;
}
bool GgufKeys::BoolOr(std::string_view key, bool fallback) {
  const absl::StatusOr<bool> value = file_.GetBoolOr(Name(key), fallback);
  if (!value.ok()) Complain(std::string(value.status().message()));
  return value.value_or(fallback);
}
double GgufKeys::Positive(std::string_view key) { return Checked(key, file_.GetDouble(Name(key))); }
double GgufKeys::PositiveOr(std::string_view key, double fallback) {
  return Checked(key, file_.GetDoubleOr(Name(key), fallback));
}

std::string GgufKeys::StringOr(std::string_view key, std::string_view fallback) {
  const absl::StatusOr<std::string_view> value = file_.GetStringOr(Name(key), fallback);
  if (!value.ok()) {
    Complain(std::string(value.status().message()));
    return std::string(fallback);
  }
  return std::string(*value);
}

absl::Status GgufKeys::status() const {
  return problems_.empty() ? absl::OkStatus() : ModelFileError(file_.path(), problems_);
}

}  // namespace linnet::worker
