// `linnet bench`: how fast a model runs here, and how near that is to what the machine allows.
//
//   linnet bench --model FILE          prefill and decode at one size
//   linnet bench rows --model FILE     several sizes in one process, every sample by itself: for comparisons
//   linnet bench limits                what the machine can do at most, no model needed
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "tools/linnet/command.h"

namespace linnet::cli {

void AddBenchCommand(CLI::App& app, CommandContext& context);
// Its verbs, under the command that AddBenchCommand makes.
void AddBenchRowsCommand(CLI::App& bench, CommandContext& context);
void AddBenchLimitsCommand(CLI::App& bench, CommandContext& context);
// A usage error where an option of `bench` itself was given to one of its verbs, which would ignore it.
absl::Status RefuseOptionsOf(const CLI::App& bench, std::string_view verb);

}  // namespace linnet::cli
