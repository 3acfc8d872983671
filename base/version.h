// What this build is: "0.1.0".
#pragma once

namespace linnet::base {

inline constexpr char kVersion[] = LINNET_VERSION;

}  // namespace linnet::base
