#include "worker/gguf/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "worker/gguf/gguf_reader.h"

namespace linnet::worker {
namespace {

// Far above any real model, so that what a hostile file can make us allocate stays small beside the file.
constexpr uint64_t kMaxEntries = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 16;
constexpr uint64_t kMaxKeyBytes = 65535;  // the specification's limit
constexpr uint64_t kMaxTensorNameBytes = 256;
constexpr uint64_t kMaxArrayElements = 1 << 24;  // over all arrays of a file
constexpr uint32_t kMaxDims = 4;
constexpr int64_t kMaxElements = int64_t{1} << 48;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kDefaultAlignment = 32;

enum ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

std::string GgmlTypeName(uint32_t type) {
  static constexpr const char* kNames[] = {
      "F32",      "F16",      "Q4_0",    "Q4_1",  "Q4_2",       "Q4_3",       "Q5_0",       "Q5_1",
      "Q8_0",     "Q8_1",     "Q2_K",    "Q3_K",  "Q4_K",       "Q5_K",       "Q6_K",       "Q8_K",
      "IQ2_XXS",  "IQ2_XS",   "IQ3_XXS", "IQ1_S", "IQ4_NL",     "IQ3_S",      "IQ2_S",      "IQ4_XS",
      "I8",       "I16",      "I32",     "I64",   "F64",        "IQ1_M",      "BF16",       "Q4_0_4_4",
      "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};
  if (type < std::size(kNames)) return absl::StrCat(kNames[type], " (", type, ")");
  return absl::StrCat("number ", type);
}

// Array elements as they lie in the file, widened.
template <typename From, typename To>
absl::StatusOr<GgufArray> ReadNumbers(GgufReader& in, uint64_t count) {
  LINNET_ASSIGN_OR_RETURN(const std::byte* raw, in.Take("array", count, sizeof(From)));
  std::vector<To> out(count);
  for (uint64_t i = 0; i < count; ++i) {
    From v;
    std::memcpy(&v, raw + i * sizeof(From), sizeof(From));
    if constexpr (std::is_same_v<From, uint64_t>) {
      if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return in.Error(absl::StrCat("array element ", i, " is ", v, ", above 2^63 - 1"));
      }
    }
    out[i] = static_cast<To>(v);
  }
  return GgufArray(std::move(out));
}

absl::StatusOr<GgufArray> ReadBools(GgufReader& in, uint64_t count) {
  LINNET_ASSIGN_OR_RETURN(const std::byte* raw, in.Take("array", count, 1));
  std::vector<bool> out(count);
  for (uint64_t i = 0; i < count; ++i) {
    if (std::to_integer<int>(raw[i]) > 1) return in.Error(absl::StrCat("array element ", i, " is no bool (0 or 1)"));
    out[i] = raw[i] != std::byte{0};
  }
  return GgufArray(std::move(out));
}

absl::StatusOr<GgufArray> ReadStrings(GgufReader& in, uint64_t count) {
  if (count > in.remaining() / sizeof(uint64_t)) {
    return in.Error(absl::StrCat("array claims ", count, " strings, and only ", in.remaining(),
                                 " bytes of the file are left; fetch the file again"));
  }
  std::vector<std::string_view> out(count);
  for (std::string_view& text : out) {
    LINNET_ASSIGN_OR_RETURN(text, in.String("string in array"));
  }
  return GgufArray(std::move(out));
}

absl::StatusOr<GgufArray> ReadArray(GgufReader& in, uint64_t& elements_left) {
  LINNET_ASSIGN_OR_RETURN(uint32_t type, in.Read<uint32_t>("array element type"));
  LINNET_ASSIGN_OR_RETURN(uint64_t count, in.Read<uint64_t>("array length"));
  if (count > elements_left) {
    return in.Error(absl::StrCat("array of ", count, " elements: more than ", kMaxArrayElements,
                                 " in all arrays of a file are not supported"));
  }
  elements_left -= count;
  switch (type) {
    case kU8:
      return ReadNumbers<uint8_t, int64_t>(in, count);
    case kI8:
      return ReadNumbers<int8_t, int64_t>(in, count);
    case kU16:
      return ReadNumbers<uint16_t, int64_t>(in, count);
    case kI16:
      return ReadNumbers<int16_t, int64_t>(in, count);
    case kU32:
      return ReadNumbers<uint32_t, int64_t>(in, count);
    case kI32:
      return ReadNumbers<int32_t, int64_t>(in, count);
    case kU64:
      return ReadNumbers<uint64_t, int64_t>(in, count);
    case kI64:
      return ReadNumbers<int64_t, int64_t>(in, count);
    case kF32:
      return ReadNumbers<float, double>(in, count);
    case kF64:
      return ReadNumbers<double, double>(in, count);
    case kBool:
      return ReadBools(in, count);
    case kString:
      return ReadStrings(in, count);
    case kArray:
      return in.Error("arrays inside arrays are not supported");
    default:
      return in.Error(absl::StrCat("unknown array element type ", type));
  }
}

template <typename From, typename To>
absl::StatusOr<GgufValue> ReadNumber(GgufReader& in) {
  LINNET_ASSIGN_OR_RETURN(From v, in.Read<From>("value"));
  if constexpr (std::is_same_v<From, uint64_t>) {
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return in.Error(absl::StrCat("value ", v, " is above 2^63 - 1"));
    }
  }
  return GgufValue(static_cast<To>(v));
}

absl::StatusOr<GgufValue> ReadValue(GgufReader& in, uint64_t& elements_left) {
  LINNET_ASSIGN_OR_RETURN(uint32_t type, in.Read<uint32_t>("value type"));
  switch (type) {
    case kU8:
      return ReadNumber<uint8_t, int64_t>(in);
    case kI8:
      return ReadNumber<int8_t, int64_t>(in);
    case kU16:
      return ReadNumber<uint16_t, int64_t>(in);
    case kI16:
      return ReadNumber<int16_t, int64_t>(in);
    case kU32:
      return ReadNumber<uint32_t, int64_t>(in);
    case kI32:
      return ReadNumber<int32_t, int64_t>(in);
    case kU64:
      return ReadNumber<uint64_t, int64_t>(in);
    case kI64:
      return ReadNumber<int64_t, int64_t>(in);
    case kF32:
      return ReadNumber<float, double>(in);
    case kF64:
      return ReadNumber<double, double>(in);
    case kBool: {
      LINNET_ASSIGN_OR_RETURN(uint8_t v, in.Read<uint8_t>("value"));
      if (v > 1) return in.Error(absl::StrCat("value ", v, " is no bool (0 or 1)"));
      return GgufValue(v == 1);
    }
    case kString: {
      LINNET_ASSIGN_OR_RETURN(std::string_view v, in.String("value"));
      return GgufValue(v);
    }
    case kArray: {
      LINNET_ASSIGN_OR_RETURN(GgufArray v, ReadArray(in, elements_left));
      return GgufValue(std::move(v));
    }
    default:
      return in.Error(absl::StrCat("unknown value type ", type, "; the file is damaged or newer than v3"));
  }
}

struct Header {
  uint64_t tensors = 0;
  uint64_t entries = 0;
};

absl::StatusOr<Header> ReadHeader(GgufReader& in) {
  LINNET_ASSIGN_OR_RETURN(uint32_t magic, in.Read<uint32_t>("magic"));
  if (std::memcmp(&magic, "GGUF", 4) != 0) {
    std::string_view begin(reinterpret_cast<const char*>(&magic), 4);
    return in.Error(absl::StrCat("not a GGUF file: it begins with \"", Printable(begin),
                                 "\" instead of \"GGUF\"; give a .gguf file, or convert the model to one"));
  }
  LINNET_ASSIGN_OR_RETURN(uint32_t version, in.Read<uint32_t>("version"));
  if (version != 0 && (version & 0xffff) == 0) {
    return in.Error(
        "the file is big-endian, and only little-endian files are read; convert it with gguf_convert_endian");
  }
  if (version != 2 && version != 3) {
    return in.Error(absl::StrCat("GGUF version ", version, " is not supported (2 and 3 are); convert the model again"));
  }
  Header header;
  LINNET_ASSIGN_OR_RETURN(header.tensors, in.Read<uint64_t>("tensor count"));
  LINNET_ASSIGN_OR_RETURN(header.entries, in.Read<uint64_t>("metadata entry count"));
  if (header.tensors > kMaxTensors) {
    return in.Error(absl::StrCat("claims ", header.tensors, " tensors; at most ", kMaxTensors, " are supported"));
  }
  if (header.entries > kMaxEntries) {
    return in.Error(
        absl::StrCat("claims ", header.entries, " metadata entries; at most ", kMaxEntries, " are supported"));
  }
  return header;
}

struct TensorEntry {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the beginning of the data
  uint64_t bytes = 0;
};

absl::StatusOr<TensorEntry> ReadTensorEntry(GgufReader& in, uint64_t index) {
  in.set_object(absl::StrCat("tensor entry ", index));
  TensorEntry entry;
  LINNET_ASSIGN_OR_RETURN(std::string_view name, in.String("name", kMaxTensorNameBytes));
  if (name.empty()) return in.Error("the name is empty");
  in.set_object(absl::StrCat("tensor ", Printable(name)));
  entry.tensor.name = std::string(name);

  LINNET_ASSIGN_OR_RETURN(uint32_t n_dims, in.Read<uint32_t>("dimension count"));
  if (n_dims < 1 || n_dims > kMaxDims) return in.Error(absl::StrCat(n_dims, " dimensions; 1 to 4 are supported"));
  int64_t elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    LINNET_ASSIGN_OR_RETURN(uint64_t dim, in.Read<uint64_t>("dimension"));
    if (dim == 0 || dim > static_cast<uint64_t>(kMaxElements / elements)) {
      return in.Error(absl::StrCat("dimension ", i, " is ", dim, ": zero, or more than 2^48 elements in all"));
    }
    elements *= static_cast<int64_t>(dim);
    entry.tensor.dims.push_back(static_cast<int64_t>(dim));
  }

