// What a model is, as data: the one decoder (decoder.h) is driven by this and by nothing else. A family (family.h) says
// how a file's metadata fill it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/rows.h"

namespace linnet::worker {

enum class NormKind {
  kNone,   // there is none in this place
  kRms,    // x / rms(x) · weight
  kLayer,  // (x - mean) / deviation · weight + bias
};
enum class FfnKind {
  kGated,  // down(activation(gate(x)) · up(x))
  kPlain,  // down(activation(up(x)))
};
enum class RopeScaling {
  kNone,
  kLinear,   // inv_freq / factor
  kFactors,  // inv_freq / factors, as Llama 3's files bring them
  kYarn,     // linear for long wavelengths, none for short ones (Peng et al., arXiv 2309.00071)
  // The others depend on the sequence's length.
  kLongRope,         // factors up to the original context, long_factors beyond (Ding et al., arXiv 2402.13753)
  kDynamicNtk,       // beyond the original context theta grows with the length
  kDynamicDoubling,  // the same, as if lengths were the original context times a power of two
};
// How attention and FFN of a layer are joined.
enum class Residual {
  kSequential,         // x += attention(norm(x)); x += ffn(ffn_norm(x))
  kParallel,           // x += attention(norm(x)) + ffn(ffn_norm(x))
  kParallelOfOneNorm,  // the same with attention's norm for both
};

struct NormDescription {
  NormKind kind = NormKind::kNone;
  float eps = 1e-5f;
  bool weight = true;
  bool bias = false;
};

struct RopeDescription {
  int rotary_dim = 0;  // 0: positions do not rotate anything
  bool interleaved = false;
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;                   // kLinear, kYarn, kDynamicNtk
  double beta_fast = 32, beta_slow = 1;  // kYarn: rotations within the original context from which, up to which
  int64_t original_context_tokens = 0;   // all but kLinear and kFactors
  std::vector<float> factors;            // kFactors, kLongRope: [rotary_dim/2]
  std::vector<float> long_factors;       // kLongRope: [rotary_dim/2]
  float magnitude = 1;                   // of what has been rotated

  bool DependsOnLength() const { return scaling >= RopeScaling::kLongRope; }
  bool operator==(const RopeDescription&) const = default;
};

// Multi-head latent attention (DeepSeek-AI, arXiv 2405.04434, section 2.1): queries come out of a bottleneck, keys and
// values of all heads out of one latent vector, which is what the cache keeps, with a part of the key that positions
// rotate. The projections from the latent vector to heads are multiplied into queries and into what attention yields,
// so that attention itself sees one key/value head: AttentionDescription::head_dim is kv_rank + rotary_dim, its
// value_dim kv_rank.
struct LatentDescription {
  int q_rank = 0;
  int kv_rank = 0;       // 0: attention is not of this kind
  int plain_dim = 0;     // of a head's query, without the part that rotates
  int rotary_dim = 0;    // of that part
  int value_dim = 0;     // of a head
  NormDescription norm;  // of both latent vectors

  int query_dim() const { return plain_dim + rotary_dim; }
};

struct AttentionDescription {
  int q_heads = 0;
  int kv_heads = 0;
  int head_dim = 0;   // of queries and keys
  int value_dim = 0;  // at most head_dim
  LatentDescription latent;
  bool qkv_bias = false;
  bool out_bias = false;
  // Of queries and keys before they are rotated: each head by itself, or all heads as one vector.
  NormDescription qk_norm;
  bool qk_norm_over_heads = false;
  bool qk_norm_of_each_head = false;  // with weights of its own for each head
  float clip = 0;                     // queries, keys and values are kept within ±clip; 0: as they are
  float scale = 0;                    // of scores: mostly 1/sqrt(head_dim)
  int64_t window = 0;                 // 0: the whole context
  // Queries beyond so many tokens are multiplied by the logarithm of their position to this base (Su, 2021, as Qwen's
  // logn attention has it); 0: none are.
  int64_t logn_tokens = 0;
  float softcap = 0;  // of scores; 0: none
  // ALiBi: what a token of distance costs in each head, [q_heads]; empty: nothing.
  std::vector<float> slopes;
};

// What stands in attention's place in a recurrent layer (De et al., arXiv 2402.19427, section 2.4):
// out(RG-LRU(convolution(x(input))) · activation(y(input))). Its state is as large whatever came before.
struct RecurrentDescription {
  int width = 0;  // 0: the layer has attention
  int heads = 0;  // blocks of the gates' matrices
  int taps = 0;   // of the convolution along the sequence: the token itself and those before it
  kernels::ActivationKind activation = kernels::ActivationKind::kGeluTanh;

  int64_t StateFloats() const { return int64_t{width} * taps; }  // RG-LRU's, and the inputs of taps - 1 tokens
};

struct FfnDescription {
  FfnKind kind = FfnKind::kGated;
  kernels::ActivationKind activation = kernels::ActivationKind::kSilu;
  int width = 0;
  // Series activation (Wang et al., arXiv 2312.17276): a sum of so many activations, each with a scale and a bias of
  // its own for every channel, of what the activation is of otherwise; 0: a plain one.
  int series = 0;
  bool up_bias = false;  // of the gate too
  bool down_bias = false;
};

// One decoder block. Layers may differ in every respect (layer-wise scaling, alternating windows).
struct LayerDescription {
  AttentionDescription attention;
  RecurrentDescription recurrent;
  FfnDescription ffn;
  // Augmented shortcuts (the same paper): x += up(GELU(down(norm(x)))) beside attention, through a bottleneck of so
  // many dimensions; 0: none. Only with Residual::kSequential.
  int shortcut_width = 0;
  NormDescription attention_norm, ffn_norm;            // of what goes in
  NormDescription attention_post_norm, ffn_post_norm;  // of what comes out, before it is added
  NormDescription attention_sum_norm, ffn_sum_norm;    // of x, once it has been added; only with Residual::kSequential
  RopeDescription rope;
  Residual residual = Residual::kSequential;
  float residual_scale = 1;  // of what is added
  // Index of the stored block whose weights this layer uses: its own, or an earlier one's (block-wise sharing). The
  // KV cache is the layer's own in any case.
  int weights_of_layer = 0;
  int ffn_weights_of_layer = 0;  // the same of the FFN's matrices and biases
};

struct ModelDescription {
  std::string family;  // "llama", "qwen2"
  std::string name;    // general.name, may be empty
  int vocab_size = 0;
  int model_dim = 0;
  int embedding_dim = 0;  // of a token's embedding and of the output's rows; another one than model_dim is projected
  int64_t context_tokens = 0;
  float embedding_scale = 1;
  int64_t learned_positions = 0;  // rows of the table whose row is added to a token's embedding; 0: no such table
  NormDescription embedding_norm;
  std::vector<LayerDescription> layers;
  NormDescription final_norm;
  bool tied_embeddings = false;
  float output_scale = 1;  // of logits, before bias and soft cap
  bool output_bias = false;
  float output_softcap = 0;  // 0: none
};

}  // namespace linnet::worker
