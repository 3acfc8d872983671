// The program as a function of its arguments: parses them, runs the command, turns what goes wrong into a message with
// a remedy and an exit code.
#pragma once

namespace linnet::cli {

int RunProgram(int argc, const char* const* argv);

}  // namespace linnet::cli
