// The program as a function of its arguments: parses them, runs the command, turns what goes wrong into a message with
// a remedy and an exit code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace linnet::cli {

int RunProgram(int argc, const char* const* argv);

// The candidate nearest to `typed`, "" where none is near enough to be what was meant.
std::string Nearest(std::string_view typed, const std::vector<std::string>& candidates);

}  // namespace linnet::cli
