// Text from elsewhere made fit for protobuf strings, JSON and headers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace linnet::base {

// `text` as valid UTF-8 of at most `max_bytes`: a byte that belongs to no valid sequence becomes '?', and what is cut
// is cut between characters and marked with "...". REQUIRES: max_bytes >= 3.
std::string BoundedUtf8(std::string_view text, size_t max_bytes);

}  // namespace linnet::base
