#include "worker/text/hf/oniguruma.h"

#include <cctype>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/utf8.h"

namespace linnet::worker::hf {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr int kMaxNesting = 32;

// As members of a class.
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kWordBoundary =
    "(?:(?<=[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}])(?![\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}])|"
    "(?<![\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}])(?=[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]))";

// Folded, Oniguruma lets each of these match one other character (ß, a ligature), PCRE2 does not.
constexpr std::string_view kFoldedPairs[] = {"ss", "st", "ff", "fi", "fl"};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    if (in_.size() > kMaxPatternBytes) return Error(base::StrCat(in_.size(), " bytes are too many"));
    if (ReplaceBrokenUtf8(in_) != in_) return Error("it is not UTF-8");
    if (Take("(?i)")) {
      out_ += "(?i)";
      folds_ = true;
    }
    LINNET_RETURN_IF_ERROR(Alternatives(0));
    if (!Done()) return Error("a \")\" without \"(\"");
    return std::move(out_);
  }

 private:
  bool Done() const { return at_ == in_.size(); }
  char Peek() const { return in_[at_]; }
  bool Take(std::string_view text) {
    if (!in_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(
        base::StrCat("regular expression \"", in_.substr(0, 200), "\", byte ", at_, ": ", what));
  }
  absl::Status Unsupported(std::string_view what) const { return Error(base::StrCat(what, " is not supported")); }

  // Up to the end or the parenthesis that ends the group.
  absl::Status Alternatives(int depth) {
    if (depth > kMaxNesting) return Error("groups are nested too deeply");
    bool quantifiable = false;
    while (!Done() && Peek() != ')') {
      const char c = Peek();
      if (c != '|' && !IsLetter(c)) run_.clear();
      if (c == '*' || c == '+' || c == '?' || (c == '{' && Interval() != 0)) {
        if (!quantifiable) return Error("a quantifier with nothing before it");
        LINNET_RETURN_IF_ERROR(Quantifier());
        quantifiable = false;
        continue;
      }
      quantifiable = c != '|' && c != '^';
      if (c == '(') {
        LINNET_RETURN_IF_ERROR(Group(depth));
      } else if (c == '[') {
        LINNET_RETURN_IF_ERROR(Class(0, /*inlined=*/false));
      } else if (c == '\\') {
        LINNET_RETURN_IF_ERROR(Escape());
      } else {
        LINNET_RETURN_IF_ERROR(Literal());
      }
    }
    run_.clear();
    return absl::OkStatus();
  }

  static bool IsLetter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

  absl::Status Literal() {
    const size_t bytes = Utf8CharBytes(in_, at_);
    const char c = Peek();
    if (folds_ && bytes > 1) return Unsupported("a letter beyond ASCII under (?i)");
    if (folds_ && IsLetter(c)) {
      run_ += absl::ascii_tolower(static_cast<unsigned char>(c));
      for (std::string_view pair : kFoldedPairs) {
        if (std::string_view(run_).ends_with(pair)) return Unsupported(base::StrCat("\"", pair, "\" under (?i)"));
      }
    } else if (c == '|') {
      run_.clear();
    }
    if (c == '{' || c == ']' || c == '}') out_ += '\\';
    out_ += in_.substr(at_, bytes);
    at_ += bytes;
    return absl::OkStatus();
  }

  // Bytes of {n}, {n,}, {n,m} or {,m} here; 0: a brace and nothing more.
  size_t Interval() const {
    size_t i = at_ + 1;
    const auto digits = [&] {
      const size_t begin = i;
      while (i < in_.size() && std::isdigit(static_cast<unsigned char>(in_[i]))) ++i;
      return i - begin;
    };
    size_t found = digits();
    if (i < in_.size() && in_[i] == ',') {
      ++i;
      found += digits();
    }
    return found > 0 && i < in_.size() && in_[i] == '}' ? i + 1 - at_ : 0;
  }

  absl::Status Quantifier() {
    if (Peek() == '{') {
      const std::string_view interval = in_.substr(at_, Interval());
      out_ += interval[1] == ',' ? base::StrCat("{0", interval.substr(1)) : std::string(interval);
      at_ += interval.size();
      if (Done()) return absl::OkStatus();
      if (Peek() == '+') return Unsupported("\"+\" behind an interval");
      if (Peek() == '?' && interval.find(',') == std::string_view::npos) return Unsupported("\"?\" behind {n}");
    } else {
      out_ += in_[at_++];
      if (!Done() && Peek() == '+') {
        out_ += in_[at_++];
        return absl::OkStatus();
      }
    }
    if (!Done() && Peek() == '?') out_ += in_[at_++];
    return absl::OkStatus();
  }

  absl::Status Group(int depth) {
    const bool folded = folds_;
    if (Take("(?i:")) {
      out_ += "(?i:";
      folds_ = true;
    } else if (Take("(?-i:")) {
      out_ += "(?-i:";
      folds_ = false;
    } else if (!in_.substr(at_).starts_with("(?") && !in_.substr(at_).starts_with("(*")) {
      ++at_;
      out_ += "(";
    } else {
      bool known = false;
      for (std::string_view begin : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
        if (!Take(begin)) continue;
        out_ += begin;
        known = true;
        break;
      }
      if (!known) return Unsupported(base::StrCat("\"", in_.substr(at_, 4), "\""));
    }
    LINNET_RETURN_IF_ERROR(Alternatives(depth + 1));
    if (!Take(")")) return Error("a \"(\" without \")\"");
    out_ += ")";
    folds_ = folded;
    return absl::OkStatus();
  }

  // What begins with a backslash, outside a class.
  absl::Status Escape() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    switch (c) {
      case 'd':
        return Emit("\\p{Nd}");
      case 'D':
        return Emit("\\P{Nd}");
      case 's':
        return Emit("[" LINNET_REGEX_SPACES "]");
      case 'S':
        return Emit("[^" LINNET_REGEX_SPACES "]");
      case 'w':
        return Emit(base::StrCat("[", kWord, "]"));
      case 'W':
        return Emit(base::StrCat("[^", kWord, "]"));
      case 'b':
        return Emit(kWordBoundary);
      case 'A':
        return Emit("\\A");
      case 'z':
        return Emit("\\z");
      case 'Z':
        return Emit("\\Z");
      default:
        return Character();
    }
  }
  absl::Status Emit(std::string_view text) {
    at_ += 2;
    out_ += text;
    return absl::OkStatus();
  }

  // An escape that stands for one character, or for a property.
  absl::Status Character() {
    const char c = at_ + 1 < in_.size() ? in_[at_ + 1] : '\0';
    switch (c) {
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
        return Emit(in_.substr(at_, 2));
      case 'v':
        return Emit("\\x{0B}");
      case 'x':
      case 'u':
        return CodePoint();
      case 'p':
      case 'P':
        return Property();
      case '\0':
        return Error("a \"\\\" at the end");
      default:
        break;
    }
    if (std::isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80) {
      return Unsupported(base::StrCat("\"\\", in_.substr(at_ + 1, 1), "\""));
    }
    return Emit(in_.substr(at_, 2));
  }

  // \xHH, \x{H...}, \uHHHH.
  absl::Status CodePoint() {
    const bool braces = in_[at_ + 1] == 'x' && in_.substr(at_ + 2).starts_with("{");
    size_t i = at_ + (braces ? 3 : 2);
    const size_t begin = i, most = braces ? 8 : in_[at_ + 1] == 'u' ? 4 : 2;
    uint32_t value = 0;
    while (i < in_.size() && i - begin < most && std::isxdigit(static_cast<unsigned char>(in_[i]))) {
      const char digit = in_[i++];
      value = value * 16 + static_cast<uint32_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    const bool whole = braces ? i > begin && i < in_.size() && in_[i] == '}' : i - begin == most;
    if (!whole || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return Error("no code point");
    if (most == 2 && value > 0x7F) return Unsupported("a byte that is no character");
    if (folds_ && (value > 0x7F || IsLetter(static_cast<char>(value)))) return Unsupported("a code point under (?i)");
    at_ = i + (braces ? 1 : 0);
    out_ += absl::StrFormat("\\x{%X}", value);
    return absl::OkStatus();
  }

  // \p{Name}, \P{Name}, \p{^Name}.
  absl::Status Property() {
    if (folds_) return Unsupported("a property under (?i)");
    bool negated = in_[at_ + 1] == 'P';
    size_t begin = at_ + 2;
    if (begin >= in_.size() || in_[begin] != '{') return Unsupported("a property without braces");
    const size_t end = in_.find('}', begin);
    if (end == std::string_view::npos) return Error("a \"{\" without \"}\"");
    if (in_[++begin] == '^') {
      negated = !negated;
      ++begin;
    }
    const std::string name(in_.substr(begin, end - begin));
    for (const char c : name) {
      if (!IsLetter(c) && c != '_') return Unsupported(base::StrCat("property \"", name, "\""));
    }
    static const auto* categories = new std::set<std::string>{
        "C",  "Cc", "Cf", "Cn", "Co", "L",  "Ll",         "Lm",          "Lo",        "Lt",
        "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd",         "Nl",          "No",        "P",
        "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps",         "S",           "Sc",        "Sk",
        "Sm", "So", "Z",  "Zl", "Zp", "Zs", "Alphabetic", "White_Space", "Uppercase", "Lowercase"};
    if (name.size() <= 2 && !categories->contains(name)) return Unsupported(base::StrCat("property \"", name, "\""));
    at_ = end + 1;
    // A script. PCRE2 refuses a name that is none.
    out_ += base::StrCat(negated ? "\\P{" : "\\p{", categories->contains(name) ? "" : "sc:", name, "}");
    return absl::OkStatus();
  }

  // `inlined`: within a class, whose members those of this one become.
  absl::Status Class(int depth, bool inlined) {
    if (depth > kMaxNesting) return Error("classes are nested too deeply");
    ++at_;
    if (Take("^")) {
      if (inlined) return Unsupported("a negated class within a class");
      out_ += "[^";
    } else if (!inlined) {
      out_ += "[";
    }
    if (!Done() && Peek() == ']') return Unsupported("\"]\" as the first member of a class");
    while (!Done() && Peek() != ']') LINNET_RETURN_IF_ERROR(Member(depth));
    if (!Take("]")) return Error("a \"[\" without \"]\"");
    if (!inlined) out_ += "]";
    return absl::OkStatus();
  }

  absl::Status Member(int depth) {
    if (in_.substr(at_).starts_with("[:")) return PosixSet();
    if (Peek() == '[') return Class(depth + 1, /*inlined=*/true);
    if (in_.substr(at_).starts_with("&&")) return Unsupported("an intersection of classes (\"&&\")");
    if (Peek() == '\\') return MemberEscape();
    const size_t bytes = Utf8CharBytes(in_, at_);
    if (folds_ && bytes > 1) return Unsupported("a letter beyond ASCII under (?i)");
    if (Peek() == '^') out_ += '\\';
    out_ += in_.substr(at_, bytes);
    at_ += bytes;
    return absl::OkStatus();
  }

  absl::Status MemberEscape() {
    switch (at_ + 1 < in_.size() ? in_[at_ + 1] : '\0') {
      case 'd':
        return Emit("\\p{Nd}");
      case 'D':
        return Emit("\\P{Nd}");
      case 's':
        return Emit(LINNET_REGEX_SPACES);
      case 'S':
        return Emit("\\P{White_Space}");
      case 'w':
        return Emit(kWord);
      case 'b':
        return Emit("\\x{08}");
      default:
        return Character();
    }
  }

  absl::Status PosixSet() {
    if (folds_) return Unsupported("a property under (?i)");
    static constexpr std::pair<std::string_view, std::string_view> kSets[] = {{"[:space:]", LINNET_REGEX_SPACES},
                                                                              {"[:digit:]", "\\p{Nd}"},
                                                                              {"[:alpha:]", "\\p{Alphabetic}"},
                                                                              {"[:upper:]", "\\p{Uppercase}"},
                                                                              {"[:lower:]", "\\p{Lowercase}"}};
    for (const auto& [name, members] : kSets) {
      if (!Take(name)) continue;
      out_ += members;
      return absl::OkStatus();
    }
    return Unsupported(base::StrCat("\"", in_.substr(at_, 10), "\""));
  }

  const std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  bool folds_ = false;  // under (?i)
  std::string run_;     // letters just passed
};

// An expression's steps on these grow with their length, if it is one of a tokenizer; many times as fast if it
// backtracks.
constexpr uint64_t kProbeSteps = 400'000;
constexpr size_t kProbeBytes = 2000;

std::vector<std::string> Probes() {
  std::vector<std::string> probes;
  for (std::string_view unit : {"a", "A", "1", " ", "\n", ".", "'", "\xE4\xBD\xA0", "aA", "a ", "1.", " \n"}) {
    std::string text;
    while (text.size() < kProbeBytes) text += unit;
    for (std::string_view end : {"", "!", "x", "\n", "\xC3\xA9"}) probes.push_back(base::StrCat(text, end));
  }
  return probes;
}

}  // namespace

absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern) { return Translator(pattern).Run(); }

absl::StatusOr<Regex> CompileOniguruma(std::string_view pattern) {
  LINNET_ASSIGN_OR_RETURN(const std::string translated, OnigurumaToPcre2(pattern));
  absl::StatusOr<Regex> regex = Regex::Compile(translated);
  if (!regex.ok()) {
    return absl::InvalidArgumentError(
        base::StrCat("regular expression \"", pattern.substr(0, 200), "\": ", regex.status().message()));
  }
  static const auto* probes = new std::vector<std::string>(Probes());
  if (!Regex::FindsAllWithin(translated, *probes, kProbeSteps)) {
    return absl::InvalidArgumentError(base::StrCat("regular expression \"", pattern.substr(0, 200),
                                                   "\" takes too long: it backtracks on plain text"));
  }
  return regex;
}

std::string QuoteForRegex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) {
      out += absl::StrFormat("\\x{%X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace linnet::worker::hf
