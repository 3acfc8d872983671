// Quantities as people read them, for messages and the CLI's tables.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace linnet::base {

// "512 B", "3.1 GiB", "98.0 MiB". Binary units.
std::string HumanBytes(uint64_t bytes);

// "850 us", "12.5 ms", "3.2 s", "4m 05s", "2h 03m", "3d 04h"; "forever" where infinite.
std::string HumanDuration(absl::Duration duration);

}  // namespace linnet::base
