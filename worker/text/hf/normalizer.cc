#include "worker/text/hf/normalizer.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/byte_letters.h"
#include "worker/text/charsmap.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/pattern.h"
#include "worker/text/hf/unicode.h"
#include "worker/text/utf8.h"

namespace linnet::worker::hf {
namespace {

constexpr std::string_view kTypes =
    "ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Precompiled, Prepend, Replace, Sequence, Strip, StripAccents";
constexpr int kMaxNesting = 8;
constexpr size_t kMaxContentBytes = 256;
constexpr size_t kMaxGrowth = 64;

class Form : public Normalizer {
 public:
  explicit Form(NormalizationForm form) : form_(form) {}
  void Apply(std::string& text) const override { text = NormalizeUnicode(text, form_); }

 private:
  const NormalizationForm form_;
};

class Lower : public Normalizer {
  void Apply(std::string& text) const override { text = Lowercase(text); }
};

class ByteLevel : public Normalizer {
  void Apply(std::string& text) const override { text = ToByteLetters(text); }
};

class StripAccents : public Normalizer {
  void Apply(std::string& text) const override {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if (!IsCombiningMark(NextCharacter(text, at))) out.append(text, begin, at - begin);
    }
    text = std::move(out);
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void Apply(std::string& text) const override {
    size_t begin = 0, end = text.size();
    for (size_t at = 0; left_ && at < end;) {
      if (!IsWhitespace(NextCharacter(text, at))) break;
      begin = at;
    }
    for (size_t before = end; right_ && before > begin;) {
      if (!IsWhitespace(PreviousCharacter(text, before))) break;
      end = before;
    }
    text = text.substr(begin, end - begin);
  }

 private:
  const bool left_, right_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void Apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  const std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Apply(std::string& text) const override {
    std::vector<Regex::Match> matches;
    pattern_.FindAll(text, matches);  // behind a search that was given up, the rest stays
    if (matches.empty()) return;
    std::string out;
    size_t done = 0;
    for (const Regex::Match& match : matches) {
      out.append(text, done, match.begin - done).append(content_);
      done = match.end;
    }
    text = out.append(text, done);
  }

 private:
  const Regex pattern_;
  const std::string content_;
};

// SentencePiece's rules as Hugging Face's library applies them, which is not as SentencePiece does: a grapheme cluster
// of less than 6 bytes becomes what its shortest beginning that has a rule becomes; in others, each character by
// itself.
class Precompiled : public Normalizer {
 public:
  Precompiled(Charsmap rules, Regex cluster) : rules_(std::move(rules)), cluster_(std::move(cluster)) {}
  void Apply(std::string& text) const override {
    constexpr size_t kClusterBytes = 6;
    std::vector<Regex::Match> clusters;
    cluster_.FindAll(text, clusters);
    std::string out;
    const std::string_view all(text);
    for (const Regex::Match& match : clusters) {
      const std::string_view cluster = all.substr(match.begin, match.end - match.begin);
      const auto rule = cluster.size() < kClusterBytes ? rules_.Shortest(cluster) : std::nullopt;
      if (rule.has_value()) {
        out.append(rule->replacement);
        continue;
      }
      for (size_t at = 0; at < cluster.size();) {
        const size_t begin = at;
        NextCharacter(cluster, at);
        const std::string_view character = cluster.substr(begin, at - begin);
        const auto own = rules_.Shortest(character);
        out.append(own.has_value() ? own->replacement : character);
      }
    }
    text = std::move(out);
  }

 private:
  const Charsmap rules_;
  const Regex cluster_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  void Apply(std::string& text) const override {
    // Rules that blow a text up are taken no further.
    const size_t most = text.size() * kMaxGrowth + kMaxGrowth;
    for (const auto& part : parts_) {
      if (text.size() <= most) part->Apply(text);
    }
  }

 private:
  const std::vector<std::unique_ptr<Normalizer>> parts_;
};

using Made = absl::StatusOr<std::unique_ptr<Normalizer>>;

Made MakeReplace(Fields& fields) {
  const nlohmann::json* pattern = fields.Find("pattern");
  if (pattern == nullptr) return fields.Error("pattern is missing");
  LINNET_ASSIGN_OR_RETURN(Regex regex, ReadPattern(*pattern, fields.Where("pattern")));
  LINNET_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
  if (content.size() > kMaxContentBytes)
    return fields.Error(base::StrCat(content.size(), " bytes of content are too many"));
  return std::make_unique<Replace>(std::move(regex), std::move(content));
}

Made MakePrecompiled(Fields& fields) {
  LINNET_ASSIGN_OR_RETURN(const std::string encoded, fields.String("precompiled_charsmap", ""));
  std::string bytes;
  if (!absl::Base64Unescape(encoded, &bytes)) return fields.Error("precompiled_charsmap is no base64");
  absl::StatusOr<Charsmap> rules = Charsmap::Parse(bytes);
  if (!rules.ok()) return fields.Error(base::ToStd(rules.status().message()));
  LINNET_ASSIGN_OR_RETURN(Regex cluster, Regex::Compile("\\X"));
  return std::make_unique<Precompiled>(*std::move(rules), std::move(cluster));
}

Made Make(const nlohmann::json& json, const std::string& where, int depth);

Made MakeSequence(Fields& fields, int depth) {
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json* array, fields.Array("normalizers"));
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (size_t i = 0; i < array->size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(parts.emplace_back(), Make((*array)[i], fields.Where("normalizers", i), depth + 1));
  }
  return std::make_unique<Sequence>(std::move(parts));
}

Made MakeTyped(std::string_view type, Fields& fields, const std::string& where, int depth) {
  if (type == "Sequence") return MakeSequence(fields, depth);
  if (type == "NFC") return std::make_unique<Form>(NormalizationForm::kNfc);
  if (type == "NFD") return std::make_unique<Form>(NormalizationForm::kNfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalizationForm::kNfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalizationForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lower>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Replace") return MakeReplace(fields);
  if (type == "Precompiled") return MakePrecompiled(fields);
  if (type == "Prepend") {
    LINNET_ASSIGN_OR_RETURN(std::string prefix, fields.String("prepend"));
    return std::make_unique<Prepend>(std::move(prefix));
  }
  if (type == "Strip") {
    LINNET_ASSIGN_OR_RETURN(const bool left, fields.Bool("strip_left"));
    LINNET_ASSIGN_OR_RETURN(const bool right, fields.Bool("strip_right"));
    return std::make_unique<Strip>(left, right);
  }
  return UnsupportedType(where, type, kTypes);
}

Made Make(const nlohmann::json& json, const std::string& where, int depth) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  if (depth > kMaxNesting) return fields.Error("sequences are nested too deeply");
  LINNET_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Normalizer> made, MakeTyped(type, fields, where, depth));
  LINNET_RETURN_IF_ERROR(fields.Finish());
  return made;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> Normalizer::Read(const nlohmann::json& json, const std::string& where) {
  if (json.is_null()) return std::make_unique<Sequence>(std::vector<std::unique_ptr<Normalizer>>());
  return Make(json, where, 0);
}

}  // namespace linnet::worker::hf
