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
