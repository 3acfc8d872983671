#include "worker/gguf/gguf_reader.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace linnet::worker {

std::string Printable(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  std::string shown = absl::CHexEscape(std::string(text.substr(0, kMaxShown)));
  if (text.size() > kMaxShown) shown += "...";
  return shown;
}

absl::StatusOr<const std::byte*> GgufReader::Take(std::string_view field, uint64_t count, uint64_t element_bytes) {
  if (count > remaining() / element_bytes) {
    return Error(absl::StrCat(std::string(field), " claims ", count, " elements of at least ", element_bytes,
                              " bytes, and only ", remaining(), " bytes of the file are left; fetch the file again"));
  }
  const std::byte* begin = bytes_.data() + position_;
  position_ += count * element_bytes;
  return begin;
}

absl::StatusOr<std::string_view> GgufReader::String(std::string_view field, uint64_t max_bytes) {
  LINNET_ASSIGN_OR_RETURN(uint64_t length, Read<uint64_t>(field));
  if (length > max_bytes) {
    return Error(
        absl::StrCat(std::string(field), " claims ", length, " bytes, and at most ", max_bytes, " are allowed"));
  }
  if (length > remaining()) return Short(field, length);
  std::string_view text(reinterpret_cast<const char*>(bytes_.data() + position_), length);
  position_ += length;
  return text;
}

absl::Status GgufReader::Error(std::string_view what) const {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                     absl::StrCat(file_, ": byte ", position_, ", ", object_, ": ", std::string(what)),
                     {{"file", file_}});
}

absl::Status GgufReader::Short(std::string_view field, uint64_t wanted_bytes) const {
  return Error(absl::StrCat(std::string(field), " needs ", wanted_bytes, " bytes, and only ", remaining(),
                            " are left: the file is cut short; fetch it again"));
}

}  // namespace linnet::worker
