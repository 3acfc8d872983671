// linnet profile detect | ls | show
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/device_detect.h"
#include "tools/linnet/output.h"
#include "tools/linnet/proto_json.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

std::string PerSecond(double value, const char* unit) {
  return value <= 0 ? "-" : absl::StrFormat("%.1f G%s/s", value * 1e-9, unit);
}

std::string Cores(const v1::DeviceProfile& p) {
  return p.efficiency_cores() == 0 ? absl::StrCat(p.performance_cores())
                                   : absl::StrCat(p.performance_cores(), "+", p.efficiency_cores());
}

std::string Describe(const v1::DeviceProfile& p) {
  return ToLines({{"profile", ShortName(p.name())},
                  {"name", p.display_name()},
                  {"cpu", absl::StrCat(p.cpu_model(), p.cpu_model().empty() ? "" : ", ", p.cpu_arch())},
                  {"isa", absl::StrJoin(p.isa_features(), " ")},
                  {"cores", Cores(p)},
                  {"memory", base::HumanBytes(p.memory_bytes())},
                  {"memory bandwidth", PerSecond(p.memory_bandwidth_bytes_per_second(), "B")},
                  {"int8", PerSecond(p.int8_ops_per_second(), "OP")},
                  {"storage", DecimalBytes(p.storage_bytes())},
                  {"builtin", p.builtin() ? "yes" : "no"}});
}

absl::Status Detect(const CommandContext& context, const std::string& typed, bool register_it) {
  if (!typed.empty() && !registry::IsValidId(typed)) {
    return UsageError(absl::StrCat(
        "--name '", typed, "' is not a valid name: use lower-case letters, digits, '.', '-' and '_', at most 63"));
  }
  context.Note("measuring memory bandwidth and integer throughput ...");
  LINNET_ASSIGN_OR_RETURN(v1::DeviceProfile profile, DetectDevice(typed));
  if (register_it) {
    LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
    LINNET_ASSIGN_OR_RETURN(profile, client->PutDeviceProfile(profile));
    context.Note(absl::StrCat("registered as ", profile.name()));
  }
  return context.Print(ToJson(profile), Describe(profile));
}

absl::Status List(const CommandContext& context) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto profiles, client->ListDeviceProfiles());
  Table table({"PROFILE", "ARCH", "CORES", "MEMORY", "BANDWIDTH", "INT8", "NAME"});
  auto json = nlohmann::ordered_json::array();
  for (const v1::DeviceProfile& p : profiles) {
    json.push_back(ToJson(p));
    table.Add({ShortName(p.name()), p.cpu_arch(), Cores(p), base::HumanBytes(p.memory_bytes()),
               PerSecond(p.memory_bandwidth_bytes_per_second(), "B"), PerSecond(p.int8_ops_per_second(), "OP"),
               p.display_name()});
  }
  if (profiles.empty()) context.Note("no device profiles yet; add this machine's: linnet profile detect --register");
  return context.Print({{"device_profiles", json}}, table.Render());
}

absl::Status Show(const CommandContext& context, const std::string& typed) {
  LINNET_ASSIGN_OR_RETURN(const std::string name, ProfileNameFrom(typed));
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  LINNET_ASSIGN_OR_RETURN(const auto profile, client->GetDeviceProfile(name));
  return context.Print(ToJson(profile), Describe(profile));
}

}  // namespace

void AddProfileCommands(CLI::App& app, CommandContext& context) {
  CLI::App* noun =
      context.Add(app, "profile", "Device profiles: what machines can do", {"linnet profile detect --register"});
  noun->require_subcommand(1);

  auto name = std::make_shared<std::string>();
  auto register_it = std::make_shared<bool>(false);
  CLI::App* command = context.Add(*noun, "detect", "Measure this machine",
                                  {"linnet profile detect", "linnet profile detect --register --name shop-12"});
  command->add_option("--name", *name, "name of the profile (default: made of the CPU's name)");
  command->add_flag("--register", *register_it, "put it into the registry");
  context.OnRun(command, [&context, name, register_it] { return Detect(context, *name, *register_it); });

  command = context.Add(*noun, "ls", "List the device profiles", {"linnet profile ls"});
  command->alias("list");
  context.OnRun(command, [&context] { return List(context); });

  auto shown = std::make_shared<std::string>();
  command = context.Add(*noun, "show", "Show a device profile", {"linnet profile show shop-12"});
  command->add_option("PROFILE", *shown, "name of the profile")->required();
  context.OnRun(command, [&context, shown] { return Show(context, *shown); });
}

}  // namespace linnet::cli
