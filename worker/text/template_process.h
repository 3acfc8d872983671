// A child process that renders one chat template. Templates come with model files, so they are foreign code, and minja
// runs them without bounds and without checks (range() with four arguments writes past a vector, a list that grows
// while a loop filters it moves under the loop, a list that contains itself is printed for ever). So they run where
// that harms nobody: without files, sockets or further processes (seccomp), with bounded memory, and killed when out of
// time.
//
//   parent --(values, as JSON)--> child        one socket pair; the child lives until the parent closes it
//   parent <--(text, or what went wrong)-- child
//
// The child is forked, not executed, from whatever the process holds at that moment. Start it before large memory is
// allocated: pages that the parent writes later exist twice while the child lives.
// Internal to worker/text.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace linnet::worker {

// Not thread-safe.
class TemplateProcess {
 public:
  static constexpr absl::Duration kMaxCpuTime = absl::Seconds(1);    // of the child, for one call
  static constexpr absl::Duration kMaxWallTime = absl::Seconds(10);  // on a machine that is busy otherwise
  // A child that is forked while another thread holds a lock that it needs waits for ever: another one is tried.
  static constexpr absl::Duration kMaxStartWait = absl::Seconds(4);
  static constexpr int kMaxStarts = 3;
  static constexpr size_t kMaxMemoryBytes = 512 << 20;  // that the child may add to what it starts with

  // INVALID_ARGUMENT CHAT_TEMPLATE_FAILED: does not parse, or not within the bounds. UNAVAILABLE: no child to be had,
  // or none that answers.
  static absl::StatusOr<std::unique_ptr<TemplateProcess>> Start(const std::string& source);
  // Kills and reaps the child.
  ~TemplateProcess();
  TemplateProcess(const TemplateProcess&) = delete;
  TemplateProcess& operator=(const TemplateProcess&) = delete;

  // `values`: see TemplateRenderer::Render. INVALID_ARGUMENT CHAT_TEMPLATE_FAILED: what the template raised, or that it
  // crashed or exceeded its bounds. UNAVAILABLE: it does not answer.
  absl::StatusOr<std::string> Render(const std::string& values, size_t max_output_bytes);
  // The child is gone: no more Render.
  bool broken() const { return broken_; }

 private:
  TemplateProcess(pid_t child, int socket) : child_(child), socket_(socket) {}
  static absl::StatusOr<std::unique_ptr<TemplateProcess>> Fork(const std::string& source);
  absl::StatusOr<std::string> Receive(size_t max_bytes);
  absl::Status Send(const std::string& message);
  // Waits until the socket is ready for `events`, within the bounds of this call.
  absl::Status Await(short events);
  absl::Status Break(const std::string& why);
  void BeginCall(absl::Duration max_wait);
  absl::Duration ChildCpuTime() const;

  const pid_t child_;
  const int socket_;
  bool broken_ = false;
  absl::Time wall_deadline_;
  absl::Duration cpu_deadline_;
};

}  // namespace linnet::worker
