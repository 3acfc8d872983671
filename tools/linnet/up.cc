// linnet up: registry, worker and gateway on this machine, with their data under $LINNET_HOME
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/registry_client.h"
#include "tools/linnet/command.h"
#include "tools/linnet/home.h"
#include "tools/linnet/output.h"
#include "tools/linnet/supervisor.h"

namespace linnet::cli {
namespace {

constexpr uint64_t kLeastFreeBytes = 32 << 20;

struct Options {
  int gateway_http_port = 8080, gateway_port = 8081, registry_port = 8082, worker_port = 8083;
  int gateway_metrics_port = 9464, registry_metrics_port = 9465, worker_metrics_port = 9466;
  bool free_ports = false;
  uint32_t threads = 0;
  std::string kv_cache_type;
  std::vector<std::string> models;
};

// Whatever keeps the servers from starting: exit code 1, whichever code the cause had.
absl::Status Failed(std::string_view what, const absl::Status& cause) {
  return absl::UnknownError(base::StrCat(what, base::ToStd(cause.message())));
}

class HomeLock {
 public:
  HomeLock() = default;
  ~HomeLock() {
    if (fd_ >= 0) close(fd_);
  }
  HomeLock(const HomeLock&) = delete;
  HomeLock& operator=(const HomeLock&) = delete;

  absl::Status Take(const std::string& home) {
    const std::string path = home + "/run/up.lock";
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) return base::ErrnoStatus(errno, "create", path);
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      char pid[32] = "";
      [[maybe_unused]] const ssize_t got = pread(fd_, pid, sizeof pid - 1, 0);
      return absl::FailedPreconditionError(
          absl::StrCat("another `linnet up`", *pid == '\0' ? "" : absl::StrCat(" (process ", pid, ")"), " runs on ",
                       home, "; stop it, or set LINNET_HOME to another folder"));
    }
    const std::string pid = absl::StrCat(getpid());
    if (ftruncate(fd_, 0) != 0 || pwrite(fd_, pid.data(), pid.size(), 0) < 0)
      return base::ErrnoStatus(errno, "write to", path);
    return absl::OkStatus();
  }

 private:
  int fd_ = -1;
};

absl::Status PrepareHome(const std::string& home) {
  for (const char* part : {"", "/run", "/logs", "/registry", "/worker", "/gateway"}) {
    if (absl::Status made = base::MakeDirs(home + part); !made.ok()) {
      return Failed("", absl::UnknownError(absl::StrCat(made.message(), "; or set LINNET_HOME to another folder")));
    }
  }
  struct statvfs fs;
  if (statvfs(home.c_str(), &fs) == 0) {
    const uint64_t free_bytes = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
    if (free_bytes < kLeastFreeBytes) {
      return absl::UnknownError(absl::StrCat(home, " has ", base::HumanBytes(free_bytes), " free, at least ",
                                             base::HumanBytes(kLeastFreeBytes),
                                             " are needed; make room, or set LINNET_HOME to another folder"));
    }
  }
  // Folders that exist may still be on a read-only file system.
  const std::string probe = home + "/run/probe";
  const absl::Status written = base::WriteFileDurably(probe, "probe\n");
  unlink(probe.c_str());
  if (!written.ok())
    return absl::UnknownError(absl::StrCat(written.message(), "; or set LINNET_HOME to another folder"));
  return absl::OkStatus();
}

absl::Status CheckPortFree(int port, std::string_view what, std::string_view flag) {
  if (port == 0) return absl::OkStatus();
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return base::ErrnoStatus(errno, "open", "a socket");
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const int bound = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ? errno
                    : listen(fd, 1) != 0                                                       ? errno
                                                                                               : 0;
  close(fd);
  if (bound == 0) return absl::OkStatus();
  return absl::UnknownError(base::StrCat("port ", port, " for the ", what, " cannot be had: ", std::strerror(bound),
                                         "; choose another with ", flag,
                                         " (0 takes a free one), or all free ones with --free-ports"));
}

absl::StatusOr<std::string> ProgramFolder() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return base::ErrnoStatus(errno, "read", "/proc/self/exe");
  std::string folder(path, static_cast<size_t>(length));
  folder.resize(folder.rfind('/'));
  for (const char* name : {"linnet-registry", "linnet-worker", "linnet-gateway"}) {
    const std::string program = absl::StrCat(folder, "/", name);
    if (access(program.c_str(), X_OK) != 0) {
      return absl::UnknownError(
          absl::StrCat("there is no program ", program, "; install it beside linnet, or build it"));
    }
  }
  return folder;
}

