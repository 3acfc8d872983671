// linnet run: an answer, or a conversation, in the terminal, streamed through the gateway
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/grpc_status.h"
#include "base/status_macros.h"
#include "linnet/v1/generation.grpc.pb.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/interrupts.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"

namespace linnet::cli {
namespace {

constexpr uint64_t kMaxPromptBytes = 4 << 20;

struct Options {
  std::string model;
  std::string prompt;
  std::string system;
  bool raw = false;
  bool stats = false;
  std::optional<float> temperature, top_p, min_p;
  std::optional<uint32_t> top_k;
  std::optional<uint64_t> seed;
  uint32_t max_tokens = 0;
  std::vector<std::string> stop;
  double timeout_seconds = 0;
};

// One answer and how it came, as this side of the connection saw it.
struct Answer {
  std::string text;
  v1::Finish finish;
  double first_token_seconds = 0;
  double decode_seconds = 0;  // from the first token to the last
};

v1::GenerateRequest MakeRequest(const Options& options) {
  v1::GenerateRequest request;
  request.set_model(options.model);
  auto* sampling = request.mutable_sampling();
  if (options.temperature) sampling->set_temperature(*options.temperature);
  if (options.top_k) sampling->set_top_k(*options.top_k);
  if (options.top_p) sampling->set_top_p(*options.top_p);
  if (options.min_p) sampling->set_min_p(*options.min_p);
  if (options.seed) sampling->set_seed(*options.seed);
  request.set_max_tokens(options.max_tokens);
  for (const std::string& stop : options.stop) request.add_stop(stop);
  return request;
}

// Streams one answer; `show` gets its text as it comes.
absl::StatusOr<Answer> Generate(v1::Generation::StubInterface* stub, const v1::GenerateRequest& request,
                                const Options& options, Interrupts& interrupts,
                                const std::function<absl::Status(std::string_view)>& show) {
  const auto call = std::make_shared<grpc::ClientContext>();
  if (options.timeout_seconds > 0) {
    call->set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(options.timeout_seconds * 1000)));
  }
  interrupts.OnInterrupt([call] { call->TryCancel(); });
  base::Clock* clock = base::Clock::Real();
  const int64_t start_ns = clock->MonotonicNs();
  int64_t first_ns = 0, last_ns = 0;
  Answer answer;
  absl::Status shown;
  const auto stream = stub->Generate(call.get(), request);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    if (response.token_ids_size() > 0) {
      last_ns = clock->MonotonicNs();
      if (first_ns == 0) first_ns = last_ns;
    }
    answer.text += response.text();
    if (shown.ok() && !response.text().empty()) {
      shown = show(response.text());
      if (!shown.ok()) call->TryCancel();  // nobody reads any more
    }
    if (response.has_finish()) answer.finish = response.finish();
  }
  const absl::Status status = base::FromGrpc(stream->Finish());
  interrupts.Clear();
  LINNET_RETURN_IF_ERROR(shown);
  LINNET_RETURN_IF_ERROR(status);
  answer.first_token_seconds = first_ns == 0 ? 0 : static_cast<double>(first_ns - start_ns) * 1e-9;
  answer.decode_seconds = static_cast<double>(last_ns - first_ns) * 1e-9;
  return answer;
}

std::string Stats(const Answer& answer) {
  const auto& usage = answer.finish.usage();
  const double rate = answer.decode_seconds > 0 ? (usage.completion_tokens() - 1) / answer.decode_seconds : 0;
  return absl::StrFormat("%d prompt tokens, first token after %.0f ms; %d tokens, %s tokens/s; %s on %s, %s",
                         usage.prompt_tokens(), answer.first_token_seconds * 1000, usage.completion_tokens(),
                         Rate(rate), answer.finish.variant(), answer.finish.worker(), answer.finish.numerics_id());
}

nlohmann::ordered_json ResultJson(const Answer& answer) {
  nlohmann::ordered_json result = {{"text", answer.text}};
  result.update(ToJson(answer.finish));
  result["first_token_seconds"] = answer.first_token_seconds;
  const uint32_t tokens = answer.finish.usage().completion_tokens();
  result["decode_tokens_per_second"] = answer.decode_seconds > 0 ? (tokens - 1) / answer.decode_seconds : 0;
  return result;
}

class Session {
 public:
  Session(const CommandContext& context, const Options& options) : context_(context), options_(options) {}

  absl::Status Run() {
    address_ = context_.GatewayAddress();
    if (auto parsed = base::ParseHostPort(address_); !parsed.ok()) {
      return UsageError(absl::StrCat("--gateway: ", parsed.status().message()));
    }
    stub_ = v1::Generation::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    request_ = MakeRequest(options_);
    ResetConversation();
    const bool chat = options_.prompt.empty() && isatty(STDIN_FILENO) == 1;
    if (chat) return options_.raw ? UsageError("--raw needs a PROMPT or a prompt on standard input") : Chat();
    std::string prompt = options_.prompt;
    if (prompt.empty()) {
      LINNET_ASSIGN_OR_RETURN(prompt, base::ReadFile("/dev/stdin", kMaxPromptBytes));
      if (!options_.raw) absl::StripTrailingAsciiWhitespace(&prompt);
      if (prompt.empty()) return UsageError("standard input is empty: give a PROMPT, or pipe one in");
    }
    return Once(prompt);
  }

