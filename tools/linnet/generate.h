// `linnet generate`: one prompt answered in this process, without servers.
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

void AddGenerateCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
