#include "worker/server/variant_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/testing.h"
#include "worker/server/fake_variant.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kQ4[] = "models/tiny/variants/q4";
constexpr char kQ8[] = "models/tiny/variants/q8";

// A manager without its thread: the test publishes, and steps.
class VariantManagerTest : public ::testing::Test {
 protected:
  VariantManagerTest() { Restart(); }
  ~VariantManagerTest() override { manager_.reset(); }

  void Restart() {
    manager_.reset();
    VariantManager::Options options;
    options.loader = &loader_;
    auto cache =
        BlobCache::Open(files_.root(), [this](const std::string& digest, const std::string& path, std::stop_token) {
          ++fetches_;
          if (!fetch_status_.ok()) return fetch_status_;
          return base::WriteFileDurably(path, bytes_.at(digest));
        });
    EXPECT_TRUE(cache.ok()) << cache.status();
    options.cache = *std::move(cache);
    options.wanted = wanted_;
    options.memory_bytes = [this] { return memory_bytes_; };
    options.resolve = [this](const registry::v1::ResolveRequest& request) { return Resolve(request); };
    options.on_change = [this] { ++changes_; };
    options.abort_calls = [this](const std::string& variant) {
      aborted_.push_back(variant);
      aborting_ = true;
    };
    options.clock = &clock_;
    manager_ = std::make_unique<VariantManager>(std::move(options));
  }

  absl::StatusOr<registry::v1::ResolveResponse> Resolve(const registry::v1::ResolveRequest& request) {
    ++resolves_;
    if (ranking_.empty()) return absl::UnavailableError("the registry is away");
    registry::v1::ResolveResponse response;
    for (const std::string& name : ranking_) response.add_fits()->mutable_variant()->set_name(name);
    return response;
  }

  void Publish(const std::string& name, const std::string& bytes) {
    const std::string digest = base::Sha256Of(bytes);
    bytes_[digest] = bytes;
    registry::v1::Variant variant;
    variant.set_name(name);
    variant.set_weight_bytes(bytes.size());
    auto* blob = variant.add_blobs();
    blob->set_role("main");
    blob->set_digest(digest);
    blob->set_size_bytes(bytes.size());
    snapshot_.variants[name] = variant;
    snapshot_.models["models/tiny"].set_name("models/tiny");
    ++snapshot_.revision;
  }
  void Remove(const std::string& name) {
    snapshot_.variants.erase(name);
    ++snapshot_.revision;
  }
  // The registry tells, and the loader's thread makes one pass.
  absl::Duration Step() {
    manager_->SetSnapshot(std::make_shared<registry::RegistrySnapshot>(snapshot_));
    return manager_->Step();
  }
  v1::VariantState StateOf(const std::string& name) const {
    for (const v1::VariantStatus& status : manager_->Statuses()) {
      if (status.variant() == name) return status.state();
    }
    return v1::VARIANT_STATE_UNSPECIFIED;
  }
  std::string CachePath(const std::string& bytes) const {
    return files_.Path("blobs/sha256-" + base::Sha256Of(bytes).substr(7));
  }

  base::FileTree files_;
  base::FakeClock clock_;
  FakeLoader loader_;
  registry::RegistrySnapshot snapshot_;
  std::map<std::string, std::string> bytes_;
  std::vector<std::string> wanted_, ranking_, aborted_;
  std::atomic<bool> aborting_ = false;
  absl::Status fetch_status_;
  uint64_t memory_bytes_ = 1ull << 40;
  int fetches_ = 0, resolves_ = 0, changes_ = 0;
  std::unique_ptr<VariantManager> manager_;
};

