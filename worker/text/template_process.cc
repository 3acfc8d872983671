#include "worker/text/template_process.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "worker/text/template_renderer.h"
#include "worker/text/template_sandbox.h"

namespace linnet::worker {
namespace {

constexpr size_t kMaxErrorBytes = 1024;  // of a template's own message

// Messages both ways: a length of 64 bits, then as many bytes.

void AppendNumber(uint64_t n, std::string& out) { out.append(reinterpret_cast<const char*>(&n), sizeof(n)); }

// What the child does for its whole life; everything it needs is in its memory when it is forked.

bool ReadAll(int socket, char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = read(socket, to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteAll(int socket, std::string_view from) {
  while (!from.empty()) {
    const ssize_t n = send(socket, from.data(), from.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool WriteReply(int socket, const TemplateReply& reply) {
  const std::string_view text = std::string_view(reply.text).substr(0, reply.ok ? reply.text.size() : kMaxErrorBytes);
  std::string head;
  AppendNumber(text.size() + 1, head);
  head.push_back(reply.ok ? 1 : 0);
  return WriteAll(socket, head) && WriteAll(socket, text);
}

[[noreturn]] void ServeTemplate(int socket, const std::string& source) {
  TemplateRenderer renderer;
  const TemplateReply parsed = renderer.Parse(source);
  if (!WriteReply(socket, parsed) || !parsed.ok) _exit(1);
  for (;;) {
    uint64_t head[2];                                                             // output bound, bytes of the values
    if (!ReadAll(socket, reinterpret_cast<char*>(head), sizeof(head))) _exit(0);  // the parent is done, or gone
    std::string values(head[1], '\0');
    if (!ReadAll(socket, values.data(), values.size())) _exit(0);
    if (!WriteReply(socket, renderer.Render(values, head[0]))) _exit(0);
  }
}

absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

absl::Status TemplateFailed(std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_FAILED",
                     absl::StrCat("chat template: ", std::string(what)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TemplateProcess>> TemplateProcess::Start(const std::string& source) {
  for (int attempt = 1;; ++attempt) {
    LINNET_ASSIGN_OR_RETURN(std::unique_ptr<TemplateProcess> process, Fork(source));
    process->BeginCall(kMaxStartWait);
    const absl::Status parsed = process->Receive(/*max_bytes=*/kMaxErrorBytes).status();
    if (parsed.ok()) return process;
    if (!absl::IsUnavailable(parsed) || attempt == kMaxStarts) return parsed;
  }
}

absl::StatusOr<std::unique_ptr<TemplateProcess>> TemplateProcess::Fork(const std::string& source) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return base::ErrnoStatus(errno, "make a socket for", "the chat template's process");
  }
  const size_t start_bytes = AddressSpaceBytes();
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return base::Error(absl::StatusCode::kUnavailable, "INTERNAL_ERROR",
                       absl::StrCat("cannot start a process for the chat template: ", strerror(error),
                                    "; raise the limit on processes (ulimit -u, pids.max) or free memory"));
  }
  if (child == 0) {
    EnterTemplateSandbox(ends[1], start_bytes, kMaxMemoryBytes);
    ServeTemplate(ends[1], source);
  }
  close(ends[1]);
  return std::unique_ptr<TemplateProcess>(new TemplateProcess(child, ends[0]));
}

TemplateProcess::~TemplateProcess() {
  close(socket_);
  kill(child_, SIGKILL);
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

absl::StatusOr<std::string> TemplateProcess::Render(const std::string& values, size_t max_output_bytes) {
  if (broken_) return TemplateFailed("its process is gone");
  BeginCall(kMaxWallTime);
  std::string message;
  AppendNumber(max_output_bytes, message);
  AppendNumber(values.size(), message);
  message.append(values);
  LINNET_RETURN_IF_ERROR(Send(message));
  return Receive(max_output_bytes);
}

absl::StatusOr<std::string> TemplateProcess::Receive(size_t max_bytes) {
  std::string message(sizeof(uint64_t), '\0');
  uint64_t wanted = message.size();
  bool length_known = false;
  for (size_t have = 0; have < wanted;) {
    LINNET_RETURN_IF_ERROR(Await(POLLIN));
    const ssize_t n = recv(socket_, message.data() + have, wanted - have, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return Break("it crashed, or ran out of memory; use a model with a sound template");
    have += static_cast<size_t>(n);
    if (have == wanted && !length_known) {
      length_known = true;
      std::memcpy(&wanted, message.data(), sizeof(wanted));
      // The child holds to it, unless the template has taken it over.
      if (wanted < 1 || wanted > std::max(max_bytes, kMaxErrorBytes) + 1) return Break("its process answers nonsense");
      message.assign(wanted, '\0');
      have = 0;
    }
  }
  if (message[0] == 1) return message.substr(1);
  return TemplateFailed(base::BoundedUtf8(message.substr(1), kMaxErrorBytes));
}

absl::Status TemplateProcess::Send(const std::string& message) {
  for (size_t done = 0; done < message.size();) {
    LINNET_RETURN_IF_ERROR(Await(POLLOUT));
    const ssize_t n = send(socket_, message.data() + done, message.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return Break("its process has ended");
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status TemplateProcess::Await(short events) {
  constexpr int kLookMs = 20;  // how often to look at the child's CPU time
  for (;;) {
    pollfd poll_fd{.fd = socket_, .events = events};
    const int ready = poll(&poll_fd, 1, kLookMs);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Break(absl::StrCat("poll: ", strerror(errno)));
    if (ChildCpuTime() >= cpu_deadline_) {
      return Break(absl::StrCat("it took more than ", absl::FormatDuration(kMaxCpuTime),
                                " of CPU time; use a model with a "
                                "sound template, or a shorter conversation"));
    }
    if (MonotonicNow() >= wall_deadline_) {
      (void)Break("");  // not the template's fault
      return base::Error(absl::StatusCode::kUnavailable, "INTERNAL_ERROR",
                         "chat template: its process does not answer; the machine is overloaded, try again");
    }
  }
}

absl::Status TemplateProcess::Break(const std::string& why) {
  broken_ = true;
  kill(child_, SIGKILL);
  return TemplateFailed(why);
}

void TemplateProcess::BeginCall(absl::Duration max_wait) {
  wall_deadline_ = MonotonicNow() + max_wait;
  cpu_deadline_ = ChildCpuTime() + kMaxCpuTime;
}

absl::Duration TemplateProcess::ChildCpuTime() const {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(child_, &clock) != 0 || clock_gettime(clock, &time) != 0) return absl::ZeroDuration();
  return absl::DurationFromTimespec(time);
}

}  // namespace linnet::worker
