#include "worker/gguf/gguf_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/log/check.h"
#include "base/file.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint32_t kVersion = 3;

// Value types of the specification.
constexpr uint32_t kU8 = 0, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;

template <typename T>
void AppendNumber(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(std::string_view text, std::string& out) {
  AppendNumber<uint64_t>(text.size(), out);
  out.append(text);
}

template <typename T>
std::string Encoded(uint32_t type, T value) {
  std::string out;
  AppendNumber(type, out);
  AppendNumber(value, out);
  return out;
}

std::string EncodedArray(uint32_t element_type, uint64_t count) {
  std::string out;
  AppendNumber(kArray, out);
  AppendNumber(element_type, out);
  AppendNumber(count, out);
  return out;
}

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string TemporaryName(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return base::StrCat(path, ".tmp.", getpid(), ".", counter.fetch_add(1));
}

}  // namespace

GgufMetadata GgufMetadata::CopyOf(const GgufFile& file) {
  GgufMetadata metadata;
  for (const GgufEntry& entry : file.entries()) {
    // What is written is aligned as the format's default says.
    if (entry.key == "general.alignment") continue;
    metadata.entries_.emplace_back(
        entry.key, std::string(reinterpret_cast<const char*>(entry.encoded.data()), entry.encoded.size()));
  }
  return metadata;
}

size_t GgufMetadata::Find(std::string_view key) const {
  size_t i = 0;
  while (i < entries_.size() && entries_[i].first != key) ++i;
  return i;
}

void GgufMetadata::SetEncoded(std::string_view key, std::string encoded) {
  const size_t at = Find(key);
  if (at == entries_.size()) entries_.emplace_back(key, "");
  entries_[at].second = std::move(encoded);
}

void GgufMetadata::SetString(std::string_view key, std::string_view value) {
  std::string encoded;
  AppendNumber(kString, encoded);
  AppendText(value, encoded);
  SetEncoded(key, std::move(encoded));
}
void GgufMetadata::SetU32(std::string_view key, uint32_t value) { SetEncoded(key, Encoded(kU32, value)); }
void GgufMetadata::SetU64(std::string_view key, uint64_t value) { SetEncoded(key, Encoded(kU64, value)); }
void GgufMetadata::SetF32(std::string_view key, float value) { SetEncoded(key, Encoded(kF32, value)); }
void GgufMetadata::SetBool(std::string_view key, bool value) {
  SetEncoded(key, Encoded(kBool, static_cast<uint8_t>(value)));
}

void GgufMetadata::SetStrings(std::string_view key, const std::vector<std::string>& values) {
  std::string encoded = EncodedArray(kString, values.size());
  for (const std::string& value : values) AppendText(value, encoded);
  SetEncoded(key, std::move(encoded));
}

void GgufMetadata::SetI32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string encoded = EncodedArray(kI32, values.size());
  for (const int32_t value : values) AppendNumber(value, encoded);
  SetEncoded(key, std::move(encoded));
}

void GgufMetadata::SetF32s(std::string_view key, const std::vector<float>& values) {
  std::string encoded = EncodedArray(kF32, values.size());
  for (const float value : values) AppendNumber(value, encoded);
  SetEncoded(key, std::move(encoded));
}

void GgufMetadata::SetU8s(std::string_view key, std::string_view bytes) {
  std::string encoded = EncodedArray(kU8, bytes.size());
  encoded.append(bytes);
  SetEncoded(key, std::move(encoded));
}

void GgufMetadata::Remove(std::string_view key) {
  if (const size_t at = Find(key); at != entries_.size()) entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(at));
}

std::string GgufMetadata::Encode() const {
  std::string out;
  for (const auto& [key, encoded] : entries_) {
    AppendText(key, out);
    out.append(encoded);
  }
  return out;
}

