// linnet worker ls
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"

namespace linnet::cli {
namespace {

absl::Status List(const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto response, client->ListWorkers());
  Table table({"WORKER", "STATE", "ADDRESS", "PROFILE", "READY", "VERSION"});
  for (const auto& worker : response.workers()) {
    std::vector<std::string> ready;
    for (const auto& name : worker.ready_variants()) {
      const auto id = registry::ParseVariantName(name);
      ready.push_back(id.ok() ? absl::StrCat(id->model, "/", id->variant) : name);
    }
    table.Add({ShortName(worker.name()), worker.state(), worker.address(), ShortName(worker.profile()),
               absl::StrJoin(ready, " "), worker.version()});
  }
  if (response.workers().empty()) context.Note("no worker has a lease now; `linnet up` starts one on this machine");
  return context.Print(ToJson(response), table.Render());
}

}  // namespace

void AddWorkerCommands(CLI::App& app, CommandContext& context) {
  CLI::App* noun = context.Add(app, "worker", "Workers that hold a lease: list", {"linnet worker ls"});
  noun->require_subcommand(1);
  CLI::App* command = context.Add(*noun, "ls", "List the workers and what they serve",
                                  {"linnet worker ls", "linnet worker ls -o json"});
  command->alias("list");
  context.OnRun(command, [&context] { return List(context); });
}

}  // namespace linnet::cli
