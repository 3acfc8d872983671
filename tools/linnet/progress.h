// A progress bar on standard error: only on a terminal, only for what takes longer than a second.
//
//   Progress progress("uploading", context.quiet);
//   client->UploadFile(path, digest, [&](uint64_t done, uint64_t total) { progress.Update(done, total); });
//   progress.Finish();
#pragma once

#include <cstdint>
#include <string>

namespace linnet::cli {

// For one thread at a time.
class Progress {
 public:
  enum class Unit { kBytes, kTokens };
  Progress(std::string what, bool quiet, Unit unit = Unit::kBytes);
  ~Progress() { Finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Redraws at most ten times a second.
  void Update(uint64_t done, uint64_t total);
  // Takes the bar away; what follows starts on a clean line.
  void Finish();

 private:
  const std::string what_;
  const bool enabled_;
  const Unit unit_;
  const int64_t start_ns_;
  int64_t last_ns_ = 0;
  uint64_t first_done_ = 0;
  bool started_ = false;
  bool drawn_ = false;
};

}  // namespace linnet::cli
