// What sequences leave behind for their later tokens: keys and values of attention, in a paged cache (Kwon et al.,
// arXiv 2309.06180), and the states of recurrent layers.
//
// Layers that keep equally much form a group with blocks of its own, of `kBlockTokens` tokens, each of which holds the
// keys and values of all the group's layers with each layer's own geometry. A sequence has a block table for each
// group:
//
//   whole context   a block for every kBlockTokens tokens
//   window          a ring of blocks as long as the window and a step: the block that falls out of the window is the
//                   next one to be written. Positions map to blocks modulo the ring, so kernels see no difference
//   recurrent       one block, the state, which does not grow
//
// Blocks are reference-counted by none yet (prefix sharing will). Allocation is exact and bounded; memory is reserved
// once and touched as used.
//
// Not thread-safe: the engine's thread owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/attention.h"
#include "worker/model/description.h"

namespace linnet::worker {

inline constexpr int kBlockTokens = 32;

// The block tables of one sequence, each in token order.
struct KvSequence {
  int64_t tokens = 0;                        // that there is room for
  std::vector<std::vector<int32_t>> blocks;  // of each group of layers
};

class KvCache {
 public:
  struct Limits {
    // As many sequences hold blocks at a time; 0: any number.
    int64_t sequences = 0;
    // As many tokens of one sequence are computed in one step; 0: any number, so that windows are not made use of.
    int64_t step_tokens = 0;
  };
  // `type`: kF16, kQ8_0 or kF32. `blocks`: of the group that keeps most, as many as whole contexts would need; the
  // others have enough for every sequence that these allow. RESOURCE_EXHAUSTED OUT_OF_MEMORY where the address space
  // cannot be had.
  static absl::StatusOr<std::unique_ptr<KvCache>> Create(const ModelDescription& model, kernels::DType type,
                                                         int64_t blocks, const Limits& limits);
  static absl::StatusOr<std::unique_ptr<KvCache>> Create(const ModelDescription& model, kernels::DType type,
                                                         int64_t blocks) {
    return Create(model, type, blocks, Limits());
  }
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // Of the group that keeps most: the others never run out before it does.
  int64_t blocks() const { return groups_[0].blocks; }
  int64_t free_blocks() const { return static_cast<int64_t>(groups_[0].free.size()); }
  // How many of them a sequence of so many tokens holds.
  int64_t BlocksHeld(int64_t tokens) const { return groups_[0].BlocksFor(tokens); }
  int64_t bytes() const { return bytes_; }
  kernels::DType type() const { return type_; }
  // Of a whole context.
  static int64_t BlocksFor(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }
  // Bytes of one token over all layers, windows and states left aside.
  static int64_t BytesPerToken(const ModelDescription& model, kernels::DType type);

  // Makes room for positions 0 ... tokens - 1. False, and nothing changed, where too few blocks are free.
  bool Reserve(KvSequence& sequence, int64_t tokens);
  void Release(KvSequence& sequence);

  // A recurrent layer's state of a sequence: RecurrentDescription::StateFloats of them, behind how many tokens are in
  // it. What a sequence's first token finds there means nothing.
  struct State {
    int64_t* tokens = nullptr;
    float* values = nullptr;
  };
  State LayerState(int layer, const KvSequence& sequence) const;

  // One layer's view of a sequence. `pointers` is storage for the result's block pointers and must live as long as it.
  // Of a layer with a window, blocks before it are those that were written since.
  kernels::KvBlocks Layer(int layer, const KvSequence& sequence, std::vector<std::byte*>& pointers) const;

 private:
  KvCache() = default;

  // Layers that keep equally much.
  struct Group {
    bool recurrent = false;   // a block is a state
    int64_t window = 0;       // of its layers; 0: the whole context
    int64_t ring_blocks = 0;  // the most that a sequence holds; 0: as many as it has tokens
    int64_t block_bytes = 0;
    int64_t blocks = 0;
    std::byte* memory = nullptr;  // [blocks, block_bytes]
    std::vector<int32_t> free;

    int64_t BlocksFor(int64_t tokens) const;
  };
  struct LayerGeometry {
    size_t group = 0;
    int64_t offset = 0;  // in a block
    int kv_heads = 0, head_dim = 0, value_dim = 0;
  };
  // The group of layers that keep what this one does, made where there is none yet.
  size_t GroupOf(const LayerDescription& layer, const Limits& limits);
  // The group that keeps most comes first.
  void OrderGroups();
  // For what groups were planned to have.
  absl::Status ReserveMemory();

  kernels::DType type_ = kernels::DType::kF16;
  std::vector<Group> groups_;
  std::vector<LayerGeometry> layers_;
  std::byte* memory_ = nullptr;  // mmap, one group after the other
  int64_t bytes_ = 0;
};

}  // namespace linnet::worker
