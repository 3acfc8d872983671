// The families of models that Linnet knows: each a row of data that says how its layers are built, and, where its
// numbers stand in keys of its own, a function that reads these.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/rows.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/description.h"
#include "worker/model/gguf_keys.h"

namespace linnet::worker {

enum class Biases : uint8_t { kNone, kAll, kAsInFile };
enum class Positions : uint8_t {
  kRopeHalves,      // RoPE turns (i, i + rotary_dim/2)
  kRopeNeighbours,  // RoPE turns (2i, 2i+1)
  kLearned,         // a table that is added to embeddings
  kAlibi,           // a slope for each head
};
enum class QkNorm : uint8_t { kNone, kPerHead, kOverHeads };

struct Family {
  std::string_view architecture;  // general.architecture of GGUF files
  std::string_view models;        // who is built so
  NormKind norm = NormKind::kRms;
  bool norm_weight = true;
  bool norm_bias = true;  // of LayerNorm
  bool pre_norms = true;
  bool post_norms = false;
  bool embedding_norm = false;
  Positions positions = Positions::kRopeHalves;
  Biases qkv_bias = Biases::kAsInFile;
  Biases other_biases = Biases::kAsInFile;  // of attention's output and the FFN
  Biases output_bias = Biases::kNone;
  QkNorm qk_norm = QkNorm::kNone;
  FfnKind ffn = FfnKind::kGated;
  kernels::ActivationKind activation = kernels::ActivationKind::kSilu;
  Residual residual = Residual::kSequential;
  bool recurrent_layers = false;   // those without key/value heads
  bool scaled_embeddings = false;  // by sqrt(model_dim)
  // Reads what else its keys say, once all of the above is filled in; may be null.
  void (*particulars)(GgufKeys& keys, ModelDescription& model) = nullptr;
};

std::span<const Family> Families();
const Family* FindFamily(std::string_view architecture);  // nullptr: not supported

// What the file's metadata describe. INVALID_ARGUMENT INVALID_MODEL_FILE: the architecture is not supported, or every
// key that is missing, out of range or not supported. Validates everything that sizes are computed from.
absl::StatusOr<ModelDescription> DescribeModel(const GgufFile& file);

}  // namespace linnet::worker
