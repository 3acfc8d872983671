#include "worker/model/packed_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/crc/crc32c.h"
#include "absl/log/log_sink.h"
#include "absl/log/log_sink_registry.h"
#include "base/file.h"
#include "base/strings.h"
#include "base/testing.h"
#include "kernels/packed_tiles.h"
#include "worker/model/model.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

constexpr auto kNever = [] { return false; };

std::string Key(char digit) { return "sha256:" + std::string(64, digit); }

// Counts lines of the log that have a text in them.
class LogLines : public absl::LogSink {
 public:
  explicit LogLines(std::string text) : text_(std::move(text)) { absl::AddLogSink(this); }
  ~LogLines() override { absl::RemoveLogSink(this); }
  void Send(const absl::LogEntry& entry) override {
    if (base::ToStd(entry.text_message()).find(text_) != std::string_view::npos) ++count_;
  }
  int count() const { return count_; }

 private:
  const std::string text_;
  int count_ = 0;
};

// Files may not grow beyond so many bytes: what a full disk looks like to a writer half-way.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  void (*handler_)(int);
};

// A folder, a model file, and images of random bytes that pretend to be packed from it.
class PackedCacheTest : public ::testing::Test {
 protected:
  PackedCacheTest() {
    rest_ = {.file_bytes = source_.size(), .ranges = {{0, 100}, {300, 50}}};
    rest_.crc32c = static_cast<uint32_t>(absl::ComputeCrc32c(source_.substr(0, 100) + source_.substr(300, 50)));
  }

  std::unique_ptr<PackedCache> Open(uint64_t max_bytes = PackedCache::kDefaultMaxBytes) {
    return PackedCache::Open({.dir = dir(), .max_bytes = max_bytes, .free_bytes = free_bytes_});
  }
  std::string dir() const { return files_.Path("packed"); }
  std::string PathOf(char key) const { return base::StrCat(dir(), "/", PackedCache::FileName(Key(key))); }
  std::string source_path() const { return files_.Path("model.gguf"); }

  // Some chunks, the last one not whole.
  static PackedTable Table() {
    PackedTable table;
    table.Add("blk.0.attn_q.weight", kernels::DType::kQ8_0, 2048, 1024, kernels::Precision::kFast);
    table.Add("blk.0.attn_k.weight", kernels::DType::kQ4_K, 17, 256, kernels::Precision::kFast);
    table.Add("blk.0.ffn_norm.weight", kernels::DType::kF32, 17, 256, kernels::Precision::kFast);
    table.Add("output.weight", kernels::DType::kQ4_1, 2048, 2048, kernels::Precision::kFast);
    return table;
  }
  static PackedImage Image(uint32_t seed) {
    PackedImage image{.table = Table()};
    image.memory = *kernels::AlignedBuffer::Create(image.table.bytes);
    std::mt19937 random(seed);
    for (int64_t at = 0; at < image.table.bytes; at += 4) {
      const uint32_t value = static_cast<uint32_t>(random());
      std::memcpy(image.memory.data() + at, &value, 4);
    }
    return image;
  }
  uint64_t FileBytes() const { return PackedFile::FileBytes(Table(), rest_); }

  FileHandle Save(PackedCache& cache, char key) { return cache.Save(Key(key), Image(key), rest_, kNever); }
  void SaveAged(PackedCache& cache, char key, int hours) {
    ASSERT_GE(Save(cache, key).fd(), 0);
    fs::last_write_time(PathOf(key), fs::file_time_type::clock::now() - std::chrono::hours(hours));
  }
  // Found, read and as saved.
  bool Holds(PackedCache& cache, char key) {
    const std::unique_ptr<PackedFile> file = cache.Find(Key(key), source_path());
    if (file == nullptr) return false;
    const auto memory = file->Read(Table(), pool_, nullptr);
    return memory.ok() && std::memcmp(memory->data(), Image(key).memory.data(), Table().bytes) == 0;
  }
  void Change(const std::string& path, uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 0x20);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    ASSERT_TRUE(file.good()) << path << " at " << at;
  }
  size_t Files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir()), fs::directory_iterator()));
  }

  base::FileTree files_;
  const std::string source_ = std::string(200, 'h') + std::string(200, 't');
  const std::string written_ = files_.Write("model.gguf", source_);
  SourceRest rest_;
  std::function<uint64_t()> free_bytes_;
  kernels::ThreadPool pool_{2};
};