int64_t GgufTensorPlan::elements() const {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

std::string EncodeGgufHeader(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                             uint64_t* data_bytes) {
  std::string header("GGUF");
  AppendNumber(kVersion, header);
  AppendNumber<uint64_t>(tensors.size(), header);
  AppendNumber<uint64_t>(metadata.size(), header);
  header += metadata.Encode();
  uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : tensors) {
    AppendText(tensor.name, header);
    AppendNumber(static_cast<uint32_t>(tensor.dims.size()), header);
    for (const int64_t dim : tensor.dims) AppendNumber(static_cast<uint64_t>(dim), header);
    AppendNumber(static_cast<uint32_t>(tensor.type), header);
    AppendNumber(offset, header);
    offset += Aligned(tensor.bytes());
  }
  header.resize(Aligned(header.size()));
  *data_bytes = offset;
  return header;
}

std::string GgufMetadata::AsFile() const {
  uint64_t data_bytes = 0;
  return EncodeGgufHeader(*this, {}, &data_bytes);
}

absl::StatusOr<std::unique_ptr<GgufWriter>> GgufWriter::Create(const std::string& path, const GgufMetadata& metadata,
                                                               const std::vector<GgufTensorPlan>& tensors) {
  std::unique_ptr<GgufWriter> writer(new GgufWriter(path));
  uint64_t data_bytes = 0;
  const std::string header = EncodeGgufHeader(metadata, tensors, &data_bytes);
  for (const GgufTensorPlan& tensor : tensors) writer->tensor_bytes_.push_back(tensor.bytes());
  writer->file_bytes_ = header.size() + data_bytes;
  LINNET_RETURN_IF_ERROR(writer->Open());
  LINNET_RETURN_IF_ERROR(writer->Reserve());
  LINNET_RETURN_IF_ERROR(writer->Write(header));
  return writer;
}

GgufWriter::~GgufWriter() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status GgufWriter::Open() {
  std::error_code error;
  if (std::filesystem::is_directory(path_, error)) return base::ErrnoStatus(EISDIR, "write to", path_);
  // Such a file gets its name through /proc.
  if (access("/proc/self/fd", X_OK) == 0) {
    fd_ = open(FolderOf(path_).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
    if (fd_ >= 0) return absl::OkStatus();
  }
  const std::string name = TemporaryName(path_);
  fd_ = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd_ < 0) return base::ErrnoStatus(errno, "create", path_);
  temporary_ = name;
  return absl::OkStatus();
}

absl::Status GgufWriter::Reserve() {
  if (fallocate(fd_, 0, 0, static_cast<off_t>(file_bytes_)) == 0) return absl::OkStatus();
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    return base::ErrnoStatus(errno, base::StrCat("reserve ", base::HumanBytes(file_bytes_), " for"), path_);
  }
  return absl::OkStatus();  // a file system that cannot: writing will tell
}

absl::Status GgufWriter::Write(std::string_view bytes) { return base::WriteAll(fd_, bytes, path_); }

absl::Status GgufWriter::Append(std::span<const std::byte> data) {
  if (data.empty()) return absl::OkStatus();
  CHECK_LT(tensor_, tensor_bytes_.size()) << "more data than tensors";
  const uint64_t bytes = tensor_bytes_[tensor_];
  CHECK_LE(data.size(), bytes - written_of_tensor_) << "data of more than one tensor";
  LINNET_RETURN_IF_ERROR(Write({reinterpret_cast<const char*>(data.data()), data.size()}));
  written_of_tensor_ += data.size();
  if (written_of_tensor_ < bytes) return absl::OkStatus();
  ++tensor_;
  written_of_tensor_ = 0;
  return Write(std::string(Aligned(bytes) - bytes, '\0'));
}

absl::Status GgufWriter::Finish() {
  CHECK_EQ(tensor_, tensor_bytes_.size()) << "tensors without data";
  if (fsync(fd_) != 0) return base::ErrnoStatus(errno, "sync", path_);
  if (temporary_.empty()) {
    const std::string name = TemporaryName(path_);
    if (linkat(AT_FDCWD, base::StrCat("/proc/self/fd/", fd_).c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return base::ErrnoStatus(errno, "name the file", path_);
    }
    temporary_ = name;
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return base::ErrnoStatus(errno, "rename a temporary file to", path_);
  }
  temporary_.clear();
  // Errors of a write may come only now.
  const int fd = std::exchange(fd_, -1);
  if (close(fd) != 0) return base::ErrnoStatus(errno, "close", path_);
  return base::SyncDir(FolderOf(path_));
}

}  // namespace linnet::worker
