// What the calls of the Registry service mean: rules over the store, without gRPC.
//
// Reads answer on the caller's thread. Writes are queued to the store's committing thread, where the rule is checked
// and the change made in one step; `done` comes from there once the disk has it.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "linnet/registry/v1/registry.pb.h"
#include "registry/blobs/blob_store.h"
#include "registry/store/store.h"

namespace linnet::registry {

// Thread-safe. Store and blobs must outlive it. A request passed to a write must live until `done` was called.
class Catalog {
 public:
  Catalog(Store* store, const BlobStore* blobs) : store_(store), blobs_(blobs) {}

  template <class T>
  using Done = std::function<void(absl::StatusOr<T>)>;
  using Deleted = std::function<void(absl::Status)>;

  // Models. An alias must name a variant that exists. DeleteModel: FAILED_PRECONDITION (RESOURCE_IN_USE) while it
  // has variants, unless forced.
  void CreateModel(const v1::CreateModelRequest& request, Done<v1::Model> done);
  void UpdateModel(const v1::UpdateModelRequest& request, Done<v1::Model> done);
  void DeleteModel(const v1::DeleteModelRequest& request, Deleted done);

  // Variants. Their blobs must be complete and as large as they say: FAILED_PRECONDITION (RESOURCE_NOT_FOUND)
  // otherwise. One that an alias names is not deleted (RESOURCE_IN_USE).
  void CreateVariant(const v1::CreateVariantRequest& request, Done<v1::Variant> done);
  void DeleteVariant(const v1::DeleteVariantRequest& request, Deleted done);
  void PublishVariant(const v1::PublishVariantRequest& request, Done<v1::PublishVariantResponse> done);

  // Device profiles. Those of the built-in catalogue are fixed (FAILED_PRECONDITION, STATE_CONFLICT).
  void CreateDeviceProfile(const v1::CreateDeviceProfileRequest& request, Done<v1::DeviceProfile> done);
  void UpdateDeviceProfile(const v1::UpdateDeviceProfileRequest& request, Done<v1::DeviceProfile> done);
  void DeleteDeviceProfile(const v1::DeleteDeviceProfileRequest& request, Deleted done);

  void CreateDeployment(const v1::CreateDeploymentRequest& request, Done<v1::Deployment> done);
  void UpdateDeployment(const v1::UpdateDeploymentRequest& request, Done<v1::Deployment> done);
  void DeleteDeployment(const v1::DeleteDeploymentRequest& request, Deleted done);

  absl::StatusOr<v1::Model> GetModel(const std::string& name) const;
  absl::StatusOr<v1::Variant> GetVariant(const std::string& name) const;
  absl::StatusOr<v1::DeviceProfile> GetDeviceProfile(const std::string& name) const;
  absl::StatusOr<v1::Deployment> GetDeployment(const std::string& name) const;

  absl::StatusOr<v1::ListModelsResponse> ListModels(const v1::ListModelsRequest& request) const;
  absl::StatusOr<v1::ListVariantsResponse> ListVariants(const v1::ListVariantsRequest& request) const;
  absl::StatusOr<v1::ListDeviceProfilesResponse> ListDeviceProfiles(const v1::ListDeviceProfilesRequest& request) const;
  absl::StatusOr<v1::ListDeploymentsResponse> ListDeployments(const v1::ListDeploymentsRequest& request) const;

  absl::StatusOr<v1::ResolveResponse> Resolve(const v1::ResolveRequest& request) const;

  // Brings the built-in device profiles into the store; writes nothing where they are there already. Blocks.
  absl::Status InstallBuiltinProfiles(const std::vector<v1::DeviceProfile>& profiles);
  // Digests of all blobs that variants name. Blocks.
  absl::StatusOr<std::set<std::string>> ReferencedBlobs() const;

 private:
  template <class T>
  void Write(std::function<absl::StatusOr<T>(Transaction&)> change, Done<T> done);
  absl::Status CheckBlobs(const v1::Variant& variant) const;

  Store* const store_;
  const BlobStore* const blobs_;
};

}  // namespace linnet::registry
