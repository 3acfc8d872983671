// One process that `linnet up` runs: start, readiness, end. Its output goes to a log file.
//
//   STOPPED ──Start──▶ STARTING ──ready file there──▶ READY ──▶ (ended: Reap says how) ──▶ STOPPED
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::cli {

// A port that the process listens on.
struct ListenPort {
  std::string flag;  // "--http-listen"
  std::string key;   // in the ready file: "http"
  int port = 0;      // 0: a free one, known once it is ready
};

// Not thread-safe. A child dies (SIGTERM) with the thread that started it: that must be the main thread.
class ChildProcess {
 public:
  struct Options {
    std::string name;     // "worker"
    std::string program;  // path
    std::vector<std::string> args;
    std::vector<ListenPort> ports;
    std::string log_path;
    std::string ready_path;
  };
  explicit ChildProcess(Options options) : options_(std::move(options)) {}

  const std::string& name() const { return options_.name; }
  const std::string& log_path() const { return options_.log_path; }
  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

  // The log goes on where it is; RotateLog once before the first start.
  absl::Status Start();
  // Whether the ready file is there; takes over the ports it names, so that a later Start uses the same ones.
  bool CheckReady();
  // "127.0.0.1:PORT" of the port with that key; REQUIRES: ready.
  std::string Address(const std::string& key) const;
  void Signal(int signal) const;
  // Looks whether it has ended, without waiting; then *how is "exit code 3", "signal 9 (Killed)".
  bool Reap(std::string* how, bool* clean);

  // Keeps the last two logs, as .1 and .2.
  void RotateLog() const;
  // Cuts a log that has grown beyond the bound: what there was goes to .1.
  void BoundLog() const;
  // The last lines of its log, for a message: at most `lines`, indented.
  std::string LastLogLines(int lines) const;

 private:
  Options options_;
  pid_t pid_ = 0;
};

}  // namespace linnet::cli