TEST_F(VariantManagerTest, ServesWhatTheRegistryPublishes) {
  EXPECT_THAT(std::string(manager_->readiness().message()), HasSubstr("no variant ready"));
  EXPECT_EQ(base::ErrorReason(manager_->Find(kQ4).status()), "MODEL_NOT_FOUND");
  Publish(kQ4, "four bits");
  EXPECT_EQ(Step(), absl::InfiniteDuration());
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
  EXPECT_TRUE(manager_->readiness().ok());
  const auto found = manager_->Find(kQ4);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)->digest, base::Sha256Of("four bits"));
  ASSERT_THAT(loader_.requests, SizeIs(1));
  EXPECT_EQ(loader_.requests[0].path, CachePath("four bits"));
  EXPECT_EQ(loader_.requests[0].engine.context_tokens, 4096u);
  EXPECT_EQ(loader_.requests[0].engine.kv_cache_tokens, 4u * 4096);
  EXPECT_EQ(changes_, 3);  // fetching, loading, ready

  Step();  // nothing new: nothing done
  EXPECT_EQ(fetches_, 1);
  EXPECT_THAT(loader_.requests, SizeIs(1));
}

TEST_F(VariantManagerTest, AsksTheRegistryWhereThereIsAChoice) {
  Publish(kQ4, "four");
  Publish(kQ8, "eight, which is larger");
  ranking_ = {kQ4, kQ8};
  Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
  EXPECT_EQ(StateOf(kQ8), v1::VARIANT_STATE_UNSPECIFIED);
  Step();
  EXPECT_EQ(resolves_, 1);
}

TEST_F(VariantManagerTest, TakesTheLargestWhereTheRegistryDoesNotAnswer) {
  Publish(kQ4, "four");
  Publish(kQ8, "eight, which is larger");
  Step();
  EXPECT_EQ(StateOf(kQ8), v1::VARIANT_STATE_READY);
}

TEST_F(VariantManagerTest, TransientFailureIsTriedAgainLaterAndLater) {
  Publish(kQ4, "four");
  fetch_status_ = base::Error(absl::StatusCode::kUnavailable, "REGISTRY_UNAVAILABLE", "cannot reach the registry");
  EXPECT_EQ(Step(), absl::Seconds(1));
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_FAILED);
  EXPECT_THAT(manager_->Statuses()[0].error(), HasSubstr("cannot reach the registry"));
  EXPECT_EQ(base::ErrorReason(manager_->Find(kQ4).status()), "NO_READY_WORKER");
  manager_->Step();  // too early
  EXPECT_EQ(fetches_, 1);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(manager_->Step(), absl::Seconds(2));
  EXPECT_EQ(fetches_, 2);
  for (int i = 0; i < 10; ++i) {
    clock_.Advance(absl::Seconds(60));
    EXPECT_LE(manager_->Step(), absl::Seconds(60));
  }
  fetch_status_ = absl::OkStatus();
  clock_.Advance(absl::Seconds(60));
  manager_->Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
}

TEST_F(VariantManagerTest, PermanentFailureWaitsForOtherBytes) {
  Publish(kQ4, "no model");
  loader_.status = base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE", "not GGUF");
  EXPECT_EQ(Step(), absl::InfiniteDuration());
  clock_.Advance(absl::Hours(1));
  Step();
  EXPECT_THAT(loader_.requests, SizeIs(1));
  EXPECT_THAT(std::string(manager_->readiness().message()), HasSubstr("not GGUF"));
  loader_.status = absl::OkStatus();
  Publish(kQ4, "a model");
  Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
}

TEST_F(VariantManagerTest, RemovedVariantFinishesItsRequestsAndGoes) {
  Publish(kQ4, "four");
  Step();
  FakeEngine* const engine = loader_.engines.at(kQ4);
  struct Sink : EngineSink {
    void OnTokens(std::vector<TokenId>, std::string) override {}
    void OnFinish(const EngineFinish& f) override { finished = true; }
    bool finished = false;
  };
  auto sink = std::make_shared<Sink>();
  ASSERT_TRUE(engine->Submit({.prompt = {1}}, sink).ok());
  VariantRef held = *manager_->Find(kQ4);

  Remove(kQ4);
  std::jthread loader([&] { Step(); });
  engine->AwaitDrain();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_UNLOADING);
  EXPECT_EQ(base::ErrorReason(manager_->Find(kQ4).status()), "DRAINING");
  engine->Finish(1, {});
  EXPECT_TRUE(sink->finished);
  EXPECT_EQ(held->name, kQ4);  // as long as someone holds it, it is there
  held.reset();
  loader.join();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_UNSPECIFIED);
  EXPECT_THAT(aborted_, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(CachePath("four")));  // nothing names it any more
}

