#include "worker/text/hf/decoder.h"

#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/gguf/token_kind.h"
#include "worker/text/byte_letters.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/pattern.h"
#include "worker/text/hf/unicode.h"

namespace linnet::worker::hf {
namespace {

constexpr std::string_view kTypes = "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip";
constexpr int kMaxNesting = 8;
constexpr size_t kMaxContentBytes = 256;

void ReplaceAll(std::string_view from, std::string_view to, std::string& text) {
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(text, done, at - done).append(to);
  }
  text = out.append(text, done);
}

class ByteLevel : public Decoder {
  void Apply(std::string& token, bool added) const override {
    if (added) return;
    if (std::optional<std::string> bytes = FromByteLetters(token); bytes.has_value()) token = *std::move(bytes);
  }
};

class ByteFallback : public Decoder {
  void Apply(std::string& token, bool added) const override {
    std::string byte;
    if (SpellsByte(token) && std::isxdigit(token[3]) && std::isxdigit(token[4]) &&
        absl::HexStringToBytes(token.substr(3, 2), &byte)) {
      token = std::move(byte);
    }
  }
};

class Metaspace : public Decoder {
 public:
  explicit Metaspace(std::string replacement) : replacement_(std::move(replacement)) {}
  void Apply(std::string& token, bool added) const override { ReplaceAll(replacement_, " ", token); }

 private:
  const std::string replacement_;
};

class Replace : public Decoder {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Apply(std::string& token, bool added) const override {
    std::vector<Regex::Match> matches;
    pattern_.FindAll(token, matches);
    std::string out;
    size_t done = 0;
    for (const Regex::Match& match : matches) {
      out.append(token, done, match.begin - done).append(content_);
      done = match.end;
    }
    token = out.append(token, done);
  }

 private:
  const Regex pattern_;
  const std::string content_;
};

// Of each token, where it stands before Fuse.
class Strip : public Decoder {
 public:
  Strip(std::string content, int64_t start, int64_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  void Apply(std::string& token, bool added) const override {
    std::string_view rest(token);
    for (int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
    for (int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
    token = std::string(rest);
  }

 private:
  const std::string content_;
  const int64_t start_, stop_;
};

// Where there is no decoder, a space stands between tokens.
class Spaced : public Decoder {
  void Apply(std::string& token, bool added) const override { token.insert(0, " "); }
};

class Sequence : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<Decoder>> parts) : parts_(std::move(parts)) {}
  void Apply(std::string& token, bool added) const override {
    for (const auto& part : parts_) part->Apply(token, added);
  }

 private:
  const std::vector<std::unique_ptr<Decoder>> parts_;
};

using Made = absl::StatusOr<std::unique_ptr<Decoder>>;

class DecoderReader {
 public:
  Made Make(const nlohmann::json& json, const std::string& where, int depth) {
    LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
    if (depth > kMaxNesting) return fields.Error("sequences are nested too deeply");
    LINNET_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
    if (fused_ && type != "Strip" && type != "Fuse") {
      return fields.Error(base::StrCat(type, " behind Fuse is not supported"));
    }
    LINNET_ASSIGN_OR_RETURN(std::unique_ptr<Decoder> made, MakeTyped(type, fields, where, depth));
    LINNET_RETURN_IF_ERROR(fields.Finish());
    return made;
  }

 private:
  Made MakeTyped(std::string_view type, Fields& fields, const std::string& where, int depth) {
    if (type == "Sequence") return MakeSequence(fields, depth);
    if (type == "ByteFallback") return std::make_unique<ByteFallback>();
    if (type == "Strip") return MakeStrip(fields);
    if (type == "Fuse") {
      fused_ = true;
      return Nothing();
    }
    if (type == "ByteLevel") {
      for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.Ignore(key);  // of encoding
      return std::make_unique<ByteLevel>();
    }
    if (type == "Metaspace") {
      for (const char* key : {"add_prefix_space", "prepend_scheme", "split", "str_rep"}) fields.Ignore(key);
      LINNET_ASSIGN_OR_RETURN(std::string replacement, fields.String("replacement"));
      if (replacement.empty()) return fields.Error("replacement is empty");
      return std::make_unique<Metaspace>(std::move(replacement));
    }
    if (type == "Replace") {
      const nlohmann::json* pattern = fields.Find("pattern");
      if (pattern == nullptr) return fields.Error("pattern is missing");
      LINNET_ASSIGN_OR_RETURN(Regex regex, ReadPattern(*pattern, fields.Where("pattern")));
      LINNET_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
      if (content.size() > kMaxContentBytes) return fields.Error("content is too long");
      return std::make_unique<Replace>(std::move(regex), std::move(content));
    }
    return UnsupportedType(where, type, kTypes);
  }

  Made MakeStrip(Fields& fields) {
    LINNET_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
    LINNET_ASSIGN_OR_RETURN(const int64_t start, fields.Integer("start"));
    LINNET_ASSIGN_OR_RETURN(const int64_t stop, fields.Integer("stop"));
    if (content.empty() || start < 0 || stop < 0) return fields.Error("nothing to strip");
    if (!fused_) return std::make_unique<Strip>(std::move(content), start, stop);
    if (stop > 0) return fields.Error("to strip the end of a whole text is not supported");
    return Nothing();  // at the beginning of a whole text
  }

  Made MakeSequence(Fields& fields, int depth) {
    LINNET_ASSIGN_OR_RETURN(const nlohmann::json* array, fields.Array("decoders"));
    std::vector<std::unique_ptr<Decoder>> parts;
    for (size_t i = 0; i < array->size(); ++i) {
      LINNET_ASSIGN_OR_RETURN(parts.emplace_back(), Make((*array)[i], fields.Where("decoders", i), depth + 1));
    }
    return std::make_unique<Sequence>(std::move(parts));
  }

  static std::unique_ptr<Decoder> Nothing() {
    return std::make_unique<Sequence>(std::vector<std::unique_ptr<Decoder>>());
  }

  bool fused_ = false;  // what comes has the whole text before it
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Read(const nlohmann::json& json, const std::string& where) {
  if (json.is_null()) return std::make_unique<Spaced>();
  return DecoderReader().Make(json, where, 0);
}

}  // namespace linnet::worker::hf
