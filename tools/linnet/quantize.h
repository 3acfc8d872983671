// linnet variant quantize
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

// Adds the verb to the noun `variant`.
void AddQuantizeCommand(CLI::App& noun, CommandContext& context);

}  // namespace linnet::cli
