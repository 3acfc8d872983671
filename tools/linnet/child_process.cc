#include "tools/linnet/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/strings.h"
#include "tools/linnet/output.h"

namespace linnet::cli {
namespace {

constexpr off_t kMaxLogBytes = 32 << 20;
constexpr off_t kTailBytes = 16 << 10;
constexpr size_t kMaxLineBytes = 400;

// A structured log line as a person reads it: severity, message and fields.
std::string Readable(std::string_view line) {
  const auto json = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("message") || !json["message"].is_string()) return std::string(line);
  std::string text = absl::StrCat(json.value("severity", ""), " ", json["message"].get<std::string>());
  for (const auto& [key, value] : json.items()) {
    if (key == "time" || key == "severity" || key == "binary" || key == "message" || key == "thread" || key == "source")
      continue;
    absl::StrAppend(&text, " ", key, "=", value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

absl::Status ChildProcess::Start() {
  unlink(options_.ready_path.c_str());
  const int log = open(options_.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return base::ErrnoStatus(errno, "create", options_.log_path);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

  std::vector<std::string> args = {options_.program};
  args.reserve(1 + options_.args.size() + options_.ports.size() + 1);
  args.insert(args.end(), options_.args.begin(), options_.args.end());
  for (const ListenPort& port : options_.ports) args.push_back(absl::StrCat(port.flag, "=127.0.0.1:", port.port));
  args.push_back(absl::StrCat("--ready-file=", options_.ready_path));
  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Only async-signal-safe calls from here to exec.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);  // it died before the line above
    setpgid(0, 0);                        // Ctrl-C of the terminal is the parent's to pass on
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv.data());
    constexpr char kMessage[] = "cannot execute the program\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
    _exit(127);
  }
  const int error = errno;
  close(log);
  if (null >= 0) close(null);
  if (pid < 0) return base::ErrnoStatus(error, "start", options_.program);
  pid_ = pid;
  return absl::OkStatus();
}

bool ChildProcess::CheckReady() {
  const auto text = base::ReadFile(options_.ready_path, 1 << 16);
  if (!text.ok()) return false;
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  for (ListenPort& port : options_.ports) {
    const auto it = json.find(port.key);
    if (it == json.end() || !it->is_number_integer()) return false;
    port.port = it->get<int>();
  }
  return true;
}

std::string ChildProcess::Address(const std::string& key) const {
  for (const ListenPort& port : options_.ports) {
    if (port.key == key) return absl::StrCat("127.0.0.1:", port.port);
  }
  return "";
}

void ChildProcess::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

bool ChildProcess::Reap(std::string* how, bool* clean) {
  if (pid_ <= 0) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  pid_ = 0;
  unlink(options_.ready_path.c_str());
  *clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status)) {
    *how = absl::StrCat("signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  } else {
    *how = absl::StrCat("exit code ", WEXITSTATUS(status));
  }
  return true;
}

void ChildProcess::RotateLog() const {
  std::error_code ignored;  // the worst that can happen is a longer log
  if (std::filesystem::file_size(options_.log_path, ignored) == 0 || ignored) return;
  std::filesystem::rename(options_.log_path + ".1", options_.log_path + ".2", ignored);
  std::filesystem::rename(options_.log_path, options_.log_path + ".1", ignored);
}

void ChildProcess::BoundLog() const {
  struct stat st;
  if (stat(options_.log_path.c_str(), &st) != 0 || st.st_size < kMaxLogBytes) return;
  std::error_code ignored;
  std::filesystem::copy_file(options_.log_path, options_.log_path + ".1",
                             std::filesystem::copy_options::overwrite_existing, ignored);
  // The child appends, so what it writes next goes to the new end.
  [[maybe_unused]] const int cut = truncate(options_.log_path.c_str(), 0);
}

std::string ChildProcess::LastLogLines(int lines) const {
  const int fd = open(options_.log_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const off_t size = lseek(fd, 0, SEEK_END);
  std::string tail(static_cast<size_t>(std::min(size, kTailBytes)), '\0');
  const ssize_t got = pread(fd, tail.data(), tail.size(), size - static_cast<off_t>(tail.size()));
  close(fd);
  tail.resize(got > 0 ? static_cast<size_t>(got) : 0);
  std::vector<std::string_view> all;
  for (const std::string_view line : base::StrSplit(tail, '\n')) {
    if (!line.empty()) all.push_back(line);
  }
  std::string text;
  for (size_t i = all.size() > static_cast<size_t>(lines) ? all.size() - lines : 0; i < all.size(); ++i) {
    absl::StrAppend(&text, "\n    ", ForTerminal(Readable(all[i])).substr(0, kMaxLineBytes));
  }
  return text;
}

}  // namespace linnet::cli
