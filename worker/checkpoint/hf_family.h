// The families whose checkpoints are read: each a row of data that says what its config.json means and which tensors it
// has, and, where its numbers stand in keys of its own, a function that reads these.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/hf_config.h"
#include "worker/checkpoint/tensor_rules.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::worker {

// Whether layers have biases of a kind, by the key of config.json that says so; without one, as the checkpoint has
// them.
struct HfBiases {
  std::string_view key;
  bool promised = false;
};
HfBiases ReadBiases(HfConfig& config, std::string_view key);

// What config.json says of the tensors' sizes, and what GGUF's metadata are made of.
struct HfModel {
  int64_t layers = 1, model_dim = 1, vocab = 1, context = 1, head_dim = 1;
  bool head_dim_stated = false;
  // Layers, widths and heads are what the file says. Where one of them was complained about, nothing follows from its
  // placeholder, and no complaint should.
  bool sized = false;
  std::vector<int64_t> q_heads, kv_heads, ffn;  // one for each layer
  HfRope rope;
  int rotary_dim = 0;
  // Shared embeddings: whether the file says so, and what it says or the family's habit is.
  bool tied = false, tied_stated = false;
  HfBiases qkv_bias, out_bias, ffn_bias;
  double norm_eps = 1e-5;
  int64_t embedding_dim = 0;  // 0: as wide as the model
  // Of blocks that are recurrent instead of attending; no such blocks where the list is empty.
  std::vector<bool> recurrent;
  int64_t recurrent_width = 1, recurrent_heads = 1, taps = 1;
  int64_t shortcuts = 0, shortcut_width = 1, series = 1;  // PanGu-pi's
  // Of latent attention, whose head_dim is `nope_dim` + rotary_dim.
  int64_t q_latent = 1, kv_latent = 1, nope_dim = 1, value_dim = 1;
};

// A tensor that GGUF has and the checkpoint has not.
struct GeneratedTensor {
  std::string name;
  std::vector<float> values;
};

struct HfFamily;
struct HfDescription {
  const HfFamily* family = nullptr;
  HfModel model;
  std::vector<TensorRules> tensors;  // the family's, or what its function made of them
  GgufMetadata metadata;             // without the tokenizer's
  std::vector<GeneratedTensor> generated;
  std::vector<std::string> notes;  // what whoever converts should know
};

// Writes "{architecture}.{key}".
class ArchitectureKeys {
 public:
  ArchitectureKeys(std::string_view architecture, GgufMetadata& metadata)
      : architecture_(architecture), metadata_(metadata) {}
  void U32(std::string_view key, int64_t value);
  void U32s(std::string_view key, const std::vector<int64_t>& values);  // one number where all are the same
  void I32s(std::string_view key, const std::vector<int64_t>& values);
  void F32(std::string_view key, double value);
  void Bool(std::string_view key, bool value);
  void String(std::string_view key, std::string_view value);

 private:
  std::string Name(std::string_view key) const;
  const std::string architecture_;
  GgufMetadata& metadata_;
};

enum class HfRopeUse : uint8_t {
  kNone,
  kHalves,      // as Transformers turns
  kNeighbours,  // GGUF's rows of queries and keys are reordered for it
};

struct HfFamily {
  std::string_view gguf;           // general.architecture
  std::string_view architectures;  // of config.json, with spaces between
  std::string_view model_types;    // where config.json names no architecture
  std::string_view prefix;         // of tensors' names; some checkpoints lack it
  std::string_view activations;    // that compute what the GGUF architecture does
  std::vector<TensorRules> tensors;
  HfRopeUse rope = HfRopeUse::kHalves;
  double partial_rotary = 1;
  double theta = 10000;          // where the file states none
  double eps = 0;                // the same; 0: it must
  bool layer_norm = false;       // else RMS norm
  bool norms_from_zero = false;  // the checkpoint keeps w of 1 + w
  bool tied = false;             // where the file says nothing
  bool four_times_wide = false;  // the same of the FFN
  int64_t context = 0;           // the same; 0: it must
  std::string_view defaults;     // JSON of what its files leave to Transformers
  // Reads what else there is, once the common sizes are read and before their keys are written, where it has not
  // written them itself; may be null.
  void (*particulars)(HfConfig& config, HfDescription& out, ArchitectureKeys& keys) = nullptr;
};

std::span<const HfFamily> HfFamilies();
// INVALID_ARGUMENT INVALID_MODEL_FILE: not known, with the nearest name that is.
absl::StatusOr<const HfFamily*> FindHfFamily(const HfConfig& config);

// Every complaint about config.json in one error.
absl::StatusOr<HfDescription> DescribeConfig(HfConfig& config);

}  // namespace linnet::worker
