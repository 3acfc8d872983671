// linnet: the command line. See command.h for what the commands share.
#include <cstdio>
#include <exception>

#include "tools/linnet/program.h"

int main(int argc, char** argv) {
  try {
    return linnet::cli::RunProgram(argc, argv);
  } catch (const std::exception& e) {  // a bug of ours, or no memory
    std::fprintf(stderr, "linnet: internal error: %s\n", e.what());
    return 1;
  }
}
