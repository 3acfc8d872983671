// $LINNET_HOME: where `linnet up` keeps its data, and where the other commands look for its addresses.
//
//   run/endpoints.json   addresses of what runs now; gone when nothing does
//   run/up.lock          held by the `linnet up` that uses this home
//   logs/                one file per process
//   registry/ worker/    the processes' own
//   converted/           GGUF files made of Hugging Face folders, for the next command (convert.h)
//   tmp/                 files of commands that run
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace linnet::cli {

// $LINNET_HOME, else $XDG_DATA_HOME/linnet, else ~/.local/share/linnet.
std::string LinnetHome();

// "host:port" each.
struct Endpoints {
  std::string gateway_grpc, gateway_http, gateway_metrics;
  std::string registry_grpc, registry_metrics;
  std::string worker_grpc, worker_metrics;
};

// nullopt where there is none, or one that cannot be read.
std::optional<Endpoints> ReadEndpoints(const std::string& home);
absl::Status WriteEndpoints(const std::string& home, const Endpoints& endpoints);
void RemoveEndpoints(const std::string& home);

}  // namespace linnet::cli
