// Reads a binary's configuration: a protobuf text file into one of the messages of linnet.config.v1.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::base {

// Errors name file, line and column. An empty path leaves `config` as it is.
absl::Status ReadConfig(const std::string& path, google::protobuf::Message* config);

struct HostPort {
  std::string host;
  int port = 0;
};
// "127.0.0.1:8080", "[::1]:8080", "localhost:0". INVALID_ARGUMENT otherwise.
absl::StatusOr<HostPort> ParseHostPort(std::string_view address);
// Refuses an address that is not loopback unless `insecure`: there is no TLS on it.
absl::Status CheckListenAddress(std::string_view what, std::string_view address, bool insecure);

}  // namespace linnet::base
