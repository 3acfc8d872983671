// Writes a GGUF file of a model of the catalogue, in its published shape, with weights that are noise: for speed and
// memory, where what it says is no matter. Every family that runs can be made, since the tensors are those that its
// description asks for. Prints how many weights of its layers a token is multiplied with.
//
//   random_model MODEL FORMAT OUT.gguf          random_model openelm-3b q4_0 openelm.gguf
//
// MODEL may also be a .txtpb file of one more, as in registry/catalog/models.
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/quantize.h"
#include "registry/catalog/model_catalog.h"
#include "tools/linnet/model_outline.h"
#include "tools/linnet/quantize_plan.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/family.h"
#include "worker/model/weights.h"
#include "worker/text/byte_letters.h"

namespace linnet {
namespace {

using kernels::DType;

constexpr int64_t kNoiseRows = 64;  // as many are made, and repeated
constexpr float kDeviation = 0.02f;

// Whole rows of a type, made once for each type and width.
class Noise {
 public:
  absl::StatusOr<std::span<const uint8_t>> Rows(DType type, int64_t cols) {
    std::vector<uint8_t>& rows = made_[{type, cols}];
    if (!rows.empty()) return std::span<const uint8_t>(rows);
    const int64_t row_bytes = kernels::BytesFor(type, cols);
    rows.resize(static_cast<size_t>(kNoiseRows * row_bytes));
    std::vector<float> x(static_cast<size_t>(cols));
    std::normal_distribution<float> normal(0, kDeviation);
    for (int64_t r = 0; r < kNoiseRows; ++r) {
      for (float& v : x) v = normal(random_);
      LINNET_RETURN_IF_ERROR(kernels::QuantizeRow(type, {.x = x.data(), .cols = cols}, rows.data() + r * row_bytes));
    }
    return std::span<const uint8_t>(rows);
  }

 private:
  std::mt19937 random_{1};
  std::map<std::pair<DType, int64_t>, std::vector<uint8_t>> made_;
};

// Bytes, then fillers: a tokenizer that loads, of the right size.
void SetTokenizer(worker::GgufMetadata& metadata, int64_t vocab_size) {
  std::vector<std::string> tokens(worker::ByteLetters().begin(), worker::ByteLetters().end());
  for (int64_t i = static_cast<int64_t>(tokens.size()); i < vocab_size; ++i) {
    tokens.push_back(base::StrCat("<filler ", i, ">"));
  }
  metadata.SetString("tokenizer.ggml.model", "gpt2");
  metadata.SetString("tokenizer.ggml.pre", "gpt-2");
  metadata.SetStrings("tokenizer.ggml.tokens", tokens);
  metadata.SetStrings("tokenizer.ggml.merges", {"e r"});
  tokens[0] = "er";
  metadata.SetStrings("tokenizer.ggml.tokens", tokens);
  metadata.SetU32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(vocab_size - 1));
}

absl::Status WriteTensor(const worker::GgufTensor& tensor, Noise& noise, worker::GgufWriter& writer) {
  const int64_t cols = tensor.dims[0], rows = tensor.elements() / cols;
  if (rows == 1) {  // a norm, or a bias: nothing that lets values grow from layer to layer
    const std::vector<float> ones(static_cast<size_t>(cols), tensor.name.ends_with("norm.weight") ? 1.0f : 0.01f);
    return writer.Append(std::as_bytes(std::span(ones)));
  }
  LINNET_ASSIGN_OR_RETURN(const std::span<const uint8_t> block, noise.Rows(tensor.type, cols));
  const size_t row_bytes = block.size() / kNoiseRows;
  for (int64_t row = 0; row < rows; row += kNoiseRows) {
    const auto count = static_cast<size_t>(std::min(kNoiseRows, rows - row));
    LINNET_RETURN_IF_ERROR(writer.Append(std::as_bytes(block.first(count * row_bytes))));
  }
  return absl::OkStatus();
}

// Weights of layers that a token is multiplied with, those of a shared block as often as it runs.
int64_t LayerWeights(const worker::ModelDescription& model, std::span<const worker::TensorBinding> bindings) {
  int64_t weights = 0;
  for (const worker::TensorBinding& binding : bindings) {
    if (binding.is_vector() || !binding.tensor->name.starts_with("blk.")) continue;
    const bool ffn = binding.role == worker::TensorRole::kFfnGate || binding.role == worker::TensorRole::kFfnUp ||
                     binding.role == worker::TensorRole::kFfnDown;
    for (const worker::LayerDescription& layer : model.layers) {
      if ((ffn ? layer.ffn_weights_of_layer : layer.weights_of_layer) == binding.layer) {
        weights += binding.rows * binding.cols;
      }
    }
  }
  return weights;
}

absl::Status WriteRandomModel(std::string id, const std::string& format_name, const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(catalog::v1::Catalog catalog, registry::BuiltinModels());
  if (id.ends_with(".txtpb")) {
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(id));
    if (!google::protobuf::TextFormat::ParseFromString(text, &catalog) || catalog.models_size() != 1) {
      return absl::InvalidArgumentError(base::StrCat(id, " does not hold one model"));
    }
    id = catalog.models(0).id();
  }
  const catalog::v1::Model* model = registry::FindModel(catalog, id);
  const cli::QuantizeFormat* format = cli::FindQuantizeFormat(format_name);
  if (model == nullptr || format == nullptr) {
    return absl::InvalidArgumentError(
        base::StrCat("there is no ", model == nullptr ? "model " : "format ", model == nullptr ? id : format_name));
  }
  LINNET_ASSIGN_OR_RETURN(const auto whole, cli::OutlineOf(*model));
  LINNET_ASSIGN_OR_RETURN(const auto outline, cli::QuantizedOutline(whole->file(), *format));
  worker::GgufMetadata metadata = worker::GgufMetadata::CopyOf(outline->file());
  SetTokenizer(metadata, model->vocab_size());
  std::vector<worker::GgufTensorPlan> plans;
  for (const worker::GgufTensor& tensor : outline->file().tensors()) {
    plans.push_back({tensor.name, tensor.type, tensor.dims});
  }
  LINNET_ASSIGN_OR_RETURN(const auto writer, worker::GgufWriter::Create(path, metadata, plans));
  Noise noise;
  for (const worker::GgufTensor& tensor : outline->file().tensors()) {
    LINNET_RETURN_IF_ERROR(WriteTensor(tensor, noise, *writer));
  }
  LINNET_RETURN_IF_ERROR(writer->Finish());
  LINNET_ASSIGN_OR_RETURN(const auto description, worker::DescribeModel(outline->file()));
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(outline->file(), description));
  printf("{\"layer_weights\": %lld}\n", static_cast<long long>(LayerWeights(description, bindings)));
  return absl::OkStatus();
}

}  // namespace
}  // namespace linnet

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: random_model MODEL FORMAT OUT.gguf\n");
    return 2;
  }
  const absl::Status status = linnet::WriteRandomModel(argv[1], argv[2], argv[3]);
  if (!status.ok()) fprintf(stderr, "random_model: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
