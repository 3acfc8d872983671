// What `ldtilecfg` reads (Intel SDM volume 1, chapter 18): the shapes of the eight tile registers.
#pragma once

#include <cstdint>

namespace linnet::kernels {

struct alignas(64) AmxConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(AmxConfig) == 64);

}  // namespace linnet::kernels
