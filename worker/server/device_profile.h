// What this machine is, as the registry describes devices: detected and, for memory bandwidth, measured. The worker
// registers it at its start; `linnet profile detect` prints it.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "linnet/registry/v1/resources.pb.h"

namespace linnet::worker {

struct DeviceProfileOptions {
  std::string name;  // {profile}; empty: made of the CPU's name, e.g. "intel-xeon-platinum-8488c"
  // How long reading memory is measured; zero: not at all.
  absl::Duration measure = absl::Milliseconds(250);
  int threads = 0;      // that read; 0: what the CPU budget allows
  std::string storage;  // a folder on the disk that counts as storage; empty: none
};

// Takes `measure` and a little. Never fails: what cannot be detected stays 0 or empty.
registry::v1::DeviceProfile DetectDeviceProfile(const DeviceProfileOptions& options);

// Bytes per second that `threads` threads read together from memory (not from cache): the best of several rounds.
double MeasureReadBandwidth(int threads, absl::Duration duration);

// Lower-case letters, digits and '-' of any text, as a resource id; "device" where nothing is left.
std::string SlugOf(const std::string& text);

}  // namespace linnet::worker
