#include "tools/linnet/quantize_plan.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "kernels/quant_block.h"
#include "worker/model/shared_scales.h"

namespace linnet::cli {
namespace {

using kernels::DType;

constexpr QuantizeFormat kFormats[] = {
    {"f32", DType::kF32, false, 0},
    {"f16", DType::kF16, false, 1},
    {"bf16", DType::kBF16, false, 32},
    {"q8_0", DType::kQ8_0, false, 7},
    {"q6_k", DType::kQ6_K, false, 18},
    {"q5_k_m", DType::kQ5_K, true, 17},
    {"q4_k_m", DType::kQ4_K, true, 15},
    {"q4_0", DType::kQ4_0, false, 2},
    {worker::kInt8Name, DType::kQ8_0, false, 7, true},
    {worker::kInt4G64Name, DType::kQ4_0, false, 2, true},
};

constexpr std::string_view kEmbedding = "token_embd.weight", kOutput = "output.weight";

// Matrices that take little space and spoil much when they are coarse.
bool StaysAsItIs(const worker::GgufTensor& tensor) {
  if (tensor.dims.size() < 2 || !tensor.name.ends_with("weight")) return true;
  for (const std::string_view part :
       {"_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight", "attn_rel_b.weight"}) {
    if (tensor.name.find(part) != std::string::npos) return true;
  }
  return tensor.name == "position_embd.weight" || tensor.name == "token_types.weight";
}

// "blk.7.attn_v.weight" -> 7; -1 where the name has no layer.
int LayerOf(const std::string& name) {
  if (!name.starts_with("blk.")) return -1;
  char* end = nullptr;
  const int64_t layer = std::strtoll(name.c_str() + 4, &end, 10);
  return end != name.c_str() + 4 && *end == '.' && layer >= 0 && layer < (1 << 20) ? static_cast<int>(layer) : -1;
}

bool IsPart(const std::string& name, std::string_view part) {
  return LayerOf(name) >= 0 && name.find(part) != std::string::npos;
}

// Values, also where they are fused with queries and keys or come from a latent vector, and what the FFN adds.
bool IsSensitive(const std::string& name) {
  return IsPart(name, "attn_v.weight") || IsPart(name, "attn_qkv.weight") || IsPart(name, "attn_kv_b.weight") ||
         IsPart(name, "ffn_down");
}

// The layers of a mix that get more bits: the first and last eighth, and every third between.
bool GetsMoreBits(int layer, int layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

}  // namespace

bool QuantizeFormat::quantized() const { return kernels::IsGroupQuantized(type); }

int64_t QuantizeFormat::ColumnsPerScale(DType tensor_type) const {
  if (!own) return 0;
  if (tensor_type == DType::kQ4_0) return 64;
  return tensor_type == DType::kQ8_0 ? std::numeric_limits<int64_t>::max() : 0;
}

const QuantizeFormat* FindQuantizeFormat(std::string_view name) {
  const auto* const it = std::find_if(std::begin(kFormats), std::end(kFormats),
                                      [&](const QuantizeFormat& format) { return format.name == name; });
  return it == std::end(kFormats) ? nullptr : it;
}

std::vector<std::string> QuantizeFormatNames() {
  std::vector<std::string> names;
  for (const QuantizeFormat& format : kFormats) names.emplace_back(format.name);
  return names;
}

DType TypeThatDivides(DType type, int64_t cols) {
  if (cols % kernels::Info(type).block_elements == 0) return type;
  switch (type) {
    case DType::kQ4_K:
      type = DType::kQ5_0;
      break;
    case DType::kQ5_K:
      type = DType::kQ5_1;
      break;
    case DType::kQ6_K:
      type = DType::kQ8_0;
      break;
    default:
      break;
  }
  return cols % kernels::Info(type).block_elements == 0 ? type : DType::kF16;
}

std::vector<DType> PlanTypes(const worker::GgufFile& file, const QuantizeFormat& format) {
  int layers = 0;
  for (const worker::GgufTensor& tensor : file.tensors()) layers = std::max(layers, LayerOf(tensor.name) + 1);
  const std::string_view output = file.FindTensor(kOutput) != nullptr ? kOutput : kEmbedding;
  std::vector<DType> types;
  for (const worker::GgufTensor& tensor : file.tensors()) {
    if (StaysAsItIs(tensor)) {
      types.push_back(format.type == DType::kF32 ? DType::kF32 : tensor.type);
      continue;
    }
    const int64_t cols = tensor.dims[0];
    DType type = format.type;
    if (format.quantized() && tensor.name == output && type != DType::kQ8_0) {
      type = !format.own && cols % kernels::Info(type).block_elements == 0 ? DType::kQ6_K : DType::kQ8_0;
    } else if (format.mixed && IsSensitive(tensor.name) && GetsMoreBits(LayerOf(tensor.name), layers)) {
      type = DType::kQ6_K;
    }
    types.push_back(format.quantized() ? TypeThatDivides(type, cols) : type);
  }
  return types;
}

}  // namespace linnet::cli
