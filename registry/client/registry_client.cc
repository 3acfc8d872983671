#include "registry/client/registry_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "base/config.h"
#include "base/error.h"
#include "base/grpc_status.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::registry {
namespace {

using Stub = v1::Registry::StubInterface;

// A list of many workers or variants is a few MiB.
constexpr int kMaxReceiveBytes = 64 << 20;
constexpr int kPageSize = 500;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // A dead peer is noticed within half a minute, one that comes back within two seconds.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // Despite its name what one attempt may take: a registry on a busy machine needs more than a moment for it.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // A proxy of the environment is for the web, not for the registry.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Not shared with other clients of this process, so that one's connection state is its own.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

google::protobuf::FieldMask MaskOf(const std::vector<std::string>& paths) {
  google::protobuf::FieldMask mask;
  for (const std::string& path : paths) mask.add_paths(path);
  return mask;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RegistryClient>> RegistryClient::Create(const std::string& address) {
  Options options;
  options.address = address;
  return Create(std::move(options));
}

absl::StatusOr<std::unique_ptr<RegistryClient>> RegistryClient::Create(Options options) {
  LINNET_RETURN_IF_ERROR(base::ParseHostPort(options.address).status());
  std::shared_ptr<grpc::Channel> channel = MakeChannel(options.address);
  return std::unique_ptr<RegistryClient>(new RegistryClient(std::move(options), std::move(channel)));
}

RegistryClient::RegistryClient(Options options, std::shared_ptr<grpc::Channel> channel)
    : options_(std::move(options)),
      channel_(std::move(channel)),
      registry_(v1::Registry::NewStub(channel_)),
      blobs_(v1::Blobs::NewStub(channel_)) {}

RegistryClient::~RegistryClient() = default;

absl::Status RegistryClient::FromServer(const grpc::Status& status) const {
  const absl::Status result = base::FromGrpc(status);
  // The registry's own UNAVAILABLE says why; one without a reason is gRPC's.
  if (result.code() != absl::StatusCode::kUnavailable || base::ErrorReason(result) == "DRAINING") return result;
  return base::Error(absl::StatusCode::kUnavailable, "REGISTRY_UNAVAILABLE",
                     base::StrCat("the registry at ", options_.address, " cannot be reached (", result.message(),
                                  "); start linnet-registry there, or name another address"),
                     {{"address", options_.address}});
}

template <class Request, class Response>
absl::StatusOr<Response> RegistryClient::Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                           Response*),
                                              const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(options_.timeout));
  Response response;
  LINNET_RETURN_IF_ERROR(FromServer((registry_.get()->*method)(&context, request, &response)));
  return response;
}

absl::Status RegistryClient::WaitUntilServing(absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  context.set_wait_for_ready(true);
  v1::ListModelsRequest request;
  request.set_page_size(1);
  v1::ListModelsResponse response;
  const grpc::Status status = registry_->ListModels(&context, request, &response);
  if (status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) return FromServer(status);
  return FromServer(
      grpc::Status(grpc::StatusCode::UNAVAILABLE, base::StrCat("no answer within ", absl::FormatDuration(timeout))));
}

// Models -------------------------------------------------------------------------------------------------------------

absl::StatusOr<v1::Model> RegistryClient::CreateModel(const v1::Model& model) {
  v1::CreateModelRequest request;
  *request.mutable_model() = model;
  return Call(&Stub::CreateModel, request);
}

absl::StatusOr<v1::Model> RegistryClient::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  return Call(&Stub::GetModel, request);
}

