#include "registry/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "absl/status/status_matchers.h"
#include "base/error.h"
#include "base/file.h"
#include "base/mutex.h"
#include "registry/store/keys.h"
#include "rocksdb/db.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;

v1::Model MakeModel(const std::string& id, const std::string& title = "") {
  v1::Model model;
  model.set_name("models/" + id);
  model.set_display_name(title);
  return model;
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = testing::TempDir() + "/store_test_XXXXXX";
    path_ = mkdtemp(pattern.data());
    options_.path = path_;
    options_.clock = &clock_;
  }
  ~StoreTest() override {
    store_.reset();
    std::filesystem::remove_all(path_);
  }

  void Open() {
    store_.reset();
    auto store = Store::Open(options_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  absl::Status Put(v1::Model model) {
    return store_->Write([&](Transaction& txn) { return txn.Put(&model); });
  }
  std::vector<v1::Event> Log(int64_t since) {
    int64_t last = 0;
    auto events = store_->ReadLog(since, 1 << 20, &last);
    EXPECT_THAT(events, IsOk());
    return events.value_or(std::vector<v1::Event>());
  }

  std::string path_;
  base::FakeClock clock_;
  Store::Options options_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, WriteIsReadBackWithRevisionEtagAndTimes) {
  Open();
  EXPECT_EQ(store_->revision(), 0);
  ASSERT_THAT(Put(MakeModel("m", "first")), IsOk());
  clock_.Advance(absl::Seconds(5));
  ASSERT_THAT(Put(MakeModel("m", "second")), IsOk());
  const auto model = store_->Get<v1::Model>("models/m");
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->display_name(), "second");
  EXPECT_EQ(model->revision(), 2);
  EXPECT_EQ(model->etag(), "r2");
  EXPECT_EQ(model->update_time().seconds() - model->create_time().seconds(), 5);
}

TEST_F(StoreTest, MissingResourceSaysSoWithItsReason) {
  Open();
  const absl::Status status = store_->Get<v1::Model>("models/none").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("models/none")));
  EXPECT_EQ(base::ErrorReason(status), "MODEL_NOT_FOUND");
  EXPECT_EQ(base::ErrorReason(store_->Get<v1::Deployment>("deployments/d").status()), "RESOURCE_NOT_FOUND");
}

