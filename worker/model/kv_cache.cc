#include "worker/model/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/log/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

// Each layer's part of a block begins at a cache line.
constexpr int64_t kAlignment = 64;
// In front of a recurrent layer's state: how many tokens are in it.
constexpr int64_t kStateHeader = kAlignment;

int64_t LayerBlockBytes(const AttentionDescription& attention, kernels::DType type) {
  return kernels::KvBlocks{.type = type,
                           .block_tokens = kBlockTokens,
                           .kv_heads = attention.kv_heads,
                           .head_dim = attention.head_dim,
                           .value_dim = attention.value_dim}
      .BytesPerBlock();
}

}  // namespace

int64_t KvCache::BytesPerToken(const ModelDescription& model, kernels::DType type) {
  int64_t bytes = 0;
  for (const LayerDescription& layer : model.layers) {
    if (layer.recurrent.width == 0) bytes += LayerBlockBytes(layer.attention, type);
  }
  return (bytes + kBlockTokens - 1) / kBlockTokens;
}

int64_t KvCache::Group::BlocksFor(int64_t tokens) const {
  const int64_t whole = KvCache::BlocksFor(tokens);
  return ring_blocks > 0 ? std::min(whole, ring_blocks) : whole;
}

size_t KvCache::GroupOf(const LayerDescription& layer, const Limits& limits) {
  const bool recurrent = layer.recurrent.width > 0;
  const int64_t window = limits.step_tokens > 0 && !recurrent ? layer.attention.window : 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (groups_[g].recurrent == recurrent && groups_[g].window == window) return g;
  }
  Group group = {.recurrent = recurrent, .window = window};
  if (recurrent) group.ring_blocks = 1;
  // A step reads from the window before its first token to its last one, and that many tokens lie in at most so many
  // blocks.
  if (window > 0) group.ring_blocks = (window + limits.step_tokens - 1 + kBlockTokens - 2) / kBlockTokens + 1;
  groups_.push_back(std::move(group));
  return groups_.size() - 1;
}

void KvCache::OrderGroups() {
  const auto keeps = [](const Group& g) {
    return g.ring_blocks > 0 ? g.ring_blocks : std::numeric_limits<int64_t>::max();
  };
  const auto most = std::max_element(groups_.begin(), groups_.end(),
                                     [&](const Group& a, const Group& b) { return keeps(a) < keeps(b); });
  const auto first = static_cast<size_t>(most - groups_.begin());
  std::swap(groups_[0], groups_[first]);
  for (LayerGeometry& layer : layers_) {
    if (layer.group == 0 || layer.group == first) layer.group = first - layer.group;
  }
}

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Create(const ModelDescription& model, kernels::DType type,
                                                         int64_t blocks, const Limits& limits) {
  if (type != kernels::DType::kF16 && type != kernels::DType::kQ8_0 && type != kernels::DType::kF32) {
    return absl::InvalidArgumentError(
        base::StrCat("a KV cache holds F16, Q8_0 or F32, not ", kernels::Info(type).name, "; choose one of these"));
  }
  if (blocks < 1 || blocks > (int64_t{1} << 30)) {
    return absl::InvalidArgumentError(base::StrCat("a KV cache of ", blocks, " blocks; ask for 1 to 2^30"));
  }
  auto cache = std::unique_ptr<KvCache>(new KvCache());
  cache->type_ = type;
  for (const LayerDescription& layer : model.layers) {
    const size_t g = cache->GroupOf(layer, limits);
    Group& group = cache->groups_[g];
    cache->layers_.push_back({.group = g,
                              .offset = group.block_bytes,
                              .kv_heads = layer.attention.kv_heads,
                              .head_dim = layer.attention.head_dim,
                              .value_dim = layer.attention.value_dim});
    const int64_t bytes = group.recurrent ? kStateHeader + layer.recurrent.StateFloats() * int64_t{sizeof(float)}
                                          : LayerBlockBytes(layer.attention, type);
    group.block_bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  cache->OrderGroups();
  for (Group& group : cache->groups_) {
    // Every sequence holds a block of the first group for each that it holds of another, up to its ring.
    group.blocks = blocks;
    if (group.ring_blocks > 0 && limits.sequences > 0) {
      group.blocks = std::min(blocks, limits.sequences * group.ring_blocks);
    }
    cache->bytes_ += group.blocks * group.block_bytes;
  }
  LINNET_RETURN_IF_ERROR(cache->ReserveMemory());
  return cache;
}

absl::Status KvCache::ReserveMemory() {
  // Only address space for now; a page, mostly a huge one, costs memory from its first token on.
  void* memory = mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat("cannot reserve ", bytes_, " bytes for the KV cache: ", strerror(errno),
                                    "; lower kv_cache_tokens"),
                       {{"needed_bytes", base::StrCat(bytes_)}});
  }
  memory_ = static_cast<std::byte*>(memory);
