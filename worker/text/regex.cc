#include "worker/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

// Far above what the models' expressions need per match on real text, so that none can run away.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr size_t kJitStackBytes = 512 << 10;
constexpr size_t kMaxCompiledBytes = 1 << 20;
constexpr uint32_t kMaxNesting = 64;

// What searches need besides the expression, kept from search to search of a thread.
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

struct FreeContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

}  // namespace

void Regex::Free::operator()(void* code) const { pcre2_code_free(static_cast<pcre2_code*>(code)); }

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) { return CompileWith(pattern, 0); }

absl::StatusOr<Regex> Regex::CompileWith(std::string_view pattern, uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, FreeContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  pcre2_set_max_pattern_compiled_length(context.get(), kMaxCompiledBytes);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  options | PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                  &offset, context.get()));
  if (regex.code_ == nullptr) {
    PCRE2_UCHAR message[160];
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(
        absl::StrCat("PCRE2 at byte ", offset, ": ", reinterpret_cast<const char*>(message)));
  }
  pcre2_jit_compile(static_cast<pcre2_code*>(regex.code_.get()), PCRE2_JIT_COMPLETE);  // else PCRE2 interprets
  return regex;
}

namespace {

bool FindAllWith(const pcre2_code* code, MatchState& state, std::string_view text, std::vector<Regex::Match>& out) {
  const auto* begin = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t from = 0, last_end = text.size() + 1;
  while (from <= text.size()) {
    const int rc = pcre2_match(code, begin, text.size(), from, PCRE2_NO_UTF_CHECK, state.data, state.context);
    if (rc == PCRE2_ERROR_NOMATCH) return true;
    if (rc < 0) return false;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data);
    const Regex::Match match{bounds[0], bounds[1]};
    if (match.end < match.begin) return false;  // a lookaround that moved the beginning
    if (match.begin == match.end && match.end == last_end) {
      from += from < text.size() ? std::max<size_t>(Utf8CharBytes(text, from), 1) : 1;
      continue;
    }
    out.push_back(match);
    from = last_end = match.end;
  }
  return true;
}

int CountDown(pcre2_callout_block*, void* left) {
  return *static_cast<uint64_t*>(left) == 0 ? PCRE2_ERROR_CALLOUT : ((*static_cast<uint64_t*>(left))--, 0);
}

}  // namespace

bool Regex::FindAll(std::string_view text, std::vector<Match>& out) const {
  thread_local MatchState state;
  return FindAllWith(static_cast<const pcre2_code*>(code_.get()), state, text, out);
}

bool Regex::FindsAllWithin(std::string_view pattern, const std::vector<std::string>& texts, uint64_t steps) {
  const absl::StatusOr<Regex> counting =
      CompileWith(pattern, PCRE2_AUTO_CALLOUT | PCRE2_NO_START_OPTIMIZE | PCRE2_NO_AUTO_POSSESS);
  if (!counting.ok()) return false;
  MatchState state;
  uint64_t left = 0;
  pcre2_set_callout(state.context, CountDown, &left);
  std::vector<Match> matches;
  return std::all_of(texts.begin(), texts.end(), [&](const std::string& text) {
    left = steps;
    matches.clear();
    return FindAllWith(static_cast<const pcre2_code*>(counting->code_.get()), state, text, matches);
  });
}

}  // namespace linnet::worker
