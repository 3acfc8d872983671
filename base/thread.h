// Threads with names, which show in `top -H`, `ps -L` and debuggers (at most 15 characters).
#pragma once

#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace linnet::base {

void SetThreadName(std::string_view name);

template <class F>
std::jthread StartThread(std::string name, F f) {
  return std::jthread([name = std::move(name), f = std::move(f)]() mutable {
    SetThreadName(name);
    f();
  });
}

}  // namespace linnet::base
