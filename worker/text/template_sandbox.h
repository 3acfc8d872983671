// What a forked child gives up before it runs foreign code. Internal to worker/text.
#pragma once

#include <cstddef>

namespace linnet::worker {

// In the child: keeps only `socket` of the open files, default signal handlers (interrupts ignored: the parent decides
// when it ends), no core dumps, `max_memory_bytes` of address space above `start_bytes`, and, where the kernel and the
// build allow it, no system calls but those for memory, time and the open socket (others fail with EPERM).
// Under sanitizers, which need more memory and calls, without the last two.
void EnterTemplateSandbox(int socket, size_t start_bytes, size_t max_memory_bytes);

// The address space of this process now.
size_t AddressSpaceBytes();

}  // namespace linnet::worker
