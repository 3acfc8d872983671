// What every command of the `linnet` program shares: the global options, the action to run, and how results are
// printed.
//
//   void AddTokenizeCommand(CLI::App& app, CommandContext& context) {
//     CLI::App* command = context.Add(app, "tokenize", "Print the tokens of a text",
//                                     {"linnet tokenize --model m.gguf --text-file a.txt -o json"});
//     auto options = std::make_shared<Options>();
//     command->add_option("--model", options->model, "GGUF file")->required();
//     context.OnRun(command, [&context, options]() -> absl::Status {
//       ...
//       return context.Print({{"tokens", ids}});
//     });
//   }
//
// Data goes to standard output through Print, everything else to standard error. One thread: that of main.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::cli {

enum class OutputFormat { kTable, kJson, kYaml };

// Exit codes; scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotFound = 3;
inline constexpr int kExitRefused = 4;  // conflict, quota, permission
inline constexpr int kExitUnreachable = 5;

class CommandContext {
 public:
  // A subcommand of `parent` with examples at the end of its help. Global options are accepted after it as well.
  CLI::App* Add(CLI::App& parent, const std::string& name, const std::string& description,
                const std::vector<std::string>& examples = {});
  // Makes `action` what the program does when `command` was given. Exceptions must not leave it. Its status becomes a
  // message on standard error and the exit code (ExitCode below); usage mistakes that only the action can see are
  // UsageError.
  void OnRun(CLI::App* command, std::function<absl::Status()> action);

  // Prints data to standard output in the chosen format. `table` is what -o table prints; where it is empty, "key:
  // value" lines of the object. An error to write (a full disk, a closed pipe) comes back as a status.
  absl::Status Print(const nlohmann::ordered_json& data, std::string_view table = {}) const;
  // Writes text to standard output as it stands.
  absl::Status PrintText(std::string_view text) const;
  // A line for people on standard error; nothing under --quiet.
  void Note(std::string_view line) const;

  OutputFormat format = OutputFormat::kTable;
  bool quiet = false;
  std::string registry_flag, gateway_flag;  // "": not given
  std::function<absl::Status()> action;     // that of the command given

  // "host:port": the flag, else what `linnet up` wrote under $LINNET_HOME, else the default port on this machine.
  std::string RegistryAddress() const;
  std::string GatewayAddress() const;
};

// A mistake in how the program was called: exit code 2.
absl::Status UsageError(std::string_view message);
// The exit code for a status that an action returned.
int ExitCode(const absl::Status& status);

// Adders of the commands, one each per file; a noun adds its verbs.
void AddUpCommand(CLI::App& app, CommandContext& context);
void AddModelCommands(CLI::App& app, CommandContext& context);
void AddVariantCommands(CLI::App& app, CommandContext& context);
void AddProfileCommands(CLI::App& app, CommandContext& context);
void AddResolveCommand(CLI::App& app, CommandContext& context);
void AddPlanCommand(CLI::App& app, CommandContext& context);
void AddWorkerCommands(CLI::App& app, CommandContext& context);
void AddRunCommand(CLI::App& app, CommandContext& context);
void AddGenerateCommand(CLI::App& app, CommandContext& context);
void AddScoreCommand(CLI::App& app, CommandContext& context);
void AddTokenizeCommand(CLI::App& app, CommandContext& context);
void AddBenchCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
