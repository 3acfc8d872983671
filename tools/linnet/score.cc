#include "tools/linnet/score.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/rows.h"
#include "tools/linnet/local_model.h"
#include "worker/model/kv_cache.h"

namespace linnet::cli {
namespace {

// Logits of so many tokens are in memory at a time.
constexpr size_t kChunkTokens = 128;

struct Options {
  LocalModelOptions local;
  std::string text_file, tokens_file;
  bool plain = false;
};

absl::StatusOr<std::vector<worker::TokenId>> ReadInput(const Options& options, const worker::Model& model) {
  if (options.text_file.empty() == options.tokens_file.empty()) {
    return UsageError("give either --text-file or --tokens-file");
  }
  std::vector<worker::TokenId> tokens;
  if (!options.tokens_file.empty()) {
    LINNET_ASSIGN_OR_RETURN(tokens, ReadTokensFile(options.tokens_file));
  } else {
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(options.text_file));
    tokens = model.tokenizer().Encode(text, {.parse_special = !options.plain, .add_special = !options.plain});
  }
  LINNET_RETURN_IF_ERROR(CheckTokens(tokens, model));
  if (tokens.size() < 2) return UsageError("a text of at least two tokens is needed: the first one is not predicted");
  if (static_cast<int64_t>(tokens.size()) > model.description().context_tokens) {
    return base::Error(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG",
                       base::StrCat("the text has ", tokens.size(), " tokens, the model's context holds ",
                                    model.description().context_tokens, "; shorten the text"));
  }
  return tokens;
}

absl::Status Score(const Options& options, const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(const LocalModel local, LoadLocalModel(options.local, context));
  LINNET_ASSIGN_OR_RETURN(const std::vector<worker::TokenId> tokens, ReadInput(options, *local.model));
  LINNET_ASSIGN_OR_RETURN(const std::vector<double> logprobs, LogProbs(*local.model, tokens));
  const double perplexity = Perplexity(logprobs);
  return context.Print({{"tokens", tokens},
                        {"logprobs", logprobs},
                        {"perplexity", perplexity},
                        {"numerics_id", local.model->numerics_id()}},
                       absl::StrFormat("tokens      %d\nperplexity  %.4f\n", tokens.size(), perplexity));
}

}  // namespace

absl::StatusOr<std::vector<double>> LogProbs(worker::Model& model, const std::vector<worker::TokenId>& tokens) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  LINNET_ASSIGN_OR_RETURN(const auto cache,
                          worker::KvCache::Create(model.description(), model.kv_type(), worker::KvCache::BlocksFor(n)));
  worker::KvSequence sequence;
  if (!cache->Reserve(sequence, n)) return absl::InternalError("the KV cache is smaller than asked for");
  const size_t vocab = static_cast<size_t>(model.description().vocab_size);
  std::vector<double> logprobs(tokens.size() - 1);
  // The last token predicts nothing.
  for (size_t begin = 0; begin + 1 < tokens.size(); begin += kChunkTokens) {
    const size_t count = std::min(kChunkTokens, tokens.size() - 1 - begin);
    const worker::BatchSpan span = {.tokens = std::span(tokens).subspan(begin, count),
                                    .first_position = static_cast<int64_t>(begin),
                                    .kv = &sequence,
                                    .logits = worker::BatchSpan::Logits::kAll,
                                    .sequence_tokens = n};
    const std::span<const float> logits = model.Forward({&span, 1}, *cache).logits;
    model.pool().ParallelFor(static_cast<int64_t>(count), 1, [&](int64_t first, int64_t last, int) {
      for (size_t i = static_cast<size_t>(first); i < static_cast<size_t>(last); ++i) {
        const float* row = &logits[i * vocab];
        const size_t next = static_cast<size_t>(tokens[begin + i + 1]);
        logprobs[begin + i] = row[next] - kernels::LogSumExp(row, static_cast<int64_t>(vocab));
      }
    });
  }
  return logprobs;
}

double Perplexity(const std::vector<double>& logprobs) {
  double sum = 0;
  for (double l : logprobs) sum += l;
  return std::exp(-sum / static_cast<double>(logprobs.size()));
}

void AddScoreCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = context.Add(app, "score", "Log-probability of each token of a text, and its perplexity",
                                  {"linnet score --model model.gguf --text-file text.txt -o json",
                                   "linnet score --model model.gguf --tokens-file ids.json --reference -o json"});
  const auto options = std::make_shared<Options>();
  AddLocalModelOptions(command, options->local);
  command->add_option("--text-file", options->text_file, "The text, tokenised as `linnet tokenize` does it");
  command->add_option("--tokens-file", options->tokens_file, "A JSON array of token ids instead of a text");
  command->add_flag("--plain", options->plain, "No BOS or EOS, and special tokens in the text are ordinary text");
  context.OnRun(command, [&context, options] { return Score(*options, context); });
}

}  // namespace linnet::cli
