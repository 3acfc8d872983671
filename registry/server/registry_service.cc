#include "registry/server/registry_service.h"

#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/grpc_status.h"

namespace linnet::registry {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

// A unary call until its end, which comes once, on whatever thread.
class Unary {
 public:
  Unary(CallbackServerContext* context, const char* method, Metrics* metrics)
      : reactor_(context->DefaultReactor()), method_(method), metrics_(metrics) {}

  ServerUnaryReactor* reactor() const { return reactor_; }

  void End(const absl::Status& status) const {
    const grpc::Status result = base::ToGrpc(status);
    metrics_->CountRpc(method_, result.error_code());
    metrics_->ObserveRpc(method_, base::Clock::Real()->Since(start_ns_));
    reactor_->Finish(result);
  }
  template <class T>
  ServerUnaryReactor* End(absl::StatusOr<T> result, T* response) const {
    ServerUnaryReactor* const reactor = reactor_;
    const absl::Status status = result.status();
    if (status.ok()) *response = *std::move(result);
    End(status);
    return reactor;
  }

 private:
  ServerUnaryReactor* const reactor_;
  const char* const method_;
  Metrics* const metrics_;
  const int64_t start_ns_ = base::Clock::Real()->MonotonicNs();
};

}  // namespace

ServerUnaryReactor* RegistryService::CreateModel(CallbackServerContext* context, const v1::CreateModelRequest* request,
                                                 v1::Model* response) {
  const Unary call(context, "CreateModel", metrics_);
  catalog_->CreateModel(*request,
                        [call, response](absl::StatusOr<v1::Model> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::UpdateModel(CallbackServerContext* context, const v1::UpdateModelRequest* request,
                                                 v1::Model* response) {
  const Unary call(context, "UpdateModel", metrics_);
  catalog_->UpdateModel(*request,
                        [call, response](absl::StatusOr<v1::Model> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::CreateVariant(CallbackServerContext* context,
                                                   const v1::CreateVariantRequest* request, v1::Variant* response) {
  const Unary call(context, "CreateVariant", metrics_);
  catalog_->CreateVariant(
      *request, [call, response](absl::StatusOr<v1::Variant> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::PublishVariant(CallbackServerContext* context,
                                                    const v1::PublishVariantRequest* request,
                                                    v1::PublishVariantResponse* response) {
  const Unary call(context, "PublishVariant", metrics_);
  catalog_->PublishVariant(*request, [call, response](absl::StatusOr<v1::PublishVariantResponse> result) {
    call.End(std::move(result), response);
  });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::CreateDeviceProfile(CallbackServerContext* context,
                                                         const v1::CreateDeviceProfileRequest* request,
                                                         v1::DeviceProfile* response) {
  const Unary call(context, "CreateDeviceProfile", metrics_);
  catalog_->CreateDeviceProfile(
      *request, [call, response](absl::StatusOr<v1::DeviceProfile> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::UpdateDeviceProfile(CallbackServerContext* context,
                                                         const v1::UpdateDeviceProfileRequest* request,
                                                         v1::DeviceProfile* response) {
  const Unary call(context, "UpdateDeviceProfile", metrics_);
  catalog_->UpdateDeviceProfile(
      *request, [call, response](absl::StatusOr<v1::DeviceProfile> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::CreateDeployment(CallbackServerContext* context,
                                                      const v1::CreateDeploymentRequest* request,
                                                      v1::Deployment* response) {
  const Unary call(context, "CreateDeployment", metrics_);
  catalog_->CreateDeployment(
      *request, [call, response](absl::StatusOr<v1::Deployment> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::UpdateDeployment(CallbackServerContext* context,
                                                      const v1::UpdateDeploymentRequest* request,
                                                      v1::Deployment* response) {
  const Unary call(context, "UpdateDeployment", metrics_);
  catalog_->UpdateDeployment(
      *request, [call, response](absl::StatusOr<v1::Deployment> result) { call.End(std::move(result), response); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::DeleteModel(CallbackServerContext* context, const v1::DeleteModelRequest* request,
                                                 google::protobuf::Empty* response) {
  const Unary call(context, "DeleteModel", metrics_);
  catalog_->DeleteModel(*request, [call](absl::Status status) { call.End(status); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::DeleteVariant(CallbackServerContext* context,
                                                   const v1::DeleteVariantRequest* request,
                                                   google::protobuf::Empty* response) {
  const Unary call(context, "DeleteVariant", metrics_);
  catalog_->DeleteVariant(*request, [call](absl::Status status) { call.End(status); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::DeleteDeviceProfile(CallbackServerContext* context,
                                                         const v1::DeleteDeviceProfileRequest* request,
                                                         google::protobuf::Empty* response) {
  const Unary call(context, "DeleteDeviceProfile", metrics_);
  catalog_->DeleteDeviceProfile(*request, [call](absl::Status status) { call.End(status); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::DeleteDeployment(CallbackServerContext* context,
                                                      const v1::DeleteDeploymentRequest* request,
                                                      google::protobuf::Empty* response) {
  const Unary call(context, "DeleteDeployment", metrics_);
  catalog_->DeleteDeployment(*request, [call](absl::Status status) { call.End(status); });
  return call.reactor();
}

ServerUnaryReactor* RegistryService::GetModel(CallbackServerContext* context, const v1::GetModelRequest* request,
                                              v1::Model* response) {
  const Unary call(context, "GetModel", metrics_);
  return call.End(catalog_->GetModel(request->name()), response);
}

ServerUnaryReactor* RegistryService::GetVariant(CallbackServerContext* context, const v1::GetVariantRequest* request,
                                                v1::Variant* response) {
  const Unary call(context, "GetVariant", metrics_);
  return call.End(catalog_->GetVariant(request->name()), response);
}

ServerUnaryReactor* RegistryService::GetDeviceProfile(CallbackServerContext* context,
                                                      const v1::GetDeviceProfileRequest* request,
                                                      v1::DeviceProfile* response) {
  const Unary call(context, "GetDeviceProfile", metrics_);
  return call.End(catalog_->GetDeviceProfile(request->name()), response);
}

ServerUnaryReactor* RegistryService::GetDeployment(CallbackServerContext* context,
                                                   const v1::GetDeploymentRequest* request, v1::Deployment* response) {
  const Unary call(context, "GetDeployment", metrics_);
  return call.End(catalog_->GetDeployment(request->name()), response);
}

ServerUnaryReactor* RegistryService::ListModels(CallbackServerContext* context, const v1::ListModelsRequest* request,
                                                v1::ListModelsResponse* response) {
  const Unary call(context, "ListModels", metrics_);
  return call.End(catalog_->ListModels(*request), response);
}

ServerUnaryReactor* RegistryService::ListVariants(CallbackServerContext* context,
                                                  const v1::ListVariantsRequest* request,
                                                  v1::ListVariantsResponse* response) {
  const Unary call(context, "ListVariants", metrics_);
  return call.End(catalog_->ListVariants(*request), response);
}

ServerUnaryReactor* RegistryService::ListDeviceProfiles(CallbackServerContext* context,
                                                        const v1::ListDeviceProfilesRequest* request,
                                                        v1::ListDeviceProfilesResponse* response) {
  const Unary call(context, "ListDeviceProfiles", metrics_);
  return call.End(catalog_->ListDeviceProfiles(*request), response);
}

ServerUnaryReactor* RegistryService::ListDeployments(CallbackServerContext* context,
                                                     const v1::ListDeploymentsRequest* request,
                                                     v1::ListDeploymentsResponse* response) {
  const Unary call(context, "ListDeployments", metrics_);
  return call.End(catalog_->ListDeployments(*request), response);
}

ServerUnaryReactor* RegistryService::Resolve(CallbackServerContext* context, const v1::ResolveRequest* request,
                                             v1::ResolveResponse* response) {
  const Unary call(context, "Resolve", metrics_);
  return call.End(catalog_->Resolve(*request), response);
}

ServerUnaryReactor* RegistryService::RenewLease(CallbackServerContext* context, const v1::RenewLeaseRequest* request,
                                                v1::RenewLeaseResponse* response) {
  const Unary call(context, "RenewLease", metrics_);
  return call.End(leases_->Renew(*request), response);
}

ServerUnaryReactor* RegistryService::ListWorkers(CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                                 v1::ListWorkersResponse* response) {
  const Unary call(context, "ListWorkers", metrics_);
  return call.End(absl::StatusOr<v1::ListWorkersResponse>(leases_->List()), response);
}

}  // namespace linnet::registry