 private:
  void ResetConversation() {
    request_.mutable_input()->mutable_conversation()->clear_messages();
    if (!options_.system.empty()) Say("system", options_.system);
  }
  void Say(const std::string& role, const std::string& content) {
    auto* message = request_.mutable_input()->mutable_conversation()->add_messages();
    message->set_role(role);
    message->set_content(content);
  }

  absl::StatusOr<Answer> Ask(bool show) {
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    auto answer = Generate(stub_.get(), request_, options_, interrupts_, [&](std::string_view text) {
      if (!show) return absl::OkStatus();
      return context_.PrintText(terminal ? ForTerminal(text) : std::string(text));
    });
    if (!answer.ok()) return GatewayStatus(answer.status(), address_);
    return answer;
  }

  absl::Status Once(const std::string& prompt) {
    if (options_.raw) {
      request_.mutable_input()->set_text(prompt);
    } else {
      Say("user", prompt);
    }
    const bool stream = context_.format == OutputFormat::kTable;
    const auto asked = Ask(stream);
    if (absl::IsCancelled(asked.status())) {  // Ctrl-C, in the middle of a line
      std::fputs("\n", stderr);
      return absl::CancelledError("stopped");
    }
    LINNET_RETURN_IF_ERROR(asked.status());
    const Answer& answer = *asked;
    if (stream) {
      LINNET_RETURN_IF_ERROR(context_.PrintText("\n"));
    } else {
      LINNET_RETURN_IF_ERROR(context_.Print(ResultJson(answer)));
    }
    if (options_.stats) context_.Note(Stats(answer));
    return absl::OkStatus();
  }

  absl::Status Chat() {
    context_.Note(absl::StrCat("talking to ", options_.model, " at ", address_,
                               "; /clear starts afresh, /exit or Ctrl-D leaves, Ctrl-C stops an answer"));
    while (true) {
      std::fputs("> ", stderr);
      std::string line;
      if (interrupts_.ReadLine(&line) != Interrupts::Input::kLine) {
        std::fputs("\n", stderr);
        return absl::OkStatus();
      }
      absl::StripAsciiWhitespace(&line);
      if (line.empty()) continue;
      if (line == "/exit" || line == "/quit") return absl::OkStatus();
      if (line == "/clear") {
        ResetConversation();
        continue;
      }
      if (line[0] == '/') {
        context_.Note("commands: /clear starts the conversation afresh, /exit leaves");
        continue;
      }
      Say("user", line);
      const auto answer = Ask(/*show=*/true);
      std::fputs("\n", stderr);
      if (answer.ok()) {
        Say("assistant", answer->text);
        if (options_.stats) context_.Note(Stats(*answer));
        continue;
      }
      // The question is taken back, so that the next one is not asked after one without an answer.
      request_.mutable_input()->mutable_conversation()->mutable_messages()->RemoveLast();
      if (absl::IsCancelled(answer.status())) continue;
      if (absl::IsUnavailable(answer.status()) || absl::IsNotFound(answer.status())) return answer.status();
      context_.Note(
          absl::StrCat("error: ", answer.status().message(),
                       base::ErrorReason(answer.status()) == "PROMPT_TOO_LONG" ? " (/clear starts afresh)" : ""));
    }
  }

  const CommandContext& context_;
  const Options& options_;
  Interrupts interrupts_;  // before any other thread is made
  std::string address_;
  std::unique_ptr<v1::Generation::StubInterface> stub_;
  v1::GenerateRequest request_;
};

}  // namespace

void AddRunCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      context.Add(app, "run", "Ask a model through the gateway: once with PROMPT, else a conversation",
                  {"linnet run smollm2-135m \"Why is the sky blue?\"", "linnet run smollm2-135m",
                   "cat letter.txt | linnet run smollm2-135m --system \"Summarise what you are given.\" --stats",
                   "linnet run smollm2-135m --temperature 0 --max-tokens 32 -o json \"Name a fish.\""});
  command->add_option("MODEL", options->model, "MODEL, MODEL@ALIAS or MODEL/VARIANT")->required();
  command->add_option("PROMPT", options->prompt,
                      "what to ask (default: from standard input, or a conversation on a terminal)");
  command->add_option("--system", options->system, "instructions to the model before the conversation");
  command->add_flag("--raw", options->raw, "continue the prompt as it stands, without the chat template");
  command->add_option("--temperature", options->temperature, "0 takes the most likely token (default: 1)");
  command->add_option("--top-k", options->top_k, "only the k most likely tokens");
  command->add_option("--top-p", options->top_p, "only the likeliest tokens that make up this probability");
  command->add_option("--min-p", options->min_p, "only tokens at least this times as likely as the best");
  command->add_option("--seed", options->seed, "the same seed gives the same answer");
  command->add_option("--max-tokens", options->max_tokens, "most tokens to generate (default: until the model stops)");
  command->add_option("--stop", options->stop, "end before this text; may be repeated")->expected(1)->take_all();
  command->add_option("--timeout", options->timeout_seconds, "most seconds for an answer")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--stats", options->stats, "tokens per second and time to first token, on standard error");
  context.OnRun(command, [&context, options] { return Session(context, *options).Run(); });
}

}  // namespace linnet::cli
