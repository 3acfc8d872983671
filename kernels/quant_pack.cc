#include "kernels/quant_pack.h"

#include <algorithm>
#include <cstring>

#include "kernels/float16.h"

namespace linnet::kernels {
namespace {

constexpr int kQuadBytes = kTileRows * 4;

void Store16(uint8_t* out, uint16_t value) { std::memcpy(out, &value, sizeof(value)); }

}  // namespace

QuantLayout QuantLayout::For(PackedType type, int64_t rows, int64_t cols) {
  QuantLayout l{.type = type, .traits = Traits(type.type), .rows = rows, .cols = cols};
  l.groups = cols / kGroup;
  int64_t packed_groups = l.groups;
  if (type.shared != SharedScales::kNone) {
    l.chunks = (cols + kChunk - 1) / kChunk;
    packed_groups = l.chunks * (kChunk / kGroup);
  }
  l.groups_per_scale = type.shared == SharedScales::kRow     ? std::max<int64_t>(1, l.groups)
                       : type.shared == SharedScales::kPairs ? 2
                       : l.traits.super                      ? 8
                                                             : 1;
  l.tiles = (rows + kTileRows - 1) / kTileRows;
  l.quant_bytes = kTileRows * kGroup * l.traits.bits / 8;
  const int64_t scale_bytes = (l.groups + l.groups_per_scale - 1) / l.groups_per_scale * kTileRows * 2;
  l.scales_offset = packed_groups * l.quant_bytes;
  l.mins_offset = l.scales_offset + scale_bytes;
  l.sub_scales_offset = l.mins_offset + (l.traits.has_min ? scale_bytes : 0);
  l.sub_mins_offset = l.sub_scales_offset + (l.traits.super ? l.groups * l.traits.scales_per_group * kTileRows : 0);
  const int64_t end = l.sub_mins_offset + (l.traits.super && l.traits.has_min ? l.groups * kTileRows : 0);
  l.tile_bytes = (end + 63) / 64 * 64;
  return l;
}

bool PackTile(const QuantLayout& layout, const uint8_t* source, int64_t tile, uint8_t* out) {
  const QuantTraits& traits = layout.traits;
  const DType type = layout.type.type;
  const int64_t row_bytes = BytesFor(type, layout.cols);
  std::memset(out, 0, static_cast<size_t>(layout.tile_bytes));
  QuantGroup group;
  for (int r = 0; r < kTileRows && tile * kTileRows + r < layout.rows; ++r) {
    const uint8_t* const row = source + (tile * kTileRows + r) * row_bytes;
    for (int64_t g = 0; g < layout.groups; ++g) {
      DecodeGroup(type, row, g, group);
      uint8_t* const quants = out + g * layout.quant_bytes;
      for (int k = 0; k < kGroup; ++k) {
        const int quad = k / 4, at = r * 4 + k % 4;
        const uint8_t q = group.q[k];
        if (traits.bits == 8) {
          quants[quad * kQuadBytes + at] = q;
          continue;
        }
        quants[quad % 4 * kQuadBytes + at] |= static_cast<uint8_t>((q & 0xF) << (quad < 4 ? 0 : 4));
        uint8_t* const high = quants + 4 * kQuadBytes;
        if (traits.bits == 5) high[at] |= static_cast<uint8_t>((q >> 4) << quad);
        if (traits.bits == 6) high[quad / 4 * kQuadBytes + at] |= static_cast<uint8_t>((q >> 4) << (2 * (quad % 4)));
      }
      const int64_t s = (g / layout.groups_per_scale * kTileRows + r) * 2;
      if (g % layout.groups_per_scale != 0 && LoadU16(out + layout.scales_offset + s) != group.d) return false;
      Store16(out + layout.scales_offset + s, group.d);
      if (traits.has_min) Store16(out + layout.mins_offset + s, group.m);
      if (!traits.super) continue;
      for (int i = 0; i < traits.scales_per_group; ++i) {
        out[layout.sub_scales_offset + (g * traits.scales_per_group + i) * kTileRows + r] = group.sub_scale[i];
      }
      if (traits.has_min) out[layout.sub_mins_offset + g * kTileRows + r] = group.sub_min;
    }
  }
  return true;
}

void UnpackGroup(const QuantLayout& layout, const uint8_t* tile, int r, int64_t g, QuantGroup& out) {
  const QuantTraits& traits = layout.traits;
  const uint8_t* const quants = tile + g * layout.quant_bytes;
  for (int k = 0; k < kGroup; ++k) {
    const int quad = k / 4, at = r * 4 + k % 4;
    if (traits.bits == 8) {
      out.q[k] = quants[quad * kQuadBytes + at];
      continue;
    }
    int q = (quants[quad % 4 * kQuadBytes + at] >> (quad < 4 ? 0 : 4)) & 0xF;
    const uint8_t* const high = quants + 4 * kQuadBytes;
    if (traits.bits == 5) q |= ((high[at] >> quad) & 1) << 4;
    if (traits.bits == 6) q |= ((high[quad / 4 * kQuadBytes + at] >> (2 * (quad % 4))) & 3) << 4;
    out.q[k] = static_cast<uint8_t>(q);
  }
  const int64_t s = (g / layout.groups_per_scale * kTileRows + r) * 2;
  out.d = LoadU16(tile + layout.scales_offset + s);
  if (traits.has_min) out.m = LoadU16(tile + layout.mins_offset + s);
  if (!traits.super) return;
  for (int i = 0; i < traits.scales_per_group; ++i) {
    out.sub_scale[i] = tile[layout.sub_scales_offset + (g * traits.scales_per_group + i) * kTileRows + r];
  }
  if (traits.has_min) out.sub_min = tile[layout.sub_mins_offset + g * kTileRows + r];
}

}  // namespace linnet::kernels
