// linnet.registry.v1.Registry: hands each call to the catalogue, the lease table or the watch hub, and its outcome
// back.
#pragma once

#include "linnet/registry/v1/registry.grpc.pb.h"
#include "registry/server/catalog.h"
#include "registry/server/lease_table.h"
#include "registry/server/metrics.h"
#include "registry/server/watch_hub.h"

namespace linnet::registry {

// Thread-safe. What it is given must outlive the gRPC server that it is registered with.
class RegistryService final : public v1::Registry::CallbackService {
 public:
  RegistryService(Catalog* catalog, LeaseTable* leases, WatchHub* hub, Metrics* metrics)
      : catalog_(catalog), leases_(leases), hub_(hub), metrics_(metrics) {}

  grpc::ServerUnaryReactor* CreateModel(grpc::CallbackServerContext* context, const v1::CreateModelRequest* request,
                                        v1::Model* response) override;
  grpc::ServerUnaryReactor* UpdateModel(grpc::CallbackServerContext* context, const v1::UpdateModelRequest* request,
                                        v1::Model* response) override;
  grpc::ServerUnaryReactor* CreateVariant(grpc::CallbackServerContext* context, const v1::CreateVariantRequest* request,
                                          v1::Variant* response) override;
  grpc::ServerUnaryReactor* PublishVariant(grpc::CallbackServerContext* context,
                                           const v1::PublishVariantRequest* request,
                                           v1::PublishVariantResponse* response) override;
  grpc::ServerUnaryReactor* CreateDeviceProfile(grpc::CallbackServerContext* context,
                                                const v1::CreateDeviceProfileRequest* request,
                                                v1::DeviceProfile* response) override;
  grpc::ServerUnaryReactor* UpdateDeviceProfile(grpc::CallbackServerContext* context,
                                                const v1::UpdateDeviceProfileRequest* request,
                                                v1::DeviceProfile* response) override;
  grpc::ServerUnaryReactor* CreateDeployment(grpc::CallbackServerContext* context,
                                             const v1::CreateDeploymentRequest* request,
                                             v1::Deployment* response) override;
  grpc::ServerUnaryReactor* UpdateDeployment(grpc::CallbackServerContext* context,
                                             const v1::UpdateDeploymentRequest* request,
                                             v1::Deployment* response) override;
  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* context, const v1::DeleteModelRequest* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* DeleteVariant(grpc::CallbackServerContext* context, const v1::DeleteVariantRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* DeleteDeviceProfile(grpc::CallbackServerContext* context,
                                                const v1::DeleteDeviceProfileRequest* request,
                                                google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* DeleteDeployment(grpc::CallbackServerContext* context,
                                             const v1::DeleteDeploymentRequest* request,
                                             google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::Model* response) override;
  grpc::ServerUnaryReactor* GetVariant(grpc::CallbackServerContext* context, const v1::GetVariantRequest* request,
                                       v1::Variant* response) override;
  grpc::ServerUnaryReactor* GetDeviceProfile(grpc::CallbackServerContext* context,
                                             const v1::GetDeviceProfileRequest* request,
                                             v1::DeviceProfile* response) override;
  grpc::ServerUnaryReactor* GetDeployment(grpc::CallbackServerContext* context, const v1::GetDeploymentRequest* request,
                                          v1::Deployment* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* ListVariants(grpc::CallbackServerContext* context, const v1::ListVariantsRequest* request,
                                         v1::ListVariantsResponse* response) override;
  grpc::ServerUnaryReactor* ListDeviceProfiles(grpc::CallbackServerContext* context,
                                               const v1::ListDeviceProfilesRequest* request,
                                               v1::ListDeviceProfilesResponse* response) override;
  grpc::ServerUnaryReactor* ListDeployments(grpc::CallbackServerContext* context,
                                            const v1::ListDeploymentsRequest* request,
                                            v1::ListDeploymentsResponse* response) override;
  grpc::ServerUnaryReactor* Resolve(grpc::CallbackServerContext* context, const v1::ResolveRequest* request,
                                    v1::ResolveResponse* response) override;
  grpc::ServerUnaryReactor* RenewLease(grpc::CallbackServerContext* context, const v1::RenewLeaseRequest* request,
                                       v1::RenewLeaseResponse* response) override;
  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* context,
                                                     const v1::WatchRequest* request) override {
    return hub_->Watch(*request);
  }

 private:
  Catalog* const catalog_;
  LeaseTable* const leases_;
  WatchHub* const hub_;
  Metrics* const metrics_;
};

}  // namespace linnet::registry
