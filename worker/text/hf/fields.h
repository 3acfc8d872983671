// The members of a JSON object of tokenizer.json, read one by one. What nobody reads is not supported, and is an error
// that names it. Internal to worker/text/hf.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker::hf {

//   LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, "pre_tokenizer"));
//   LINNET_ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
//   LINNET_RETURN_IF_ERROR(fields.Finish());
//
// A member that is null counts as absent. The JSON must outlive it.
class Fields {
 public:
  // INVALID_ARGUMENT: no object. `where` stands in messages.
  static absl::StatusOr<Fields> Of(const nlohmann::json& object, std::string where);

  // nullptr: absent.
  const nlohmann::json* Find(std::string_view key);
  // INVALID_ARGUMENT: of another type, or (without a default) absent.
  absl::StatusOr<bool> Bool(std::string_view key, bool fallback);
  absl::StatusOr<bool> Bool(std::string_view key);
  absl::StatusOr<int64_t> Integer(std::string_view key);
  absl::StatusOr<std::string> String(std::string_view key, std::string_view fallback);
  absl::StatusOr<std::string> String(std::string_view key);
  absl::StatusOr<const nlohmann::json*> Array(std::string_view key);
  // Read, and of no consequence here.
  void Ignore(std::string_view key) { read_.insert(std::string(key)); }
  // INVALID_ARGUMENT: a member is there that was not read.
  absl::Status Finish() const;

  // Path of a member, or of a member's element.
  std::string Where(std::string_view key) const;
  std::string Where(std::string_view key, size_t index) const;
  absl::Status Error(std::string_view what) const;

 private:
  Fields(const nlohmann::json& object, std::string where) : object_(&object), where_(std::move(where)) {}

  const nlohmann::json* object_;
  std::string where_;
  std::set<std::string> read_;
};

// INVALID_ARGUMENT "WHERE: type "NAME" is not supported; supported are A, B".
absl::Status UnsupportedType(std::string_view where, std::string_view name, std::string_view supported);

}  // namespace linnet::worker::hf
