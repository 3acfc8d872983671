#include "tools/linnet/describe_file.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "base/version.h"
#include "registry/client/names.h"
#include "tools/linnet/command.h"
#include "tools/linnet/quantize_plan.h"
#include "worker/model/kv_cache.h"
#include "worker/model/shared_scales.h"

namespace linnet::cli {
namespace {

constexpr size_t kMaxTextBytes = 256;  // of names and licences that the file brings

// llama.cpp's llama_ftype numbers, for those that Linnet reads.
std::string_view QuantizationFromFileType(int64_t file_type) {
  switch (file_type) {
    case 0:
      return "f32";
    case 1:
      return "f16";
    case 2:
      return "q4_0";
    case 3:
      return "q4_1";
    case 7:
      return "q8_0";
    case 8:
      return "q5_0";
    case 9:
      return "q5_1";
    case 14:
      return "q4_k_s";
    case 15:
      return "q4_k_m";
    case 16:
      return "q5_k_s";
    case 17:
      return "q5_k_m";
    case 18:
      return "q6_k";
    case 32:
      return "bf16";
    default:
      return "";
  }
}

std::string TextOr(const worker::GgufFile& file, std::string_view key) {
  const auto value = file.GetStringOr(key, "");
  return value.ok() ? base::BoundedUtf8(*value, kMaxTextBytes) : "";
}

bool IsWord(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalpha(c); });
}

std::string ModelIdOf(const worker::GgufFile& file) {
  const std::string basename = TextOr(file, "general.basename"), size = TextOr(file, "general.size_label");
  if (!basename.empty() && !size.empty()) {
    // A fine-tune as one word ("Instruct") is part of what people call the model; a training run's code is not.
    const std::string finetune = TextOr(file, "general.finetune");
    const std::string id =
        IdFrom(absl::StrCat(basename, "-", size, IsWord(finetune) ? "-" : "", IsWord(finetune) ? finetune : ""));
    if (!id.empty()) return id;
  }
  if (std::string id = IdFrom(TextOr(file, "general.name")); !id.empty()) return id;
  // "Qwen2-1.5B.Q4_0.gguf": without the extension and the quantization.
  std::string stem = std::filesystem::path(file.path()).stem().string();
  const std::string quantization = QuantizationOf(file);
  const std::string lower = absl::AsciiStrToLower(stem);
  if (lower.size() > quantization.size() + 1 && lower.ends_with(quantization)) {
    stem.resize(stem.size() - quantization.size() - 1);
  }
  if (std::string id = IdFrom(stem); !id.empty()) return id;
  return "model";
}

void FillArchitecture(const worker::GgufFile& file, const worker::ModelDescription& d,
                      registry::v1::Architecture* out) {
  out->set_family(d.family);
  out->set_layers(d.layers.size());
  out->set_model_dim(d.model_dim);
  out->set_vocab_size(d.vocab_size);
  out->set_context_tokens(d.context_tokens);
  out->set_tied_embeddings(d.tied_embeddings);
  for (const auto& layer : d.layers) {
    auto* shape = out->add_layer_shapes();
    shape->set_query_heads(layer.attention.q_heads);
    shape->set_kv_heads(layer.attention.kv_heads);
    shape->set_head_dim(layer.attention.head_dim);
    shape->set_ffn_dim(layer.ffn.width);
    if (layer.attention.value_dim != layer.attention.head_dim) shape->set_value_dim(layer.attention.value_dim);
    shape->set_window(layer.attention.window);
    shape->set_state_floats(layer.recurrent.StateFloats());
  }
  uint64_t parameters = 0;
  for (const auto& tensor : file.tensors()) parameters += tensor.elements();
  out->set_parameters(parameters);
}

}  // namespace

std::string IdFrom(std::string_view text) {
  std::string id;
  for (const char raw : text) {
    const char c = absl::ascii_tolower(raw);
    if (absl::ascii_isalnum(c)) {
      id += c;
    } else if (!id.empty() && absl::ascii_isalnum(id.back())) {
      id += c == '.' || c == '_' ? c : '-';  // one separator, never two in a row
    }
    if (id.size() == registry::kMaxIdLength) break;
  }
  while (!id.empty() && !absl::ascii_isalnum(id.back())) id.pop_back();
  return id;
}

std::string QuantizationOf(const worker::GgufFile& file) {
  // Formats of Linnet's own, which others take for the type that they are written in.
  if (const auto own = file.GetStringOr(worker::kOwnQuantizationKey, ""); own.ok() && !own->empty()) {
    if (const QuantizeFormat* format = FindQuantizeFormat(*own); format != nullptr && format->own) {
      return std::string(format->name);
    }
  }
  const auto file_type = file.GetIntOr("general.file_type", -1);
  if (file_type.ok()) {
    if (const auto name = QuantizationFromFileType(*file_type); !name.empty()) return std::string(name);
  }
  std::map<std::string, int64_t> elements;
  for (const auto& tensor : file.tensors()) elements[std::string(kernels::Info(tensor.type).name)] += tensor.elements();
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? "unknown" : absl::AsciiStrToLower(most->first);
}

absl::StatusOr<FileDescription> DescribeFile(const worker::GgufFile& file, const worker::ModelDescription& description,
                                             uint64_t scratch_bytes, const Naming& naming) {
  const std::string quantization = QuantizationOf(file);
  const std::string model_id = naming.model.empty() ? ModelIdOf(file) : naming.model;
  const std::string variant_id = naming.variant.empty() ? quantization : naming.variant;
  for (const auto& [flag, id] : {std::pair("--name", model_id), std::pair("--variant", variant_id)}) {
    if (!registry::IsValidId(id)) {
      return UsageError(absl::StrCat(flag, " '", id,
                                     "' is not a valid name: use lower-case letters, digits, '.', '-' and '_', "
                                     "at most 63 of them, the first a letter or digit"));
    }
  }
  FileDescription result;
  auto& model = result.model;
  model.set_name(registry::ModelName(model_id));
  model.set_display_name(base::BoundedUtf8(description.name, kMaxTextBytes));
  if (model.display_name().empty()) model.set_display_name(model_id);
  model.set_license(TextOr(file, "general.license"));
  FillArchitecture(file, description, model.mutable_architecture());

  auto& variant = result.variant;
  variant.set_name(registry::VariantName(model_id, variant_id));
  variant.set_quantization(quantization);
  uint64_t weights = 0, per_token = 0;
  for (const auto& tensor : file.tensors()) {
    weights += tensor.data.size();
    (*variant.mutable_tensor_types())[std::string(kernels::Info(tensor.type).name)] += tensor.elements();
    // Of an embedding matrix that is not also the output matrix, a token reads one row.
    const bool one_row = tensor.name == "token_embd.weight" && !description.tied_embeddings;
    per_token +=
        one_row && description.vocab_size > 0 ? tensor.data.size() / description.vocab_size : tensor.data.size();
  }
  variant.set_weight_bytes(weights);
  variant.set_bytes_per_token(per_token);
  variant.set_kv_bytes_per_token(worker::KvCache::BytesPerToken(description, kernels::DType::kF16));
  const std::string file_name =
      base::BoundedUtf8(std::filesystem::path(file.path()).filename().string(), kMaxTextBytes);
  variant.set_source(absl::StrCat("linnet ", base::kVersion, " model import of ", file_name));
  variant.mutable_requirements()->set_scratch_bytes(scratch_bytes);
  auto* blob = variant.add_blobs();
  blob->set_role("main");
  blob->set_size_bytes(file.file_bytes());
  blob->set_file_name(file_name);
  return result;
}

}  // namespace linnet::cli
