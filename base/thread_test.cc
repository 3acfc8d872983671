#include "base/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <string>

namespace linnet::base {
namespace {

std::string OwnName() {
  std::array<char, 32> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

TEST(StartThread, RunsUnderItsName) {
  std::string name;
  StartThread("engine", [&] { name = OwnName(); }).join();
  EXPECT_EQ(name, "engine");
}

TEST(SetThreadName, CutsLongNames) {
  std::string name;
  StartThread("a-name-much-longer-than-the-kernel-takes", [&] { name = OwnName(); }).join();
  EXPECT_EQ(name, "a-name-much-lon");
}

}  // namespace
}  // namespace linnet::base
