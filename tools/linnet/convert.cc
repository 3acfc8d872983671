// linnet model convert
#include "tools/linnet/convert.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "tools/linnet/describe_file.h"
#include "tools/linnet/home.h"
#include "tools/linnet/interrupts.h"
#include "tools/linnet/output.h"
#include "tools/linnet/progress.h"
#include "tools/linnet/publish_file.h"
#include "tools/linnet/work_files.h"
#include "worker/checkpoint/checkpoint.h"

namespace linnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeyDigits = 16;

// What a conversion depends on: the converter, and names, sizes and times of change of the folder's files.
absl::StatusOr<std::string> KeyOf(const std::string& dir) {
  LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> files, worker::CheckpointFiles(dir));
  std::error_code error;
  std::string all = absl::StrCat(worker::kConverterRevision, "\n", fs::canonical(dir, error).string(), "\n");
  for (const std::string& file : files) {
    struct stat info = {};
    if (stat(file.c_str(), &info) != 0) return base::ErrnoStatus(errno, "open", file);
    absl::StrAppend(&all, fs::path(file).filename().string(), "\n", info.st_size, " ", info.st_mtim.tv_sec, ".",
                    info.st_mtim.tv_nsec, "\n");
  }
  return base::Sha256Of(all).substr(std::string_view("sha256:").size(), kKeyDigits);
}

// Keeps those used last; never `keep`. Whoever has a file open that goes keeps what is in it.
void Bound(const std::string& folder, const std::string& keep) {
  struct Kept {
    std::string path;
    fs::file_time_type used;
    uint64_t bytes;
  };
  std::vector<Kept> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    Kept file = {it->path().string(), it->last_write_time(gone), it->file_size(gone)};
    if (!gone && file.path.ends_with(".gguf")) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(), [&](const Kept& a, const Kept& b) {
    return std::pair(a.path == keep, a.used) > std::pair(b.path == keep, b.used);
  });
  uint64_t bytes = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    bytes += files[i].bytes;
    if (i > 0 && (i >= kConvertedFiles || bytes > kConvertedBytes)) fs::remove(files[i].path, error);
  }
}

struct Options {
  std::string dir, out;
  bool replace = false;
};

absl::Status CheckOptions(const Options& options) {
  if (!worker::IsCheckpoint(options.dir)) {
    return UsageError(
        absl::StrCat(options.dir, " is not a folder with a config.json, as Hugging Face publishes models"));
  }
  return CheckMayWrite(options.out, options.replace);
}

absl::Status Run(const CommandContext& context, const Options& options) {
  LINNET_RETURN_IF_ERROR(CheckOptions(options));
  LINNET_ASSIGN_OR_RETURN(const worker::ConvertReport report, Convert(context, options.dir, options.out));
  // What others run, Linnet may not.
  if (const auto described = DescribeModelFile(options.out, {}); !described.ok()) {
    context.Note(base::StrCat("note: Linnet itself cannot run the file: ", base::ToStd(described.status().message())));
  }
  Table table({"FILE", "ARCHITECTURE", "TENSORS", "SIZE"});
  table.Add({options.out, report.architecture, absl::StrCat(report.tensors), DecimalBytes(report.file_bytes)});
  return context.Print({{"file", options.out},
                        {"architecture", report.architecture},
                        {"name", report.name},
                        {"tensors", report.tensors},
                        {"size_bytes", report.file_bytes},
                        {"notes", report.notes}},
                       table.Render());
}

}  // namespace

absl::StatusOr<worker::ConvertReport> Convert(const CommandContext& context, const std::string& dir,
                                              const std::string& path) {
  Interrupts interrupts;
  std::stop_source stop;
  interrupts.OnInterrupt([&stop] { stop.request_stop(); });
  Progress progress("converting", context.quiet);
  LINNET_ASSIGN_OR_RETURN(
      worker::ConvertReport report,
      worker::ConvertCheckpoint(dir, path,
                                {.progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); },
                                 .stop = stop.get_token()}));
  progress.Finish();
  for (const std::string& note : report.notes) context.Note(absl::StrCat("note: ", note));
  return report;
}

absl::StatusOr<std::string> ConvertOnce(const CommandContext& context, const std::string& dir) {
  LINNET_ASSIGN_OR_RETURN(const std::string key, KeyOf(dir));
  const std::string folder = LinnetHome() + "/converted";
  LINNET_RETURN_IF_ERROR(base::MakeDirs(folder));
  std::error_code error;
  const std::string id = IdFrom(fs::canonical(dir, error).filename().string());
  const std::string path = absl::StrCat(folder, "/", id, id.empty() ? "" : "-", key, ".gguf");
  if (fs::exists(path, error)) {
    fs::last_write_time(path, fs::file_time_type::clock::now(), error);
    return path;
  }
  LINNET_ASSIGN_OR_RETURN(const worker::ConvertReport report, Convert(context, dir, path));
  context.Note(absl::StrCat("converted ", dir, " to ", path, " (", DecimalBytes(report.file_bytes),
                            "), for this and later commands"));
  Bound(folder, path);
  return path;
}

void AddConvertCommand(CLI::App& noun, CommandContext& context) {
  CLI::App* command = context.Add(noun, "convert", "Write a Hugging Face folder as a GGUF file, for Linnet and others",
                                  {"linnet model convert SmolLM2-135M-Instruct --out SmolLM2-135M-Instruct.bf16.gguf"});
  const auto options = std::make_shared<Options>();
  command->add_option("DIR", options->dir, "a folder with config.json, safetensors files and tokenizer.json")
      ->required();
  command->add_option("--out", options->out, "the GGUF file to write")->required();
  command->add_flag("--replace", options->replace, "replace a file of that name");
  context.OnRun(command, [&context, options] { return Run(context, *options); });
}

}  // namespace linnet::cli
