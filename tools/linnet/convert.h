// Folders as Hugging Face publishes them, converted to GGUF files: for good, or kept for the next command.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "tools/linnet/command.h"
#include "worker/checkpoint/convert.h"

namespace linnet::cli {

// With a progress bar; notes go to standard error; Ctrl-C ends it.
absl::StatusOr<worker::ConvertReport> Convert(const CommandContext& context, const std::string& dir,
                                              const std::string& path);

// The same into $LINNET_HOME/converted, where it stays for the next command that names the folder, as long as nothing
// in that changes. Returns the file's path. Of other conversions there, those used last are kept, within
// kConvertedFiles and kConvertedBytes.
absl::StatusOr<std::string> ConvertOnce(const CommandContext& context, const std::string& dir);
inline constexpr size_t kConvertedFiles = 8;
inline constexpr uint64_t kConvertedBytes = uint64_t{32} << 30;

// model convert
void AddConvertCommand(CLI::App& noun, CommandContext& context);

}  // namespace linnet::cli
