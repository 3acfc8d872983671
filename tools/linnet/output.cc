#include "tools/linnet/output.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/strings.h"

namespace linnet::cli {
namespace {

using nlohmann::ordered_json;

// Columns that a terminal gives to UTF-8 text, near enough: one per code point.
size_t Width(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

std::string OneLine(std::string_view text) {
  std::string result = ForTerminal(text);
  std::replace(result.begin(), result.end(), '\n', ' ');
  std::replace(result.begin(), result.end(), '\t', ' ');
  return result;
}

// Length of the UTF-8 sequence at the beginning of `text`, 0 where there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (length == 3 && ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F))) return 0;
  if (length == 4 && ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F))) return 0;
  return length;
}

// Whether YAML reads the text as itself when it stands without quotes.
bool IsPlainYaml(std::string_view text) {
  if (text.empty() || !absl::ascii_isalpha(text[0])) return false;
  if (text.back() == ' ' || text.back() == ':') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/' || c == '@' || c == '+') continue;
    if (c == ' ' && text[i + 1] != '#') continue;  // never the last one
    if (c == ':' && text[i + 1] != ' ') continue;
    return false;
  }
  static constexpr std::string_view kReserved[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  const std::string lower = absl::AsciiStrToLower(base::ToAbsl(text));
  return std::find(std::begin(kReserved), std::end(kReserved), lower) == std::end(kReserved);
}

std::string YamlScalar(const ordered_json& value) {
  if (!value.is_string()) return value.dump();
  const auto& text = value.get_ref<const std::string&>();
  if (IsPlainYaml(text)) return text;
  return value.dump(-1, ' ', /*ensure_ascii=*/true, ordered_json::error_handler_t::replace);
}

std::string YamlKey(const std::string& key) { return YamlScalar(ordered_json(key)); }

void AppendYaml(const ordered_json& value, const std::string& indent, std::string& out) {
  const auto child = [&](const ordered_json& v, const std::string& prefix, bool in_list) {
    if (!v.is_structured()) {
      absl::StrAppend(&out, prefix, " ", YamlScalar(v), "\n");
    } else if (v.empty()) {
      absl::StrAppend(&out, prefix, v.is_array() ? " []\n" : " {}\n");
    } else if (in_list) {
      // The first line of the nested block stands after the dash.
      std::string nested;
      AppendYaml(v, indent + "  ", nested);
      absl::StrAppend(&out, prefix, " ", nested.substr(indent.size() + 2));
    } else {
      absl::StrAppend(&out, prefix, "\n");
      AppendYaml(v, indent + "  ", out);
    }
  };
  if (value.is_object()) {
    for (const auto& [key, v] : value.items()) child(v, absl::StrCat(indent, YamlKey(key), ":"), false);
  } else {
    for (const auto& v : value) child(v, absl::StrCat(indent, "-"), true);
  }
}

void AppendLines(const ordered_json& value, const std::string& indent, std::string& out) {
  for (const auto& [key, v] : value.items()) {
    const std::string label = value.is_array() ? "-" : OneLine(key) + ":";
    if (v.is_object() && !v.empty()) {
      absl::StrAppend(&out, indent, label, "\n");
      AppendLines(v, indent + "  ", out);
    } else if (v.is_array() && std::any_of(v.begin(), v.end(), [](const auto& e) { return e.is_structured(); })) {
      absl::StrAppend(&out, indent, label, "\n");
      AppendLines(v, indent + "  ", out);
    } else if (v.is_array()) {
      std::string list;
      for (const auto& e : v)
        absl::StrAppend(&list, list.empty() ? "" : " ", e.is_string() ? OneLine(e.get<std::string>()) : e.dump());
      absl::StrAppend(&out, indent, label, " ", list.empty() ? "-" : list, "\n");
    } else if (v.is_string()) {
      const std::string text = OneLine(v.get<std::string>());
      absl::StrAppend(&out, indent, label, " ", text.empty() ? "-" : text, "\n");
    } else {
      absl::StrAppend(&out, indent, label, " ", v.is_object() ? "-" : v.dump(), "\n");
    }
  }
}

std::string Scaled(double value, double step, const std::vector<const char*>& units) {
  size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%.0f%s", value, units[0]);
  return absl::StrFormat("%.*f%s", value < 100 ? 1 : 0, value, units[unit]);
}

}  // namespace

std::string Table::Render() const {
  std::vector<size_t> widths(rows_[0].size(), 0);
  std::vector<std::vector<std::string>> clean;
  for (const auto& row : rows_) {
    auto& cells = clean.emplace_back();
    for (size_t c = 0; c < widths.size(); ++c) {
      cells.push_back(row[c].empty() ? "-" : OneLine(row[c]));
      widths[c] = std::max(widths[c], Width(cells.back()));
    }
  }
  std::string out;
  for (const auto& row : clean) {
    std::string line;
    for (size_t c = 0; c < widths.size(); ++c) {
      absl::StrAppend(&line, row[c], std::string(widths[c] - Width(row[c]) + 2, ' '));
    }
    absl::StripTrailingAsciiWhitespace(&line);
    absl::StrAppend(&out, line, "\n");
  }
  return out;
}

std::string ToYaml(const ordered_json& value) {
  std::string out;
  if (!value.is_structured()) return YamlScalar(value) + "\n";
  if (value.empty()) return value.is_array() ? "[]\n" : "{}\n";
  AppendYaml(value, "", out);
  return out;
}

std::string ToLines(const ordered_json& value) {
  if (!value.is_structured()) return (value.is_string() ? ForTerminal(value.get<std::string>()) : value.dump()) + "\n";
  std::string out;
  AppendLines(value, "", out);
  return out;
}

std::string DecimalBytes(uint64_t bytes) { return Scaled(bytes, 1000, {" B", " kB", " MB", " GB", " TB"}); }
std::string Count(uint64_t count) { return count == 0 ? "-" : Scaled(count, 1000, {"", " k", " M", " B", " T"}); }
std::string Rate(double per_second) { return per_second <= 0 ? "-" : absl::StrFormat("%.1f", per_second); }

std::string ShortName(std::string_view resource) {
  const size_t slash = resource.rfind('/');
  return std::string(slash == std::string_view::npos ? resource : resource.substr(slash + 1));
}

std::string ForTerminal(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text.substr(i));
    if (length == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
      continue;
    }
    const unsigned char lead = text[i];
    const bool c0 = lead < 0x20 && lead != '\n' && lead != '\t';
    const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (!c0 && !c1 && lead != 0x7F) out.append(text.substr(i, length));
    i += length;
  }
  return out;
}

}  // namespace linnet::cli
