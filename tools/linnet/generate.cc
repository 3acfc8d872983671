#include "tools/linnet/generate.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/local_model.h"
#include "tools/linnet/output.h"
#include "worker/engine/engine.h"

namespace linnet::cli {
namespace {

struct Options {
  LocalModelOptions local;
  std::string prompt, prompt_file, tokens_file, system;
  bool raw = false, ignore_eos = false;
  uint32_t max_tokens = 256;
  uint32_t context_tokens = 0;
  worker::SamplingParams sampling = {.temperature = 0.8f, .top_p = 0.95f};
  std::vector<std::string> stop;
};

// Gathers what the engine says; prints text as it comes where `stream`.
class Collector : public worker::EngineSink {
 public:
  Collector(const CommandContext& context, bool stream) : context_(context), stream_(stream) {}

  void OnTokens(std::vector<worker::TokenId> tokens, std::string text) override {
    if (stream_ && !text.empty() && print_status_.ok()) print_status_ = context_.PrintText(ForTerminal(text));
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    text_ += text;
  }
  void OnFinish(const worker::EngineFinish& finish) override {
    base::MutexLock lock(&mutex_);
    finish_ = finish;
    finished_ = true;
    done_.NotifyAll();
  }
  // Waits for the end; what the other members hold may be read from then on.
  worker::EngineFinish Wait() {
    base::MutexLock lock(&mutex_);
    while (!finished_) done_.Wait(&mutex_);
    return finish_;
  }
  const std::vector<worker::TokenId>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }
  const absl::Status& print_status() const { return print_status_; }

 private:
  const CommandContext& context_;
  const bool stream_;
  // Of the engine's thread until the end.
  std::vector<worker::TokenId> tokens_;
  std::string text_;
  absl::Status print_status_;

  base::Mutex mutex_;
  base::CondVar done_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  worker::EngineFinish finish_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::vector<worker::TokenId>> ReadPrompt(const Options& options, const worker::Model& model) {
  if (int{!options.prompt.empty()} + int{!options.prompt_file.empty()} + int{!options.tokens_file.empty()} != 1) {
    return UsageError("give one of --prompt, --prompt-file and --tokens-file");
  }
  if (!options.tokens_file.empty()) {
    LINNET_ASSIGN_OR_RETURN(std::vector<worker::TokenId> tokens, ReadTokensFile(options.tokens_file));
    LINNET_RETURN_IF_ERROR(CheckTokens(tokens, model));
    return tokens;
  }
  std::string prompt = options.prompt;
  if (!options.prompt_file.empty()) {
    LINNET_ASSIGN_OR_RETURN(prompt, base::ReadFile(options.prompt_file));
  }
  if (options.raw) return model.tokenizer().Encode(prompt, {.parse_special = true, .add_special = true});
  if (model.chat_template() == nullptr) {
    return UsageError(base::StrCat(options.local.model, " has no chat template; use --raw"));
  }
  worker::ChatConversation conversation;
  if (!options.system.empty()) conversation.messages.push_back({.role = "system", .content = options.system});
  conversation.messages.push_back({.role = "user", .content = prompt});
  return model.chat_template()->Encode(conversation);
}

std::string_view FinishReason(worker::StopReason reason) {
  switch (reason) {
    case worker::StopReason::kEndOfTurn:
    case worker::StopReason::kStopText:
      return "stop";
    case worker::StopReason::kMaxTokens:
    case worker::StopReason::kContextFull:
      return "length";
  }
  return "stop";
}

absl::Status Generate(const Options& options, const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(const LocalModel local, LoadLocalModel(options.local, context));
  worker::EngineRequest request = {.prompt = {},
                                   .sampling = options.sampling,
                                   .max_tokens = options.max_tokens,
                                   .stop_texts = options.stop,
                                   .ignore_eos = options.ignore_eos};
  LINNET_ASSIGN_OR_RETURN(request.prompt, ReadPrompt(options, *local.model));
  const int64_t model_context = local.model->description().context_tokens;
  const uint32_t context_tokens =
      options.context_tokens != 0 ? options.context_tokens : static_cast<uint32_t>(model_context);
  // One sequence: the cache need not hold more than it can reach.
  const uint64_t reach = options.max_tokens == 0 ? context_tokens : request.prompt.size() + options.max_tokens;
  const uint32_t held = static_cast<uint32_t>(std::min<uint64_t>(std::max<uint64_t>(reach, 2), context_tokens));
  LINNET_ASSIGN_OR_RETURN(const auto engine, worker::Engine::Create(local.model.get(), {.max_running_requests = 1,
                                                                                        .max_queued_requests = 1,
                                                                                        .context_tokens = held,
                                                                                        .kv_cache_tokens = held}));
  const bool stream = context.format == OutputFormat::kTable;
  const auto collector = std::make_shared<Collector>(context, stream);
  LINNET_RETURN_IF_ERROR(engine->Submit(std::move(request), collector).status());
  const worker::EngineFinish finish = collector->Wait();
  LINNET_RETURN_IF_ERROR(finish.status);
  LINNET_RETURN_IF_ERROR(collector->print_status());
  if (stream) return context.PrintText("\n");
  return context.Print({{"tokens", collector->tokens()},
                        {"text", collector->text()},
                        {"finish_reason", FinishReason(finish.reason)},
                        {"prompt_tokens", finish.prompt_tokens},
                        {"completion_tokens", finish.completion_tokens},
                        {"prefill_ms", absl::ToDoubleMilliseconds(finish.prefill)},
                        {"decode_ms", absl::ToDoubleMilliseconds(finish.decode)},
                        {"numerics_id", local.model->numerics_id()}});
}

}  // namespace

void AddGenerateCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command =
      context.Add(app, "generate", "Answer one prompt in this process, without servers",
                  {"linnet generate --model model.gguf --prompt \"What is gravity?\"",
                   "linnet generate --model model.gguf --raw --prompt \"Once upon a time\" --temperature 0 -o json"});
  const auto options = std::make_shared<Options>();
  AddLocalModelOptions(command, options->local);
  command->add_option("--prompt", options->prompt, "The user's message, or with --raw the text to continue");
  command->add_option("--prompt-file", options->prompt_file, "The same from a file");
  command->add_option("--tokens-file", options->tokens_file, "A JSON array of token ids to continue");
  command->add_option("--system", options->system, "A system message before it");
  command->add_flag("--raw", options->raw, "No chat template");
  command->add_option("--max-tokens", options->max_tokens, "The most tokens to generate; 0: until the context is full")
      ->capture_default_str();
  command->add_option("--context", options->context_tokens, "Context in tokens (default: the model's)");
  command->add_option("--temperature", options->sampling.temperature, "0: always the most likely token")
      ->capture_default_str();
  command->add_option("--top-k", options->sampling.top_k, "Only the k most likely tokens; 0: all")
      ->capture_default_str();
  command
      ->add_option("--top-p", options->sampling.top_p, "Only the likeliest tokens that reach this probability together")
      ->capture_default_str();
  command->add_option("--min-p", options->sampling.min_p, "Only tokens at least this likely relative to the likeliest")
      ->capture_default_str();
  command->add_option("--seed", options->sampling.seed, "The same seed gives the same text")->capture_default_str();
  command->add_option("--stop", options->stop, "A text that ends the answer; may be given several times");
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the model ends its turn");
  context.OnRun(command, [&context, options] { return Generate(*options, context); });
}

}  // namespace linnet::cli
