#include "worker/text/hf/fields.h"

#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker::hf {

absl::StatusOr<Fields> Fields::Of(const nlohmann::json& object, std::string where) {
  Fields fields(object, std::move(where));
  if (!object.is_object()) return fields.Error(base::StrCat("is ", object.type_name(), ", and should be an object"));
  return fields;
}

const nlohmann::json* Fields::Find(std::string_view key) {
  read_.insert(std::string(key));
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<bool> Fields::Bool(std::string_view key, bool fallback) {
  return Find(key) == nullptr ? fallback : Bool(key);
}

absl::StatusOr<bool> Fields::Bool(std::string_view key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_boolean()) return Error(base::StrCat(key, " should be true or false"));
  return value->get<bool>();
}

absl::StatusOr<int64_t> Fields::Integer(std::string_view key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_number_integer()) return Error(base::StrCat(key, " should be an integer"));
  return value->get<int64_t>();
}

absl::StatusOr<std::string> Fields::String(std::string_view key, std::string_view fallback) {
  if (Find(key) == nullptr) return std::string(fallback);
  return String(key);
}

absl::StatusOr<std::string> Fields::String(std::string_view key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_string()) return Error(base::StrCat(key, " should be a string"));
  return value->get<std::string>();
}

absl::StatusOr<const nlohmann::json*> Fields::Array(std::string_view key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_array()) return Error(base::StrCat(key, " should be an array"));
  return value;
}

absl::Status Fields::Finish() const {
  for (const auto& [key, value] : object_->items()) {
    if (!read_.contains(key)) return Error(base::StrCat("member \"", key, "\" is not supported"));
  }
  return absl::OkStatus();
}

std::string Fields::Where(std::string_view key) const {
  return where_.empty() ? std::string(key) : base::StrCat(where_, ".", key);
}

std::string Fields::Where(std::string_view key, size_t index) const {
  return base::StrCat(Where(key), "[", index, "]");
}

absl::Status Fields::Error(std::string_view what) const {
  return absl::InvalidArgumentError(base::StrCat(where_.empty() ? "the file" : where_, ": ", what));
}

absl::Status UnsupportedType(std::string_view where, std::string_view name, std::string_view supported) {
  return absl::InvalidArgumentError(
      base::StrCat(where, ": type \"", name, "\" is not supported; supported are ", supported));
}

}  // namespace linnet::worker::hf
