#include "registry/server/catalog.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/names.h"
#include "registry/resolve/resolve.h"
#include "registry/server/field_mask.h"

namespace linnet::registry {
namespace {

template <class T>
absl::Status AlreadyExists(const std::string& name, std::string_view remedy) {
  return base::Error(absl::StatusCode::kAlreadyExists, "RESOURCE_EXISTS",
                     base::StrCat(ResourceTraits<T>::kNoun, " ", name, " exists already; ", remedy),
                     {{"resource", name}});
}

template <class T>
absl::StatusOr<T> Create(Transaction& txn, T resource) {
  LINNET_RETURN_IF_ERROR(Validate(resource, base::StrCat(ResourceTraits<T>::kNoun, ".")));
  LINNET_ASSIGN_OR_RETURN(const bool exists, txn.Exists<T>(resource.name()));
  if (exists) return AlreadyExists<T>(resource.name(), "update it, or choose another name");
  LINNET_RETURN_IF_ERROR(txn.Put(&resource));
  return resource;
}

template <class T>
absl::Status Delete(Transaction& txn, const std::string& name, const std::string& etag) {
  LINNET_ASSIGN_OR_RETURN(const T resource, txn.Get<T>(name));
  LINNET_RETURN_IF_ERROR(CheckEtag(resource, etag));
  return txn.Delete<T>(name);
}

// Every alias of the model names a variant of it.
absl::Status CheckAliases(Transaction& txn, const v1::Model& model) {
  LINNET_ASSIGN_OR_RETURN(const std::string id, ParseModelName(model.name()));
  for (const auto& [alias, variant] : model.aliases()) {
    LINNET_ASSIGN_OR_RETURN(const bool exists, txn.Exists<v1::Variant>(VariantName(id, variant)));
    if (exists) continue;
    return base::FieldErrors({{"model.aliases", base::StrCat("'", alias, "': no variant '", variant, "'")}});
  }
  return absl::OkStatus();
}

bool SameBlobs(const v1::Variant& a, const v1::Variant& b) {
  return std::equal(
      a.blobs().begin(), a.blobs().end(), b.blobs().begin(), b.blobs().end(),
      [](const v1::BlobRef& x, const v1::BlobRef& y) { return x.role() == y.role() && x.digest() == y.digest(); });
}

// The tensors have the same shapes. What a converter counts or labels differently does not matter.
bool SameShape(const v1::Architecture& a, const v1::Architecture& b) {
  return a.family() == b.family() && a.layers() == b.layers() && a.model_dim() == b.model_dim() &&
         a.vocab_size() == b.vocab_size() &&
         std::equal(a.layer_shapes().begin(), a.layer_shapes().end(), b.layer_shapes().begin(), b.layer_shapes().end(),
                    [](const v1::LayerShape& x, const v1::LayerShape& y) {
                      return google::protobuf::util::MessageDifferencer::Equals(x, y);
                    });
}

absl::Status FixedProfile(const std::string& name) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
                     base::StrCat("device profile ", name, " is built in and fixed; create one under another name"),
                     {{"resource", name}});
}

// Pages --------------------------------------------------------------------------------------------------------------

// The token is the last name of the page before, as it is; it means nothing to clients.
template <class T, class Request>
absl::StatusOr<Store::Page<T>> ListPage(const Store& store, const std::string& prefix, const Request& request) {
  constexpr int kDefaultPage = 100;
  constexpr int kMaxPage = 1000;
  if (request.page_size() < 0) return base::FieldErrors({{"page_size", "must not be negative"}});
  const int size = request.page_size() == 0 ? kDefaultPage : std::min<int>(request.page_size(), kMaxPage);
  if (!request.page_token().empty() && !request.page_token().starts_with(prefix)) {
    return base::FieldErrors({{"page_token", "is not one that a list of these gave"}});
  }
  return store.List<T>(prefix, request.page_token(), static_cast<size_t>(size));
}

template <class T, class Response>
Response ToResponse(Store::Page<T> page, google::protobuf::RepeatedPtrField<T>* (Response::*items)()) {
  Response response;
  for (T& item : page.items) *(response.*items)()->Add() = std::move(item);
  response.set_next_page_token(page.last_name);
  response.set_revision(page.revision);
  return response;
}

}  // namespace

template <class T>
void Catalog::Write(std::function<absl::StatusOr<T>(Transaction&)> change, Done<T> done) {
  auto result = std::make_shared<T>();
  store_->WriteAsync(
      [change = std::move(change), result](Transaction& txn) -> absl::Status {
        LINNET_ASSIGN_OR_RETURN(*result, change(txn));
        return absl::OkStatus();
      },
      [result, done = std::move(done)](absl::Status status) {
        if (status.ok()) {
          done(std::move(*result));
        } else {
          done(std::move(status));
        }
      });
}