TEST_F(StoreTest, FailedMutationLeavesNothingAndUsesNoRevision) {
  Open();
  const absl::Status status = store_->Write([](Transaction& txn) -> absl::Status {
    v1::Model model = MakeModel("a");
    EXPECT_THAT(txn.Put(&model), IsOk());
    EXPECT_THAT(txn.Get<v1::Model>("models/a"), IsOk());  // sees its own change
    return absl::AbortedError("no");
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(store_->Get<v1::Model>("models/a"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->revision(), 0);
}

TEST_F(StoreTest, InvalidResourceIsRefusedWithEveryViolation) {
  Open();
  v1::Model model = MakeModel("Bad Name", std::string(300, 'x'));
  const absl::Status status = Put(model);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
  EXPECT_THAT(status.message(), HasSubstr("display_name"));
  EXPECT_EQ(store_->revision(), 0);
}

TEST_F(StoreTest, EtagOfAnOlderStateIsRefused) {
  Open();
  ASSERT_THAT(Put(MakeModel("m", "1")), IsOk());
  const v1::Model read = *store_->Get<v1::Model>("models/m");
  ASSERT_THAT(Put(MakeModel("m", "2")), IsOk());
  const auto update = [&](const std::string& etag) {
    return store_->Write([&](Transaction& txn) -> absl::Status {
      absl::StatusOr<v1::Model> current = txn.Get<v1::Model>("models/m");
      if (absl::Status status = CheckEtag(*current, etag); !status.ok()) return status;
      current->set_display_name("3");
      return txn.Put(&*current);
    });
  };
  const absl::Status stale = update(read.etag());
  EXPECT_THAT(stale, StatusIs(absl::StatusCode::kAborted, HasSubstr("models/m")));
  EXPECT_EQ(base::ErrorReason(stale), "ETAG_MISMATCH");
  EXPECT_EQ(base::ErrorMetadata(stale, "etag"), "r2");
  EXPECT_THAT(update("r2"), IsOk());
  EXPECT_EQ(store_->Get<v1::Model>("models/m")->display_name(), "3");
}

TEST_F(StoreTest, OneWriteIsOneRevisionWithAllItsChanges) {
  Open();
  ASSERT_THAT(store_->Write([](Transaction& txn) -> absl::Status {
    for (const char* id : {"b", "a"}) {
      v1::Model model = MakeModel(id);
      if (absl::Status status = txn.Put(&model); !status.ok()) return status;
    }
    return absl::OkStatus();
  }),
              IsOk());
  ASSERT_THAT(store_->Write([](Transaction& txn) { return txn.Delete<v1::Model>("models/a"); }), IsOk());
  const std::vector<v1::Event> events = Log(0);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].revision(), 1);
  EXPECT_EQ(events[1].revision(), 1);
  EXPECT_EQ(events[1].model().etag(), "r1");
  EXPECT_EQ(events[2].revision(), 2);
  EXPECT_TRUE(events[2].deleted());
  EXPECT_EQ(events[2].name(), "models/a");
}

TEST_F(StoreTest, LogGoesOnExactlyAfterReopen) {
  Open();
  for (int i = 0; i < 5; ++i) ASSERT_THAT(Put(MakeModel("m" + std::to_string(i))), IsOk());
  const std::string id = store_->id();
  Open();
  EXPECT_EQ(store_->id(), id);
  EXPECT_EQ(store_->revision(), 5);
  ASSERT_THAT(Put(MakeModel("m5")), IsOk());
  const std::vector<v1::Event> events = Log(3);
  ASSERT_EQ(events.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(events[i].revision(), 4 + i);
}

TEST_F(StoreTest, ReadLogStopsAtTheByteBoundButBetweenRevisions) {
  Open();
  for (int i = 0; i < 10; ++i) ASSERT_THAT(Put(MakeModel("m" + std::to_string(i), std::string(200, 'x'))), IsOk());
  int64_t last = 0;
  int64_t since = 0;
  std::vector<int64_t> seen;
  while (since < 10) {
    const auto events = store_->ReadLog(since, 500, &last);
    ASSERT_THAT(events, IsOk());
    ASSERT_FALSE(events->empty());
    EXPECT_LT(events->size(), 4u);
    for (const v1::Event& event : *events) seen.push_back(event.revision());
    since = last;
  }
  EXPECT_THAT(seen, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(StoreTest, LogIsTrimmedAndAWatchBehindItIsRefused) {
  options_.watch_log_entries = 3;
  Open();
  for (int i = 0; i < 10; ++i) ASSERT_THAT(Put(MakeModel("m" + std::to_string(i))), IsOk());
  int64_t last = 0;
  EXPECT_THAT(store_->ReadLog(6, 1 << 20, &last), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("list")));
  EXPECT_EQ(Log(7).size(), 3u);
  EXPECT_THAT(store_->ReadLog(11, 1 << 20, &last), StatusIs(absl::StatusCode::kOutOfRange));
  Open();
  EXPECT_THAT(store_->ReadLog(6, 1 << 20, &last), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(Log(7).size(), 3u);
}

TEST_F(StoreTest, ListGivesPagesInOrderOfNames) {
  Open();
  for (int i = 0; i < 7; ++i) ASSERT_THAT(Put(MakeModel("m" + std::to_string(6 - i))), IsOk());
  std::vector<std::string> names;
  std::string after;
  do {
    const auto page = store_->List<v1::Model>("models/", after, 3);
    ASSERT_THAT(page, IsOk());
    EXPECT_EQ(page->revision, 7);
    for (const v1::Model& model : page->items) names.push_back(model.name());
    after = page->last_name;
  } while (!after.empty());
  EXPECT_EQ(names.size(), 7u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST_F(StoreTest, ConcurrentIncrementsAllCount) {
  Open();
  ASSERT_THAT(Put(MakeModel("m", "0")), IsOk());
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) {
          EXPECT_THAT(store_->Write([](Transaction& txn) -> absl::Status {
            absl::StatusOr<v1::Model> model = txn.Get<v1::Model>("models/m");
            model->set_display_name(std::to_string(std::stoi(model->display_name()) + 1));
            return txn.Put(&*model);
          }),
                      IsOk());
        }
      });
    }
  }
  EXPECT_EQ(store_->Get<v1::Model>("models/m")->display_name(), "40");
  EXPECT_EQ(store_->revision(), 41);
}

TEST_F(StoreTest, CommitListenerHearsEachRevisionInOrder) {
  Open();
  std::vector<int64_t> heard;
  store_->OnCommit([&](int64_t revision) { heard.push_back(revision); });
  for (int i = 0; i < 3; ++i) ASSERT_THAT(Put(MakeModel("m")), IsOk());
  EXPECT_THAT(Put(MakeModel("")), StatusIs(absl::StatusCode::kInvalidArgument));
  store_.reset();
  EXPECT_THAT(heard, testing::ElementsAre(1, 2, 3));
}

TEST_F(StoreTest, FullQueueRefusesAtOnceWithATimeToComeBack) {
  options_.max_queued_writes = 2;
  Open();
  base::Mutex mu;
  mu.Lock();  // holds the committing thread inside the first mutation
  std::atomic<int> refused{0};
  std::atomic<int> done{0};
  const auto report = [&](absl::Status status) {
    ++done;
    if (status.ok()) return;
    EXPECT_EQ(base::ErrorReason(status), "QUEUE_FULL");
    EXPECT_GT(base::RetryAfter(status), absl::ZeroDuration());
    ++refused;
  };
  for (int i = 0; i < 8; ++i) {
    store_->WriteAsync(
        [&](Transaction&) {
          base::MutexLock lock(&mu);
          return absl::OkStatus();
        },
        report);
  }
  EXPECT_GE(refused.load(), 5);
  mu.Unlock();
  store_.reset();  // finishes those that were queued
  EXPECT_EQ(done.load(), 8);
}

TEST_F(StoreTest, SecondOpenerIsToldThatTheDatabaseIsInUse) {
  Open();
  EXPECT_THAT(Store::Open(options_), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--data-dir")));
}

TEST_F(StoreTest, FileInPlaceOfTheFolderIsAClearError) {
  ASSERT_THAT(base::WriteFileDurably(path_ + "/file", "not a folder"), IsOk());
  options_.path = path_ + "/file";
  const auto store = Store::Open(options_);
  EXPECT_FALSE(store.ok());
  EXPECT_THAT(store.status().message(), HasSubstr(options_.path));
}

TEST_F(StoreTest, NewerSchemaIsRefusedAndLeftAlone) {
  Open();
  ASSERT_THAT(Put(MakeModel("m")), IsOk());
  store_.reset();
  const auto set_version = [&](uint32_t version) {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), path_, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::DBOptions(), path_, families, &handles, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    storage::v1::Schema schema;
    schema.set_version(version);
    rocksdb::WriteOptions write;
    write.sync = true;
    for (rocksdb::ColumnFamilyHandle* handle : handles) {
      if (handle->GetName() != "meta") continue;
      ASSERT_TRUE(db->Put(write, handle, kSchemaKey, schema.SerializeAsString()).ok());
    }
    for (rocksdb::ColumnFamilyHandle* handle : handles) ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  };
  set_version(2);
  const auto store = Store::Open(options_);
  EXPECT_THAT(store, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("schema version 2")));
  EXPECT_THAT(store.status().message(), HasSubstr("knows 1"));
  set_version(1);
  Open();
  EXPECT_THAT(store_->Get<v1::Model>("models/m"), IsOk());
}