nlohmann::ordered_json EndpointsJson(const std::string& home, const Endpoints& e) {
  return {{"home", home},
          {"gateway",
           {{"grpc", e.gateway_grpc},
            {"http", "http://" + e.gateway_http},
            {"metrics", "http://" + e.gateway_metrics + "/metrics"}}},
          {"registry", {{"grpc", e.registry_grpc}, {"metrics", "http://" + e.registry_metrics + "/metrics"}}},
          {"worker", {{"grpc", e.worker_grpc}, {"metrics", "http://" + e.worker_metrics + "/metrics"}}}};
}

absl::Status Announce(const CommandContext& context, const std::string& home, const Endpoints& e) {
  Table table({"SERVER", "GRPC", "HTTP", "METRICS"});
  table.Add({"gateway", e.gateway_grpc, "http://" + e.gateway_http, "http://" + e.gateway_metrics + "/metrics"});
  table.Add({"registry", e.registry_grpc, "", "http://" + e.registry_metrics + "/metrics"});
  table.Add({"worker", e.worker_grpc, "", "http://" + e.worker_metrics + "/metrics"});
  LINNET_RETURN_IF_ERROR(context.Print(EndpointsJson(home, e), table.Render()));
  std::string model;
  if (auto client = registry::RegistryClient::Create(e.registry_grpc); client.ok()) {
    if (const auto models = (*client)->ListModels(); models.ok() && !models->empty())
      model = ShortName(models->front().name());
  }
  context.Note(absl::StrCat("\ndata in ", home, ", logs in ", home, "/logs\nto try in another terminal:"));
  if (model.empty()) {
    context.Note("  linnet model import FILE.gguf");
    model = "MODEL";
  }
  context.Note(
      absl::StrCat("  linnet run ", model, " \"Why is the sky blue?\"\n  curl http://", e.gateway_http,
                   "/v1/chat/completions -H 'Content-Type: application/json' -d '{\"model\": \"", model,
                   "\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'\nCtrl-C stops everything"));
  return absl::OkStatus();
}

absl::Status Serve(const CommandContext& context, const Options& options, const std::string& home) {
  LINNET_ASSIGN_OR_RETURN(const std::string folder, ProgramFolder());
  Supervisor supervisor({.note = [&](std::string_view line) { context.Note(line); }});
  const auto child = [&](const std::string& name, std::vector<std::string> args, std::vector<ListenPort> ports) {
    return ChildProcess::Options{.name = name,
                                 .program = absl::StrCat(folder, "/linnet-", name),
                                 .args = std::move(args),
                                 .ports = std::move(ports),
                                 .log_path = absl::StrCat(home, "/logs/", name, ".log"),
                                 .ready_path = absl::StrCat(home, "/run/", name, ".ready.json")};
  };
  LINNET_ASSIGN_OR_RETURN(const ChildProcess* registry,
                          supervisor.Start(child("registry", {absl::StrCat("--data-dir=", home, "/registry")},
                                                 {{"--listen", "grpc", options.registry_port},
                                                  {"--metrics-listen", "metrics", options.registry_metrics_port}})));
  const std::string registry_flag = absl::StrCat("--registry=", registry->Address("grpc"));
  std::vector<std::string> worker_args = {registry_flag, absl::StrCat("--cache-dir=", home, "/worker")};
  for (const std::string& model : options.models) worker_args.push_back(absl::StrCat("--model=", model));
  if (options.threads > 0) worker_args.push_back(absl::StrCat("--threads=", options.threads));
  if (!options.kv_cache_type.empty()) {
    worker_args.push_back(absl::StrCat("--kv-cache-type=", options.kv_cache_type));
  }
  LINNET_ASSIGN_OR_RETURN(const ChildProcess* worker,
                          supervisor.Start(child("worker", std::move(worker_args),
                                                 {{"--listen", "grpc", options.worker_port},
                                                  {"--metrics-listen", "metrics", options.worker_metrics_port}})));
  LINNET_ASSIGN_OR_RETURN(
      const ChildProcess* gateway,
      supervisor.Start(child("gateway", {registry_flag, absl::StrCat("--state-dir=", home, "/gateway")},
                             {{"--listen", "grpc", options.gateway_port},
                              {"--http-listen", "http", options.gateway_http_port},
                              {"--metrics-listen", "metrics", options.gateway_metrics_port}})));
  const Endpoints endpoints = {.gateway_grpc = gateway->Address("grpc"),
                               .gateway_http = gateway->Address("http"),
                               .gateway_metrics = gateway->Address("metrics"),
                               .registry_grpc = registry->Address("grpc"),
                               .registry_metrics = registry->Address("metrics"),
                               .worker_grpc = worker->Address("grpc"),
                               .worker_metrics = worker->Address("metrics")};
  LINNET_RETURN_IF_ERROR(WriteEndpoints(home, endpoints));
  absl::Status status = Announce(context, home, endpoints);
  if (status.ok()) status = supervisor.Run();
  RemoveEndpoints(home);
  context.Note("stopping ...");
  if (!supervisor.Stop() && status.ok()) status = absl::UnknownError("not every process stopped cleanly");
  return status;
}