// Models -------------------------------------------------------------------------------------------------------------

void Catalog::CreateModel(const v1::CreateModelRequest& request, Done<v1::Model> done) {
  if (request.validate_only()) {
    if (absl::Status status = Validate(request.model(), "model."); !status.ok()) return done(std::move(status));
    if (store_->Get<v1::Model>(request.model().name()).ok()) {
      return done(AlreadyExists<v1::Model>(request.model().name(), "update it, or choose another name"));
    }
    return done(request.model());
  }
  Write<v1::Model>(
      [&request](Transaction& txn) -> absl::StatusOr<v1::Model> {
        LINNET_ASSIGN_OR_RETURN(v1::Model model, Create(txn, request.model()));
        LINNET_RETURN_IF_ERROR(CheckAliases(txn, model));
        return model;
      },
      std::move(done));
}

void Catalog::UpdateModel(const v1::UpdateModelRequest& request, Done<v1::Model> done) {
  Write<v1::Model>(
      [&request](Transaction& txn) -> absl::StatusOr<v1::Model> {
        LINNET_RETURN_IF_ERROR(ParseModelName(request.model().name()).status());
        LINNET_ASSIGN_OR_RETURN(v1::Model model, txn.Get<v1::Model>(request.model().name()));
        LINNET_RETURN_IF_ERROR(CheckEtag(model, request.model().etag()));
        LINNET_RETURN_IF_ERROR(ApplyMask(request.model(), request.update_mask(), &model));
        LINNET_RETURN_IF_ERROR(txn.Put(&model));
        LINNET_RETURN_IF_ERROR(CheckAliases(txn, model));
        return model;
      },
      std::move(done));
}

void Catalog::DeleteModel(const v1::DeleteModelRequest& request, Deleted done) {
  store_->WriteAsync(
      [&request](Transaction& txn) -> absl::Status {
        LINNET_ASSIGN_OR_RETURN(const std::string id, ParseModelName(request.name()));
        LINNET_RETURN_IF_ERROR(Delete<v1::Model>(txn, request.name(), request.etag()));
        LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> variants, txn.VariantsOf(id));
        if (!variants.empty() && !request.force()) {
          return base::Error(absl::StatusCode::kFailedPrecondition, "RESOURCE_IN_USE",
                             base::StrCat("model ", request.name(), " has ", variants.size(), " variants (",
                                          variants.front(), " ...); delete them first, or force it"),
                             {{"resource", request.name()}});
        }
        for (const std::string& variant : variants) LINNET_RETURN_IF_ERROR(txn.Delete<v1::Variant>(variant));
        return absl::OkStatus();
      },
      std::move(done));
}

// Variants -----------------------------------------------------------------------------------------------------------

absl::Status Catalog::CheckBlobs(const v1::Variant& variant) const {
  for (const v1::BlobRef& blob : variant.blobs()) {
    LINNET_ASSIGN_OR_RETURN(const BlobState state, blobs_->Status(blob.digest()));
    if (!state.complete) {
      return base::Error(
          absl::StatusCode::kFailedPrecondition, "RESOURCE_NOT_FOUND",
          base::StrCat("variant ", variant.name(), ": blob ", blob.digest(), " is not complete in this registry (",
                       state.received_bytes, " bytes are here); upload it first"),
          {{"resource", blob.digest()}});
    }
    if (state.size_bytes != blob.size_bytes()) {
      return base::FieldErrors(
          {{"variant.blobs.size_bytes", base::StrCat("is ", blob.size_bytes(), ", the blob has ", state.size_bytes)}});
    }
  }
  return absl::OkStatus();
}

void Catalog::CreateVariant(const v1::CreateVariantRequest& request, Done<v1::Variant> done) {
  if (request.validate_only()) {
    absl::Status status = Validate(request.variant(), "variant.");
    if (status.ok()) status = CheckBlobs(request.variant());
    if (!status.ok()) return done(std::move(status));
    return done(request.variant());
  }
  Write<v1::Variant>(
      [this, &request](Transaction& txn) -> absl::StatusOr<v1::Variant> {
        LINNET_RETURN_IF_ERROR(Validate(request.variant(), "variant."));
        LINNET_ASSIGN_OR_RETURN(const VariantId id, ParseVariantName(request.variant().name()));
        LINNET_RETURN_IF_ERROR(txn.Get<v1::Model>(ModelName(id.model)).status());
        LINNET_RETURN_IF_ERROR(CheckBlobs(request.variant()));
        return Create(txn, request.variant());
      },
      std::move(done));
}