// The first page's revision: a change between two pages is in the watch that starts there.
absl::StatusOr<std::vector<v1::Model>> RegistryClient::ListModels(int64_t* revision) {
  v1::ListModelsRequest request;
  request.set_page_size(kPageSize);
  std::vector<v1::Model> models;
  do {
    LINNET_ASSIGN_OR_RETURN(v1::ListModelsResponse page, Call(&Stub::ListModels, request));
    if (request.page_token().empty() && revision != nullptr) *revision = page.revision();
    for (v1::Model& model : *page.mutable_models()) models.push_back(std::move(model));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return models;
}

absl::StatusOr<v1::Model> RegistryClient::UpdateModel(const v1::Model& model,
                                                      const std::vector<std::string>& update_mask) {
  v1::UpdateModelRequest request;
  *request.mutable_model() = model;
  *request.mutable_update_mask() = MaskOf(update_mask);
  return Call(&Stub::UpdateModel, request);
}

absl::Status RegistryClient::DeleteModel(const std::string& name, bool force, const std::string& etag) {
  v1::DeleteModelRequest request;
  request.set_name(name);
  request.set_force(force);
  request.set_etag(etag);
  return Call(&Stub::DeleteModel, request).status();
}

// Variants -----------------------------------------------------------------------------------------------------------

absl::StatusOr<v1::Variant> RegistryClient::CreateVariant(const v1::Variant& variant) {
  v1::CreateVariantRequest request;
  *request.mutable_variant() = variant;
  return Call(&Stub::CreateVariant, request);
}

absl::StatusOr<v1::Variant> RegistryClient::GetVariant(const std::string& name) {
  v1::GetVariantRequest request;
  request.set_name(name);
  return Call(&Stub::GetVariant, request);
}

absl::StatusOr<std::vector<v1::Variant>> RegistryClient::ListVariants(const std::string& parent, int64_t* revision) {
  v1::ListVariantsRequest request;
  request.set_parent(parent);
  request.set_page_size(kPageSize);
  std::vector<v1::Variant> variants;
  do {
    LINNET_ASSIGN_OR_RETURN(v1::ListVariantsResponse page, Call(&Stub::ListVariants, request));
    if (request.page_token().empty() && revision != nullptr) *revision = page.revision();
    for (v1::Variant& variant : *page.mutable_variants()) variants.push_back(std::move(variant));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return variants;
}

absl::Status RegistryClient::DeleteVariant(const std::string& name, const std::string& etag) {
  v1::DeleteVariantRequest request;
  request.set_name(name);
  request.set_etag(etag);
  return Call(&Stub::DeleteVariant, request).status();
}

absl::StatusOr<v1::PublishVariantResponse> RegistryClient::PublishVariant(const v1::Model& model,
                                                                          const v1::Variant& variant, bool replace) {
  v1::PublishVariantRequest request;
  *request.mutable_model() = model;
  *request.mutable_variant() = variant;
  request.set_replace(replace);
  return Call(&Stub::PublishVariant, request);
}

// Device profiles ----------------------------------------------------------------------------------------------------

absl::StatusOr<v1::DeviceProfile> RegistryClient::CreateDeviceProfile(const v1::DeviceProfile& profile) {
  v1::CreateDeviceProfileRequest request;
  *request.mutable_device_profile() = profile;
  return Call(&Stub::CreateDeviceProfile, request);
}

absl::StatusOr<v1::DeviceProfile> RegistryClient::GetDeviceProfile(const std::string& name) {
  v1::GetDeviceProfileRequest request;
  request.set_name(name);
  return Call(&Stub::GetDeviceProfile, request);
}

absl::StatusOr<std::vector<v1::DeviceProfile>> RegistryClient::ListDeviceProfiles(int64_t* revision) {
  v1::ListDeviceProfilesRequest request;
  request.set_page_size(kPageSize);
  std::vector<v1::DeviceProfile> profiles;
  do {
    LINNET_ASSIGN_OR_RETURN(v1::ListDeviceProfilesResponse page, Call(&Stub::ListDeviceProfiles, request));
    if (request.page_token().empty() && revision != nullptr) *revision = page.revision();
    for (v1::DeviceProfile& profile : *page.mutable_device_profiles()) profiles.push_back(std::move(profile));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return profiles;
}

absl::StatusOr<v1::DeviceProfile> RegistryClient::PutDeviceProfile(const v1::DeviceProfile& profile) {
  v1::UpdateDeviceProfileRequest request;
  *request.mutable_device_profile() = profile;
  request.set_allow_missing(true);
  return Call(&Stub::UpdateDeviceProfile, request);
}

absl::Status RegistryClient::DeleteDeviceProfile(const std::string& name, const std::string& etag) {
  v1::DeleteDeviceProfileRequest request;
  request.set_name(name);
  request.set_etag(etag);
  return Call(&Stub::DeleteDeviceProfile, request).status();
}

// Deployments --------------------------------------------------------------------------------------------------------

absl::StatusOr<v1::Deployment> RegistryClient::CreateDeployment(const v1::Deployment& deployment) {
  v1::CreateDeploymentRequest request;
  *request.mutable_deployment() = deployment;
  return Call(&Stub::CreateDeployment, request);
}

absl::StatusOr<v1::Deployment> RegistryClient::GetDeployment(const std::string& name) {
  v1::GetDeploymentRequest request;
  request.set_name(name);
  return Call(&Stub::GetDeployment, request);
}

absl::StatusOr<std::vector<v1::Deployment>> RegistryClient::ListDeployments(int64_t* revision) {
  v1::ListDeploymentsRequest request;
  request.set_page_size(kPageSize);
  std::vector<v1::Deployment> deployments;
  do {
    LINNET_ASSIGN_OR_RETURN(v1::ListDeploymentsResponse page, Call(&Stub::ListDeployments, request));
    if (request.page_token().empty() && revision != nullptr) *revision = page.revision();
    for (v1::Deployment& deployment : *page.mutable_deployments()) deployments.push_back(std::move(deployment));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return deployments;
}

absl::StatusOr<v1::Deployment> RegistryClient::UpdateDeployment(const v1::Deployment& deployment,
                                                                const std::vector<std::string>& update_mask) {
  v1::UpdateDeploymentRequest request;
  *request.mutable_deployment() = deployment;
  *request.mutable_update_mask() = MaskOf(update_mask);
  return Call(&Stub::UpdateDeployment, request);
}

absl::Status RegistryClient::DeleteDeployment(const std::string& name, const std::string& etag) {
  v1::DeleteDeploymentRequest request;
  request.set_name(name);
  request.set_etag(etag);
  return Call(&Stub::DeleteDeployment, request).status();
}

// The rest -----------------------------------------------------------------------------------------------------------

absl::StatusOr<v1::ResolveResponse> RegistryClient::Resolve(const v1::ResolveRequest& request) {
  return Call(&Stub::Resolve, request);
}

absl::StatusOr<v1::RenewLeaseResponse> RegistryClient::RenewLease(const v1::RenewLeaseRequest& request) {
  return Call(&Stub::RenewLease, request);
}

absl::StatusOr<v1::ListWorkersResponse> RegistryClient::ListWorkers() {
  return Call(&Stub::ListWorkers, v1::ListWorkersRequest());
}

absl::StatusOr<v1::BlobStatus> RegistryClient::GetBlobStatus(const std::string& digest) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(options_.timeout));
  v1::GetBlobStatusRequest request;
  request.set_digest(digest);
  v1::BlobStatus response;
  LINNET_RETURN_IF_ERROR(FromServer(blobs_->GetBlobStatus(&context, request, &response)));
  return response;
}

}  // namespace linnet::registry
