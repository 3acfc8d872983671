// For tests: a gateway with both fronts on free ports, in front of fake workers.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/strings.h"
#include "gateway/fake_worker.h"
#include "gateway/gateway.h"
#include "gateway/generation_service.h"
#include "gateway/http_server.h"

namespace linnet::gateway {

class GatewayFixture : public ::testing::Test {
 protected:
  ~GatewayFixture() override { StopGateway(); }

  FakeWorker& AddWorker(const std::string& name, const std::vector<std::string>& variants = {"smol/q4_1"}) {
    fakes_.push_back(std::make_unique<FakeWorker>(name, variants));
    return *fakes_.back();
  }

  // After the workers were added; returns when all are ready.
  void StartGateway() {
    WorkerTable::Options table;
    for (const auto& fake : fakes_) table.static_workers.push_back(fake->address());
    table.on_snapshot = [this](const std::shared_ptr<const FleetSnapshot>& fleet) {
      base::MutexLock lock(&mu_);
      fleet_ = fleet;
      fleet_changed_.NotifyAll();
    };
    workers_ = std::make_unique<WorkerTable>(std::move(table));
    options_.workers = workers_.get();
    options_.metrics = &metrics_;
    gateway_ = std::make_unique<Gateway>(options_);
    service_ = std::make_unique<GenerationService>(*gateway_);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    stub_ = v1::Generation::NewStub(
        grpc::CreateChannel(base::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
    auto http = HttpServer::Create({.address = "127.0.0.1:0", .gateway = gateway_.get(), .limits = limits_});
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    ASSERT_TRUE(WaitForReachable(fakes_.size()));
  }
  void StopGateway() {
    if (gateway_ == nullptr) return;
    http_ = nullptr;
    server_->Shutdown(std::chrono::system_clock::now());
    server_ = nullptr;
    EXPECT_TRUE(gateway_->WaitUntilIdle(absl::Seconds(20))) << "a call was left over";
    gateway_ = nullptr;
    workers_ = nullptr;
  }

  bool WaitForFleet(const std::function<bool(const FleetSnapshot&)>& condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    base::MutexLock lock(&mu_);
    while (fleet_ == nullptr || !condition(*fleet_)) {
      if (std::chrono::steady_clock::now() > until) return false;
      fleet_changed_.WaitFor(&mu_, std::chrono::milliseconds(50));
    }
    return true;
  }
  bool WaitForReachable(size_t n) {
    return WaitForFleet([n](const FleetSnapshot& fleet) {
      size_t reachable = 0;
      for (const auto& worker : fleet.workers) reachable += worker->reachable;
      return reachable == n;
    });
  }

  static v1::GenerateRequest Request(const std::string& model = "smol") {
    v1::GenerateRequest request;
    request.set_model(model);
    request.mutable_input()->set_text("Once upon a time");
    return request;
  }

  Gateway::Options options_;
  config::v1::HttpLimits limits_;
  Metrics metrics_;
  std::vector<std::unique_ptr<FakeWorker>> fakes_;
  base::Mutex mu_;
  base::CondVar fleet_changed_;
  std::shared_ptr<const FleetSnapshot> fleet_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<WorkerTable> workers_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Generation::Stub> stub_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace linnet::gateway