TEST(KeysTest, RevisionsSortAsNumbers) {
  EXPECT_LT(EncodeRevision(255), EncodeRevision(256));
  EXPECT_LT(EncodeRevision(1), EncodeRevision(int64_t{1} << 40));
  EXPECT_EQ(DecodeRevision(EncodeRevision(123456789012345)), 123456789012345);
  EXPECT_EQ(DecodeRevision("short"), std::nullopt);
  EXPECT_EQ(DecodeRevision(std::string(8, '\xff')), std::nullopt);
}

// The writer of the kill test: writes model "k{n}" together with its index, and says on `fd` what was acknowledged.
[[noreturn]] void WriteUntilKilled(const std::string& path, int fd) {
  Store::Options options;
  options.path = path;
  auto store = Store::Open(options);
  if (!store.ok()) _exit(3);
  for (;;) {
    const int64_t n = (*store)->revision() + 1;
    const absl::Status status = (*store)->Write([n](Transaction& txn) -> absl::Status {
      v1::Model model = MakeModel("k" + std::to_string(n), std::string(100, 'x'));
      if (absl::Status s = txn.Put(&model); !s.ok()) return s;
      v1::Model index = MakeModel("index", std::to_string(n));
      return txn.Put(&index);
    });
    if (!status.ok()) _exit(4);
    if (write(fd, &n, sizeof(n)) != sizeof(n)) _exit(5);
  }
}

