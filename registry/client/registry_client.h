// The registry as C++ sees it: typed calls for the CLI, the gateway and the worker, and blob transfer that resumes.
//
//   LINNET_ASSIGN_OR_RETURN(auto client, RegistryClient::Create("127.0.0.1:8082"));
//   LINNET_ASSIGN_OR_RETURN(v1::Model model, client->GetModel("models/smollm2-135m"));
//   LINNET_RETURN_IF_ERROR(client->UploadFile(path, digest, progress));
//
// Thread-safe. Every call blocks its thread for at most Options::timeout (transfers: as long as bytes flow). Errors are
// those of the server with their details (base::ErrorReason); where the server cannot be reached: UNAVAILABLE with
// reason REGISTRY_UNAVAILABLE, naming the address.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "linnet/registry/v1/registry.grpc.pb.h"
#include "linnet/registry/v1/registry.pb.h"

namespace linnet::registry {

// Called on the transferring thread, often; total is known from the first call.
using TransferProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

class RegistryClient {
 public:
  struct Options {
    std::string address;  // "host:port"
    absl::Duration timeout = absl::Seconds(10);
    // A transfer gives up after this long without one more durable byte.
    absl::Duration transfer_patience = absl::Seconds(60);
  };
  // Connects lazily: OK also where nothing listens yet. INVALID_ARGUMENT for an address that does not parse.
  static absl::StatusOr<std::unique_ptr<RegistryClient>> Create(const std::string& address);
  static absl::StatusOr<std::unique_ptr<RegistryClient>> Create(Options options);
  ~RegistryClient();
  RegistryClient(const RegistryClient&) = delete;
  RegistryClient& operator=(const RegistryClient&) = delete;

  const std::string& address() const { return options_.address; }

  // UNAVAILABLE unless the registry answers within `timeout`.
  absl::Status WaitUntilServing(absl::Duration timeout);

  // Models. Names are full ("models/{model}").
  absl::StatusOr<v1::Model> CreateModel(const v1::Model& model);
  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  // All pages. `revision`, where given, gets the revision from which a Watch misses nothing; so do the other lists.
  absl::StatusOr<std::vector<v1::Model>> ListModels(int64_t* revision = nullptr);
  absl::StatusOr<v1::Model> UpdateModel(const v1::Model& model, const std::vector<std::string>& update_mask = {});
  // With its variants where `force`.
  absl::Status DeleteModel(const std::string& name, bool force = false, const std::string& etag = "");

  // Variants: "models/{model}/variants/{variant}".
  absl::StatusOr<v1::Variant> CreateVariant(const v1::Variant& variant);
  absl::StatusOr<v1::Variant> GetVariant(const std::string& name);
  // `parent`: "models/{model}", or "models/-" for those of all models.
  absl::StatusOr<std::vector<v1::Variant>> ListVariants(const std::string& parent = "models/-",
                                                        int64_t* revision = nullptr);
  absl::Status DeleteVariant(const std::string& name, const std::string& etag = "");
  // Model (created where missing) and variant in one atomic write; the variant's blobs must be complete.
  absl::StatusOr<v1::PublishVariantResponse> PublishVariant(const v1::Model& model, const v1::Variant& variant,
                                                            bool replace = false);

  absl::StatusOr<v1::DeviceProfile> CreateDeviceProfile(const v1::DeviceProfile& profile);
  absl::StatusOr<v1::DeviceProfile> GetDeviceProfile(const std::string& name);
  absl::StatusOr<std::vector<v1::DeviceProfile>> ListDeviceProfiles(int64_t* revision = nullptr);
  // Creates it where missing (allow_missing), else replaces what a client may set.
  absl::StatusOr<v1::DeviceProfile> PutDeviceProfile(const v1::DeviceProfile& profile);
  absl::Status DeleteDeviceProfile(const std::string& name, const std::string& etag = "");

  absl::StatusOr<v1::Deployment> CreateDeployment(const v1::Deployment& deployment);
  absl::StatusOr<v1::Deployment> GetDeployment(const std::string& name);
  absl::StatusOr<std::vector<v1::Deployment>> ListDeployments(int64_t* revision = nullptr);
  absl::StatusOr<v1::Deployment> UpdateDeployment(const v1::Deployment& deployment,
                                                  const std::vector<std::string>& update_mask = {});
  absl::Status DeleteDeployment(const std::string& name, const std::string& etag = "");

  absl::StatusOr<v1::ResolveResponse> Resolve(const v1::ResolveRequest& request);

  // Worker presence. Use LeaseKeeper (lease_keeper.h) to hold a lease.
  absl::StatusOr<v1::RenewLeaseResponse> RenewLease(const v1::RenewLeaseRequest& request);
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers();

  // Blobs; digests are "sha256:{hex}".
  absl::StatusOr<v1::BlobStatus> GetBlobStatus(const std::string& digest);

  // Brings the file's bytes into the blob store; returns at once where they are there already. Goes on where an earlier
  // upload (of this or another process) ended, and after a lost connection. DATA_LOSS (BLOB_CORRUPT) where the file
  // does not have this digest; RESOURCE_EXHAUSTED (OUT_OF_DISK); CANCELLED when `stop` asks for it.
  absl::Status UploadFile(const std::string& path, const std::string& digest, const TransferProgress& progress = {},
                          std::stop_token stop = {});

  // Fetches a blob into dest_path: into dest_path + ".part" first (an existing one is resumed), whose SHA-256 is
  // checked, then synced and renamed; so dest_path is either absent or whole. Returns at once where dest_path exists
  // with the blob's size. One caller at a time per dest_path. DATA_LOSS (BLOB_CORRUPT) where the bytes do not have the
  // digest (the partial file is dropped); RESOURCE_EXHAUSTED (OUT_OF_DISK); NOT_FOUND; CANCELLED.
  absl::Status DownloadBlob(const std::string& digest, const std::string& dest_path,
                            const TransferProgress& progress = {}, std::stop_token stop = {});

  // The status of a call on the raw stubs, as the typed calls give it.
  absl::Status ToStatus(const grpc::Status& status) const { return FromServer(status); }
  // The raw stubs, for streams that these calls do not cover. Live as long as the client.
  v1::Registry::StubInterface* registry_stub() { return registry_.get(); }
  v1::Blobs::StubInterface* blobs_stub() { return blobs_.get(); }

 private:
  RegistryClient(Options options, std::shared_ptr<grpc::Channel> channel);
  template <class Request, class Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::Registry::StubInterface::*method)(grpc::ClientContext*,
                                                                                    const Request&, Response*),
                                const Request& request);
  absl::Status FromServer(const grpc::Status& status) const;

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Registry::StubInterface> registry_;
  const std::unique_ptr<v1::Blobs::StubInterface> blobs_;
};

}  // namespace linnet::registry
