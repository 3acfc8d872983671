#include "registry/blobs/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "absl/status/status_matchers.h"
#include "base/error.h"
#include "base/file.h"

namespace linnet::registry {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// Bytes that repeat nowhere near.
std::string Bytes(size_t size, uint32_t seed = 1) {
  std::string data(size, '\0');
  for (char& c : data) {
    seed = seed * 1664525 + 1013904223;
    c = static_cast<char>(seed >> 24);
  }
  return data;
}

class FaultyOps : public FileOps {
 public:
  ssize_t Write(int fd, const void* data, size_t size) override {
    if (space == 0) {
      errno = ENOSPC;
      return -1;
    }
    const size_t n = std::min({size, max_write, space});
    space -= n;
    return FileOps::Write(fd, data, n);
  }
  int Sync(int fd) override {
    if (fail_sync) {
      errno = EIO;
      return -1;
    }
    return FileOps::Sync(fd);
  }
  unsigned long long FreeBytes(const char*) override { return free; }

  size_t max_write = SIZE_MAX;
  size_t space = SIZE_MAX;
  bool fail_sync = false;
  unsigned long long free = 1ull << 40;
};

class BlobStoreTest : public testing::Test {
 protected:
  BlobStoreTest() {
    std::string pattern = testing::TempDir() + "/blob_store_test_XXXXXX";
    path_ = mkdtemp(pattern.data());
    options_.path = path_;
    options_.ops = &ops_;
    options_.sync_bytes = 1000;
    Open();
  }
  ~BlobStoreTest() override { fs::remove_all(path_); }

