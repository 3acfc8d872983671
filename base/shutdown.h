// SIGTERM and SIGINT as something that main waits for.
#pragma once

#include "absl/status/status.h"

namespace linnet::base {

// Blocks both signals in this thread and all it creates later. Call it first in main.
void BlockShutdownSignals();
// Returns when one of them comes. A second one after that ends the process at once with status 1.
// REQUIRES: BlockShutdownSignals() before any thread was made.
int WaitForShutdownSignal();

}  // namespace linnet::base
