#include "worker/text/template_source.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace linnet::worker {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

bool IsWord(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

std::string WithUnixLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  return out;
}

// {{ ... }}, {% ... %} or {# ... #}.
struct Tag {
  char kind = 0;                     // the second character
  std::string_view inside;           // without signs
  char open_sign = 0, end_sign = 0;  // '-', '+' or 0
  size_t bytes = 0;                  // of all of it
};

class Rewriter {
 public:
  explicit Rewriter(std::string_view source) : rest_(source) {}

  std::string Run() {
    for (;;) {
      const size_t open = FindOpen();
      const std::string_view text = rest_.substr(0, open);
      if (open == std::string_view::npos) break;
      const Tag tag = ReadTag(rest_.substr(open));
      if (tag.bytes == 0) break;  // never closed
      EmitText(text, tag);
      EmitTag(tag);
      rest_.remove_prefix(open + tag.bytes);
      SkipBehind(tag);
      if (raw_) CopyRaw();
    }
    out_.append(rest_);
    return std::move(out_);
  }

 private:
  size_t FindOpen() const {
    size_t at = 0;
    while ((at = rest_.find('{', at)) != std::string_view::npos) {
      if (at + 1 < rest_.size() && std::string_view("{%#").find(rest_[at + 1]) != std::string_view::npos) return at;
      ++at;
    }
    return at;
  }

  static Tag ReadTag(std::string_view from) {
    Tag tag;
    tag.kind = from[1];
    size_t begin = 2;
    if (begin < from.size() && (from[begin] == '-' || from[begin] == '+')) tag.open_sign = from[begin++];
    const size_t end = tag.kind == '#' ? from.find("#}", begin) : FindEnd(from, begin, tag.kind);
    if (end == std::string_view::npos) return {};
    size_t inside_end = end;
    if (inside_end > begin && (from[inside_end - 1] == '-' || (from[inside_end - 1] == '+' && tag.kind != '{'))) {
      tag.end_sign = from[--inside_end];
    }
    tag.inside = from.substr(begin, inside_end - begin);
    tag.bytes = end + 2;
    return tag;
  }

  // Where }} or %} stands outside of strings and brackets.
  static size_t FindEnd(std::string_view from, size_t at, char kind) {
    const std::string_view close = kind == '{' ? "}}" : "%}";
    int depth = 0;
    for (; at < from.size(); ++at) {
      const char c = from[at];
      if (c == '\'' || c == '"') {
        at = EndOfString(from, at);
        continue;
      }
      if (depth <= 0 && from.substr(at).starts_with(close)) return at;
      if (c == '(' || c == '[' || c == '{') ++depth;
      if (c == ')' || c == ']' || c == '}') --depth;
    }
    return std::string_view::npos;
  }

  // The index of the quote that ends the string that begins at `at`, or the last index.
  static size_t EndOfString(std::string_view from, size_t at) {
    const char quote = from[at];
    for (++at; at < from.size() && from[at] != quote; ++at) {
      if (from[at] == '\\') ++at;
    }
    return std::min(at, from.size() - 1);
  }

  void EmitText(std::string_view whole, const Tag& next) {
    std::string_view text = whole;
    if (next.open_sign == '-') {
      const size_t last = text.find_last_not_of(kSpace);
      text = text.substr(0, last == std::string_view::npos ? 0 : last + 1);
    } else if (next.open_sign != '+' && next.kind != '{') {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_start_) && text.find_first_not_of(kSpace, line) == std::string_view::npos) {
        text = text.substr(0, line);
      }
    }
    lines_dropped_ += std::count(whole.begin(), whole.end(), '\n') - std::count(text.begin(), text.end(), '\n');
    out_.append(text);
  }

  void EmitTag(const Tag& tag) {
    if (tag.kind == '#') {
      lines_dropped_ += std::count(tag.inside.begin(), tag.inside.end(), '\n');
      return;
    }
    const size_t first = tag.inside.find_first_not_of(kSpace);
    const std::string_view inside = first == std::string_view::npos ? "" : tag.inside.substr(first);
    raw_ =
        tag.kind == '%' && inside.starts_with("raw") && inside.find_first_not_of(kSpace, 3) == std::string_view::npos;
    if (raw_) return;
    // The lines that were dropped are made up for in the tag, so that messages name the row of the original.
    out_.append({'{', tag.kind}).append(static_cast<size_t>(std::exchange(lines_dropped_, 0)), '\n');
    if (tag.inside.starts_with('-') || tag.inside.starts_with('+')) out_.push_back(' ');
    AppendInside(tag.inside);
    out_.append({tag.kind == '{' ? '}' : '%', '}'});
  }

  // The text behind a tag that goes with it.
  void SkipBehind(const Tag& tag) {
    line_start_ = false;
    size_t n = 0;
    if (tag.end_sign == '-') {
      n = std::min(rest_.find_first_not_of(kSpace), rest_.size());
    } else if (tag.kind != '{' && tag.end_sign != '+' && rest_.starts_with('\n')) {
      n = 1;
    }
    if (n > 0) line_start_ = rest_[n - 1] == '\n';
    lines_dropped_ += std::count(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(n), '\n');
    rest_.remove_prefix(n);
  }

  // Up to {% endraw %}: as strings, so that nothing in it is taken for a tag.
  void CopyRaw() {
    raw_ = false;
    for (size_t at = 0; (at = rest_.find("{%", at)) != std::string_view::npos; at += 2) {
      const Tag tag = ReadTag(rest_.substr(at));
      const size_t first = tag.inside.find_first_not_of(kSpace);
      if (tag.bytes == 0 || first == std::string_view::npos || !tag.inside.substr(first).starts_with("endraw"))
        continue;
      const std::string_view raw = rest_.substr(0, at);
      std::string literal;
      for (const char c : raw) {
        if (c == '\\' || c == '\'') literal.push_back('\\');
        literal.append(c == '\n' ? "\\n" : std::string(1, c));
      }
      if (!raw.empty()) out_.append("{{ '").append(literal).append("' }}");
      rest_.remove_prefix(at + tag.bytes);
      SkipBehind(tag);
      return;
    }
  }

  // Word by word, with strings as they are.
  void AppendInside(std::string_view inside) {
    std::array<std::string_view, 2> before;  // the two words before, as long as nothing but space is between
    for (size_t at = 0; at < inside.size();) {
      const char c = inside[at];
      size_t end = at + 1;
      if (c == '\'' || c == '"') {
        end = EndOfString(inside, at) + 1;
        before = {};
      } else if (IsWord(c)) {
        while (end < inside.size() && IsWord(inside[end])) ++end;
        const std::string_view word = inside.substr(at, end - at);
        if (word == "undefined" && before[1] == "is") {
          out_.append("not defined");
          at = end;
          continue;
        }
        if (word == "undefined" && before[0] == "is" && before[1] == "not") {
          out_.resize(out_.rfind("not"));
          out_.append("defined");
          at = end;
          continue;
        }
        before = {before[1], word};
      } else if (kSpace.find(c) == std::string_view::npos) {
        before = {};
      }
      out_.append(inside.substr(at, end - at));
      at = end;
    }
  }

  std::string_view rest_;
  std::string out_;
  ptrdiff_t lines_dropped_ = 0;
  bool line_start_ = true;  // the tag before ended a line
  bool raw_ = false;        // the tag before was {% raw %}
};

}  // namespace

std::string ApplyWhitespaceControl(std::string_view source) {
  std::string text = WithUnixLines(source);
  if (text.ends_with('\n')) text.pop_back();
  return Rewriter(text).Run();
}

}  // namespace linnet::worker
