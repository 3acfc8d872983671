#include "worker/server/blob_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/testing.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;

TEST(BlobCacheTest, FolderThatCannotBeWrittenIsNamed) {
  base::FileTree files;
  files.Write("file", "in the way");
  const auto cache = BlobCache::Open(files.Path("file"), {});
  ASSERT_FALSE(cache.ok());
  EXPECT_THAT(std::string(cache.status().message()), HasSubstr(files.Path("file")));
}

TEST(BlobCacheTest, NameThatIsNoDigestNeverBecomesAPath) {
  base::FileTree files;
  auto cache = BlobCache::Open(files.root(), [](auto&&...) { return absl::OkStatus(); });
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->Get("sha256:../../etc/passwd", 1, {}, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(BlobCacheTest, FullDiskGivesUpBlobsThatAreNotPlannedAndThenSaysSo) {
  base::FileTree files;
  auto cache = BlobCache::Open(files.root(), [](auto&&...) { return absl::InternalError("must not be called"); });
  ASSERT_TRUE(cache.ok());
  files.Write("blobs/sha256-" + std::string(64, 'a'), "not planned");
  files.Write("blobs/sha256-" + std::string(64, 'b'), "planned");
  const auto got = cache->Get(base::Sha256Of("huge"), uint64_t{1} << 60, {"sha256:" + std::string(64, 'b')}, {});
  EXPECT_EQ(base::ErrorReason(got.status()), "OUT_OF_DISK");
  EXPECT_THAT(std::string(got.status().message()), HasSubstr("choose another cache_dir"));
  EXPECT_FALSE(std::filesystem::exists(cache->PathOf("sha256:" + std::string(64, 'a'))));
  EXPECT_TRUE(std::filesystem::exists(cache->PathOf("sha256:" + std::string(64, 'b'))));
}

TEST(BlobCacheTest, FullDiskFirstGivesUpWhatCanBeMadeAgain) {
  base::FileTree files;
  const std::string other = "sha256:" + std::string(64, 'a');
  uint64_t asked = 0;
  bool blob_was_there = false;
  auto cache = BlobCache::Open(
      files.root(), [](auto&&...) { return absl::InternalError("must not be called"); },
      [&](uint64_t bytes) {
        asked = bytes;
        blob_was_there = std::filesystem::exists(files.Path("blobs/sha256-" + other.substr(7)));
      });
  ASSERT_TRUE(cache.ok());
  files.Write("blobs/sha256-" + other.substr(7), "not planned");
  EXPECT_EQ(base::ErrorReason(cache->Get(base::Sha256Of("huge"), uint64_t{1} << 60, {}, {}).status()), "OUT_OF_DISK");
  EXPECT_GT(asked, uint64_t{1} << 59);
  EXPECT_TRUE(blob_was_there);
}

TEST(BlobCacheTest, CopyThatDoesNotHashToItsNameIsGone) {
  base::FileTree files;
  int fetches = 0;
  auto cache = BlobCache::Open(files.root(), [&](const std::string&, const std::string& path, std::stop_token) {
    ++fetches;
    return base::WriteFileDurably(path, "whole");
  });
  ASSERT_TRUE(cache.ok());
  const std::string digest = base::Sha256Of("whole");
  const std::string path = files.Write("blobs/sha256-" + digest.substr(7), "whale");
  EXPECT_EQ(*cache->Get(digest, 5, {}, {}), path) << "not hashed before somebody asks";
  EXPECT_EQ(base::ErrorReason(cache->Verify(digest)), "BLOB_CORRUPT");
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(*cache->Get(digest, 5, {}, {}), path);
  EXPECT_EQ(fetches, 1);
  EXPECT_TRUE(cache->Verify(digest).ok());
  EXPECT_TRUE(cache->Verify(digest).ok());
}

TEST(BlobCacheTest, StopReachesTheFetch) {
  base::FileTree files;
  std::stop_source stop;
  stop.request_stop();
  auto cache = BlobCache::Open(files.root(), [](const std::string&, const std::string&, std::stop_token token) {
    return token.stop_requested() ? absl::CancelledError("stopped") : absl::OkStatus();
  });
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->Get(base::Sha256Of("x"), 1, {}, stop.get_token()).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace linnet::worker
