#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "base/testing.h"

namespace linnet::base {
namespace {

using ::testing::HasSubstr;

size_t FilesIn(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

TEST(ErrnoStatus, MapsToCodesAndReasons) {
  struct Case {
    int error;
    absl::StatusCode code;
    const char* reason;
  };
  for (const Case& c : {Case{ENOSPC, absl::StatusCode::kResourceExhausted, "OUT_OF_DISK"},
                        Case{EDQUOT, absl::StatusCode::kResourceExhausted, "OUT_OF_DISK"},
                        Case{EMFILE, absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED"},
                        Case{ENOENT, absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND"},
                        Case{EEXIST, absl::StatusCode::kAlreadyExists, "RESOURCE_EXISTS"},
                        Case{EACCES, absl::StatusCode::kPermissionDenied, "ACCESS_DENIED"},
                        Case{EROFS, absl::StatusCode::kPermissionDenied, "ACCESS_DENIED"},
                        Case{EISDIR, absl::StatusCode::kInvalidArgument, "INVALID_FIELD"},
                        Case{EBUSY, absl::StatusCode::kUnavailable, "SERVICE_UNAVAILABLE"},
                        Case{EIO, absl::StatusCode::kDataLoss, "BLOB_CORRUPT"},
                        Case{EBADF, absl::StatusCode::kInternal, "INTERNAL_ERROR"}}) {
    const absl::Status status = ErrnoStatus(c.error, "write to", "/data/x");
    EXPECT_EQ(status.code(), c.code) << c.error;
    EXPECT_EQ(ErrorReason(status), c.reason) << c.error;
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write to /data/x: ")) << c.error;
    EXPECT_EQ(ErrorMetadata(status, "path"), "/data/x") << c.error;
  }
}

TEST(ErrnoStatus, FullDiskTellsWhatIsFree) {
  EXPECT_NE(ErrorMetadata(ErrnoStatus(ENOSPC, "write to", "/tmp/not-there"), "free_bytes"), "");
}

TEST(ReadFile, WholeContentAlsoOfProcFiles) {
  FileTree tree;
  const std::string content = std::string(700'000, 'x') + std::string("\0y", 2);
  EXPECT_EQ(*ReadFile(tree.Write("a", content)), content);
  EXPECT_EQ(*ReadFile(tree.Write("empty", "")), "");
  EXPECT_THAT(*ReadFile("/proc/self/status"), HasSubstr("VmRSS"));  // st_size is 0
}

TEST(ReadFile, RefusesWhatIsTooLargeMissingOrAFolder) {
  FileTree tree;
  const std::string path = tree.Write("a", "12345");
  EXPECT_TRUE(ReadFile(path, 5).ok());
  const absl::Status large = ReadFile(path, 4).status();
  EXPECT_EQ(large.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(large.message()), HasSubstr(path));
  EXPECT_EQ(ReadFile("/dev/zero", 1000).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile(tree.Path("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadFile(tree.root()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WriteFileDurably, ReplacesAndLeavesNoTemporaryFile) {
  FileTree tree;
  const std::string path = tree.Path("state");
  ASSERT_TRUE(WriteFileDurably(path, "one").ok());
  ASSERT_TRUE(WriteFileDurably(path, "two").ok());
  EXPECT_EQ(*ReadFile(path), "two");
  EXPECT_EQ(FilesIn(tree.root()), 1u);
}

TEST(WriteFileDurably, BareNameIsInTheWorkingFolder) {
  FileTree tree;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(tree.root());
  const absl::Status status = WriteFileDurably("bare", "x");
  std::filesystem::current_path(before);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(tree.Path("bare")), "x");
}

TEST(WriteFileDurably, MissingFolderIsNotFound) {
  FileTree tree;
  EXPECT_EQ(WriteFileDurably(tree.Path("no/such"), "x").code(), absl::StatusCode::kNotFound);
}

TEST(WriteFileDurably, FailureKeepsTheOldContent) {
  FileTree tree;
  const std::string path = tree.Write("state", "old");
  // A limit on file sizes stands for a disk that fills up midway.
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const rlimit small = {4096, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileDurably(path, std::string(100'000, 'n'));
  setrlimit(RLIMIT_FSIZE, &old_limit);
  signal(SIGXFSZ, old_handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(FilesIn(tree.root()), 1u);
}

TEST(WriteAll, FullDeviceIsOutOfDisk) {
  const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const absl::Status status = WriteAll(fd, "some bytes", "/dev/full");
  close(fd);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(status), "OUT_OF_DISK");
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/full"));
}

TEST(MakeDirs, MakesAllAndAcceptsWhatIsThere) {
  FileTree tree;
  EXPECT_TRUE(MakeDirs(tree.Path("a/b/c")).ok());
  EXPECT_TRUE(MakeDirs(tree.Path("a/b/c")).ok());
  EXPECT_TRUE(std::filesystem::is_directory(tree.Path("a/b/c")));
  tree.Write("file", "x");
  EXPECT_EQ(MakeDirs(tree.Path("file/below")).code(), absl::StatusCode::kInvalidArgument);
}

TEST(SyncDir, OnlyOfFolders) {
  FileTree tree;
  EXPECT_TRUE(SyncDir(tree.root()).ok());
  EXPECT_EQ(SyncDir(tree.Path("none")).code(), absl::StatusCode::kNotFound);
}

TEST(MappedFile, ShowsTheBytesAlsoAfterTheyWereReleased) {
  FileTree tree;
  std::string content(100'000, 'a');
  content[50'000] = 'b';
  auto file = MappedFile::Open(tree.Write("blob", content));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::span<const std::byte> bytes = (*file)->bytes();
  ASSERT_EQ(bytes.size(), content.size());
  EXPECT_EQ(static_cast<char>(bytes[50'000]), 'b');
  (*file)->WillNeed(bytes.subspan(1, 60'000));
  (*file)->Release(bytes.subspan(7, 90'000));
  (*file)->Release({});
  EXPECT_EQ(static_cast<char>(bytes[50'000]), 'b');
  EXPECT_EQ((*file)->path(), tree.Path("blob"));
}

TEST(MappedFile, EmptyFileHasNoBytes) {
  FileTree tree;
  auto file = MappedFile::Open(tree.Write("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, RefusesFoldersAndMissingFiles) {
  FileTree tree;
  EXPECT_EQ(MappedFile::Open(tree.root()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open("/dev/null").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(tree.Path("none")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace linnet::base