TEST_F(PackedCacheTest, WhatWasSavedIsFoundByTheNextProcess) {
  {
    const auto cache = Open();
    EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr);
    EXPECT_GE(Save(*cache, 'a').fd(), 0);
    EXPECT_TRUE(Holds(*cache, 'a'));
  }
  const auto cache = Open();
  EXPECT_TRUE(Holds(*cache, 'a'));
  EXPECT_EQ(cache->Find(Key('b'), source_path()), nullptr);
  EXPECT_EQ(Files(), 1u) << "nothing but the file";
  EXPECT_EQ(cache->stats().bytes, fs::file_size(PathOf('a')));
  EXPECT_LE(cache->stats().bytes, FileBytes());
}

TEST_F(PackedCacheTest, ProgressReachesTheWhole) {
  const auto cache = Open();
  Save(*cache, 'a');
  int64_t last = 0;
  ASSERT_TRUE(cache->Find(Key('a'), source_path())->Read(Table(), pool_, [&](int64_t done) { last = done; }).ok());
  EXPECT_EQ(last, Table().bytes);
}

TEST_F(PackedCacheTest, DamageAnywhereIsFoundOut) {
  const auto cache = Open();
  Save(*cache, 'a');
  const uint64_t size = fs::file_size(PathOf('a')), image = size - static_cast<uint64_t>(Table().bytes);
  for (const uint64_t at : {uint64_t{0}, uint64_t{8}, uint64_t{12}, uint64_t{16}, uint64_t{40}, uint64_t{100}, image,
                            image + PackedFile::kChunkBytes - 1, image + PackedFile::kChunkBytes, size - 1}) {
    if (!fs::exists(PathOf('a'))) Save(*cache, 'a');
    Change(PathOf('a'), at);
    const std::unique_ptr<PackedFile> file = cache->Find(Key('a'), source_path());
    if (file == nullptr) {
      EXPECT_LT(at, image);
      EXPECT_FALSE(fs::exists(PathOf('a'))) << at;
      continue;
    }
    EXPECT_GE(at, image);
    const absl::Status status = file->Read(Table(), pool_, nullptr).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << at;
    cache->Discard(Key('a'), status);
    EXPECT_FALSE(fs::exists(PathOf('a')));
  }
  Save(*cache, 'a');
  EXPECT_TRUE(Holds(*cache, 'a'));
}

TEST_F(PackedCacheTest, FileOfAnotherLengthIsRemoved) {
  const auto cache = Open();
  Save(*cache, 'a');
  const uint64_t size = fs::file_size(PathOf('a'));
  for (const uint64_t length : {uint64_t{0}, uint64_t{10}, uint64_t{32}, uint64_t{60}, size / 2, size - 1, size + 1}) {
    if (!fs::exists(PathOf('a'))) Save(*cache, 'a');
    fs::resize_file(PathOf('a'), length);
    EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr) << length;
    EXPECT_FALSE(fs::exists(PathOf('a'))) << length;
  }
}

// Rewrites the header, with a right checksum.
void ChangeHeader(const std::string& path, const std::function<void(storage::v1::PackedWeights&)>& change) {
  std::string bytes = *base::ReadFile(path);
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, &bytes[12], 4);
  storage::v1::PackedWeights header;
  ASSERT_TRUE(header.ParseFromString(bytes.substr(32, header_bytes)));
  const uint64_t room = header.image_offset() - 32;
  change(header);
  const std::string changed = header.SerializeAsString();
  ASSERT_LE(changed.size(), room);
  bytes.replace(32, changed.size(), changed);
  const auto changed_bytes = static_cast<uint32_t>(changed.size());
  std::memcpy(&bytes[12], &changed_bytes, 4);
  const auto crc = static_cast<uint32_t>(absl::ComputeCrc32c(bytes.substr(0, 16) + changed));
  std::memcpy(&bytes[16], &crc, 4);
  std::ofstream(path, std::ios::binary) << bytes;
}

