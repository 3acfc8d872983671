// The four kinds of resource that the store keeps, so that code over them is written once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/strings.h"
#include "linnet/registry/v1/registry.pb.h"
#include "linnet/registry/v1/resources.pb.h"
#include "linnet/storage/v1/storage.pb.h"

namespace linnet::registry {

enum class Kind { kModel, kVariant, kDeviceProfile, kDeployment };

template <class T>
struct ResourceTraits;

template <>
struct ResourceTraits<v1::Model> {
  static constexpr Kind kKind = Kind::kModel;
  static constexpr std::string_view kNoun = "model";
  static v1::Model* InChange(storage::v1::Change* change) { return change->mutable_model(); }
};
template <>
struct ResourceTraits<v1::Variant> {
  static constexpr Kind kKind = Kind::kVariant;
  static constexpr std::string_view kNoun = "variant";
  static v1::Variant* InChange(storage::v1::Change* change) { return change->mutable_variant(); }
};
template <>
struct ResourceTraits<v1::DeviceProfile> {
  static constexpr Kind kKind = Kind::kDeviceProfile;
  static constexpr std::string_view kNoun = "device profile";
  static v1::DeviceProfile* InChange(storage::v1::Change* change) { return change->mutable_device_profile(); }
};
template <>
struct ResourceTraits<v1::Deployment> {
  static constexpr Kind kKind = Kind::kDeployment;
  static constexpr std::string_view kNoun = "deployment";
  static v1::Deployment* InChange(storage::v1::Change* change) { return change->mutable_deployment(); }
};

inline std::string EtagOf(int64_t revision) { return base::StrCat("r", revision); }

// A record as the store keeps it. DATA_LOSS: it does not parse.
template <class T>
absl::StatusOr<T> ParseRecord(const std::string& name, const std::string& bytes) {
  T resource;
  if (!resource.ParseFromString(bytes)) {
    return absl::DataLossError(base::StrCat(ResourceTraits<T>::kNoun, " ", name, ": its stored record does not parse"));
  }
  resource.set_etag(EtagOf(resource.revision()));
  return resource;
}

// MODEL_NOT_FOUND for models and variants, RESOURCE_NOT_FOUND for the rest.
absl::Status NotFound(Kind kind, std::string_view noun, const std::string& name);

// One log entry's change as the event that Watch sends, etag filled in.
v1::Event EventOf(int64_t revision, const storage::v1::Change& change);

// Names, required fields and bounds of a resource that a client wrote; output-only fields are not looked at.
// INVALID_ARGUMENT with every violation, field paths relative to the resource and prefixed with `field` ("model.").
absl::Status Validate(const v1::Model& model, std::string_view field = "");
absl::Status Validate(const v1::Variant& variant, std::string_view field = "");
absl::Status Validate(const v1::DeviceProfile& profile, std::string_view field = "");
absl::Status Validate(const v1::Deployment& deployment, std::string_view field = "");

}  // namespace linnet::registry
