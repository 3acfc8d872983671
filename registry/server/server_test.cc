// The registry over real connections: what its calls do, as a client sees it.
#include "registry/server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/status/status_matchers.h"
#include "base/error.h"
#include "base/sha256.h"
#include "registry/catalog/device_catalog.h"
#include "registry/client/registry_client.h"
#include "registry/server/metrics.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    std::string pattern = testing::TempDir() + "/server_test_XXXXXX";
    dir_ = mkdtemp(pattern.data());
    options_.config.mutable_listen()->set_address("127.0.0.1:0");
    options_.config.mutable_metrics()->set_address("127.0.0.1:0");
    options_.config.set_data_dir(dir_ + "/data");
    options_.heartbeat = absl::Milliseconds(20);
    Start();
  }
  ~ServerTest() override {
    client_.reset();
    server_.reset();
    std::filesystem::remove_all(dir_);
  }
  void Start() {
    client_.reset();
    server_.reset();
    auto server = RegistryServer::Create(options_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    client_ = *RegistryClient::Create("127.0.0.1:" + std::to_string(server_->grpc_port()));
  }

  std::string Upload(const std::string& data) {
    const std::string path = dir_ + "/file";
    std::ofstream(path, std::ios::binary) << data;
    EXPECT_THAT(client_->UploadFile(path, base::Sha256Of(data)), IsOk());
    return base::Sha256Of(data);
  }
  v1::Model Model(const std::string& id = "m") {
    v1::Model model;
    model.set_name("models/" + id);
    model.mutable_architecture()->set_family("llama");
    model.mutable_architecture()->set_context_tokens(2048);
    model.mutable_architecture()->set_parameters(1000);
    return model;
  }
  v1::Variant Variant(const std::string& id, const std::string& data) {
    v1::Variant variant;
    variant.set_name("models/m/variants/" + id);
    variant.set_quantization(id);
    variant.set_weight_bytes(data.size());
    v1::BlobRef* blob = variant.add_blobs();
    blob->set_role("main");
    blob->set_digest(base::Sha256Of(data));
    blob->set_size_bytes(data.size());
    return variant;
  }
  // Reads events until `count` came.
  std::vector<v1::Event> WatchEvents(int64_t since, size_t count) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::WatchRequest request;
    request.set_since_revision(since);
    auto reader = client_->registry_stub()->Watch(&context, request);
    std::vector<v1::Event> events;
    v1::WatchResponse response;
    while (events.size() < count && reader->Read(&response)) {
      for (const v1::Event& event : response.events()) events.push_back(event);
    }
    context.TryCancel();
    (void)reader->Finish();
    return events;
  }

  std::string dir_;
  RegistryServer::Options options_;
  std::unique_ptr<RegistryServer> server_;
  std::unique_ptr<RegistryClient> client_;
};

