// What the registry is told of a GGUF file: model and variant, as far as its metadata and tensor list say.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "linnet/registry/v1/resources.pb.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"

namespace linnet::cli {

struct FileDescription {
  registry::v1::Model model;
  registry::v1::Variant variant;  // without the digest of its blob
};

struct Naming {
  std::string model;    // "": derived from the file
  std::string variant;  // "": the quantization
};

// Names come out as "models/{model}" and "models/{model}/variants/{variant}".
// `scratch_bytes`: what loading takes besides weights and KV cache. INVALID_ARGUMENT where a name given is not a valid
// id.
absl::StatusOr<FileDescription> DescribeFile(const worker::GgufFile& file, const worker::ModelDescription& description,
                                             uint64_t scratch_bytes, const Naming& naming);

// "Qwen2.5 1.5B Instruct" -> "qwen2.5-1.5b-instruct": a valid id of at most 63 characters, "" where nothing is left.
std::string IdFrom(std::string_view text);
// "q4_1", "q4_k_m", "f16": from the name of a format of Linnet's own (int8), general.file_type, or the tensor
// type that holds most weights.
std::string QuantizationOf(const worker::GgufFile& file);

}  // namespace linnet::cli
