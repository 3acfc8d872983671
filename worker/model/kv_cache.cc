#include "worker/model/kv_cache.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/log/check.h"
#include "base/error.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

// Each layer's part of a block begins at a cache line.
constexpr int64_t kAlignment = 64;

int64_t LayerBlockBytes(const AttentionDescription& attention, kernels::DType type) {
  return kernels::KvBlocks{
      .type = type, .block_tokens = kBlockTokens, .kv_heads = attention.kv_heads, .head_dim = attention.head_dim}
      .BytesPerBlock();
}

}  // namespace

int64_t KvCache::BytesPerToken(const ModelDescription& model, kernels::DType type) {
  int64_t bytes = 0;
  for (const LayerDescription& layer : model.layers) bytes += LayerBlockBytes(layer.attention, type);
  return (bytes + kBlockTokens - 1) / kBlockTokens;
}

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Create(const ModelDescription& model, kernels::DType type,
                                                         int64_t blocks) {
  if (type != kernels::DType::kF16 && type != kernels::DType::kQ8_0 && type != kernels::DType::kF32) {
    return absl::InvalidArgumentError(
        base::StrCat("a KV cache holds F16, Q8_0 or F32, not ", kernels::Info(type).name, "; choose one of these"));
  }
  if (blocks < 1 || blocks > (int64_t{1} << 30)) {
    return absl::InvalidArgumentError(base::StrCat("a KV cache of ", blocks, " blocks; ask for 1 to 2^30"));
  }
  auto cache = std::unique_ptr<KvCache>(new KvCache());
  cache->type_ = type;
  cache->blocks_ = blocks;
  for (const LayerDescription& layer : model.layers) {
    cache->layers_.push_back(
        {.offset = cache->block_bytes_, .kv_heads = layer.attention.kv_heads, .head_dim = layer.attention.head_dim});
    const int64_t bytes = LayerBlockBytes(layer.attention, type);
    cache->block_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  // Only address space for now; a page, mostly a huge one, costs memory from its first token on.
  void* memory = mmap(nullptr, static_cast<size_t>(cache->bytes()), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat("cannot reserve ", cache->bytes(), " bytes for the KV cache: ", strerror(errno),
                                    "; lower kv_cache_tokens"),
                       {{"needed_bytes", base::StrCat(cache->bytes())}});
  }
  cache->memory_ = static_cast<std::byte*>(memory);
#ifdef MADV_HUGEPAGE
  // A hint. Of blocks that lie apart, attention over a long context otherwise walks page tables as much as it reads.
  (void)madvise(memory, static_cast<size_t>(cache->bytes()), MADV_HUGEPAGE);
#endif
  // Taken from the back: low blocks first, and the block freed last is used again first.
  cache->free_.reserve(static_cast<size_t>(blocks));
  for (int64_t b = blocks - 1; b >= 0; --b) cache->free_.push_back(static_cast<int32_t>(b));
  return cache;
}

KvCache::~KvCache() {
  if (memory_ != nullptr) munmap(memory_, static_cast<size_t>(bytes()));
}

bool KvCache::Reserve(KvSequence& sequence, int64_t tokens) {
  const int64_t missing = BlocksFor(tokens) - static_cast<int64_t>(sequence.blocks.size());
  if (missing > free_blocks()) return false;
  for (int64_t i = 0; i < missing; ++i) {
    sequence.blocks.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void KvCache::Release(KvSequence& sequence) {
  while (!sequence.blocks.empty()) {
    free_.push_back(sequence.blocks.back());
    sequence.blocks.pop_back();
  }
  DCHECK_LE(free_blocks(), blocks_);
}

kernels::KvBlocks KvCache::Layer(int layer, const KvSequence& sequence, std::vector<std::byte*>& pointers) const {
  const LayerGeometry& geometry = layers_[static_cast<size_t>(layer)];
  pointers.resize(sequence.blocks.size());
  for (size_t i = 0; i < sequence.blocks.size(); ++i) {
    pointers[i] = memory_ + sequence.blocks[i] * block_bytes_ + geometry.offset;
  }
  return {.blocks = pointers,
          .type = type_,
          .block_tokens = kBlockTokens,
          .kv_heads = geometry.kv_heads,
          .head_dim = geometry.head_dim};
}

}  // namespace linnet::worker
