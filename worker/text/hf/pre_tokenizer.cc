#include "worker/text/hf/pre_tokenizer.h"

#include <optional>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/byte_letters.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/oniguruma.h"
#include "worker/text/hf/pattern.h"
#include "worker/text/hf/unicode.h"

namespace linnet::worker::hf {
namespace {

constexpr std::string_view kTypes =
    "ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace, WhitespaceSplit";
constexpr char kGpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" LINNET_REGEX_SPACES "\\p{L}\\p{N}]+|[" LINNET_REGEX_SPACES
    "]+(?![^" LINNET_REGEX_SPACES "])|[" LINNET_REGEX_SPACES "]+";
// \w and \s of Rust's regular expressions.
#define RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}"
constexpr char kWords[] = "[" RUST_WORD "]+|[^" RUST_WORD LINNET_REGEX_SPACES "]+";
constexpr int kMaxNesting = 8;

absl::StatusOr<SplitBehavior> BehaviorNamed(Fields& fields, std::string_view fallback) {
  LINNET_ASSIGN_OR_RETURN(const std::string name,
                          fallback.empty() ? fields.String("behavior") : fields.String("behavior", fallback));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return fields.Error(base::StrCat("behavior \"", name, "\" is not supported"));
}

// Matches of one character each, as `is` tells.
auto Characters(bool (*is)(uint32_t)) {
  return [is](std::string_view text, std::vector<Regex::Match>& out) {
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (is(NextCharacter(text, at))) out.push_back({begin, at});
    }
  };
}

// Matches of an expression. Behind a search that was given up, the rest is none.
auto Expression(const Regex& regex) {
  return [&regex](std::string_view text, std::vector<Regex::Match>& out) { regex.FindAll(text, out); };
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> words)
      : add_prefix_space_(add_prefix_space), words_(std::move(words)) {}
  void Apply(Segments& segments) const override {
    if (add_prefix_space_) {
      segments.Respell([](const Segments::Segment&, std::string_view text, std::string& out) {
        if (!text.starts_with(' ')) out += ' ';
        out += text;
      });
    }
    if (words_.has_value()) segments.Split(SplitBehavior::kIsolated, false, Expression(*words_));
    segments.Respell([](const Segments::Segment&, std::string_view text, std::string& out) {
      for (const char c : text) out += ByteLetters()[static_cast<uint8_t>(c)];
    });
  }

 private:
  const bool add_prefix_space_;
  const std::optional<Regex> words_;
};

class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(bool (*is)(uint32_t), SplitBehavior behavior) : is_(is), behavior_(behavior) {}
  void Apply(Segments& segments) const override { segments.Split(behavior_, false, Characters(is_)); }

 private:
  bool (*const is_)(uint32_t);
  const SplitBehavior behavior_;
};

class RegexSplit : public PreTokenizer {
 public:
  RegexSplit(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void Apply(Segments& segments) const override { segments.Split(behavior_, invert_, Expression(regex_)); }

 private:
  const Regex regex_;
  const SplitBehavior behavior_;
  const bool invert_;
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void Apply(Segments& segments) const override {
    segments.Respell([this](const Segments::Segment& segment, std::string_view text, std::string& out) {
      const bool prepends = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && segment.first);
      if (prepends && !text.starts_with(' ') && !text.starts_with(replacement_)) out += replacement_;
      for (const char c : text) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out += c;
        }
      }
    });
    if (!split_) return;
    segments.Split(SplitBehavior::kMergedWithNext, false,
                   [this](std::string_view text, std::vector<Regex::Match>& out) {
                     for (size_t at = 0; (at = text.find(replacement_, at)) != std::string_view::npos;) {
                       out.push_back({at, at + replacement_.size()});
                       at += replacement_.size();
                     }
                   });
  }

 private:
  const std::string replacement_;
  const Prepend prepend_;
  const bool split_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  void Apply(Segments& segments) const override {
    for (const auto& part : parts_) part->Apply(segments);
  }

 private:
  const std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

using Made = absl::StatusOr<std::unique_ptr<PreTokenizer>>;

Made MakeByteLevel(Fields& fields) {
  LINNET_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space"));
  LINNET_ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
  fields.Ignore("trim_offsets");  // of places in the text, which are not kept here
  std::optional<Regex> words;
  if (use_regex) {
    LINNET_ASSIGN_OR_RETURN(words, Regex::Compile(kGpt2));
  }
  return std::make_unique<ByteLevel>(add_prefix_space, std::move(words));
}

