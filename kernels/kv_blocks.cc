#include "kernels/kv_blocks.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/log/check.h"
#include "kernels/activations.h"
#include "kernels/attention_part.h"
#include "kernels/float16.h"
#include "kernels/isa.h"

namespace linnet::kernels {
namespace {

constexpr float kLargestF16 = 65504.0f;
constexpr int kQuadBytes = kTileRows * 4;

// A tile of keys as one of packed weights.
QuantLayout KeyLayout(const KvBlocks& kv) { return QuantLayout::For(DType::kQ8_0, kKeyTile, kv.groups() * kGroup); }

// What a token's key or value becomes before it goes to its place.
struct Converter {
  explicit Converter(const KvBlocks& kv) : kv(kv) {
    const auto active = ActiveIsa();
    CHECK_OK(active.status());
    table = AttentionTableFor(*active);
    quantize = QuantizeRowFor(*active);
  }

  // [n] to f16, saturated.
  void ToF16(const float* from, int n, uint16_t* to) const {
    if (table != nullptr) return table->to_f16(from, n, to);
    for (int i = 0; i < n; ++i) to[i] = F16FromF32(std::clamp(from[i], -kLargestF16, kLargestF16));
  }
  // [n] to groups of integers and scales.
  void ToQ8(const float* from, int n, int64_t groups, float* padded, ActivationGroup* to) const {
    std::copy_n(from, n, padded);
    std::fill(padded + n, padded + groups * kGroup, 0.0f);
    quantize(padded, groups, 1, to);
  }

  const KvBlocks& kv;
  const AttentionTable* table;
  QuantizeRowFn quantize;
};

void PutScale(float scale, std::byte* to) {
  const uint16_t half = F16FromF32(std::min(scale, kLargestF16));
  std::memcpy(to, &half, sizeof(half));
}

// Elements of one token: keys into their tiles, values into their rows.
template <class T>
void StorePlain(const KvBlocks& kv, int64_t position, const T* k, const T* v) {
  for (int head = 0; head < kv.kv_heads; ++head, k += kv.head_dim, v += kv.value_dim) {
    T* const tile = reinterpret_cast<T*>(kv.KeyTile(head, position)) + position % kKeyTile;
    for (int d = 0; d < kv.head_dim; ++d) tile[d * kKeyTile] = k[d];
    std::copy_n(v, kv.value_dim,
                reinterpret_cast<T*>(kv.HeadValues(head, position)) + position % kv.block_tokens * kv.value_dim);
  }
}

void StoreQ8(const Converter& converter, int64_t position, const float* k, const float* v) {
  const KvBlocks& kv = converter.kv;
  const QuantLayout layout = KeyLayout(kv);
  const int64_t groups = kv.groups(), value_groups = kv.value_groups(), in_tile = position % kKeyTile,
                in_block = position % kv.block_tokens;
  thread_local std::vector<float> padded;
  thread_local std::vector<ActivationGroup> quantized;
  padded.resize(static_cast<size_t>(groups * kGroup));
  quantized.resize(static_cast<size_t>(groups));
  for (int head = 0; head < kv.kv_heads; ++head, k += kv.head_dim, v += kv.value_dim) {
    converter.ToQ8(k, kv.head_dim, groups, padded.data(), quantized.data());
    std::byte* const tile = kv.KeyTile(head, position);
    for (int64_t g = 0; g < groups; ++g) {
      const ActivationGroup& group = quantized[static_cast<size_t>(g)];
      for (int quad = 0; quad < kGroup / 4; ++quad) {
        uint8_t weights[4];
        for (int i = 0; i < 4; ++i) weights[i] = static_cast<uint8_t>(group.q[4 * quad + i] + 128);
        std::memcpy(tile + g * layout.quant_bytes + quad * kQuadBytes + in_tile * 4, weights, sizeof(weights));
      }
      PutScale(group.scale, tile + layout.scales_offset + (g * kKeyTile + in_tile) * 2);
    }
    converter.ToQ8(v, kv.value_dim, value_groups, padded.data(), quantized.data());
    std::byte* const values = kv.HeadValues(head, position);
    for (int64_t g = 0; g < value_groups; ++g) {
      const ActivationGroup& group = quantized[static_cast<size_t>(g)];
      std::memcpy(values + (in_block * value_groups + g) * kGroup, group.q, kGroup);
      PutScale(group.scale, values + kv.block_tokens * value_groups * kGroup + (in_block * value_groups + g) * 2);
    }
  }
}

float LoadPlain(const KvBlocks& kv, const std::byte* from, int64_t index) {
  return kv.type == DType::kF32 ? reinterpret_cast<const float*>(from)[index] : LoadF16(from + 2 * index);
}

}  // namespace

int64_t KvBlocks::KeyTileBytes() const {
  return type == DType::kQ8_0 ? KeyLayout(*this).tile_bytes : kKeyTile * head_dim * ElementBytes();
}

int64_t KvBlocks::HeadValueBytes() const {
  return block_tokens * (type == DType::kQ8_0 ? value_groups() * (kGroup + 2) : value_dim * ElementBytes());
}

void StoreKv(const KvBlocks& kv, int64_t first_position, int tokens, const float* k, int64_t k_stride, const float* v,
             int64_t v_stride) {
  const Converter converter(kv);
  const int k_width = kv.kv_heads * kv.head_dim, v_width = kv.kv_heads * kv.value_dim;
  thread_local std::vector<uint16_t> half;
  half.resize(static_cast<size_t>(k_width) + static_cast<size_t>(v_width));
  for (int t = 0; t < tokens; ++t, k += k_stride, v += v_stride) {
    const int64_t position = first_position + t;
    if (kv.type == DType::kQ8_0) {
      StoreQ8(converter, position, k, v);
    } else if (kv.type == DType::kF32) {
      StorePlain(kv, position, k, v);
    } else {
      converter.ToF16(k, k_width, half.data());
      converter.ToF16(v, v_width, half.data() + k_width);
      StorePlain(kv, position, half.data(), half.data() + k_width);
    }
  }
}

float LoadKey(const KvBlocks& kv, int head, int64_t token, int d) {
  const std::byte* const tile = kv.KeyTile(head, token);
  if (kv.type != DType::kQ8_0) return LoadPlain(kv, tile, d * int64_t{kKeyTile} + token % kKeyTile);
  QuantGroup group;
  UnpackGroup(KeyLayout(kv), reinterpret_cast<const uint8_t*>(tile), static_cast<int>(token % kKeyTile), d / kGroup,
              group);
  return F32FromF16(group.d) * static_cast<float>(group.q[d % kGroup] - 128);
}

float LoadValue(const KvBlocks& kv, int head, int64_t token, int d) {
  const std::byte* const values = kv.HeadValues(head, token);
  const int64_t in_block = token % kv.block_tokens;
  if (kv.type != DType::kQ8_0) return LoadPlain(kv, values, in_block * kv.value_dim + d);
  const int64_t at = in_block * kv.value_groups() * kGroup + d;
  return LoadF16(values + kv.block_tokens * kv.value_groups() * kGroup + at / kGroup * 2) *
         static_cast<float>(static_cast<int8_t>(values[at]));
}

}  // namespace linnet::kernels