TEST_F(PackedCacheTest, HeaderOfAnotherVersionKeyOrSizeIsDamage) {
  const auto cache = Open();
  Save(*cache, 'a');
  ChangeHeader(PathOf('a'), [](auto&) {});
  EXPECT_TRUE(Holds(*cache, 'a')) << "the test itself writes a right header";
  const std::vector<std::function<void(storage::v1::PackedWeights&)>> changes = {
      [](auto& header) { header.set_packer_version(kernels::kPackerVersion + 1); },
      [](auto& header) { header.set_key(Key('b')); },
      [](auto& header) { header.set_image_bytes(header.image_bytes() - 4096); },
      [](auto& header) { header.set_image_offset(0); },
      [](auto& header) { header.set_image_offset(~uint64_t{4095}); },
      [](auto& header) { header.mutable_chunk_crc32c()->RemoveLast(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    if (!fs::exists(PathOf('a'))) Save(*cache, 'a');
    ChangeHeader(PathOf('a'), changes[i]);
    EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr) << i;
    EXPECT_FALSE(fs::exists(PathOf('a'))) << i;
  }
}

// As two versions do that share a folder.
TEST_F(PackedCacheTest, FilesOfAnotherVersionAreLeftAloneAndCount) {
  const std::string hex(64, 'a');
  const std::string newer = base::StrCat(dir(), "/", hex, ".1.", kernels::kPackerVersion + 1, ".packed");
  const std::string first = base::StrCat(dir(), "/", hex, ".packed");
  {
    const auto cache = Open();
    Save(*cache, 'a');
    fs::copy(PathOf('a'), first);
    fs::rename(PathOf('a'), newer);
    EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr);
    SaveAged(*cache, 'a', 1);
    EXPECT_TRUE(Holds(*cache, 'a'));
    EXPECT_TRUE(fs::exists(newer));
    EXPECT_TRUE(fs::exists(first));
    EXPECT_EQ(Files(), 3u);
  }
  const auto age = [&](const std::string& path, int hours) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  age(first, 4);
  age(newer, 3);
  EXPECT_EQ(Open()->stats().bytes, 3 * fs::file_size(newer));
  Open(2 * FileBytes());
  EXPECT_FALSE(fs::exists(first));
  EXPECT_TRUE(fs::exists(newer));
  const std::unique_ptr<PackedFile> in_use = Open()->Find(Key('a'), source_path());
  age(PathOf('a'), 5);
  Open(FileBytes());
  EXPECT_FALSE(fs::exists(newer));
  EXPECT_TRUE(fs::exists(PathOf('a')));
}

