// Transfers, watcher and lease keeper against a real registry that comes and goes.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>

#include "absl/status/status_matchers.h"
#include "base/error.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "registry/client/lease_keeper.h"
#include "registry/client/registry_client.h"
#include "registry/client/watcher.h"
#include "registry/server/server.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    std::string pattern = testing::TempDir() + "/client_test_XXXXXX";
    dir_ = mkdtemp(pattern.data());
    Start();
    RegistryClient::Options options;
    options.address = "127.0.0.1:" + std::to_string(port_);
    options.transfer_patience = absl::Seconds(20);
    client_ = *RegistryClient::Create(options);
  }
  ~ClientTest() override {
    client_.reset();
    server_.reset();
    fs::remove_all(dir_);
  }
  // On the port of before where there was one.
  void Start() {
    RegistryServer::Options options;
    options.config.mutable_listen()->set_address("127.0.0.1:" + std::to_string(port_));
    options.config.mutable_metrics()->set_address("127.0.0.1:0");
    options.config.set_data_dir(dir_ + "/data");
    auto server = RegistryServer::Create(options);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    port_ = server_->grpc_port();
  }
  std::string WriteFile(const std::string& data) {
    const std::string path = dir_ + "/file";
    std::ofstream(path, std::ios::binary) << data;
    return path;
  }
  absl::Status CreateModel(const std::string& id) {
    v1::Model model;
    model.set_name("models/" + id);
    return client_->CreateModel(model).status();
  }

  std::string dir_;
  int port_ = 0;
  std::unique_ptr<RegistryServer> server_;
  std::unique_ptr<RegistryClient> client_;
};

// Collects snapshots; waits for one that satisfies a condition.
class Inbox {
 public:
  void Put(std::shared_ptr<const RegistrySnapshot> snapshot) {
    base::MutexLock lock(&mu_);
    last_ = std::move(snapshot);
    cv_.NotifyAll();
  }
  bool WaitFor(const std::function<bool(const RegistrySnapshot&)>& condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    base::MutexLock lock(&mu_);
    while (last_ == nullptr || !condition(*last_)) {
      const auto left = until - std::chrono::steady_clock::now();
      if (left <= std::chrono::steady_clock::duration::zero()) return false;
      cv_.WaitFor(&mu_, left);
    }
    return true;
  }

 private:
  base::Mutex mu_;
  base::CondVar cv_;
  std::shared_ptr<const RegistrySnapshot> last_ ABSL_GUARDED_BY(mu_);
};

TEST_F(ClientTest, UploadAndDownloadGiveTheSameBytes) {
  std::string data(3'500'000, 'a');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 1000);
  uint64_t sent = 0;
  ASSERT_THAT(client_->UploadFile(WriteFile(data), base::Sha256Of(data), [&](uint64_t done, uint64_t) { sent = done; }),
              IsOk());
  EXPECT_EQ(sent, data.size());
  const std::string dest = dir_ + "/copy";
  ASSERT_THAT(client_->DownloadBlob(base::Sha256Of(data), dest), IsOk());
  EXPECT_EQ(*base::ReadFile(dest), data);
  EXPECT_FALSE(fs::exists(dest + ".part"));
  // A file that is there needs no registry.
  server_.reset();
  EXPECT_THAT(client_->DownloadBlob(base::Sha256Of(data), dest), IsOk());
}

TEST_F(ClientTest, DownloadResumesAPartialFileAndRepairsADamagedOne) {
  const std::string data(2'000'000, 'b');
  ASSERT_THAT(client_->UploadFile(WriteFile(data), base::Sha256Of(data)), IsOk());
  std::ofstream(dir_ + "/good.part") << data.substr(0, 1'500'000);
  uint64_t first_seen = 0;
  ASSERT_THAT(client_->DownloadBlob(base::Sha256Of(data), dir_ + "/good",
                                    [&](uint64_t done, uint64_t) { first_seen = first_seen == 0 ? done : first_seen; }),
              IsOk());
  EXPECT_EQ(first_seen, 2'000'000u);  // one chunk was missing
  std::ofstream(dir_ + "/bad.part") << std::string(1'500'000, 'x');
  ASSERT_THAT(client_->DownloadBlob(base::Sha256Of(data), dir_ + "/bad"), IsOk());
  EXPECT_EQ(*base::ReadFile(dir_ + "/bad"), data);
  std::ofstream(dir_ + "/long.part") << std::string(3'000'000, 'x');
  ASSERT_THAT(client_->DownloadBlob(base::Sha256Of(data), dir_ + "/long"), IsOk());
  EXPECT_EQ(*base::ReadFile(dir_ + "/long"), data);
}

