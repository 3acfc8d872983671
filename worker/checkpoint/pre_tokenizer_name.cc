#include "worker/checkpoint/pre_tokenizer_name.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

using nlohmann::json;

std::string Text(const json& object, const char* name) {
  const json* value = Member(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}
bool Flag(const json& object, const char* name, bool fallback) {
  const json* value = Member(object, name);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : fallback;
}

// The steps of "pre_tokenizer" or "normalizer": the elements of a sequence, or the one thing it is.
std::vector<const json*> Steps(const json& tokenizer, const char* name, const char* elements) {
  std::vector<const json*> steps;
  const json* top = Member(tokenizer, name);
  if (top == nullptr) return steps;
  if (Text(*top, "type") != "Sequence") return {top};
  if (const json* list = Member(*top, elements); list != nullptr && list->is_array()) {
    for (const json& step : *list) steps.push_back(&step);
  }
  return steps;
}

// All steps in a line: "Digits ByteLevel", "Split(regex) Bytes" where the bytes are spelled but nothing is cut.
std::string Summary(const json& tokenizer) {
  std::string summary;
  for (const json* step : Steps(tokenizer, "pre_tokenizer", "pretokenizers")) {
    const std::string type = Text(*step, "type");
    std::string part = type;
    if (type == "ByteLevel") {
      // A space before the text is what none of the names stands for.
      part = Flag(*step, "add_prefix_space", true) ? "Prefixed"
             : Flag(*step, "use_regex", true)      ? "ByteLevel"
                                                   : "Bytes";
    } else if (type == "Digits") {
      part = Flag(*step, "individual_digits", false) ? "Digits" : "Numbers";
    } else if (type == "Split") {
      const json* pattern = Member(*step, "pattern");
      part = base::StrCat("Split(", pattern == nullptr ? "" : Text(*pattern, "Regex"), ")");
    }
    base::StrAppend(&summary, summary.empty() ? "" : " ", part);
  }
  return summary;
}

#define CONTRACTIONS_AND_LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define PUNCTUATION_AND_SPACE "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

struct Name {
  std::string_view summary, name;
};
constexpr Name kNames[] = {
    {"ByteLevel", "gpt-2"},
    {"Digits ByteLevel", "smollm"},
    {"Punctuation ByteLevel Digits Split([0-9][0-9][0-9])", "falcon"},
    {"Split( ?[^(\\s|[.,!?…。，、।۔،])]+) Bytes", "bloom"},
    {"Split(" CONTRACTIONS_AND_LETTERS "\\p{N}{1,3}" PUNCTUATION_AND_SPACE ") Bytes", "dbrx"},
    {"Split(" CONTRACTIONS_AND_LETTERS "\\p{N}" PUNCTUATION_AND_SPACE ") Bytes", "stablelm2"},
};

}  // namespace

std::string PreTokenizerName(const json& tokenizer) {
  const std::string summary = Summary(tokenizer);
  std::string_view name;
  for (const Name& known : kNames) {
    if (known.summary == summary) name = known.name;
  }
  const json* model = Member(tokenizer, "model");
  if (name == "dbrx" && model != nullptr && Flag(*model, "ignore_merges", false)) return "llama-bpe";
  if (name == "stablelm2" && ComposesText(tokenizer)) return "qwen2";
  return std::string(name);
}

bool ComposesText(const json& tokenizer) {
  const auto steps = Steps(tokenizer, "normalizer", "normalizers");
  return std::any_of(steps.begin(), steps.end(), [](const json* step) { return Text(*step, "type") == "NFC"; });
}

bool AddsSpacePrefix(const json& tokenizer) {
  for (const json* step : Steps(tokenizer, "normalizer", "normalizers")) {
    if (Text(*step, "type") == "Prepend") return true;
  }
  for (const json* step : Steps(tokenizer, "pre_tokenizer", "pretokenizers")) {
    if (Text(*step, "type") != "Metaspace") continue;
    const std::string scheme = Text(*step, "prepend_scheme");
    return scheme.empty() ? Flag(*step, "add_prefix_space", true) : scheme != "never";
  }
  return false;
}

}  // namespace linnet::worker