void Catalog::DeleteVariant(const v1::DeleteVariantRequest& request, Deleted done) {
  store_->WriteAsync(
      [&request](Transaction& txn) -> absl::Status {
        LINNET_ASSIGN_OR_RETURN(const VariantId id, ParseVariantName(request.name()));
        LINNET_RETURN_IF_ERROR(Delete<v1::Variant>(txn, request.name(), request.etag()));
        LINNET_ASSIGN_OR_RETURN(const v1::Model model, txn.Get<v1::Model>(ModelName(id.model)));
        for (const auto& [alias, variant] : model.aliases()) {
          if (variant != id.variant) continue;
          return base::Error(absl::StatusCode::kFailedPrecondition, "RESOURCE_IN_USE",
                             base::StrCat("variant ", request.name(), " is what alias '", alias, "' of ", model.name(),
                                          " names; point the alias elsewhere first"),
                             {{"resource", request.name()}});
        }
        return absl::OkStatus();
      },
      std::move(done));
}

void Catalog::PublishVariant(const v1::PublishVariantRequest& request, Done<v1::PublishVariantResponse> done) {
  Write<v1::PublishVariantResponse>(
      [this, &request](Transaction& txn) -> absl::StatusOr<v1::PublishVariantResponse> {
        v1::PublishVariantResponse response;
        LINNET_RETURN_IF_ERROR(Validate(request.model(), "model."));
        LINNET_RETURN_IF_ERROR(Validate(request.variant(), "variant."));
        LINNET_ASSIGN_OR_RETURN(const VariantId id, ParseVariantName(request.variant().name()));
        if (ModelName(id.model) != request.model().name()) {
          return base::FieldErrors({{"variant.name", base::StrCat("must be one of ", request.model().name())}});
        }
        LINNET_RETURN_IF_ERROR(CheckBlobs(request.variant()));

        LINNET_ASSIGN_OR_RETURN(const bool model_exists, txn.Exists<v1::Model>(request.model().name()));
        LINNET_ASSIGN_OR_RETURN(const bool variant_exists, txn.Exists<v1::Variant>(request.variant().name()));
        if (variant_exists) {
          LINNET_ASSIGN_OR_RETURN(*response.mutable_variant(), txn.Get<v1::Variant>(request.variant().name()));
          if (!SameBlobs(response.variant(), request.variant()) && !request.replace()) {
            return AlreadyExists<v1::Variant>(request.variant().name(),
                                              "with other blobs: replace it, or choose another name");
          }
        }
        if (!variant_exists || request.replace()) {
          *response.mutable_variant() = request.variant();
          LINNET_RETURN_IF_ERROR(txn.Put(response.mutable_variant()));
        }
        if (!model_exists) {
          *response.mutable_model() = request.model();
          LINNET_RETURN_IF_ERROR(txn.Put(response.mutable_model()));
          LINNET_RETURN_IF_ERROR(CheckAliases(txn, response.model()));
          return response;
        }
        LINNET_ASSIGN_OR_RETURN(*response.mutable_model(), txn.Get<v1::Model>(request.model().name()));
        if (response.model().architecture().family().empty()) {
          *response.mutable_model()->mutable_architecture() = request.model().architecture();
          LINNET_RETURN_IF_ERROR(txn.Put(response.mutable_model()));
        } else if (!SameShape(response.model().architecture(), request.model().architecture())) {
          return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
                             base::StrCat("model ", request.model().name(),
                                          " has another architecture than this variant; publish it as another model"),
                             {{"resource", request.model().name()}});
        }
        return response;
      },
      std::move(done));
}

// Device profiles ----------------------------------------------------------------------------------------------------

void Catalog::CreateDeviceProfile(const v1::CreateDeviceProfileRequest& request, Done<v1::DeviceProfile> done) {
  Write<v1::DeviceProfile>(
      [&request](Transaction& txn) {
        v1::DeviceProfile profile = request.device_profile();
        profile.clear_builtin();
        return Create(txn, std::move(profile));
      },
      std::move(done));
}

