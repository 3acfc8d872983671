// `linnet bench`: how fast a model runs here, and how near that is to what its memory traffic allows.
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

void AddBenchCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
