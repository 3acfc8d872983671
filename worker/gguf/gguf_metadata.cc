// GgufFile's lookups by key and by tensor name.
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_reader.h"

namespace linnet::worker {
namespace {

const char* TypeName(const GgufValue& value) {
  switch (value.index()) {
    case 0:
      return "an integer";
    case 1:
      return "a floating-point number";
    case 2:
      return "a bool";
    case 3:
      return "a string";
    default:
      break;
  }
  switch (std::get<GgufArray>(value).index()) {
    case 0:
      return "an array of integers";
    case 1:
      return "an array of floating-point numbers";
    case 2:
      return "an array of bools";
    default:
      return "an array of strings";
  }
}

absl::Status KeyError(const std::string& path, std::string_view key, std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     absl::StrCat(path, ": metadata key ", Printable(key), " ", std::string(what)), {{"file", path}});
}

absl::Status Missing(const std::string& path, std::string_view key) {
  return KeyError(path, key, "is missing; the model was converted incompletely, convert it again");
}

absl::Status WrongType(const std::string& path, std::string_view key, const GgufValue& value, std::string_view wanted) {
  return KeyError(path, key, absl::StrCat("is ", TypeName(value), ", and should be ", std::string(wanted)));
}

}  // namespace

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

absl::StatusOr<std::string_view> GgufFile::GetString(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return Missing(path_, key);
  if (const auto* v = std::get_if<std::string_view>(&it->second)) return *v;
  return WrongType(path_, key, it->second, "a string");
}

absl::StatusOr<int64_t> GgufFile::GetInt(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return Missing(path_, key);
  if (const auto* v = std::get_if<int64_t>(&it->second)) return *v;
  return WrongType(path_, key, it->second, "an integer");
}

absl::StatusOr<double> GgufFile::GetDouble(std::string_view key) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return Missing(path_, key);
  if (const auto* v = std::get_if<double>(&it->second)) return *v;
  if (const auto* v = std::get_if<int64_t>(&it->second)) return static_cast<double>(*v);
  return WrongType(path_, key, it->second, "a number");
}

absl::StatusOr<std::string_view> GgufFile::GetStringOr(std::string_view key, std::string_view fallback) const {
  if (!metadata_.contains(key)) return fallback;
  return GetString(key);
}

absl::StatusOr<int64_t> GgufFile::GetIntOr(std::string_view key, int64_t fallback) const {
  if (!metadata_.contains(key)) return fallback;
  return GetInt(key);
}

absl::StatusOr<double> GgufFile::GetDoubleOr(std::string_view key, double fallback) const {
  if (!metadata_.contains(key)) return fallback;
  return GetDouble(key);
}

absl::StatusOr<bool> GgufFile::GetBoolOr(std::string_view key, bool fallback) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end()) return fallback;
  if (const auto* v = std::get_if<bool>(&it->second)) return *v;
  return WrongType(path_, key, it->second, "a bool");
}

namespace {

// The array under `key` as a vector of T; nullptr where the key is missing.
template <typename T>
absl::StatusOr<const std::vector<T>*> FindArray(const GgufFile& file, std::string_view key, std::string_view wanted) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) return nullptr;
  if (const auto* array = std::get_if<GgufArray>(&it->second)) {
    if (const auto* v = std::get_if<std::vector<T>>(array)) return v;
  }
  return WrongType(file.path(), key, it->second, wanted);
}

}  // namespace

absl::StatusOr<const std::vector<std::string_view>*> GgufFile::FindStrings(std::string_view key) const {
  return FindArray<std::string_view>(*this, key, "an array of strings");
}

absl::StatusOr<const std::vector<int64_t>*> GgufFile::FindInts(std::string_view key) const {
  return FindArray<int64_t>(*this, key, "an array of integers");
}

absl::StatusOr<const std::vector<double>*> GgufFile::FindDoubles(std::string_view key) const {
  return FindArray<double>(*this, key, "an array of floating-point numbers");
}

void GgufFile::Release(const GgufTensor& tensor) const { Release(tensor.data); }

void GgufFile::Release(std::span<const std::byte> part) const {
  if (mapping_ != nullptr) mapping_->Release(part);
}

void GgufFile::WillNeed(std::span<const std::byte> part) const {
  if (mapping_ != nullptr) mapping_->WillNeed(part);
}

}  // namespace linnet::worker