TEST_F(StoreTest, KilledWriterLosesNoAcknowledgedWriteAndTearsNone) {
  int64_t acknowledged = 0;
  for (int round = 0; round < 6; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(pipe(pipe_fds), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(pipe_fds[0]);
      // A fresh image: RocksDB and its threads do not survive a fork.
      const std::string fd = std::to_string(pipe_fds[1]);
      execl("/proc/self/exe", "store_test", "--linnet_kill_writer", path_.c_str(), fd.c_str(), nullptr);
      _exit(6);
    }
    close(pipe_fds[1]);
    // Another number of writes each time, so that the kill meets another moment.
    for (int i = 0; i < 5 + 7 * round; ++i) {
      int64_t n = 0;
      ASSERT_EQ(read(pipe_fds[0], &n, sizeof(n)), static_cast<ssize_t>(sizeof(n)));
      EXPECT_EQ(n, acknowledged + 1);
      acknowledged = n;
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    int64_t n = 0;  // acknowledged between the last read and the kill
    while (read(pipe_fds[0], &n, sizeof(n)) == sizeof(n)) acknowledged = n;
    close(pipe_fds[0]);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);

    Open();
    const int64_t revision = store_->revision();
    EXPECT_GE(revision, acknowledged);
    EXPECT_LE(revision, acknowledged + 1);  // one may have been committed without its answer
    for (int64_t k = 1; k <= revision; ++k) {
      ASSERT_THAT(store_->Get<v1::Model>("models/k" + std::to_string(k)), IsOk()) << k;
    }
    EXPECT_EQ(store_->Get<v1::Model>("models/index")->display_name(), std::to_string(revision));
    const std::vector<v1::Event> events = Log(0);
    ASSERT_EQ(events.size(), static_cast<size_t>(2 * revision));
    for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].revision(), static_cast<int64_t>(i / 2 + 1));
    acknowledged = revision;
    store_.reset();
  }
}

}  // namespace

void RunKillWriter(const char* path, int fd) { WriteUntilKilled(path, fd); }

}  // namespace linnet::registry

// This binary is also the kill test's writer.
int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--linnet_kill_writer") {
    linnet::registry::RunKillWriter(argv[2], std::stoi(argv[3]));
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
