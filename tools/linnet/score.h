// `linnet score`: the log-probability that a model gives to each token of a text, and its perplexity.
#pragma once

#include "tools/linnet/command.h"

namespace linnet::cli {

void AddScoreCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
