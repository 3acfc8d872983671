// linnet model update | lineage
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

// Adds the verbs to the noun `model`.
void AddLineageCommands(CLI::App& noun, CommandContext& context);

}  // namespace linnet::cli