  void Open() {
    store_.reset();
    auto store = BlobStore::Open(options_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  absl::Status UploadAll(const std::string& data, const std::string& digest, size_t chunk = 700) {
    auto upload = store_->StartUpload(digest, data.size(), 0);
    if (!upload.ok()) return upload.status();
    for (size_t at = 0; at < data.size(); at += chunk) {
      if (absl::Status status = (*upload)->Append(std::string_view(data).substr(at, chunk)); !status.ok())
        return status;
    }
    return (*upload)->Finish();
  }
  std::string FileOf(const std::string& digest) { return path_ + "/" + digest.substr(7); }
  std::string PartOf(const std::string& digest) { return path_ + "/uploads/" + digest.substr(7) + ".part"; }

  std::string path_;
  FaultyOps ops_;
  BlobStore::Options options_;
  std::unique_ptr<BlobStore> store_;
};

TEST_F(BlobStoreTest, UploadedBlobIsOneFileWithItsBytes) {
  const std::string data = Bytes(5000);
  const std::string digest = base::Sha256Of(data);
  EXPECT_FALSE(store_->Status(digest)->complete);
  ASSERT_THAT(UploadAll(data, digest), IsOk());
  const BlobState state = *store_->Status(digest);
  EXPECT_TRUE(state.complete);
  EXPECT_EQ(state.size_bytes, 5000u);
  EXPECT_EQ(*base::ReadFile(*store_->PathOf(digest)), data);
  EXPECT_TRUE(fs::is_empty(path_ + "/uploads"));
  EXPECT_THAT(store_->Verify(digest), IsOk());
  EXPECT_THAT(store_->StartUpload(digest, data.size(), 0), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(BlobStoreTest, EmptyBlobIsABlob) {
  ASSERT_THAT(UploadAll("", base::Sha256Of("")), IsOk());
  EXPECT_TRUE(store_->Status(base::Sha256Of(""))->complete);
  EXPECT_THAT(store_->Verify(base::Sha256Of("")), IsOk());
}

TEST_F(BlobStoreTest, ShortWritesOfTheSystemLoseNothing) {
  ops_.max_write = 13;
  const std::string data = Bytes(3000);
  ASSERT_THAT(UploadAll(data, base::Sha256Of(data)), IsOk());
  EXPECT_EQ(*base::ReadFile(FileOf(base::Sha256Of(data))), data);
}

TEST_F(BlobStoreTest, BytesThatHashToSomethingElseAreDropped) {
  const std::string digest = base::Sha256Of(Bytes(2000, 1));
  const absl::Status status = UploadAll(Bytes(2000, 2), digest);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(digest)));
  EXPECT_EQ(base::ErrorReason(status), "BLOB_CORRUPT");
  EXPECT_EQ(store_->Status(digest)->received_bytes, 0u);
  EXPECT_TRUE(fs::is_empty(path_ + "/uploads"));
  ASSERT_THAT(UploadAll(Bytes(2000, 1), digest), IsOk());
}

TEST_F(BlobStoreTest, AbandonedUploadResumesWhereItEnded) {
  const std::string data = Bytes(4000);
  const std::string digest = base::Sha256Of(data);
  {
    auto upload = store_->StartUpload(digest, data.size(), 0);
    ASSERT_THAT((*upload)->Append(data.substr(0, 1500)), IsOk());
  }
  Open();
  EXPECT_EQ(store_->Status(digest)->received_bytes, 1500u);
  const absl::Status wrong = store_->StartUpload(digest, data.size(), 1400).status();
  EXPECT_THAT(wrong, StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(base::ErrorReason(wrong), "UPLOAD_OFFSET_MISMATCH");
  EXPECT_EQ(base::ErrorMetadata(wrong, "expected_offset"), "1500");
  auto upload = store_->StartUpload(digest, data.size(), 1500);
  ASSERT_THAT(upload, IsOk());
  ASSERT_THAT((*upload)->Append(data.substr(1500)), IsOk());
  ASSERT_THAT((*upload)->Finish(), IsOk());
  EXPECT_EQ(*base::ReadFile(FileOf(digest)), data);
}

TEST_F(BlobStoreTest, KilledUploaderLeavesADurablePrefix) {
  const std::string data = Bytes(10'000);
  const std::string digest = base::Sha256Of(data);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto upload = store_->StartUpload(digest, data.size(), 0);
    for (size_t at = 0; at < 6500; at += 500) {
      if (!(*upload)->Append(std::string_view(data).substr(at, 500)).ok()) _exit(1);
    }
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  // What a power cut may do to bytes behind the last sync.
  std::ofstream(PartOf(digest), std::ios::app) << "garbage";
  Open();
  const uint64_t received = store_->Status(digest)->received_bytes;
  EXPECT_GE(received, 6000u - 500u);
  EXPECT_LE(received, 6500u);
  auto upload = store_->StartUpload(digest, data.size(), received);
  ASSERT_THAT(upload, IsOk());
  ASSERT_THAT((*upload)->Append(data.substr(received)), IsOk());
  EXPECT_THAT((*upload)->Finish(), IsOk());
}

TEST_F(BlobStoreTest, PartialBytesThatRottedAreFoundAtTheEnd) {
  const std::string data = Bytes(4000);
  const std::string digest = base::Sha256Of(data);
  {
    auto upload = store_->StartUpload(digest, data.size(), 0);
    ASSERT_THAT((*upload)->Append(data.substr(0, 2000)), IsOk());
  }
  std::fstream(PartOf(digest), std::ios::in | std::ios::out).write("X", 1);
  Open();
  auto upload = store_->StartUpload(digest, data.size(), 2000);
  ASSERT_THAT((*upload)->Append(data.substr(2000)), IsOk());
  EXPECT_THAT((*upload)->Finish(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(BlobStoreTest, FullDiskIsSaidAndTheUploadGoesOnLater) {
  const std::string data = Bytes(4000);
  const std::string digest = base::Sha256Of(data);
  ops_.space = 2500;
  const absl::Status status = UploadAll(data, digest, 500);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(base::ErrorReason(status), "OUT_OF_DISK");
  ops_.space = SIZE_MAX;
  Open();
  const uint64_t received = store_->Status(digest)->received_bytes;
  EXPECT_EQ(received, 2500u);
  auto upload = store_->StartUpload(digest, data.size(), received);
  ASSERT_THAT((*upload)->Append(data.substr(received)), IsOk());
  EXPECT_THAT((*upload)->Finish(), IsOk());
}

TEST_F(BlobStoreTest, BlobThatCannotFitIsRefusedBeforeTheFirstByte) {
  ops_.free = options_.reserve_bytes + 999;
  const absl::Status status = store_->StartUpload(base::Sha256Of("x"), 1000, 0).status();
  EXPECT_EQ(base::ErrorReason(status), "OUT_OF_DISK");
  EXPECT_EQ(base::ErrorMetadata(status, "free_bytes"), std::to_string(ops_.free));
  EXPECT_THAT(store_->StartUpload(base::Sha256Of("x"), 999, 0), IsOk());
}

TEST_F(BlobStoreTest, FailedSyncIsNotAcknowledged) {
  const std::string data = Bytes(500);
  ops_.fail_sync = true;
  EXPECT_FALSE(UploadAll(data, base::Sha256Of(data)).ok());
  ops_.fail_sync = false;
  EXPECT_FALSE(store_->Status(base::Sha256Of(data))->complete);
  EXPECT_EQ(store_->Status(base::Sha256Of(data))->received_bytes, 0u);
  EXPECT_THAT(UploadAll(data, base::Sha256Of(data)), IsOk());
}

TEST_F(BlobStoreTest, RottenBlobIsFoundByReadingAndCanBeUploadedAgain) {
  const std::string data = Bytes(5000);
  const std::string digest = base::Sha256Of(data);
  ASSERT_THAT(UploadAll(data, digest), IsOk());
  std::fstream(FileOf(digest), std::ios::in | std::ios::out).write("X", 1);
  auto reader = store_->OpenReader(digest, 0);
  ASSERT_THAT(reader, IsOk());
  std::string chunk;
  absl::Status status;
  int reads = 0;
  do {
    status = (*reader)->Read(1000, &chunk);
    ++reads;
  } while (status.ok() && !chunk.empty());
  EXPECT_EQ(reads, 5);  // found with the last bytes
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(digest)));
  EXPECT_FALSE(store_->Status(digest)->complete);
  EXPECT_TRUE(fs::exists(FileOf(digest) + ".corrupt"));
  ASSERT_THAT(UploadAll(data, digest), IsOk());
  EXPECT_THAT(store_->Verify(digest), IsOk());
}

TEST_F(BlobStoreTest, TruncatedBlobIsCorrupt) {
  const std::string data = Bytes(5000);
  const std::string digest = base::Sha256Of(data);
  ASSERT_THAT(UploadAll(data, digest), IsOk());
  fs::resize_file(FileOf(digest), 4999);
  EXPECT_EQ(base::ErrorReason(store_->Verify(digest)), "BLOB_CORRUPT");
}

TEST_F(BlobStoreTest, ReaderBeginsAtAnOffset) {
  const std::string data = Bytes(5000);
  ASSERT_THAT(UploadAll(data, base::Sha256Of(data)), IsOk());
  auto reader = store_->OpenReader(base::Sha256Of(data), 4990);
  std::string chunk;
  ASSERT_THAT((*reader)->Read(1000, &chunk), IsOk());
  EXPECT_EQ(chunk, data.substr(4990));
  ASSERT_THAT((*reader)->Read(1000, &chunk), IsOk());
  EXPECT_TRUE(chunk.empty());
  EXPECT_THAT(store_->OpenReader(base::Sha256Of(data), 5001), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->OpenReader(base::Sha256Of("none"), 0), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BlobStoreTest, UploadsAreBoundedInNumberAndSize) {
  options_.max_uploads = 2;
  options_.max_blob_bytes = 10'000;
  Open();
  EXPECT_THAT(store_->StartUpload(base::Sha256Of("a"), 10'001, 0), StatusIs(absl::StatusCode::kInvalidArgument));
  auto first = store_->StartUpload(base::Sha256Of("a"), 100, 0);
  auto second = store_->StartUpload(base::Sha256Of("b"), 100, 0);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(base::ErrorReason(store_->StartUpload(base::Sha256Of("c"), 100, 0).status()), "QUEUE_FULL");
  EXPECT_EQ(store_->active_uploads(), 2u);
  EXPECT_THAT((*first)->Append(std::string(101, 'x')), StatusIs(absl::StatusCode::kInvalidArgument));
  first->reset();
  EXPECT_THAT(store_->StartUpload(base::Sha256Of("b"), 100, 0), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(store_->StartUpload(base::Sha256Of("c"), 100, 0), IsOk());
}

TEST_F(BlobStoreTest, UnfinishedUploadsAreBoundedOnTheDisk) {
  options_.max_partial_files = 3;
  Open();
  for (int i = 0; i < 3; ++i) {
    auto upload = store_->StartUpload(base::Sha256Of(std::to_string(i)), 100, 0);
    ASSERT_THAT((*upload)->Append("x"), IsOk());
  }
  EXPECT_EQ(base::ErrorReason(store_->StartUpload(base::Sha256Of("more"), 100, 0).status()), "LIMIT_EXCEEDED");
  EXPECT_THAT(store_->StartUpload(base::Sha256Of("1"), 100, 1), IsOk());
}

TEST_F(BlobStoreTest, OldLeftoversGoAndTheRestStays) {
  const std::string kept = Bytes(100, 1), unreferenced = Bytes(100, 2), young = Bytes(100, 3);
  for (const std::string& data : {kept, unreferenced, young})
    ASSERT_THAT(UploadAll(data, base::Sha256Of(data)), IsOk());
  for (const char* id : {"old", "new"}) {
    auto upload = store_->StartUpload(base::Sha256Of(id), 100, 0);
    ASSERT_THAT((*upload)->Append("x"), IsOk());
  }
  const auto long_ago = fs::file_time_type::clock::now() - std::chrono::hours(24 * 8);
  for (const std::string& file :
       {FileOf(base::Sha256Of(kept)), FileOf(base::Sha256Of(unreferenced)), PartOf(base::Sha256Of("old"))}) {
    fs::last_write_time(file, long_ago);
  }
  Open();
  EXPECT_FALSE(fs::exists(PartOf(base::Sha256Of("old"))));
  EXPECT_EQ(store_->Status(base::Sha256Of("new"))->received_bytes, 1u);
  EXPECT_THAT(store_->RemoveUnreferenced({base::Sha256Of(kept)}), absl_testing::IsOkAndHolds(1));
  EXPECT_TRUE(store_->Status(base::Sha256Of(kept))->complete);
  EXPECT_TRUE(store_->Status(base::Sha256Of(young))->complete);
  EXPECT_FALSE(store_->Status(base::Sha256Of(unreferenced))->complete);
}

TEST_F(BlobStoreTest, MalformedDigestNeverReachesTheFileSystem) {
  for (const char* bad : {"", "sha256:", "sha256:../../etc/passwd", "md5:00", "SHA256:00"}) {
    EXPECT_THAT(store_->Status(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
    EXPECT_THAT(store_->StartUpload(bad, 1, 0), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
    EXPECT_THAT(store_->OpenReader(bad, 0), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

}  // namespace
}  // namespace linnet::registry