  LINNET_ASSIGN_OR_RETURN(uint32_t type, in.Read<uint32_t>("type"));
  const std::optional<kernels::DType> dtype = kernels::DTypeFromGguf(type);
  if (!dtype.has_value()) {
    return in.Error(absl::StrCat("type ", GgmlTypeName(type),
                                 " is not supported; quantize the model to one of F32, F16, BF16, Q4_0, Q4_1, Q5_0, "
                                 "Q5_1, Q8_0, Q4_K, Q5_K, Q6_K"));
  }
  entry.tensor.type = *dtype;
  const kernels::DTypeInfo& info = kernels::Info(*dtype);
  if (entry.tensor.dims[0] % info.block_elements != 0) {
    return in.Error(absl::StrCat("a row of ", entry.tensor.dims[0], " elements is not a multiple of the ",
                                 info.block_elements, " that a block of ", std::string(info.name), " holds"));
  }
  entry.bytes = static_cast<uint64_t>(kernels::BytesFor(*dtype, elements));
  LINNET_ASSIGN_OR_RETURN(entry.offset, in.Read<uint64_t>("offset"));
  return entry;
}

// Gives each tensor its bytes: aligned, inside the file, apart from each other.
absl::Status PlaceTensors(GgufReader& in, std::span<const std::byte> bytes, uint64_t alignment,
                          std::vector<TensorEntry>& entries) {
  if (entries.empty()) return absl::OkStatus();
  const uint64_t data_begin = (in.position() + alignment - 1) / alignment * alignment;
  in.set_object("tensor data");
  if (data_begin > bytes.size()) {
    return in.Error(absl::StrCat("begins at byte ", data_begin, ", behind the end of the file at ", bytes.size(),
                                 ": the file is cut short; fetch it again"));
  }
  const uint64_t data_bytes = bytes.size() - data_begin;
  for (TensorEntry& entry : entries) {
    in.set_object(absl::StrCat("tensor ", Printable(entry.tensor.name)));
    if (entry.offset % alignment != 0) {
      return in.Error(absl::StrCat("offset ", entry.offset, " is not a multiple of the alignment ", alignment));
    }
    if (entry.offset > data_bytes || entry.bytes > data_bytes - entry.offset) {
      return in.Error(absl::StrCat("data at offset ", entry.offset, ", ", entry.bytes, " bytes, ends behind the ",
                                   data_bytes, " bytes of tensor data in the file: it is cut short; fetch it again"));
    }
    entry.tensor.data = bytes.subspan(data_begin + entry.offset, entry.bytes);
  }
  std::vector<const TensorEntry*> by_offset;
  by_offset.reserve(entries.size());
  for (const TensorEntry& entry : entries) by_offset.push_back(&entry);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorEntry& before = *by_offset[i - 1];
    if (before.offset + before.bytes > by_offset[i]->offset) {
      in.set_object(absl::StrCat("tensor ", Printable(by_offset[i]->tensor.name)));
      return in.Error(absl::StrCat("data at offset ", by_offset[i]->offset, " overlaps tensor ",
                                   Printable(before.tensor.name), " (", before.bytes, " bytes from ", before.offset,
                                   ")"));
    }
  }
  return absl::OkStatus();
}

