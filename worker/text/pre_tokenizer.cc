#include "worker/text/pre_tokenizer.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace linnet::worker {
namespace {

#define WS LINNET_REGEX_SPACES

constexpr char kGpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+";
constexpr char kDigit[] = "\\p{N}";
#define CONTRACTIONS_AND_LETTERS \
  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define PUNCTUATION_AND_SPACE " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"
constexpr char kLlama3[] = CONTRACTIONS_AND_LETTERS "|\\p{N}{1,3}|" PUNCTUATION_AND_SPACE;
constexpr char kQwen2[] = CONTRACTIONS_AND_LETTERS "|\\p{N}|" PUNCTUATION_AND_SPACE;
constexpr char kQwen35[] =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
    "| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+";
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_WORDS(tail) \
  "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail
#define PUNCTUATION_SLASH_AND_SPACE \
  " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"
constexpr char kGpt4o[] = CASED_WORDS("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "|\\p{N}{1,3}|" PUNCTUATION_SLASH_AND_SPACE;
constexpr char kTekken[] = CASED_WORDS("") "|\\p{N}|" PUNCTUATION_SLASH_AND_SPACE;
constexpr char kBloom[] = " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C})]+";
constexpr char kThreeDigits[] = "\\p{N}{1,3}";
constexpr char kLine[] = "[\\r\\n]";
constexpr char kSpacedLetters[] = "[" WS "]?\\p{L}+";
constexpr char kSpacedPunctuation[] = "[" WS "]?\\p{P}+";
constexpr char kEastAsian[] = "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr char kHanAndKana[] = "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
constexpr char kDeepSeek3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+";
constexpr char kDefaultPunctuation[] = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr char kFalconPunctuation[] = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr char kDefaultNumbers[] = "\\p{N}+";
constexpr char kDefaultThreeDigits[] = "[0-9][0-9][0-9]";

struct Kind {
  std::vector<std::string_view> names;
  std::vector<const char*> expressions;
  bool ignore_merges = false;
  bool add_bos = false;
};

// The names are those that converters write; several models share expressions. Where llama.cpp only approximates a
// model's own expression (gpt-4o, tekken, deepseek-coder), the model's own is used.
const std::vector<Kind>& Kinds() {
  static const auto* kinds = new std::vector<Kind>{
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}, {kDigit, kGpt2}},
      {{"qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez"}, {kQwen2}},
      {{"qwen35"}, {kQwen35}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {kLlama3},
       /*ignore_merges=*/true,
       /*add_bos=*/true},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {kLlama3}},
      {{"gpt-4o", "llama4"}, {kGpt4o}},
      {{"tekken"}, {kTekken}, /*ignore_merges=*/true, /*add_bos=*/true},
      {{"gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "modern-bert"}, {kGpt2}},
      {{"bloom", "gpt3-finnish", "poro-chat"}, {kBloom}},
      {{"viking"}, {kBloom, kDigit}},
      {{"falcon"}, {kFalconPunctuation, kGpt2, kDefaultThreeDigits}},
      {{"deepseek-coder"}, {kLine, kSpacedLetters, kSpacedPunctuation, kEastAsian, kDigit}},
      {{"deepseek-v3", "hunyuan-dense"}, {kThreeDigits, kHanAndKana, kDeepSeek3}},
      {{"default"}, {kDefaultPunctuation, kGpt2, kDefaultNumbers, kDefaultThreeDigits}},
  };
  return *kinds;
}

// Matching each word alone lets lookaheads end at its border, as the models' tokenizers have it.
void Cut(const Regex& expression, std::string_view word, std::vector<std::string_view>& out) {
  std::vector<Regex::Match> matches;
  expression.FindAll(word, matches);  // behind a search that was given up, the rest stays one word
  size_t done = 0;
  for (const Regex::Match& match : matches) {
    if (match.begin > done) out.push_back(word.substr(done, match.begin - done));
    if (match.end > match.begin) out.push_back(word.substr(match.begin, match.end - match.begin));
    done = match.end;
  }
  if (done < word.size()) out.push_back(word.substr(done));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(std::string_view name) {
  const std::vector<Kind>& kinds = Kinds();
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) {
    return std::find(k.names.begin(), k.names.end(), name) != k.names.end();
  });
  if (kind == kinds.end()) {
    std::string known;
    for (const Kind& k : kinds) {
      for (std::string_view n : k.names) absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(n));
    }
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                       absl::StrCat("tokenizer.ggml.pre: pre-tokenizer \"", std::string(name),
                                    "\" is not supported; supported are ", known));
  }
  std::unique_ptr<PreTokenizer> made(new PreTokenizer);
  made->ignore_merges_ = kind->ignore_merges;
  made->add_bos_default_ = kind->add_bos;
  for (const char* pattern : kind->expressions) {
    LINNET_ASSIGN_OR_RETURN(Regex expression, Regex::Compile(pattern));
    made->expressions_.push_back(std::move(expression));
  }
  return made;
}

std::vector<std::string_view> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> words;
  if (text.empty()) return words;
  words.push_back(text);
  std::vector<std::string_view> next;
  for (const Regex& expression : expressions_) {
    next.clear();
    for (std::string_view word : words) Cut(expression, word, next);
    std::swap(words, next);
  }
  return words;
}

}  // namespace linnet::worker
