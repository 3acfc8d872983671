#include "worker/checkpoint/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

// Far above any real model, so that what a hostile file can make us allocate stays small.
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
constexpr size_t kMaxTensors = 1 << 16;
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxDims = 8;
constexpr int64_t kMaxElements = int64_t{1} << 48;

constexpr char kFetchAgain[] = "; fetch the file again";

struct TypeBytes {
  std::string_view name;
  int64_t bytes;
};
constexpr TypeBytes kTypes[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},  {"I32", 4},     {"I16", 2},     {"I8", 1},
    {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
};

int64_t BytesOfType(std::string_view name) {
  for (const TypeBytes& type : kTypes) {
    if (type.name == name) return type.bytes;
  }
  return 0;
}

class HeaderReader {
 public:
  HeaderReader(std::string path, std::span<const std::byte> data) : path_(std::move(path)), data_(data) {}

  absl::StatusOr<std::vector<SafetensorsTensor>> Read(const nlohmann::json& header) {
    if (!header.is_object()) return Error("the header is no JSON object");
    std::vector<std::pair<uint64_t, SafetensorsTensor>> found;  // with where the data begin
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        LINNET_RETURN_IF_ERROR(CheckMetadata(entry));
        continue;
      }
      if (found.size() == kMaxTensors) return Error(base::StrCat("has more than ", kMaxTensors, " tensors"));
      uint64_t begin = 0;
      LINNET_ASSIGN_OR_RETURN(SafetensorsTensor tensor, ReadTensor(name, entry, begin));
      found.emplace_back(begin, std::move(tensor));
    }
    // Empty tensors come first where others begin at the same place.
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first, a.second.data.size()) < std::pair(b.first, b.second.data.size());
    });
    uint64_t at = 0;
    std::vector<SafetensorsTensor> tensors;
    for (auto& [begin, tensor] : found) {
      if (begin < at) {
        return Error(base::StrCat("tensor ", Quoted(tensor.name), " overlaps tensor ", Quoted(tensors.back().name)));
      }
      if (begin > at) {
        return Error(base::StrCat(begin - at, " bytes before tensor ", Quoted(tensor.name), " belong to none"));
      }
      at = begin + tensor.data.size();
      tensors.push_back(std::move(tensor));
    }
    if (at != data_.size()) return Error(base::StrCat(data_.size() - at, " bytes at the end belong to no tensor"));
    return tensors;
  }

  absl::Status Error(std::string what) const { return CheckpointError(path_, {std::move(what) + kFetchAgain}); }

 private:
  absl::Status CheckMetadata(const nlohmann::json& entry) const {
    if (!entry.is_object()) return Error("__metadata__ is no JSON object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) return Error(base::StrCat("__metadata__ has a value that is no text: ", Quoted(key)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SafetensorsTensor> ReadTensor(const std::string& name, const nlohmann::json& entry, uint64_t& begin) {
    const auto wrong = [&](std::string_view what) { return Error(base::StrCat("tensor ", Quoted(name), ": ", what)); };
    if (name.empty() || name.size() > kMaxNameBytes) return wrong("its name is empty or too long");
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
        !entry.contains("data_offsets")) {
      return wrong("must have dtype, shape and data_offsets, and nothing else");
    }
    SafetensorsTensor tensor = {.name = name, .type = {}, .shape = {}, .data = {}};
    const nlohmann::json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
    if (!dtype.is_string()) return wrong("its dtype is no text");
    tensor.type = dtype.get<std::string>();
    const int64_t element_bytes = BytesOfType(tensor.type);
    if (element_bytes == 0) {
      return CheckpointError(path_, {base::StrCat("tensor ", Quoted(name), ": the type ", Quoted(tensor.type),
                                                  " is not known; save the model in F32, F16 or BF16")});
    }
    if (!shape.is_array() || shape.size() > kMaxDims)
      return wrong(base::StrCat("its shape is no list of at most ", kMaxDims, " sizes"));
    int64_t elements = 1;
    for (const nlohmann::json& dim : shape) {
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() > static_cast<uint64_t>(kMaxElements)) {
        return wrong(base::StrCat("its shape has ", dim.dump(), ", which is no size"));
      }
      const auto size = dim.get<int64_t>();
      if (size > 0 && elements > kMaxElements / size) return wrong("its shape has more elements than any tensor");
      elements *= size;
      tensor.shape.push_back(size);
    }
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      return wrong("its data_offsets are not two numbers");
    }
    begin = offsets[0].get<uint64_t>();
    const auto end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_.size()) {
      return wrong(base::StrCat("its data lie from ", begin, " to ", end, ", and the file holds ", data_.size(),
                                " bytes of data"));
    }
    if (end - begin != static_cast<uint64_t>(elements * element_bytes)) {
      return wrong(
          base::StrCat("its shape and type take ", elements * element_bytes, " bytes, its data_offsets ", end - begin));
    }
    tensor.data = data_.subspan(begin, end - begin);
    return tensor;
  }

  const std::string path_;
  const std::span<const std::byte> data_;
};

}  // namespace

int64_t SafetensorsTensor::elements() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

std::optional<kernels::DType> SafetensorsTensor::dtype() const {
  if (type == "F32") return kernels::DType::kF32;
  if (type == "F16") return kernels::DType::kF16;
  if (type == "BF16") return kernels::DType::kBF16;
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, base::MappedFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, Parse(mapping->bytes(), path));
  file->mapping_ = std::move(mapping);
  return file;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(std::span<const std::byte> bytes,
                                                                        std::string name) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    return CheckpointError(name,
                           {base::StrCat("is no safetensors file: it has ", bytes.size(), " bytes", kFetchAgain)});
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const std::span<const std::byte> rest = bytes.subspan(sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    return CheckpointError(name, {base::StrCat("claims a header of ", header_bytes, " bytes; at most ", kMaxHeaderBytes,
                                               " are supported. Is it a safetensors file?")});
  }
  if (header_bytes > rest.size()) {
    return CheckpointError(name, {base::StrCat("claims a header of ", header_bytes, " bytes, and only ", rest.size(),
                                               " are left", kFetchAgain)});
  }
  const std::string_view text(reinterpret_cast<const char*>(rest.data()), header_bytes);
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json header, ParseJson(text, name));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  HeaderReader reader(name, rest.subspan(header_bytes));
  LINNET_ASSIGN_OR_RETURN(file->tensors_, reader.Read(header));
  file->path_ = std::move(name);
  for (size_t i = 0; i < file->tensors_.size(); ++i) file->by_name_.emplace(file->tensors_[i].name, i);
  return file;
}

const SafetensorsTensor* SafetensorsFile::FindTensor(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

void SafetensorsFile::Release(std::span<const std::byte> part) const {
  if (mapping_ != nullptr) mapping_->Release(part);
}

}  // namespace linnet::worker
