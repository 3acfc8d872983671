// `linnet score`: the log-probability that a model gives to each token of a text, and its perplexity.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "tools/linnet/command.h"
#include "worker/model/model.h"

namespace linnet::cli {

// Natural logarithms of the probabilities of tokens 1, 2, ..., each given those before it. REQUIRES: at least two
// tokens, ids within the vocabulary, no more than the context holds.
absl::StatusOr<std::vector<double>> LogProbs(worker::Model& model, const std::vector<worker::TokenId>& tokens);

double Perplexity(const std::vector<double>& logprobs);

void AddScoreCommand(CLI::App& app, CommandContext& context);

}  // namespace linnet::cli
