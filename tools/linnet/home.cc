#include "tools/linnet/home.h"

#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace linnet::cli {
namespace {

constexpr struct {
  const char* key;
  std::string Endpoints::* field;
} kFields[] = {
    {"gateway_grpc", &Endpoints::gateway_grpc},         {"gateway_http", &Endpoints::gateway_http},
    {"gateway_metrics", &Endpoints::gateway_metrics},   {"registry_grpc", &Endpoints::registry_grpc},
    {"registry_metrics", &Endpoints::registry_metrics}, {"worker_grpc", &Endpoints::worker_grpc},
    {"worker_metrics", &Endpoints::worker_metrics},
};

std::string EndpointsPath(const std::string& home) { return home + "/run/endpoints.json"; }

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string LinnetHome() {
  if (std::string home = Environment("LINNET_HOME"); !home.empty()) return home;
  if (std::string data = Environment("XDG_DATA_HOME"); !data.empty()) return data + "/linnet";
  const std::string home = Environment("HOME");
  return (home.empty() ? "/var/lib" : home + "/.local/share") + "/linnet";
}

std::optional<Endpoints> ReadEndpoints(const std::string& home) {
  auto text = base::ReadFile(EndpointsPath(home), 1 << 16);
  if (!text.ok()) return std::nullopt;
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  Endpoints endpoints;
  for (const auto& [key, field] : kFields) {
    if (auto it = json.find(key); it != json.end() && it->is_string()) endpoints.*field = it->get<std::string>();
  }
  return endpoints;
}

absl::Status WriteEndpoints(const std::string& home, const Endpoints& endpoints) {
  nlohmann::ordered_json json;
  for (const auto& [key, field] : kFields) json[key] = endpoints.*field;
  return base::WriteFileDurably(EndpointsPath(home), json.dump(2) + "\n");
}

void RemoveEndpoints(const std::string& home) { unlink(EndpointsPath(home).c_str()); }

}  // namespace linnet::cli
