// The paged key/value cache (Kwon et al., arXiv 2309.06180): blocks of `kBlockTokens` tokens, each of which holds every
// layer's keys and values with that layer's own geometry. Sequences hold block ids; blocks are reference-counted by
// none yet (prefix sharing will). Allocation is exact and bounded; memory is reserved once and touched as used.
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

// The block table of one sequence, in token order.
struct KvSequence {
  std::vector<int32_t> blocks;
};

class KvCache {
 public:
  // `type`: kF16, kQ8_0 or kF32. RESOURCE_EXHAUSTED OUT_OF_MEMORY where the address space cannot be had.
  static absl::StatusOr<std::unique_ptr<KvCache>> Create(const ModelDescription& model, kernels::DType type,
                                                         int64_t blocks);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int64_t blocks() const { return blocks_; }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int64_t bytes() const { return blocks_ * block_bytes_; }
  kernels::DType type() const { return type_; }
  static int64_t BlocksFor(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }
  // Bytes of one token over all layers.
  static int64_t BytesPerToken(const ModelDescription& model, kernels::DType type);

  // Makes room for positions 0 ... tokens - 1. False, and nothing changed, where too few blocks are free.
  bool Reserve(KvSequence& sequence, int64_t tokens);
  void Release(KvSequence& sequence);

  // One layer's view of a sequence. `pointers` is storage for the result's block pointers and must live as long as it.
  kernels::KvBlocks Layer(int layer, const KvSequence& sequence, std::vector<std::byte*>& pointers) const;

 private:
  KvCache() = default;
  int64_t blocks_ = 0;
  int64_t block_bytes_ = 0;
  kernels::DType type_ = kernels::DType::kF16;
  struct LayerGeometry {
    int64_t offset = 0;  // in a block
    int kv_heads = 0, head_dim = 0;
  };
  std::vector<LayerGeometry> layers_;
  std::vector<int32_t> free_;
  std::byte* memory_ = nullptr;  // mmap, [blocks, block_bytes]
};

}  // namespace linnet::worker