TEST_F(ServerTest, PublishMakesModelAndVariantVisibleInOneRevision) {
  Upload("weights");
  const auto published = client_->PublishVariant(Model(), Variant("q4_1", "weights"));
  ASSERT_THAT(published, IsOk());
  EXPECT_EQ(published->model().revision(), published->variant().revision());
  EXPECT_EQ(client_->GetVariant("models/m/variants/q4_1")->blobs(0).digest(), base::Sha256Of("weights"));
  // The same again changes nothing; other blobs need replace.
  const auto again = client_->PublishVariant(Model(), Variant("q4_1", "weights"));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->variant().revision(), published->variant().revision());
  Upload("other weights");
  EXPECT_THAT(client_->PublishVariant(Model(), Variant("q4_1", "other weights")),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(client_->PublishVariant(Model(), Variant("q4_1", "other weights"), true), IsOk());
  v1::Model other = Model();
  other.mutable_architecture()->set_family("qwen2");
  EXPECT_THAT(client_->PublishVariant(other, Variant("q8_0", "weights")),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ServerTest, VariantWithoutItsBlobIsRefusedAndLeavesNoModel) {
  const absl::Status status = client_->PublishVariant(Model(), Variant("q4_1", "never uploaded")).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("upload it first")));
  EXPECT_THAT(client_->GetModel("models/m"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ServerTest, EverythingAcknowledgedIsThereAfterARestart) {
  Upload("weights");
  ASSERT_THAT(client_->PublishVariant(Model(), Variant("q4_1", "weights")), IsOk());
  int64_t before = 0;
  ASSERT_THAT(client_->ListModels(&before), IsOk());
  Start();
  int64_t after = 0;
  ASSERT_THAT(client_->ListModels(&after), IsOk());
  EXPECT_EQ(after, before);  // the built-in profiles were not written again
  EXPECT_THAT(client_->GetVariant("models/m/variants/q4_1"), IsOk());
  EXPECT_TRUE(client_->GetBlobStatus(base::Sha256Of("weights"))->complete());
}

TEST_F(ServerTest, UpdateChecksEtagAndTouchesOnlyTheMask) {
  v1::Model model = Model();
  model.set_license("apache-2.0");
  ASSERT_THAT(client_->CreateModel(model), IsOk());
  EXPECT_THAT(client_->CreateModel(model), StatusIs(absl::StatusCode::kAlreadyExists));
  v1::Model read = *client_->GetModel("models/m");
  read.set_display_name("Shown");
  read.set_license("changed, but not in the mask");
  const auto updated = client_->UpdateModel(read, {"display_name"});
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->display_name(), "Shown");
  EXPECT_EQ(updated->license(), "apache-2.0");
  EXPECT_EQ(base::ErrorReason(client_->UpdateModel(read, {"display_name"}).status()), "ETAG_MISMATCH");
  EXPECT_THAT(client_->UpdateModel(*updated, {"revision"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("revision")));
}

TEST_F(ServerTest, AliasNamesAnExistingVariantWhichThenStays) {
  Upload("weights");
  ASSERT_THAT(client_->PublishVariant(Model(), Variant("q4_1", "weights")), IsOk());
  v1::Model model = *client_->GetModel("models/m");
  (*model.mutable_aliases())["stable"] = "q8_0";
  EXPECT_THAT(client_->UpdateModel(model, {"aliases"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("q8_0")));
  (*model.mutable_aliases())["stable"] = "q4_1";
  ASSERT_THAT(client_->UpdateModel(model, {"aliases"}), IsOk());
  EXPECT_EQ(base::ErrorReason(client_->DeleteVariant("models/m/variants/q4_1")), "RESOURCE_IN_USE");
  EXPECT_EQ(base::ErrorReason(client_->DeleteModel("models/m")), "RESOURCE_IN_USE");
  ASSERT_THAT(client_->DeleteModel("models/m", true), IsOk());
  EXPECT_TRUE(client_->ListVariants()->empty());
}

TEST_F(ServerTest, ListsComeInPages) {
  for (int i = 0; i < 5; ++i) ASSERT_THAT(client_->CreateModel(Model("m" + std::to_string(i))), IsOk());
  v1::ListModelsRequest request;
  request.set_page_size(2);
  std::vector<std::string> names;
  do {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    ASSERT_TRUE(client_->registry_stub()->ListModels(&context, request, &response).ok());
    EXPECT_LE(response.models_size(), 2);
    for (const v1::Model& model : response.models()) names.push_back(model.name());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(names.size(), 5u);
  request.set_page_token("elsewhere/x");
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  EXPECT_EQ(client_->registry_stub()->ListModels(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, WatchGivesEachChangeOnceInOrderAndGoesOnAfterARestart) {
  int64_t start = 0;
  ASSERT_THAT(client_->ListModels(&start), IsOk());
  for (int i = 0; i < 5; ++i) ASSERT_THAT(client_->CreateModel(Model("m" + std::to_string(i))), IsOk());
  const std::vector<v1::Event> first = WatchEvents(start, 3);
  ASSERT_GE(first.size(), 3u);
  Start();
  ASSERT_THAT(client_->DeleteModel("models/m0"), IsOk());
  const std::vector<v1::Event> rest = WatchEvents(start + 3, 3);
  ASSERT_EQ(rest.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rest[i].revision(), start + 4 + i);
  EXPECT_EQ(rest[0].model().name(), "models/m3");
  EXPECT_TRUE(rest[2].deleted());
}

TEST_F(ServerTest, WatchBeatsWhileNothingChangesAndRefusesAnotherDatabase) {
  grpc::ClientContext context;
  v1::WatchRequest request;
  auto reader = client_->registry_stub()->Watch(&context, request);
  v1::WatchResponse response;
  ASSERT_TRUE(reader->Read(&response));  // the built-in profiles
  EXPECT_EQ(response.store_id().size(), 32u);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.events_size(), 0);
    EXPECT_EQ(response.revision(), 1);
  }
  context.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());

  for (const bool other_store : {true, false}) {
    grpc::ClientContext refused;
    if (other_store) request.set_store_id(std::string(32, '0'));
    if (!other_store) request.clear_store_id(), request.set_since_revision(99);
    auto stream = client_->registry_stub()->Watch(&refused, request);
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::OUT_OF_RANGE);
  }
}

TEST_F(ServerTest, ShutdownEndsWatchesWithDraining) {
  grpc::ClientContext context;
  auto reader = client_->registry_stub()->Watch(&context, v1::WatchRequest());
  v1::WatchResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server_->Shutdown(absl::Seconds(10));
  while (reader->Read(&response)) {
  }
  const absl::Status status = client_->ToStatus(reader->Finish());
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(base::ErrorReason(status), "DRAINING");
}

TEST_F(ServerTest, BuiltinProfilesAreThereAndFixed) {
  const auto profile = client_->GetDeviceProfile("deviceProfiles/raspberry-pi-5-8gb");
  ASSERT_THAT(profile, IsOk());
  EXPECT_TRUE(profile->builtin());
  EXPECT_GT(profile->memory_bandwidth_bytes_per_second(), 1e9);
  EXPECT_THAT(client_->PutDeviceProfile(*profile), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(client_->DeleteDeviceProfile(profile->name()), StatusIs(absl::StatusCode::kFailedPrecondition));
  v1::DeviceProfile own = *profile;
  own.set_name("deviceProfiles/mine");
  own.clear_etag();
  ASSERT_THAT(client_->PutDeviceProfile(own), IsOk());
  EXPECT_FALSE(client_->GetDeviceProfile("deviceProfiles/mine")->builtin());
  EXPECT_THAT(client_->DeleteDeviceProfile("deviceProfiles/mine"), IsOk());
}

TEST_F(ServerTest, ShapesThatNoModelHasAreRefused) {
  Upload("weights");
  v1::Model model = Model();
  model.mutable_architecture()->set_layers(1);
  model.mutable_architecture()->add_layer_shapes()->set_kv_heads(1 << 20);
  EXPECT_THAT(client_->PublishVariant(model, Variant("q4_1", "weights")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4096 heads")));
}

TEST_F(ServerTest, ResolveTellsFitsFromRefusals) {
  Upload("weights");
  ASSERT_THAT(client_->PublishVariant(Model(), Variant("q4_1", "weights")), IsOk());
  v1::Variant needy = Variant("int8", "weights");
  needy.mutable_requirements()->add_any_isa("amx_int8");
  ASSERT_THAT(client_->CreateVariant(needy), IsOk());
  v1::ResolveRequest request;
  request.set_model("m");
  request.set_profile("deviceProfiles/raspberry-pi-5-8gb");
  const auto response = client_->Resolve(request);
  ASSERT_THAT(response, IsOk());
  ASSERT_EQ(response->fits_size(), 1);
  EXPECT_EQ(response->fits(0).variant().name(), "models/m/variants/q4_1");
  ASSERT_EQ(response->refusals_size(), 1);
  EXPECT_THAT(response->refusals(0).reason(), HasSubstr("amx_int8"));
  request.set_model("m@stable");
  EXPECT_THAT(client_->Resolve(request), StatusIs(absl::StatusCode::kNotFound, HasSubstr("stable")));
  request.set_model("m");
  request.clear_device();
  EXPECT_THAT(client_->Resolve(request), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ServerTest, DeploymentsAreStoredAndChecked) {
  v1::Deployment deployment;
  deployment.set_name("deployments/shop");
  deployment.set_model("m@stable");
  (*deployment.mutable_weights())["q4_1"] = 90;
  EXPECT_THAT(client_->CreateDeployment(deployment), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100")));
  (*deployment.mutable_weights())["q8_0"] = 10;
  ASSERT_THAT(client_->CreateDeployment(deployment), IsOk());
  EXPECT_EQ(client_->ListDeployments()->size(), 1u);
  EXPECT_THAT(client_->DeleteDeployment("deployments/shop", "r0"), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(client_->DeleteDeployment("deployments/shop"), IsOk());
}

TEST_F(ServerTest, UploadAtAWrongOffsetIsToldTheRightOne) {
  grpc::ClientContext context;
  v1::BlobStatus response;
  auto writer = client_->blobs_stub()->UploadBlob(&context, &response);
  v1::UploadBlobRequest request;
  request.set_digest(base::Sha256Of("abcdef"));
  request.set_size_bytes(6);
  request.set_offset_bytes(3);
  request.set_data("def");
  writer->Write(request);
  writer->WritesDone();
  const absl::Status status = client_->ToStatus(writer->Finish());
  EXPECT_EQ(base::ErrorReason(status), "UPLOAD_OFFSET_MISMATCH");
  EXPECT_EQ(base::ErrorMetadata(status, "expected_offset"), "0");
}

TEST_F(ServerTest, UploaderThatLeavesMayResume) {
  const std::string data(100'000, 'x');
  {
    grpc::ClientContext context;
    v1::BlobStatus response;
    auto writer = client_->blobs_stub()->UploadBlob(&context, &response);
    v1::UploadBlobRequest request;
    request.set_digest(base::Sha256Of(data));
    request.set_size_bytes(data.size());
    request.set_data(data.substr(0, 60'000));
    ASSERT_TRUE(writer->Write(request));
    writer->WritesDone();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(client_->GetBlobStatus(base::Sha256Of(data))->received_bytes(), 60'000u);
  Upload(data);
  EXPECT_TRUE(client_->GetBlobStatus(base::Sha256Of(data))->complete());
}

TEST_F(ServerTest, StreamWithoutAMessageIsAnError) {
  grpc::ClientContext context;
  v1::BlobStatus response;
  auto writer = client_->blobs_stub()->UploadBlob(&context, &response);
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, SecondServerOnThePortOrTheFolderIsRefusedWithTheRemedy) {
  RegistryServer::Options same_folder = options_;
  EXPECT_THAT(RegistryServer::Create(same_folder),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--data-dir")));
  RegistryServer::Options same_port = options_;
  same_port.config.set_data_dir(dir_ + "/data2");
  same_port.config.mutable_listen()->set_address("127.0.0.1:" + std::to_string(server_->grpc_port()));
  EXPECT_THAT(RegistryServer::Create(same_port),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--listen")));
}

TEST_F(ServerTest, ConfigurationErrorsComeTogether) {
  RegistryServer::Options bad;
  bad.config.mutable_listen()->set_address("0.0.0.0:0");
  const absl::Status status = RegistryServer::Create(bad).status();
  EXPECT_THAT(status.message(), HasSubstr("listen.address"));
  EXPECT_THAT(status.message(), HasSubstr("data_dir"));
}

TEST(DeviceCatalogTest, KnowsTheWellKnownDevices) {
  const auto profiles = BuiltinDeviceProfiles();
  ASSERT_THAT(profiles, IsOk());
  EXPECT_GE(profiles->size(), 6u);
  for (const v1::DeviceProfile& profile : *profiles) {
    EXPECT_TRUE(profile.builtin());
    EXPECT_GT(profile.memory_bytes(), uint64_t{1} << 32) << profile.name();
    EXPECT_GT(profile.int8_ops_per_second(), 1e11) << profile.name();
    EXPECT_FALSE(profile.isa_features().empty()) << profile.name();
  }
}

TEST(MetricsTest, NamesAreThoseThatDashboardsUse) {
  Metrics metrics;
  metrics.CountRpc("GetModel", grpc::StatusCode::NOT_FOUND);
  metrics.ObserveRpc("GetModel", absl::Milliseconds(3));
  std::vector<std::string> names;
  for (const prometheus::MetricFamily& family : metrics.registry()->Collect()) names.push_back(family.name);
  EXPECT_THAT(names, testing::UnorderedElementsAre(
                         "linnet_registry_rpcs_total", "linnet_registry_rpc_seconds", "linnet_registry_revision",
                         "linnet_registry_database_bytes", "linnet_registry_blob_bytes", "linnet_registry_uploads",
                         "linnet_registry_uploaded_bytes_total", "linnet_registry_downloaded_bytes_total",
                         "linnet_registry_watchers", "linnet_registry_workers"));
}

}  // namespace
}  // namespace linnet::registry
