// std::string_view beside Abseil. The distribution builds Abseil with a string_view of its own, to which
// std::string_view does not convert, while our interfaces take std::string_view. So:
//
//   base::StrCat("model ", name, ": ", bytes)    // absl::StrCat that takes std::string_view too
//   base::StrAppend(&text, ", ", name)
//   for (std::string_view line : base::StrSplit(text, '\n')) ...
//   absl::Status(code, base::ToAbsl(message));   // anything else of Abseil's
//   std::string_view m = base::ToStd(status.message());
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace linnet::base {

inline absl::string_view ToAbsl(std::string_view text) { return absl::string_view(text.data(), text.size()); }
inline std::string_view ToStd(absl::string_view text) { return std::string_view(text.data(), text.size()); }

namespace strings_internal {
template <class T>
decltype(auto) Piece(const T& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return ToAbsl(value);
  } else {
    return (value);
  }
}
}  // namespace strings_internal

template <class... Args>
std::string StrCat(const Args&... args) {
  return absl::StrCat(strings_internal::Piece(args)...);
}

template <class... Args>
void StrAppend(std::string* out, const Args&... args) {
  absl::StrAppend(out, strings_internal::Piece(args)...);
}

// The parts between `delimiter`s, empty ones included; the last of at most `max_parts` holds the rest. They refer to
// `text`. REQUIRES: max_parts >= 1.
inline std::vector<std::string_view> StrSplit(std::string_view text, std::string_view delimiter,
                                              size_t max_parts = std::string_view::npos) {
  std::vector<std::string_view> parts;
  size_t at = std::string_view::npos;
  while (parts.size() + 1 < max_parts && (at = text.find(delimiter)) != std::string_view::npos) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + delimiter.size());
  }
  parts.push_back(text);
  return parts;
}
inline std::vector<std::string_view> StrSplit(std::string_view text, char delimiter,
                                              size_t max_parts = std::string_view::npos) {
  return StrSplit(text, std::string_view(&delimiter, 1), max_parts);
}

}  // namespace linnet::base
