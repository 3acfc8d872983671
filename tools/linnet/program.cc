#include "tools/linnet/program.h"

#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/strings.h"
#include "base/version.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

constexpr char kFooter[] = R"(Examples:
  linnet up                                            start gateway, registry and worker on this machine
  linnet model import SmolLM2-135M-Instruct.Q4_1.gguf  add a model
  linnet run smollm2-135m "Why is the sky blue?"       ask it
  linnet model ls -o json                              for scripts

LINNET_ISA in the environment (scalar, avx2, avx512, ...) names the instruction set that `up` and what computes without a
server use; default: the best that this CPU has.

Exit codes: 0 done, 1 failed, 2 bad usage, 3 not found, 4 refused (conflict, quota, permission), 5 unreachable.
`linnet COMMAND --help` tells more about a command.)";

// The innermost command that was named, and its full name.
CLI::App* Innermost(CLI::App* app, std::string* path) {
  *path = "linnet";
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    absl::StrAppend(path, " ", app->get_name());
  }
  return app;
}

// What was meant, where a word or an option is none that this command knows.
std::string DidYouMean(CLI::App* command, std::string_view typed) {
  std::vector<std::string> candidates;
  if (typed.starts_with("-")) {
    for (CLI::App* app = command; app != nullptr; app = app->get_parent()) {
      for (const CLI::Option* option : app->get_options()) {
        for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
      }
    }
  } else {
    for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; }))
      candidates.push_back(sub->get_name());
  }
  const std::string nearest = base::Nearest(typed.substr(0, typed.find('=')), candidates);
  if (!nearest.empty()) return absl::StrCat("; did you mean '", nearest, "'?");
  if (typed.starts_with("-") || candidates.empty()) return "";
  std::string all;
  for (const std::string& c : candidates) absl::StrAppend(&all, all.empty() ? "" : ", ", c);
  return absl::StrCat("; there are ", all);
}

bool TakesCommands(const CLI::App* command) {
  return !command->get_subcommands([](const CLI::App*) { return true; }).empty();
}

// A command line that does not parse.
int ReportUsage(CLI::App& app, const CLI::ParseError& error) {
  std::string path;
  CLI::App* command = Innermost(&app, &path);
  std::string message = error.what();
  std::vector<std::string> extras = command->remaining(true);
  if (extras.empty()) extras = app.remaining(true);
  const bool required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (!extras.empty() &&
      (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || (required && TakesCommands(command)))) {
    const std::string& typed = extras.front();
    const char* kind = typed.starts_with("-")   ? "unknown option"
                       : TakesCommands(command) ? "unknown command"
                                                : "unexpected argument";
    message = absl::StrCat(kind, " '", typed, "'", DidYouMean(command, typed));
  } else if (required && TakesCommands(command)) {  // a noun without its verb
    const size_t parent = path.rfind(' ');
    std::fputs(command->help(parent == std::string::npos ? "" : path.substr(0, parent)).c_str(), stderr);
    return kExitUsage;
  }
  std::fprintf(stderr, "%s: %s\nTry '%s --help'.\n", path.c_str(), ForTerminal(message).c_str(), path.c_str());
  return kExitUsage;
}

int Report(const absl::Status& status) {
  if (status.ok()) return kExitDone;
  const std::string remedy = Remedy(status);
  std::fprintf(stderr, "linnet: %s\n", ForTerminal(base::ToStd(status.message())).c_str());
  if (!remedy.empty()) std::fprintf(stderr, "  %s\n", remedy.c_str());
  return ExitCode(status);
}

}  // namespace

int RunProgram(int argc, const char* const* argv) {
  base::InitLogging("linnet", "error");
  CommandContext context;
  CLI::App app("Linnet serves small language models from CPUs.", "linnet");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("linnet ") + base::kVersion);
  app.add_option("--registry", context.registry_flag,
                 "HOST:PORT of the registry (default: the one that `linnet up` runs, else 127.0.0.1:8082)");
  app.add_option("--gateway", context.gateway_flag,
                 "HOST:PORT of the gateway's gRPC (default: likewise, else 127.0.0.1:8081)");
  const std::map<std::string, OutputFormat> formats = {
      {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};
  app.add_option_function<std::string>(
         "-o,--output",
         [&](const std::string& typed) {
           const auto it = formats.find(typed);
           if (it == formats.end()) throw CLI::ValidationError("-o takes table, json or yaml, not '" + typed + "'");
           context.format = it->second;
         },
         "table, json or yaml (default: table)")
      ->type_name("FORMAT");
  app.add_flag("-q,--quiet", context.quiet, "no notes and no progress on standard error");
  app.require_subcommand(1);
  app.fallthrough();
  AddUpCommand(app, context);
  AddModelCommands(app, context);
  AddVariantCommands(app, context);
  AddProfileCommands(app, context);
  AddResolveCommand(app, context);
  AddPlanCommand(app, context);
  AddWorkerCommands(app, context);
  AddRunCommand(app, context);
  AddGenerateCommand(app, context);
  AddScoreCommand(app, context);
  AddTokenizeCommand(app, context);
  AddBenchCommand(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return ReportUsage(app, error);
  }
  return Report(context.action());
}

}  // namespace linnet::cli
