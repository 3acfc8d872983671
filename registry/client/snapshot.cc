#include "registry/client/snapshot.h"

#include "base/error.h"
#include "base/strings.h"
#include "linnet/storage/v1/storage.pb.h"

namespace linnet::registry {
namespace {

template <class T>
void Apply(const T& resource, const v1::Event& event, std::map<std::string, T>* resources) {
  (*resources)[event.name()] = resource;
}

absl::Status NotFound(const std::string& what, const std::string& resource) {
  return base::Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                     base::StrCat(what, "; `linnet model ls` shows what there is"), {{"resource", resource}});
}

}  // namespace

absl::StatusOr<std::vector<std::string>> VariantsFor(const RegistrySnapshot& snapshot,
                                                     const ModelReference& reference) {
  const std::string model_name = ModelName(reference.model);
  const auto model = snapshot.models.find(model_name);
  if (model == snapshot.models.end()) {
    return NotFound(base::StrCat("model ", reference.model, " does not exist"), model_name);
  }
  std::string variant = reference.variant;
  if (!reference.alias.empty()) {
    const auto alias = model->second.aliases().find(reference.alias);
    if (alias == model->second.aliases().end()) {
      return NotFound(base::StrCat("model ", reference.model, " has no alias '", reference.alias, "'"), model_name);
    }
    variant = alias->second;
  }
  if (!variant.empty()) {
    const std::string name = VariantName(reference.model, variant);
    if (!snapshot.variants.contains(name)) {
      return NotFound(base::StrCat("model ", reference.model, " has no variant '", variant, "'"), name);
    }
    return std::vector<std::string>{name};
  }
  std::vector<std::string> names;
  const std::string prefix = base::StrCat(model_name, "/variants/");
  for (auto it = snapshot.variants.lower_bound(prefix); it != snapshot.variants.end() && it->first.starts_with(prefix);
       ++it) {
    names.push_back(it->first);
  }
  if (names.empty()) return NotFound(base::StrCat("model ", reference.model, " has no variant yet"), model_name);
  return names;
}

void ApplyEvent(const v1::Event& event, RegistrySnapshot* snapshot) {
  if (event.revision() < snapshot->revision) return;
  switch (event.resource_case()) {
    case v1::Event::kModel:
      Apply(event.model(), event, &snapshot->models);
      break;
    case v1::Event::kVariant:
      Apply(event.variant(), event, &snapshot->variants);
      break;
    case v1::Event::kDeviceProfile:
      Apply(event.device_profile(), event, &snapshot->device_profiles);
      break;
    case v1::Event::kDeployment:
      Apply(event.deployment(), event, &snapshot->deployments);
      break;
    case v1::Event::RESOURCE_NOT_SET:
      if (!event.deleted()) break;
      // A name belongs to one collection only.
      snapshot->models.erase(event.name());
      snapshot->variants.erase(event.name());
      snapshot->device_profiles.erase(event.name());
      snapshot->deployments.erase(event.name());
      break;
  }
  snapshot->revision = event.revision();
}

std::string SerializeSnapshot(const RegistrySnapshot& snapshot) {
  storage::v1::ClientSnapshot proto;
  proto.set_revision(snapshot.revision);
  proto.set_store_id(snapshot.store_id);
  for (const auto& [name, model] : snapshot.models) *proto.add_models() = model;
  for (const auto& [name, variant] : snapshot.variants) *proto.add_variants() = variant;
  for (const auto& [name, profile] : snapshot.device_profiles) *proto.add_device_profiles() = profile;
  for (const auto& [name, deployment] : snapshot.deployments) *proto.add_deployments() = deployment;
  for (const auto& [name, worker] : snapshot.workers) *proto.add_workers() = worker;
  return proto.SerializeAsString();
}

absl::StatusOr<RegistrySnapshot> ParseSnapshot(const std::string& bytes) {
  storage::v1::ClientSnapshot proto;
  if (bytes.empty() || !proto.ParseFromString(bytes)) return absl::DataLossError("not a registry snapshot");
  RegistrySnapshot snapshot;
  snapshot.revision = proto.revision();
  snapshot.store_id = proto.store_id();
  for (const v1::Model& model : proto.models()) snapshot.models[model.name()] = model;
  for (const v1::Variant& variant : proto.variants()) snapshot.variants[variant.name()] = variant;
  for (const v1::DeviceProfile& profile : proto.device_profiles()) snapshot.device_profiles[profile.name()] = profile;
  for (const v1::Deployment& deployment : proto.deployments()) snapshot.deployments[deployment.name()] = deployment;
  for (const v1::Worker& worker : proto.workers()) snapshot.workers[worker.name()] = worker;
  return snapshot;
}

}  // namespace linnet::registry
