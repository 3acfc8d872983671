#include "worker/server/device_profile.h"

#include <gtest/gtest.h>

#include "registry/client/names.h"

namespace linnet::worker {
namespace {

TEST(DeviceProfileTest, SlugsAreIds) {
  EXPECT_EQ(SlugOf("Intel(R) Xeon(R) Platinum 8488C"), "intel-xeon-platinum-8488c");
  EXPECT_EQ(SlugOf("AMD EPYC 7B13 64-Core Processor"), "amd-epyc-7b13-64-core");
  EXPECT_EQ(SlugOf(" ?! "), "device");
  EXPECT_TRUE(registry::IsValidId(SlugOf(std::string(200, 'x'))));
  EXPECT_TRUE(registry::IsValidId(SlugOf("--Étrange\n")));
}

TEST(DeviceProfileTest, DescribesThisMachine) {
  DeviceProfileOptions options;
  options.measure = absl::Milliseconds(50);
  options.storage = "/tmp";
  const registry::v1::DeviceProfile profile = DetectDeviceProfile(options);
  EXPECT_TRUE(registry::ParseDeviceProfileName(profile.name()).ok()) << profile.name();
  EXPECT_FALSE(profile.cpu_arch().empty());
  EXPECT_GE(profile.performance_cores(), 1u);
  EXPECT_GT(profile.memory_bytes(), 1u << 24);
  EXPECT_GT(profile.storage_bytes(), 0u);
  // Anything from a busy emulator to a large server.
  EXPECT_GT(profile.memory_bandwidth_bytes_per_second(), 1e7);
  EXPECT_LT(profile.memory_bandwidth_bytes_per_second(), 2e12);
}

TEST(DeviceProfileTest, NothingIsMeasuredWhereNotAskedFor) {
  DeviceProfileOptions options;
  options.name = "node-1";
  options.measure = absl::ZeroDuration();
  const registry::v1::DeviceProfile profile = DetectDeviceProfile(options);
  EXPECT_EQ(profile.name(), "deviceProfiles/node-1");
  EXPECT_EQ(profile.memory_bandwidth_bytes_per_second(), 0);
}

}  // namespace
}  // namespace linnet::worker
