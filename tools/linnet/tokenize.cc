#include "tools/linnet/tokenize.h"

#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/local_model.h"
#include "worker/gguf/gguf_file.h"
#include "worker/text/tokenizer.h"

namespace linnet::cli {
namespace {

struct Options {
  std::string model, text_file;
  bool plain = false;
};

absl::Status Tokenize(const Options& options, const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(const std::string path, ModelFile(options.model, context));
  LINNET_ASSIGN_OR_RETURN(const auto file, worker::GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(const auto tokenizer, worker::Tokenizer::FromGguf(*file));
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(options.text_file));
  const auto tokens = tokenizer->Encode(text, {.parse_special = !options.plain, .add_special = !options.plain});
  if (context.format == OutputFormat::kTable) return context.PrintText(base::StrCat(absl::StrJoin(tokens, " "), "\n"));
  return context.Print({{"tokens", tokens}});
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, CommandContext& context) {
  CLI::App* command = context.Add(app, "tokenize", "Print the token ids of a text",
                                  {"linnet tokenize --model model.gguf --text-file text.txt -o json"});
  const auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "Model file (GGUF), or Hugging Face folder")->required();
  command->add_option("--text-file", options->text_file, "The text; any bytes")->required();
  command->add_flag("--plain", options->plain, "No BOS or EOS, and special tokens in the text are ordinary text");
  context.OnRun(command, [&context, options] { return Tokenize(*options, context); });
}

}  // namespace linnet::cli