TEST_F(VariantManagerTest, RequestsThatOutlastTheDrainAreAborted) {
  Publish(kQ4, "four");
  Step();
  FakeEngine* const engine = loader_.engines.at(kQ4);
  struct Sink : EngineSink {
    void OnTokens(std::vector<TokenId>, std::string) override {}
    void OnFinish(const EngineFinish&) override {}
  };
  ASSERT_TRUE(engine->Submit({.prompt = {1}}, std::make_shared<Sink>()).ok());
  Remove(kQ4);
  std::jthread loader([&] { Step(); });
  engine->AwaitDrain();
  // The time of the drain runs from a moment after that: move the clock until it is over.
  while (!aborting_) {
    clock_.Advance(absl::Seconds(1));
    std::this_thread::yield();
  }
  engine->Finish(1, {});
  loader.join();
  EXPECT_THAT(aborted_, ElementsAre(kQ4));
}

TEST_F(VariantManagerTest, ReplacedVariantIsLoadedAnew) {
  Publish(kQ4, "old");
  Step();
  Publish(kQ4, "new");
  Step();
  ASSERT_THAT(loader_.requests, SizeIs(2));
  EXPECT_EQ((*manager_->Find(kQ4))->digest, base::Sha256Of("new"));
  EXPECT_FALSE(std::filesystem::exists(CachePath("old")));
}

TEST_F(VariantManagerTest, CorruptCachedBlobIsFetchedAgain) {
  Publish(kQ4, "four");
  files_.Write("blobs/sha256-" + base::Sha256Of("four").substr(7), "fuor");
  Step();
  EXPECT_EQ(fetches_, 1);
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
  EXPECT_EQ(*base::ReadFile(CachePath("four")), "four");
}

TEST_F(VariantManagerTest, BlobThatStaysCorruptFailsAndIsTriedAgainLater) {
  Publish(kQ4, "four");
  loader_.status = base::Error(absl::StatusCode::kDataLoss, "BLOB_CORRUPT", "the disk eats what is written to it");
  EXPECT_GT(Step(), absl::ZeroDuration());
  EXPECT_THAT(loader_.requests, SizeIs(2));
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_FAILED);
  loader_.status = absl::OkStatus();
  clock_.Advance(absl::Seconds(2));
  Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
}

TEST_F(VariantManagerTest, BlobThatPackedWeightsVouchForIsNotHashed) {
  Publish(kQ4, "four");
  files_.Write("blobs/sha256-" + base::Sha256Of("four").substr(7), "fuor");
  loader_.vouched = true;
  Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
  EXPECT_EQ(fetches_, 0);
}

TEST_F(VariantManagerTest, WhatLoadingLeavesIsDoneWhenAllServeAndANewPlanInterruptsIt) {
  Publish(kQ4, "four");
  Publish(kQ8, "eight");
  wanted_ = {"tiny/q4", "tiny/q8"};
  Restart();
  bool before = true, after = false;
  loader_.on_finish = [&](const std::function<bool()>& interrupted) {
    EXPECT_THAT(manager_->Ready(), SizeIs(2));
    before = interrupted();
    manager_->SetSnapshot(std::make_shared<registry::RegistrySnapshot>(snapshot_));
    after = interrupted();
    loader_.on_finish = nullptr;
  };
  Step();
  EXPECT_THAT(loader_.finished, ElementsAre(kQ4, kQ8));
  EXPECT_FALSE(before);
  EXPECT_TRUE(after);
}