absl::Status NotAModel(const std::string& path, std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE", path + ": " + std::string(what),
                     {{"file", path}});
}

absl::Status CheckIsFile(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found || error) {
    return base::ErrnoStatus(error ? error.value() : ENOENT, "open", path);
  }
  if (fs::is_directory(status)) {
    const bool hugging_face = fs::exists(fs::path(path) / "config.json", error);
    return NotAModel(path, hugging_face ? "is a Hugging Face directory, and a GGUF file is needed; convert it with "
                                          "`linnet model convert`"
                                        : "is a directory, and a GGUF file is needed; give the .gguf file in it");
  }
  if (!fs::is_regular_file(status)) return NotAModel(path, "is no regular file; give a GGUF file");
  if (fs::file_size(path, error) == 0) return NotAModel(path, "is empty; fetch it again");
  return absl::OkStatus();
}

}  // namespace

int64_t GgufTensor::elements() const {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  LINNET_RETURN_IF_ERROR(CheckIsFile(path));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<base::MappedFile> mapping, base::MappedFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, Parse(mapping->bytes(), path));
  file->mapping_ = std::move(mapping);
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::span<const std::byte> bytes, std::string name) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->bytes_ = bytes;
  GgufReader in(bytes, name);
  file->path_ = std::move(name);

  LINNET_ASSIGN_OR_RETURN(const Header header, ReadHeader(in));
  uint64_t elements_left = kMaxArrayElements;
  for (uint64_t i = 0; i < header.entries; ++i) {
    in.set_object(absl::StrCat("metadata entry ", i));
    LINNET_ASSIGN_OR_RETURN(std::string_view key, in.String("key", kMaxKeyBytes));
    if (key.empty()) return in.Error("the key is empty");
    in.set_object(absl::StrCat("metadata key ", Printable(key)));
    const uint64_t begin = in.position();
    LINNET_ASSIGN_OR_RETURN(GgufValue value, ReadValue(in, elements_left));
    file->entries_.push_back({key, bytes.subspan(begin, in.position() - begin)});
    if (!file->metadata_.emplace(key, std::move(value)).second) return in.Error("the key is there twice");
  }

  in.set_object("metadata key general.alignment");
  uint64_t alignment = kDefaultAlignment;
  if (file->metadata_.contains("general.alignment")) {
    LINNET_ASSIGN_OR_RETURN(int64_t value, file->GetInt("general.alignment"));
    if (value < 8 || value > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(value))) {
      return in.Error(absl::StrCat("alignment ", value, " is no power of two from 8 to ", kMaxAlignment));
    }
    alignment = static_cast<uint64_t>(value);
  }

  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < header.tensors; ++i) {
    LINNET_ASSIGN_OR_RETURN(TensorEntry entry, ReadTensorEntry(in, i));
    entries.push_back(std::move(entry));
  }
  LINNET_RETURN_IF_ERROR(PlaceTensors(in, bytes, alignment, entries));

  file->tensors_.reserve(entries.size());  // by_name_ refers to the names in place
  for (TensorEntry& entry : entries) {
    file->tensors_.push_back(std::move(entry.tensor));
    const GgufTensor& tensor = file->tensors_.back();
    if (!file->by_name_.emplace(tensor.name, file->tensors_.size() - 1).second) {
      in.set_object(absl::StrCat("tensor ", Printable(tensor.name)));
      return in.Error("the name is there twice");
    }
  }
  return file;
}

}  // namespace linnet::worker