TEST_F(ClientTest, WrongDigestAndMissingBlobAreClear) {
  const absl::Status status = client_->UploadFile(WriteFile("abc"), base::Sha256Of("something else"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(base::ErrorReason(status), "BLOB_CORRUPT");
  EXPECT_THAT(client_->DownloadBlob(base::Sha256Of("none"), dir_ + "/none"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(fs::exists(dir_ + "/none.part"));
  EXPECT_THAT(client_->UploadFile(dir_ + "/missing", base::Sha256Of("x")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ClientTest, BlobThatRottedInTheRegistryIsNeverDelivered) {
  const std::string data(1'500'000, 'c');
  ASSERT_THAT(client_->UploadFile(WriteFile(data), base::Sha256Of(data)), IsOk());
  std::fstream(dir_ + "/data/blobs/" + base::Sha256Of(data).substr(7), std::ios::in | std::ios::out).write("X", 1);
  const absl::Status status = client_->DownloadBlob(base::Sha256Of(data), dir_ + "/copy");
  EXPECT_EQ(base::ErrorReason(status), "BLOB_CORRUPT");
  EXPECT_FALSE(fs::exists(dir_ + "/copy"));
  ASSERT_THAT(client_->UploadFile(WriteFile(data), base::Sha256Of(data)), IsOk());
  EXPECT_THAT(client_->DownloadBlob(base::Sha256Of(data), dir_ + "/copy"), IsOk());
}

TEST_F(ClientTest, UploadGoesOnAfterTheRegistryRestarts) {
  const std::string data(6'000'000, 'd');
  bool restarted = false;
  ASSERT_THAT(client_->UploadFile(WriteFile(data), base::Sha256Of(data),
                                  [&](uint64_t done, uint64_t) {
                                    if (restarted || done < 3'000'000) return;
                                    restarted = true;
                                    server_.reset();
                                    Start();
                                  }),
              IsOk());
  EXPECT_TRUE(restarted);
  EXPECT_TRUE(client_->GetBlobStatus(base::Sha256Of(data))->complete());
}

TEST_F(ClientTest, StopEndsATransfer) {
  std::stop_source stop;
  const std::string data(4'000'000, 'e');
  EXPECT_THAT(
      client_->UploadFile(
          WriteFile(data), base::Sha256Of(data), [&](uint64_t, uint64_t) { stop.request_stop(); }, stop.get_token()),
      StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ClientTest, UnreachableRegistryNamesTheAddress) {
  server_.reset();
  const absl::Status status = client_->GetModel("models/m").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr(client_->address())));
  EXPECT_EQ(base::ErrorReason(status), "REGISTRY_UNAVAILABLE");
  EXPECT_THAT(client_->WaitUntilServing(absl::Milliseconds(50)), StatusIs(absl::StatusCode::kUnavailable));
  Start();
  EXPECT_THAT(client_->WaitUntilServing(absl::Seconds(20)), IsOk());
}

TEST_F(ClientTest, WatcherFollowsThroughARestartAndSurvivesWithoutTheRegistry) {
  Inbox inbox;
  Watcher::Options options;
  options.client = client_.get();
  options.snapshot_path = dir_ + "/snapshot.pb";
  options.max_backoff = absl::Milliseconds(200);
  options.on_change = [&](std::shared_ptr<const RegistrySnapshot> snapshot) { inbox.Put(std::move(snapshot)); };
  ASSERT_THAT(CreateModel("before"), IsOk());
  {
    const auto watcher = *Watcher::Create(options);
    EXPECT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return s.models.contains("models/before"); }));
    EXPECT_TRUE(watcher->WaitForFirstAnswer(absl::Seconds(20)));
    ASSERT_THAT(CreateModel("live"), IsOk());
    EXPECT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return s.models.contains("models/live"); }));
    server_.reset();
    EXPECT_TRUE(watcher->snapshot()->models.contains("models/live"));
    Start();
    ASSERT_THAT(client_->WaitUntilServing(absl::Seconds(20)), IsOk());
    ASSERT_THAT(client_->DeleteModel("models/before"), IsOk());
    EXPECT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return !s.models.contains("models/before"); }));
    EXPECT_FALSE(watcher->snapshot()->from_disk);
  }
  server_.reset();
  const auto watcher = *Watcher::Create(options);  // a restart while the registry is away
  EXPECT_TRUE(watcher->snapshot()->from_disk);
  EXPECT_TRUE(watcher->snapshot()->models.contains("models/live"));
  EXPECT_FALSE(watcher->connected());
}

TEST_F(ClientTest, WatcherListsAnewWhenTheDatabaseIsAnother) {
  Inbox inbox;
  Watcher::Options options;
  options.client = client_.get();
  options.max_backoff = absl::Milliseconds(200);
  options.on_change = [&](std::shared_ptr<const RegistrySnapshot> snapshot) { inbox.Put(std::move(snapshot)); };
  const auto watcher = *Watcher::Create(options);
  ASSERT_THAT(CreateModel("old"), IsOk());
  ASSERT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return s.models.contains("models/old"); }));
  server_.reset();
  fs::remove_all(dir_ + "/data");
  Start();
  ASSERT_THAT(client_->WaitUntilServing(absl::Seconds(20)), IsOk());
  for (const char* id : {"a", "b", "c"}) ASSERT_THAT(CreateModel(id), IsOk());
  EXPECT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return s.models.contains("models/c"); }));
  EXPECT_TRUE(inbox.WaitFor([](const RegistrySnapshot& s) { return !s.models.contains("models/old"); }));
}

