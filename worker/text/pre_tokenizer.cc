#include "worker/text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace linnet::worker {
namespace {

// White_Space of Unicode: what \s means to the models' own tokenizers. PCRE2's \s has U+180E besides.
#define WS \
  "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

constexpr char kGpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+";
constexpr char kDigit[] = "\\p{N}";
#define CONTRACTIONS_AND_LETTERS \
  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define PUNCTUATION_AND_SPACE " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"
constexpr char kLlama3[] = CONTRACTIONS_AND_LETTERS "|\\p{N}{1,3}|" PUNCTUATION_AND_SPACE;
constexpr char kQwen2[] = CONTRACTIONS_AND_LETTERS "|\\p{N}|" PUNCTUATION_AND_SPACE;
constexpr char kDefaultPunctuation[] = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr char kDefaultNumbers[] = "\\p{N}+";
constexpr char kDefaultThreeDigits[] = "[0-9][0-9][0-9]";

struct Kind {
  std::vector<std::string_view> names;
  std::vector<const char*> expressions;
  bool ignore_merges = false;
  bool add_bos = false;
};

// The names are those that converters write; several models share expressions.
const std::vector<Kind>& Kinds() {
  static const auto* kinds = new std::vector<Kind>{
      {{"smollm", "starcoder", "refact", "command-r", "codeshell"}, {kDigit, kGpt2}},
      {{"qwen2", "deepseek-r1-qwen"}, {kQwen2}},
      {{"llama-bpe", "llama3", "llama-v3"}, {kLlama3}, /*ignore_merges=*/true, /*add_bos=*/true},
      {{"gpt-2", "phi-2"}, {kGpt2}},
      {{"default"}, {kDefaultPunctuation, kGpt2, kDefaultNumbers, kDefaultThreeDigits}},
  };
  return *kinds;
}

// Far above what the expressions need per match on real text, so that none can run away.
constexpr uint32_t kMatchLimit = 100'000'000;
constexpr size_t kJitStackBytes = 512 << 10;

struct MatchState {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr);

  MatchState() {
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchState() {
    pcre2_jit_stack_free(stack);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

}  // namespace

struct PreTokenizer::Expression {
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code;

  void Cut(std::string_view word, MatchState& state, std::vector<std::string_view>& out) const {
    // Matching the word alone lets lookaheads end at its border, as the models' tokenizers have it.
    const auto* begin = reinterpret_cast<PCRE2_SPTR>(word.data());
    size_t done = 0;
    while (done < word.size()) {
      const int rc = pcre2_match(code.get(), begin, word.size(), done, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, state.data,
                                 state.context);
      if (rc < 0) break;  // no match; or a limit: the rest stays one word
      const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data);
      if (bounds[0] > done) out.push_back(word.substr(done, bounds[0] - done));
      out.push_back(word.substr(bounds[0], bounds[1] - bounds[0]));
      done = bounds[1];
    }
    if (done < word.size()) out.push_back(word.substr(done));
  }
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::~PreTokenizer() = default;

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
    int error = 0;
    PCRE2_SIZE offset = 0;
    Expression expression{.code{pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr)}};
    if (expression.code == nullptr) {
      return absl::InternalError(
          absl::StrCat("pre-tokenizer ", std::string(name), ": PCRE2 error ", error, " at ", offset));
    }
    pcre2_jit_compile(expression.code.get(), PCRE2_JIT_COMPLETE);  // where it cannot, PCRE2 interprets
    made->expressions_.push_back(std::move(expression));
  }
  return made;
}

std::vector<std::string_view> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> words;
  if (text.empty()) return words;
  words.push_back(text);
  MatchState state;
  std::vector<std::string_view> next;
  for (const Expression& expression : expressions_) {
    next.clear();
    for (std::string_view word : words) expression.Cut(word, state, next);
    std::swap(words, next);
  }
  return words;
}

}  // namespace linnet::worker