TEST_F(PackedCacheTest, ImageOfOtherTensorsIsRefused) {
  const auto cache = Open();
  Save(*cache, 'a');
  const auto file = cache->Find(Key('a'), source_path());
  EXPECT_TRUE(file->IsOf(Table()));
  PackedTable turned = Table(), shared = Table();
  std::swap(turned.tensors[0].rows, turned.tensors[0].cols);
  shared.tensors[0].type = kernels::kInt8;
  for (const PackedTable& other : {turned, shared}) {
    EXPECT_FALSE(file->IsOf(other));
    EXPECT_EQ(file->Read(other, pool_, nullptr).status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(PackedCacheTest, VouchesForTheModelFilesOtherBytesAndForNoMore) {
  const auto cache = Open();
  Save(*cache, 'a');
  Change(source_path(), 200);  // packed, so not read any more
  EXPECT_TRUE(Holds(*cache, 'a'));
  LogLines lines("not as it was");
  Change(source_path(), 320);
  EXPECT_FALSE(Holds(*cache, 'a'));
  EXPECT_EQ(lines.count(), 1);
  Change(source_path(), 320);
  Save(*cache, 'a');
  fs::resize_file(source_path(), source_.size() + 1);
  EXPECT_FALSE(Holds(*cache, 'a'));
}

TEST_F(PackedCacheTest, FullDiskLeavesNothingAndIsSaidOnce) {
  const auto cache = Open();
  LogLines lines("packed weights are not kept");
  {
    const FileSizeLimit limit(3 << 20);
    EXPECT_LT(Save(*cache, 'a').fd(), 0);
    EXPECT_LT(Save(*cache, 'b').fd(), 0);
  }
  EXPECT_EQ(lines.count(), 1);
  EXPECT_EQ(Files(), 0u);
  EXPECT_GE(Save(*cache, 'a').fd(), 0);
}

TEST_F(PackedCacheTest, DiskKeepsItsReserveAndNothingGoesInVain) {
  const auto cache = Open();
  SaveAged(*cache, 'a', 2);
  const uint64_t reserve = uint64_t{256} << 20;
  uint64_t free = reserve;  // so the older one must go
  free_bytes_ = [&] { return free; };
  const auto full = Open();
  EXPECT_GE(Save(*full, 'b').fd(), 0);
  EXPECT_FALSE(fs::exists(PathOf('a')));
  free = reserve - 2 * FileBytes();  // not even without the other one
  LogLines lines("the disk has left");
  EXPECT_LT(Save(*full, 'c').fd(), 0);
  EXPECT_EQ(lines.count(), 1);
  EXPECT_TRUE(Holds(*full, 'b'));
}

TEST_F(PackedCacheTest, WhatAnotherProcessAddedMakesRoomToo) {
  free_bytes_ = [] { return uint64_t{256} << 20; };  // the reserve, so another file must go
  const auto early = Open();
  free_bytes_ = nullptr;
  SaveAged(*Open(), 'a', 1);
  EXPECT_GE(Save(*early, 'b').fd(), 0);
  EXPECT_FALSE(fs::exists(PathOf('a')));
}

TEST_F(PackedCacheTest, FolderThatCannotBeWrittenIsSaidOnce) {
  files_.Write("packed", "a file in the way");
  LogLines cannot("packed weights cannot be kept"), not_kept("packed weights are not kept");
  const auto cache = Open();
  EXPECT_EQ(cannot.count(), 1);
  LogLines unusable("packed weights are not usable");
  EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr);
  EXPECT_EQ(unusable.count(), 0);
  EXPECT_LT(Save(*cache, 'a').fd(), 0);
  EXPECT_LT(Save(*cache, 'b').fd(), 0);
  EXPECT_EQ(not_kept.count(), 1);
  EXPECT_EQ(cache->Reclaim(1), 0u);
}

TEST_F(PackedCacheTest, LeastRecentlyUsedGoesFirst) {
  const auto cache = Open(3 * FileBytes());
  SaveAged(*cache, 'a', 4);
  SaveAged(*cache, 'b', 3);
  SaveAged(*cache, 'c', 2);
  EXPECT_TRUE(Holds(*cache, 'a'));  // used now
  Save(*cache, 'd');
  EXPECT_TRUE(fs::exists(PathOf('a')));
  EXPECT_FALSE(fs::exists(PathOf('b')));
  EXPECT_TRUE(fs::exists(PathOf('c')));
  EXPECT_TRUE(fs::exists(PathOf('d')));
  EXPECT_LE(cache->stats().bytes, 3 * FileBytes());
}

TEST_F(PackedCacheTest, WhatIsInUseStays) {
  const auto cache = Open(2 * FileBytes());
  SaveAged(*cache, 'a', 4);
  const FileHandle b = Save(*cache, 'b');
  {
    const auto other = Open(2 * FileBytes());  // as another process
    const std::unique_ptr<PackedFile> a = other->Find(Key('a'), source_path());
    ASSERT_NE(a, nullptr);
    EXPECT_LT(Save(*cache, 'c').fd(), 0);
    EXPECT_EQ(cache->Reclaim(1), 0u);
    EXPECT_TRUE(fs::exists(PathOf('a')));
    EXPECT_TRUE(fs::exists(PathOf('b')));
  }
  EXPECT_GE(Save(*cache, 'c').fd(), 0);
  EXPECT_FALSE(fs::exists(PathOf('a')));
  EXPECT_TRUE(fs::exists(PathOf('b')));
}

TEST_F(PackedCacheTest, ImageBeyondTheBoundIsNotKept) {
  const auto cache = Open(FileBytes() - 1);
  LogLines lines("packed_cache.max_bytes");
  EXPECT_LT(Save(*cache, 'a').fd(), 0);
  EXPECT_EQ(lines.count(), 1);
}

TEST_F(PackedCacheTest, LoweredBoundHoldsFromTheStart) {
  {
    const auto cache = Open();
    SaveAged(*cache, 'a', 2);
    SaveAged(*cache, 'b', 1);
  }
  const auto cache = Open(FileBytes());
  EXPECT_FALSE(fs::exists(PathOf('a')));
  EXPECT_TRUE(Holds(*cache, 'b'));
}

TEST_F(PackedCacheTest, RoomIsMadeForWhatMattersMore) {
  const auto cache = Open();
  SaveAged(*cache, 'a', 2);
  SaveAged(*cache, 'b', 1);
  EXPECT_EQ(cache->Reclaim(1), fs::file_size(PathOf('b')));
  EXPECT_FALSE(fs::exists(PathOf('a')));
  EXPECT_TRUE(fs::exists(PathOf('b')));
}

TEST_F(PackedCacheTest, InterruptedSaveLeavesNothingAndSaysNothing) {
  const auto cache = Open();
  LogLines lines("packed");
  int asked = 0;
  EXPECT_LT(cache->Save(Key('a'), Image('a'), rest_, [&] { return ++asked == 2; }).fd(), 0);
  EXPECT_EQ(Files(), 0u);
  EXPECT_EQ(lines.count(), 0);
}

TEST_F(PackedCacheTest, KilledWriterLeavesNothingThatStays) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int asked = 0;
    PackedCache::Open({.dir = dir()})->Save(Key('a'), Image('a'), rest_, [&] {
      if (++asked == 2) kill(getpid(), SIGKILL);
      return false;
    });
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(Files(), 1u);
  const auto cache = Open();
  EXPECT_EQ(Files(), 0u);
  EXPECT_EQ(cache->Find(Key('a'), source_path()), nullptr);
}

TEST_F(PackedCacheTest, UnfinishedFileOfALivingWriterStays) {
  const auto cache = Open();
  bool looked = false;
  const FileHandle handle = cache->Save(Key('a'), Image('a'), rest_, [&] {
    if (!std::exchange(looked, true)) Open();  // another process starts
    return false;
  });
  EXPECT_GE(handle.fd(), 0);
  EXPECT_TRUE(Holds(*cache, 'a'));
}

TEST_F(PackedCacheTest, ProcessesRaceOnOneFolder) {
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // No room for both keys: they evict each other's, unless it is in use. What is read is always whole.
      kernels::ThreadPool pool(1);
      const auto cache = Open(FileBytes() + 1000);
      const PackedImage images[] = {Image('a'), Image('b')};
      for (int round = 0; round < 30; ++round) {
        const int which = (round + i) % 2;
        const std::string key = Key(which == 0 ? 'a' : 'b');
        const auto file = cache->Find(key, source_path());
        if (file == nullptr) {
          cache->Save(key, images[which], rest_, kNever);
          continue;
        }
        const auto memory = file->Read(Table(), pool, nullptr);
        if (!memory.ok() || std::memcmp(memory->data(), images[which].memory.data(), Table().bytes) != 0) _exit(1);
        if (round % 7 == 6) cache->Discard(key, absl::DataLossError("as if"));
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  const auto cache = Open(FileBytes() + 1000);
  EXPECT_LE(Files(), 1u) << "nothing unfinished is left, and the bound holds";
}

TEST_F(PackedCacheTest, ModelWhoseFileGoesBeforeItCanBeKeptServesWithoutTheCache) {
  fs::copy("tests/golden/tiny/llama.gguf", source_path(), fs::copy_options::overwrite_existing);
  const auto cache = Open();
  LogLines lines("packed weights are not kept");
  const auto model = Model::Load(source_path(),
                                 {.progress = [&](uint64_t, uint64_t) { fs::remove(source_path()); },
                                  .packed_cache = cache.get(),
                                  .packed_key = Key('a')},
                                 &pool_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->packed_load(), PackedLoad::kMiss);
  EXPECT_EQ(lines.count(), 1);
  (*model)->SavePacked(kNever);
  EXPECT_EQ(Files(), 0u);
}

TEST_F(PackedCacheTest, KeyOfAFileChangesWithTheFile) {
  const std::string key = *PackedKeyOfFile(source_path());
  EXPECT_EQ(*PackedKeyOfFile(source_path()), key);
  std::string changed = source_;
  changed[0] = 'x';
  files_.Write("model.gguf", changed);
  EXPECT_NE(*PackedKeyOfFile(source_path()), key);
  EXPECT_THAT(std::string(PackedKeyOfFile(files_.Path("none")).status().message()), HasSubstr("none"));
}

}  // namespace
}  // namespace linnet::worker
