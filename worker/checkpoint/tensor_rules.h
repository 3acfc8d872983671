// Which tensors a family's checkpoints have, under which names and in which shapes, and what GGUF calls each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace linnet::worker {

// A size that config.json states, of a layer where layers differ.
enum class TensorSize : uint8_t {
  kNone,
  kModel,
  kQ,     // query heads · head_dim
  kKv,    // key/value heads · head_dim
  kQkv,   // all three
  kHead,  // head_dim
  kFfn,
  kTwoFfn,
  kVocab,
  kPositions,
  kEmbedding,        // of embeddings, where these are not as wide as the model
  kPaddedPositions,  // two more than there are positions
  kRecurrent,        // channels of a recurrent block
  kRecurrentHead,    // of one of its heads
  kTaps,             // of its convolution
  kShortcut,         // inner width of an augmented shortcut
  kSeries,           // activations of a series
  // Of latent attention:
  kQLatent,
  kKvLatent,
  kKvLatentAndRope,
  kLatentKv,  // heads · (what of a key does not rotate, and a value)
  kValues,    // heads · a value
};

// How GGUF keeps a tensor differently.
enum class TensorChange : uint8_t {
  kAsIs,
  kTransposed,  // GPT-2 keeps [in, out]
  kQueries,     // rows of each head reordered, where the family's RoPE turns neighbours
  kKeys,        // the same
  kByKind,      // rows of a fused projection from [head][q, k, v] to [q, k, v][head]
  kNorm,        // w + 1, where the family keeps w of 1 + w
  kUpperHalf,   // the first half of the rows
  kLowerHalf,   // the second
  kFromRowTwo,  // OPT's positions begin with two rows that none has
  kFlat,        // rows · cols as one vector
  kFlatAcross,  // the same, of [cols, rows]
  kStacked,     // several tensors, % in their names, one below the other
  kSideBySide,  // the same, beside each other
  kOfQueries,   // one of each query head, one below the other
  kOfKeys,      // the same of key/value heads
};

enum class Layers : uint8_t { kAll, kAttending, kRecurrent };

enum class Presence : uint8_t {
  kRequired,
  kOutput,  // the output matrix: absent, or a copy of the embeddings, where these are shared
  kShared,  // in every layer, or in the first one alone
  // Biases: in every layer or in none, as config.json says; where it does not, as the checkpoint has them.
  kQkvBias,
  kOutBias,  // of attention's output
  kFfnBias,
};

struct TensorRule {
  std::string_view name;  // without the family's prefix; $ stands for the layer, % for the number in a stack
  std::string_view gguf;  // the same
  // As the checkpoint has it: [rows, cols], or [rows]. Sizes of one between them, and leading ones that make up the
  // rows together, are as good.
  TensorSize rows = TensorSize::kNone, cols = TensorSize::kNone;
  TensorChange change = TensorChange::kAsIs;
  Presence presence = Presence::kRequired;
  Layers layers = Layers::kAll;

  bool per_layer() const { return name.find('$') != std::string_view::npos; }
};

// `pattern` with a number in the place of `mark`.
std::string Numbered(std::string_view pattern, char mark, int64_t number);

using TensorRules = std::span<const TensorRule>;
namespace rules {
// Of models that are laid out as Llama is.
extern const TensorRules kEmbeddings;  // embeddings, final norm, output
extern const TensorRules kEmbeddingsWithoutNorm;
extern const TensorRules kNorms;         // before attention and FFN
extern const TensorRules kLayerNorms;    // the same, with their biases and the final one's
extern const TensorRules kOneLayerNorm;  // of these without the FFN's
extern const TensorRules kNormsAfter;    // behind attention and FFN
extern const TensorRules kNormsAround;   // before and behind
extern const TensorRules kAttention;
extern const TensorRules kAttentionMatrices;  // of these, without any bias
extern const TensorRules kQkvBiases;          // always there
extern const TensorRules kLatentAttention;
extern const TensorRules kHeadNorms;     // of queries and keys, each head by itself
extern const TensorRules kOwnHeadNorms;  // the same, with weights of its own for each
extern const TensorRules kAllHeadNorms;  // of all heads as one vector
extern const TensorRules kGatedFfn;
extern const TensorRules kPlainFfn;
// Of one family each, whole.
extern const TensorRules kBloom, kGpt2, kGptNeoX, kOpenElm, kPhi, kPhi3, kQwen;
extern const TensorRules kOpenLm, kRecurrentGemma, kOpt;
// Of OPT's norms, before attention and FFN, or behind the residuals.
extern const TensorRules kOptNormsBefore, kOptNormsBehind, kOptProjections;
extern const TensorRules kSharedFfn;
// Of PanGu-pi, beside Llama's.
extern const TensorRules kShortcuts, kSeriesFfn;
}  // namespace rules

}  // namespace linnet::worker
