// linnet variant prune
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

// Adds the verb to the noun `variant`.
void AddPruneCommand(CLI::App& noun, CommandContext& context);

}  // namespace linnet::cli
