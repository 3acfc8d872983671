#include "tools/linnet/tokenize.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/chat_file.h"
#include "tools/linnet/local_model.h"
#include "tools/linnet/output.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/chat_template.h"
#include "worker/text/tokenizer.h"

namespace linnet::cli {
namespace {

absl::Status PrintTokens(const std::vector<worker::TokenId>& tokens, const CommandContext& context) {
  if (context.format == OutputFormat::kTable) return context.PrintText(base::StrCat(absl::StrJoin(tokens, " "), "\n"));
  return context.Print({{"tokens", tokens}});
}

struct Options {
  std::string model, text_file, chat_file, chat_template_file;
  bool plain = false, show_text = false;
};

// The tokens of a conversation, or (--show-text) the prompt that they are of.
absl::Status TokenizeChat(const Options& options, const CommandContext& context, const worker::GgufFile& file,
                          const worker::Tokenizer& tokenizer) {
  LINNET_ASSIGN_OR_RETURN(const worker::ChatConversation conversation, ReadChatFile(options.chat_file));
  std::string source;
  if (!options.chat_template_file.empty()) {
    LINNET_ASSIGN_OR_RETURN(source, base::ReadFile(options.chat_template_file));
  } else {
    LINNET_ASSIGN_OR_RETURN(source, file.GetStringOr("tokenizer.chat_template", ""));
    if (source.empty()) {
      return UsageError(base::StrCat(options.model, " has no chat template; name one with --chat-template-file"));
    }
  }
  LINNET_ASSIGN_OR_RETURN(const auto chat_template, worker::ChatTemplate::Create(source, &tokenizer));
  if (options.show_text) {
    LINNET_ASSIGN_OR_RETURN(const std::string text, chat_template->Render(conversation));
    if (context.format == OutputFormat::kTable) return context.PrintText(ForTerminal(text));
    return context.Print({{"text", text}});
  }
  LINNET_ASSIGN_OR_RETURN(const auto tokens, chat_template->Encode(conversation));
  return PrintTokens(tokens, context);
}

absl::Status Tokenize(const Options& options, const CommandContext& context) {
  if (options.text_file.empty() && options.chat_file.empty()) return UsageError("needs --text-file or --chat-file");
  LINNET_ASSIGN_OR_RETURN(const std::string path, ModelFile(options.model, context));
  LINNET_ASSIGN_OR_RETURN(const auto file, worker::GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(const auto tokenizer, worker::Tokenizer::FromGguf(*file));
  if (!options.chat_file.empty()) return TokenizeChat(options, context, *file, *tokenizer);
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(options.text_file));
  return PrintTokens(tokenizer->Encode(text, {.parse_special = !options.plain, .add_special = !options.plain}),
                     context);
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = context.Add(app, "tokenize", "Print the token ids of a text or a conversation",
                                  {"linnet tokenize --model model.gguf --text-file text.txt -o json",
                                   "linnet tokenize --model model.gguf --chat-file conversation.json --show-text"});
  const auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "Model file (GGUF), or Hugging Face folder")->required();
  CLI::Option* const text = command->add_option("--text-file", options->text_file, "The text; any bytes");
  CLI::Option* const chat =
      command
          ->add_option(
              "--chat-file", options->chat_file,
              "A conversation, {\"messages\": [...], \"tools\": [...]} as OpenAI's API has it; the model's chat "
              "template makes the prompt of it")
          ->excludes(text);
  command->add_flag("--plain", options->plain, "No BOS or EOS, and special tokens in the text are ordinary text")
      ->excludes(chat);
  command->add_flag("--show-text", options->show_text, "Print the conversation's prompt instead of its tokens")
      ->needs(chat);
  command
      ->add_option("--chat-template-file", options->chat_template_file, "A Jinja template instead of the model's own")
      ->needs(chat);
  context.OnRun(command, [&context, options] { return Tokenize(*options, context); });
}

}  // namespace linnet::cli
