// How deeply a JSON text nests, told before anything is built of it: foreign text must not exhaust the stack.
#pragma once

#include <string_view>

namespace linnet::base {

// More than `levels` arrays and objects within each other. Looks no further than the first such place; of text that is
// no JSON it may say either.
bool NestsDeeperThan(std::string_view json, int levels);

}  // namespace linnet::base