#ifdef MADV_HUGEPAGE
  // A hint. Of blocks that lie apart, attention over a long context otherwise walks page tables as much as it reads.
  (void)madvise(memory, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
#endif
  std::byte* next = memory_;
  for (Group& group : groups_) {
    group.memory = next;
    next += group.blocks * group.block_bytes;
    // Taken from the back: low blocks first, and the block freed last is used again first.
    group.free.reserve(static_cast<size_t>(group.blocks));
    for (int64_t b = group.blocks - 1; b >= 0; --b) group.free.push_back(static_cast<int32_t>(b));
  }
  return absl::OkStatus();
}

KvCache::~KvCache() {
  if (memory_ != nullptr) munmap(memory_, static_cast<size_t>(bytes_));
}

bool KvCache::Reserve(KvSequence& sequence, int64_t tokens) {
  sequence.blocks.resize(groups_.size());
  const auto missing = [&](size_t g) {
    return groups_[g].BlocksFor(tokens) - static_cast<int64_t>(sequence.blocks[g].size());
  };
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (missing(g) > static_cast<int64_t>(groups_[g].free.size())) return false;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (int64_t n = missing(g); n > 0; --n) {
      sequence.blocks[g].push_back(groups_[g].free.back());
      groups_[g].free.pop_back();
    }
  }
  sequence.tokens = std::max(sequence.tokens, BlocksFor(tokens) * kBlockTokens);
  return true;
}

void KvCache::Release(KvSequence& sequence) {
  for (size_t g = 0; g < sequence.blocks.size(); ++g) {
    std::vector<int32_t>& blocks = sequence.blocks[g];
    groups_[g].free.insert(groups_[g].free.end(), blocks.rbegin(), blocks.rend());
    DCHECK_LE(static_cast<int64_t>(groups_[g].free.size()), groups_[g].blocks);
  }
  sequence = {};
}

KvCache::State KvCache::LayerState(int layer, const KvSequence& sequence) const {
  const LayerGeometry& geometry = layers_[static_cast<size_t>(layer)];
  const Group& group = groups_[geometry.group];
  std::byte* const at = group.memory + sequence.blocks[geometry.group][0] * group.block_bytes + geometry.offset;
  return {.tokens = reinterpret_cast<int64_t*>(at), .values = reinterpret_cast<float*>(at + kStateHeader)};
}

kernels::KvBlocks KvCache::Layer(int layer, const KvSequence& sequence, std::vector<std::byte*>& pointers) const {
  const LayerGeometry& geometry = layers_[static_cast<size_t>(layer)];
  const Group& group = groups_[geometry.group];
  const std::vector<int32_t>& held = sequence.blocks[geometry.group];
  std::byte* const memory = group.memory + geometry.offset;
  pointers.resize(static_cast<size_t>(sequence.tokens / kBlockTokens));
  const size_t direct = std::min(held.size(), pointers.size());
  for (size_t i = 0; i < direct; ++i) pointers[i] = memory + held[i] * group.block_bytes;
  // Where there are more, the ring is complete.
  for (size_t i = direct; i < pointers.size(); ++i) pointers[i] = pointers[i - direct];
  return {.blocks = pointers,
          .type = type_,
          .block_tokens = kBlockTokens,
          .kv_heads = geometry.kv_heads,
          .head_dim = geometry.head_dim,
          .value_dim = geometry.value_dim};
}

}  // namespace linnet::worker