Made MakeSplit(Fields& fields) {
  const nlohmann::json* pattern = fields.Find("pattern");
  if (pattern == nullptr) return fields.Error("pattern is missing");
  LINNET_ASSIGN_OR_RETURN(Regex regex, ReadPattern(*pattern, fields.Where("pattern")));
  LINNET_ASSIGN_OR_RETURN(const SplitBehavior behavior, BehaviorNamed(fields, ""));
  LINNET_ASSIGN_OR_RETURN(const bool invert, fields.Bool("invert"));
  return std::make_unique<RegexSplit>(std::move(regex), behavior, invert);
}

// Older files have add_prefix_space and str_rep, newer ones prepend_scheme and split.
Made MakeMetaspace(Fields& fields) {
  LINNET_ASSIGN_OR_RETURN(const std::string replacement, fields.String("replacement"));
  size_t bytes = 0;
  if (!replacement.empty()) NextCharacter(replacement, bytes);
  if (bytes == 0 || bytes != replacement.size()) return fields.Error("replacement should be one character");
  LINNET_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
  LINNET_ASSIGN_OR_RETURN(const std::string scheme,
                          fields.String("prepend_scheme", add_prefix_space ? "always" : "never"));
  LINNET_ASSIGN_OR_RETURN(const bool split, fields.Bool("split", true));
  fields.Ignore("str_rep");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return fields.Error(base::StrCat("prepend_scheme \"", scheme, "\" is not supported; always, first and never are"));
  }
  if (!add_prefix_space && scheme != "never") {
    return fields.Error(base::StrCat("add_prefix_space: false contradicts prepend_scheme \"", scheme, "\""));
  }
  return std::make_unique<Metaspace>(replacement,
                                     scheme == "always"  ? Metaspace::Prepend::kAlways
                                     : scheme == "first" ? Metaspace::Prepend::kFirst
                                                         : Metaspace::Prepend::kNever,
                                     split);
}

Made Make(const nlohmann::json& json, const std::string& where, int depth);

Made MakeSequence(Fields& fields, int depth) {
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json* array, fields.Array("pretokenizers"));
  std::vector<std::unique_ptr<PreTokenizer>> parts;
  for (size_t i = 0; i < array->size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(parts.emplace_back(), Make((*array)[i], fields.Where("pretokenizers", i), depth + 1));
  }
  return std::make_unique<Sequence>(std::move(parts));
}

Made MakeTyped(std::string_view type, Fields& fields, const std::string& where, int depth) {
  if (type == "Sequence") return MakeSequence(fields, depth);
  if (type == "ByteLevel") return MakeByteLevel(fields);
  if (type == "Split") return MakeSplit(fields);
  if (type == "Metaspace") return MakeMetaspace(fields);
  if (type == "Digits") {
    LINNET_ASSIGN_OR_RETURN(const bool individual, fields.Bool("individual_digits"));
    return std::make_unique<CharacterSplit>(IsNumeric,
                                            individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    LINNET_ASSIGN_OR_RETURN(const SplitBehavior behavior, BehaviorNamed(fields, "Isolated"));
    return std::make_unique<CharacterSplit>(IsPunctuation, behavior);
  }
  if (type == "WhitespaceSplit") return std::make_unique<CharacterSplit>(IsWhitespace, SplitBehavior::kRemoved);
  if (type == "Whitespace") {
    LINNET_ASSIGN_OR_RETURN(Regex words, Regex::Compile(kWords));
    return std::make_unique<RegexSplit>(std::move(words), SplitBehavior::kRemoved, /*invert=*/true);
  }
  return UnsupportedType(where, type, kTypes);
}

Made Make(const nlohmann::json& json, const std::string& where, int depth) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  if (depth > kMaxNesting) return fields.Error("sequences are nested too deeply");
  LINNET_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> made, MakeTyped(type, fields, where, depth));
  LINNET_RETURN_IF_ERROR(fields.Finish());
  return made;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Read(const nlohmann::json& json, const std::string& where) {
  if (json.is_null()) return std::make_unique<Sequence>(std::vector<std::unique_ptr<PreTokenizer>>());
  return Make(json, where, 0);
}

}  // namespace linnet::worker::hf