void Catalog::UpdateDeviceProfile(const v1::UpdateDeviceProfileRequest& request, Done<v1::DeviceProfile> done) {
  Write<v1::DeviceProfile>(
      [&request](Transaction& txn) -> absl::StatusOr<v1::DeviceProfile> {
        const std::string& name = request.device_profile().name();
        LINNET_RETURN_IF_ERROR(ParseDeviceProfileName(name).status());
        LINNET_ASSIGN_OR_RETURN(const bool exists, txn.Exists<v1::DeviceProfile>(name));
        v1::DeviceProfile profile;
        profile.set_name(name);
        if (exists || !request.allow_missing()) {
          LINNET_ASSIGN_OR_RETURN(profile, txn.Get<v1::DeviceProfile>(name));
          if (profile.builtin()) return FixedProfile(name);
          LINNET_RETURN_IF_ERROR(CheckEtag(profile, request.device_profile().etag()));
        }
        LINNET_RETURN_IF_ERROR(ApplyMask(request.device_profile(), request.update_mask(), &profile));
        LINNET_RETURN_IF_ERROR(txn.Put(&profile));
        return profile;
      },
      std::move(done));
}

void Catalog::DeleteDeviceProfile(const v1::DeleteDeviceProfileRequest& request, Deleted done) {
  store_->WriteAsync(
      [&request](Transaction& txn) -> absl::Status {
        LINNET_RETURN_IF_ERROR(ParseDeviceProfileName(request.name()).status());
        LINNET_ASSIGN_OR_RETURN(const v1::DeviceProfile profile, txn.Get<v1::DeviceProfile>(request.name()));
        if (profile.builtin()) return FixedProfile(request.name());
        return Delete<v1::DeviceProfile>(txn, request.name(), request.etag());
      },
      std::move(done));
}

absl::Status Catalog::InstallBuiltinProfiles(const std::vector<v1::DeviceProfile>& profiles) {
  return store_->Write([&](Transaction& txn) -> absl::Status {
    for (v1::DeviceProfile profile : profiles) {
      profile.set_builtin(true);
      LINNET_ASSIGN_OR_RETURN(const bool exists, txn.Exists<v1::DeviceProfile>(profile.name()));
      if (exists) {
        LINNET_ASSIGN_OR_RETURN(v1::DeviceProfile stored, txn.Get<v1::DeviceProfile>(profile.name()));
        // One that a user made under this name before the catalogue had it stays theirs.
        if (!stored.builtin()) continue;
        stored.clear_create_time();
        stored.clear_update_time();
        stored.clear_etag();
        stored.clear_revision();
        if (google::protobuf::util::MessageDifferencer::Equals(stored, profile)) continue;
      }
      LINNET_RETURN_IF_ERROR(txn.Put(&profile));
    }
    return absl::OkStatus();
  });
}

// Deployments --------------------------------------------------------------------------------------------------------

void Catalog::CreateDeployment(const v1::CreateDeploymentRequest& request, Done<v1::Deployment> done) {
  Write<v1::Deployment>([&request](Transaction& txn) { return Create(txn, request.deployment()); }, std::move(done));
}

void Catalog::UpdateDeployment(const v1::UpdateDeploymentRequest& request, Done<v1::Deployment> done) {
  Write<v1::Deployment>(
      [&request](Transaction& txn) -> absl::StatusOr<v1::Deployment> {
        LINNET_RETURN_IF_ERROR(ParseDeploymentName(request.deployment().name()).status());
        LINNET_ASSIGN_OR_RETURN(v1::Deployment deployment, txn.Get<v1::Deployment>(request.deployment().name()));
        LINNET_RETURN_IF_ERROR(CheckEtag(deployment, request.deployment().etag()));
        LINNET_RETURN_IF_ERROR(ApplyMask(request.deployment(), request.update_mask(), &deployment));
        LINNET_RETURN_IF_ERROR(txn.Put(&deployment));
        return deployment;
      },
      std::move(done));
}

void Catalog::DeleteDeployment(const v1::DeleteDeploymentRequest& request, Deleted done) {
  store_->WriteAsync(
      [&request](Transaction& txn) -> absl::Status {
        LINNET_RETURN_IF_ERROR(ParseDeploymentName(request.name()).status());
        return Delete<v1::Deployment>(txn, request.name(), request.etag());
      },
      std::move(done));
}

// Reads --------------------------------------------------------------------------------------------------------------

absl::StatusOr<v1::Model> Catalog::GetModel(const std::string& name) const {
  LINNET_RETURN_IF_ERROR(ParseModelName(name).status());
  return store_->Get<v1::Model>(name);
}
absl::StatusOr<v1::Variant> Catalog::GetVariant(const std::string& name) const {
  LINNET_RETURN_IF_ERROR(ParseVariantName(name).status());
  return store_->Get<v1::Variant>(name);
}
absl::StatusOr<v1::DeviceProfile> Catalog::GetDeviceProfile(const std::string& name) const {
  LINNET_RETURN_IF_ERROR(ParseDeviceProfileName(name).status());
  return store_->Get<v1::DeviceProfile>(name);
}
absl::StatusOr<v1::Deployment> Catalog::GetDeployment(const std::string& name) const {
  LINNET_RETURN_IF_ERROR(ParseDeploymentName(name).status());
  return store_->Get<v1::Deployment>(name);
}

