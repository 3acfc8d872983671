#include "tools/linnet/command.h"

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strings.h"
#include "tools/linnet/home.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

constexpr int kExitInterrupted = 130;  // by Ctrl-C, as shells say it
constexpr char kUsagePayload[] = "linnet/usage";

}  // namespace

CLI::App* CommandContext::Add(CLI::App& parent, const std::string& name, const std::string& description,
                              const std::vector<std::string>& examples) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->fallthrough();
  command->footer(examples.empty() ? "" : absl::StrCat("Examples:\n  ", absl::StrJoin(examples, "\n  ")));
  return command;
}

void CommandContext::OnRun(CLI::App* command, std::function<absl::Status()> run) {
  command->callback([this, run = std::move(run)] { action = run; });
}

absl::Status CommandContext::Print(const nlohmann::ordered_json& data, std::string_view table) const {
  switch (format) {
    case OutputFormat::kJson:
      return PrintText(data.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    case OutputFormat::kYaml:
      return PrintText(ToYaml(data));
    case OutputFormat::kTable:
      break;
  }
  return PrintText(table.empty() ? ToLines(data) : std::string(table));
}

absl::Status CommandContext::PrintText(std::string_view text) const {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return base::ErrnoStatus(errno, "write to", "standard output");
  }
  return absl::OkStatus();
}

void CommandContext::Note(std::string_view line) const {
  if (!quiet) std::fprintf(stderr, "%s\n", ForTerminal(line).c_str());
}

std::string CommandContext::RegistryAddress() const {
  if (!registry_flag.empty()) return registry_flag;
  if (auto e = ReadEndpoints(LinnetHome()); e && !e->registry_grpc.empty()) return e->registry_grpc;
  return "127.0.0.1:8082";
}

std::string CommandContext::GatewayAddress() const {
  if (!gateway_flag.empty()) return gateway_flag;
  if (auto e = ReadEndpoints(LinnetHome()); e && !e->gateway_grpc.empty()) return e->gateway_grpc;
  return "127.0.0.1:8081";
}

absl::Status UsageError(std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(base::ToAbsl(message));
  status.SetPayload(kUsagePayload, absl::Cord(""));
  return status;
}

int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
      // A field out of range is how the program was called; a model file or a prompt that does not do is not.
      return status.GetPayload(kUsagePayload) || base::ErrorReason(status) == "INVALID_FIELD" ? kExitUsage
                                                                                              : kExitFailed;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitRefused;
    case absl::StatusCode::kResourceExhausted:
      return base::ErrorReason(status) == "OUT_OF_DISK" ? kExitFailed : kExitRefused;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace linnet::cli