TEST_F(ClientTest, DamagedSnapshotFileIsIgnored) {
  std::ofstream(dir_ + "/snapshot.pb") << "not a snapshot";
  Watcher::Options options;
  options.client = client_.get();
  options.snapshot_path = dir_ + "/snapshot.pb";
  const auto watcher = Watcher::Create(options);
  ASSERT_THAT(watcher, IsOk());
  EXPECT_TRUE((*watcher)->WaitForFirstAnswer(absl::Seconds(20)));
}

TEST_F(ClientTest, LeaseIsSeenUpdatedKeptOverARestartAndReleased) {
  Inbox inbox;
  Watcher::Options options;
  options.client = client_.get();
  options.worker_poll_interval = absl::Milliseconds(20);
  options.on_change = [&](std::shared_ptr<const RegistrySnapshot> snapshot) { inbox.Put(std::move(snapshot)); };
  const auto watcher = *Watcher::Create(options);
  LeaseKeeper::Options lease;
  lease.client = client_.get();
  lease.duration = absl::Seconds(3);
  lease.worker.set_name("workers/w");
  lease.worker.set_address("127.0.0.1:9");
  lease.worker.set_state("STARTING");
  auto keeper = *LeaseKeeper::Create(lease);
  const auto state_is = [](const std::string& state) {
    return [state](const RegistrySnapshot& s) {
      const auto worker = s.workers.find("workers/w");
      return worker != s.workers.end() && worker->second.state() == state;
    };
  };
  EXPECT_TRUE(inbox.WaitFor(state_is("STARTING")));
  lease.worker.set_state("READY");
  keeper->Update(lease.worker);
  EXPECT_TRUE(inbox.WaitFor(state_is("READY")));
  server_.reset();
  Start();
  EXPECT_TRUE(state_is("READY")(*watcher->snapshot()));  // kept while the new one settles
  ASSERT_THAT(client_->WaitUntilServing(absl::Seconds(20)), IsOk());
  bool back = false;
  for (int i = 0; i < 500 && !back; ++i) {
    const auto workers = client_->ListWorkers();
    back = workers.ok() && workers->workers_size() == 1;
    if (!back) usleep(20'000);  // another thread renews
  }
  EXPECT_TRUE(back);
  keeper.reset();
  EXPECT_EQ(client_->ListWorkers()->workers_size(), 0);
}

TEST_F(ClientTest, MalformedLeaseIsRefusedBeforeAnyCall) {
  LeaseKeeper::Options lease;
  lease.client = client_.get();
  lease.worker.set_name("w");
  lease.duration = absl::Seconds(61);
  EXPECT_THAT(LeaseKeeper::Create(lease), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("duration")));
}

TEST(SnapshotTest, ReferencesResolveToVariants) {
  RegistrySnapshot snapshot;
  v1::Model& model = snapshot.models["models/m"];
  model.set_name("models/m");
  EXPECT_THAT(VariantsFor(snapshot, *ParseModelReference("m")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no variant yet")));
  for (const char* name : {"models/m/variants/q4_1", "models/m/variants/f16", "models/m2/variants/q8_0"}) {
    snapshot.variants[name].set_name(name);
  }
  (*model.mutable_aliases())["stable"] = "q4_1";
  EXPECT_THAT(*VariantsFor(snapshot, *ParseModelReference("m")),
              testing::ElementsAre("models/m/variants/f16", "models/m/variants/q4_1"));
  EXPECT_THAT(*VariantsFor(snapshot, *ParseModelReference("m@stable")), testing::ElementsAre("models/m/variants/q4_1"));
  EXPECT_THAT(*VariantsFor(snapshot, *ParseModelReference("m/f16")), testing::ElementsAre("models/m/variants/f16"));
  for (const char* missing : {"x", "m@canary", "m/q8_0"}) {
    EXPECT_EQ(base::ErrorReason(VariantsFor(snapshot, *ParseModelReference(missing)).status()), "MODEL_NOT_FOUND")
        << missing;
  }
}

TEST(SnapshotTest, EventsApplyInOrderAndOldOnesDoNot) {
  RegistrySnapshot snapshot;
  snapshot.revision = 5;
  v1::Event event;
  event.set_name("models/m");
  event.set_revision(4);
  event.mutable_model()->set_display_name("old");
  ApplyEvent(event, &snapshot);
  EXPECT_TRUE(snapshot.models.empty());
  event.set_revision(6);
  ApplyEvent(event, &snapshot);
  EXPECT_EQ(snapshot.models.size(), 1u);
  EXPECT_EQ(ParseSnapshot(SerializeSnapshot(snapshot))->models.size(), 1u);
  event.clear_resource();
  event.set_deleted(true);
  event.set_revision(7);
  ApplyEvent(event, &snapshot);
  EXPECT_TRUE(snapshot.models.empty());
  EXPECT_EQ(snapshot.revision, 7);
  EXPECT_THAT(ParseSnapshot("junk"), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace linnet::registry
