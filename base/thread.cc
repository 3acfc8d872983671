#include "base/thread.h"

#include <pthread.h>

#include <string>

namespace linnet::base {

void SetThreadName(std::string_view name) {
  // The kernel takes 15 characters and refuses a longer name.
  pthread_setname_np(pthread_self(), std::string(name.substr(0, 15)).c_str());
}

}  // namespace linnet::base
