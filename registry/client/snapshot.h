// What a gateway or worker knows of the registry at one moment; built by Watcher, immutable once handed out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "linnet/registry/v1/registry.pb.h"
#include "linnet/registry/v1/resources.pb.h"
#include "registry/client/names.h"

namespace linnet::registry {

// Keys are full resource names. A value type; share it as shared_ptr<const RegistrySnapshot>.
struct RegistrySnapshot {
  // All changes up to this revision are in.
  int64_t revision = 0;
  // The database that the revision counts in (WatchResponse.store_id); empty: not known yet.
  std::string store_id;
  // Read from the snapshot file; the registry has not answered since this process started.
  bool from_disk = false;
  std::map<std::string, v1::Model> models;
  std::map<std::string, v1::Variant> variants;
  std::map<std::string, v1::DeviceProfile> device_profiles;
  std::map<std::string, v1::Deployment> deployments;
  // Workers whose lease lives; only where Watcher::Options::worker_poll_interval asks for them.
  std::map<std::string, v1::Worker> workers;
};

// The names of the variants that may answer a request for `reference`, sorted:
//   {model}/{variant}  that one
//   {model}@{alias}    the one that the alias names
//   {model}            every variant of the model
// NOT_FOUND (MODEL_NOT_FOUND) where model, alias or variant does not exist, or the model has no variant yet.
absl::StatusOr<std::vector<std::string>> VariantsFor(const RegistrySnapshot& snapshot, const ModelReference& reference);

// Applies one event of Watch to the snapshot's maps and advances its revision. An event that is older than the snapshot
// changes nothing. A deleted model takes no variants with it: their own events say so.
void ApplyEvent(const v1::Event& event, RegistrySnapshot* snapshot);

// The snapshot as bytes for a file, and back (DATA_LOSS where the bytes are not a snapshot).
std::string SerializeSnapshot(const RegistrySnapshot& snapshot);
absl::StatusOr<RegistrySnapshot> ParseSnapshot(const std::string& bytes);

}  // namespace linnet::registry