TEST_F(VariantManagerTest, RestartWithoutTheRegistryServesFromDisk) {
  Publish(kQ4, "four");
  Step();
  Restart();
  fetch_status_ = absl::UnavailableError("the registry is away");
  snapshot_.from_disk = true;
  files_.Write("blobs/sha256-" + std::string(64, 'a'), "of another time");
  Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
  EXPECT_EQ(fetches_, 1);
  // An old snapshot is no reason to throw away blobs.
  EXPECT_TRUE(std::filesystem::exists(files_.Path("blobs/sha256-" + std::string(64, 'a'))));
}

TEST_F(VariantManagerTest, CacheKeepsOnlyWhatTheRegistryNames) {
  Publish(kQ4, "four");
  files_.Write("blobs/sha256-" + std::string(64, 'a'), "of another time");
  files_.Write("blobs/sha256-" + std::string(64, 'b') + ".part", "half of another");
  files_.Write("blobs/README", "not ours");
  Step();
  EXPECT_FALSE(std::filesystem::exists(files_.Path("blobs/sha256-" + std::string(64, 'a'))));
  EXPECT_FALSE(std::filesystem::exists(files_.Path("blobs/sha256-" + std::string(64, 'b') + ".part")));
  EXPECT_TRUE(std::filesystem::exists(files_.Path("blobs/README")));
  EXPECT_TRUE(std::filesystem::exists(CachePath("four")));
}

TEST_F(VariantManagerTest, ModelThatDoesNotFitSaysWhyAndIsLookedAtAgain) {
  Publish(kQ4, "four");
  memory_bytes_ = 1 << 20;
  EXPECT_LE(Step(), absl::Seconds(30));
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_FAILED);
  EXPECT_THAT(std::string(manager_->readiness().message()), HasSubstr("1.0 MiB available"));
  EXPECT_THAT(loader_.requests, IsEmpty());
  memory_bytes_ = 1ull << 30;  // somebody else let go
  manager_->Step();
  EXPECT_EQ(StateOf(kQ4), v1::VARIANT_STATE_READY);
}

TEST_F(VariantManagerTest, StopServingRefusesAndLoadsNoMore) {
  Publish(kQ4, "four");
  Step();
  manager_->StopServing();
  EXPECT_EQ(base::ErrorReason(manager_->Find(kQ4).status()), "DRAINING");
  EXPECT_THAT(std::string(manager_->readiness().message()), HasSubstr("draining"));
  Publish("models/tiny/variants/f16", "sixteen");
  Step();
  EXPECT_THAT(loader_.requests, SizeIs(1));
}

TEST_F(VariantManagerTest, ThreadFollowsTheRegistry) {
  manager_->Start();
  Publish(kQ4, "four");
  manager_->SetSnapshot(std::make_shared<registry::RegistrySnapshot>(snapshot_));
  while (!manager_->readiness().ok()) std::this_thread::yield();
  EXPECT_TRUE(manager_->Find(kQ4).ok());
}

TEST(VariantManagerLocalTest, ServesLocalFilesAndTheStubWithoutARegistry) {
  base::FileTree files;
  FakeLoader loader;
  VariantManager::Options options;
  options.loader = &loader;
  options.local_models = {{"mine", files.Write("mine.gguf", "bytes")}, {"gone", files.Path("gone.gguf")}};
  options.stub_model = true;
  VariantManager manager(std::move(options));
  manager.Step();
  EXPECT_EQ((*manager.Find("models/mine/variants/local"))->digest, base::Sha256Of("bytes"));
  EXPECT_TRUE(manager.Find(kStubVariant).ok());
  const absl::Status gone = manager.Find("models/gone/variants/local").status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("gone.gguf"));
}

}  // namespace
}  // namespace linnet::worker
