// `linnet tokenize`: the ids of a text, as the model's own tokenizer makes them.
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

void AddTokenizeCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