absl::StatusOr<v1::ListModelsResponse> Catalog::ListModels(const v1::ListModelsRequest& request) const {
  LINNET_ASSIGN_OR_RETURN(auto page, ListPage<v1::Model>(*store_, "models/", request));
  return ToResponse(std::move(page), &v1::ListModelsResponse::mutable_models);
}

absl::StatusOr<v1::ListVariantsResponse> Catalog::ListVariants(const v1::ListVariantsRequest& request) const {
  std::string prefix = "models/";
  if (request.parent() != "models/-") {
    LINNET_RETURN_IF_ERROR(GetModel(request.parent()).status());
    prefix = request.parent() + "/variants/";
  }
  LINNET_ASSIGN_OR_RETURN(auto page, ListPage<v1::Variant>(*store_, prefix, request));
  return ToResponse(std::move(page), &v1::ListVariantsResponse::mutable_variants);
}

absl::StatusOr<v1::ListDeviceProfilesResponse> Catalog::ListDeviceProfiles(
    const v1::ListDeviceProfilesRequest& request) const {
  LINNET_ASSIGN_OR_RETURN(auto page, ListPage<v1::DeviceProfile>(*store_, "deviceProfiles/", request));
  return ToResponse(std::move(page), &v1::ListDeviceProfilesResponse::mutable_device_profiles);
}

absl::StatusOr<v1::ListDeploymentsResponse> Catalog::ListDeployments(const v1::ListDeploymentsRequest& request) const {
  LINNET_ASSIGN_OR_RETURN(auto page, ListPage<v1::Deployment>(*store_, "deployments/", request));
  return ToResponse(std::move(page), &v1::ListDeploymentsResponse::mutable_deployments);
}

absl::StatusOr<v1::ResolveResponse> Catalog::Resolve(const v1::ResolveRequest& request) const {
  LINNET_ASSIGN_OR_RETURN(const ModelReference reference, ParseModelReference(request.model()));
  LINNET_ASSIGN_OR_RETURN(const v1::Model model, store_->Get<v1::Model>(ModelName(reference.model)));

  v1::DeviceProfile profile;
  if (request.has_inline_profile()) {
    profile = request.inline_profile();
    if (profile.name().empty()) profile.set_name("deviceProfiles/inline");
    LINNET_RETURN_IF_ERROR(Validate(profile, "inline_profile."));
  } else if (!request.profile().empty()) {
    LINNET_ASSIGN_OR_RETURN(profile, GetDeviceProfile(request.profile()));
  } else {
    return base::FieldErrors({{"profile", "is missing: a device profile's name, or inline_profile"}});
  }

  std::string variant = reference.variant;
  if (!reference.alias.empty()) {
    const auto alias = model.aliases().find(reference.alias);
    if (alias == model.aliases().end()) {
      return base::Error(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                         base::StrCat("model ", model.name(), " has no alias '", reference.alias, "'"),
                         {{"resource", request.model()}});
    }
    variant = alias->second;
  }
  std::vector<v1::Variant> variants;
  if (!variant.empty()) {
    LINNET_ASSIGN_OR_RETURN(variants.emplace_back(), store_->Get<v1::Variant>(VariantName(reference.model, variant)));
  } else {
    std::string after;
    do {
      LINNET_ASSIGN_OR_RETURN(auto page, store_->List<v1::Variant>(model.name() + "/variants/", after, 1000));
      for (v1::Variant& item : page.items) variants.push_back(std::move(item));
      after = page.last_name;
    } while (!after.empty());
  }
  return registry::Resolve(model.architecture(), variants, profile, request.constraints(),
                           request.available_memory_bytes());
}

absl::StatusOr<std::set<std::string>> Catalog::ReferencedBlobs() const {
  std::set<std::string> digests;
  std::string after;
  do {
    LINNET_ASSIGN_OR_RETURN(auto page, store_->List<v1::Variant>("models/", after, 1000));
    for (const v1::Variant& variant : page.items) {
      for (const v1::BlobRef& blob : variant.blobs()) digests.insert(blob.digest());
    }
    after = page.last_name;
  } while (!after.empty());
  return digests;
}

}  // namespace linnet::registry