absl::Status Up(const CommandContext& context, Options options) {
  if (options.free_ports) {
    for (int* port : {&options.gateway_http_port, &options.gateway_port, &options.registry_port, &options.worker_port,
                      &options.gateway_metrics_port, &options.registry_metrics_port, &options.worker_metrics_port}) {
      *port = 0;
    }
  }
  const std::string home = LinnetHome();
  if (!home.starts_with('/')) return UsageError(absl::StrCat("LINNET_HOME must be an absolute path, is '", home, "'"));
  LINNET_RETURN_IF_ERROR(PrepareHome(home));
  HomeLock lock;
  LINNET_RETURN_IF_ERROR(lock.Take(home));
  RemoveEndpoints(home);  // left by one that was killed
  const struct {
    int port;
    const char* what;
    const char* flag;
  } ports[] = {{options.gateway_http_port, "gateway's HTTP", "--gateway-http-port"},
               {options.gateway_port, "gateway's gRPC", "--gateway-port"},
               {options.registry_port, "registry", "--registry-port"},
               {options.worker_port, "worker", "--worker-port"},
               {options.gateway_metrics_port, "gateway's metrics", "--gateway-metrics-port"},
               {options.registry_metrics_port, "registry's metrics", "--registry-metrics-port"},
               {options.worker_metrics_port, "worker's metrics", "--worker-metrics-port"}};
  for (const auto& p : ports) LINNET_RETURN_IF_ERROR(CheckPortFree(p.port, p.what, p.flag));
  const absl::Status status = Serve(context, options, home);
  // Ctrl-C while they were starting is as good an end as later.
  return absl::IsCancelled(status) ? absl::OkStatus() : status;
}

}  // namespace

void AddUpCommand(CLI::App& app, CommandContext& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = context.Add(
      app, "up", "Start gateway, registry and worker on this machine, until Ctrl-C",
      {"linnet up", "LINNET_HOME=/data/linnet linnet up --gateway-http-port 9000", "linnet up --free-ports -o json"});
  const auto port = [&](const char* flag, int* value, const char* what) {
    command->add_option(flag, *value, absl::StrCat(what, "; 0 takes a free one"))
        ->check(CLI::Range(0, 65535))
        ->capture_default_str();
  };
  port("--gateway-http-port", &options->gateway_http_port, "OpenAI-style HTTP");
  port("--gateway-port", &options->gateway_port, "gRPC of the gateway");
  port("--registry-port", &options->registry_port, "gRPC of the registry");
  port("--worker-port", &options->worker_port, "gRPC of the worker");
  port("--gateway-metrics-port", &options->gateway_metrics_port, "metrics and health of the gateway");
  port("--registry-metrics-port", &options->registry_metrics_port, "metrics and health of the registry");
  port("--worker-metrics-port", &options->worker_metrics_port, "metrics and health of the worker");
  command->add_flag("--free-ports", options->free_ports, "take free ports instead of all of these");
  command->add_option("--threads", options->threads,
                      "compute threads of the worker (default: what this machine allows)");
  command
      ->add_option("--kv-cache-type", options->kv_cache_type,
                   "of the worker's keys and values: f16 (default) or q8_0, half as large")
      ->check(CLI::IsMember({"f16", "q8_0"}));
  command
      ->add_option("--model", options->models,
                   "serve only this model; may be repeated (default: every model that fits)")
      ->expected(1)
      ->take_all();
  context.OnRun(command, [&context, options] { return Up(context, *options); });
}

}  // namespace linnet::cli
