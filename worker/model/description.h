// What a model is, as data: the one decoder (decoder.h) is driven by this and by nothing else. A family (families/) is
// a function that fills it from a file's metadata, with the map from our tensor names to the file's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace linnet::worker {

enum class NormKind { kRms, kLayer };
enum class ActivationKind { kSilu };
enum class FfnKind { kGated };
enum class RopeScaling { kNone, kLinear, kLlama3, kFactors };

struct NormDescription {
  NormKind kind = NormKind::kRms;
  float eps = 1e-5f;
};

struct RopeDescription {
  int rotary_dim = 0;
  bool interleaved = false;
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                  // kLinear, kLlama3
  double low_freq_factor = 1.0;         // kLlama3
  double high_freq_factor = 4.0;        // kLlama3
  int64_t original_context_tokens = 0;  // kLlama3
  std::vector<float> factors;           // kFactors: inv_freq is divided by these ([rotary_dim/2])

  bool operator==(const RopeDescription&) const = default;
};

struct AttentionDescription {
  int q_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool qkv_bias = false;
  bool out_bias = false;
  float scale = 0;     // 1/sqrt(head_dim)
  int64_t window = 0;  // 0: the whole context
  float softcap = 0;
};

struct FfnDescription {
  FfnKind kind = FfnKind::kGated;
  ActivationKind activation = ActivationKind::kSilu;
  int width = 0;
  bool bias = false;
};

// One decoder block. Layers may differ in every respect (layer-wise scaling, alternating windows).
struct LayerDescription {
  AttentionDescription attention;
  FfnDescription ffn;
  NormDescription attention_norm;
  NormDescription ffn_norm;
  RopeDescription rope;
  // Index of the stored block whose weights this layer uses: its own, or an earlier one's (block-wise sharing). The
  // KV cache is the layer's own in any case.
  int weights_of_layer = 0;
};

struct ModelDescription {
  std::string family;  // "llama", "qwen2"
  std::string name;    // general.name, may be empty
  int vocab_size = 0;
  int model_dim = 0;
  int64_t context_tokens = 0;
  std::vector<LayerDescription> layers;
  NormDescription final_norm;
  bool tied_embeddings = false;
};

}  // namespace linnet::worker
