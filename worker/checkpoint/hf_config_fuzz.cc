// Any bytes as a config.json: an error, or what a family is described by.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "worker/checkpoint/hf_family.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace linnet::worker;
  auto config = HfConfig::Parse({reinterpret_cast<const char*>(data), size}, "config.json");
  if (!config.ok()) return 0;
  const auto described = DescribeConfig(*config);
  if (!described.ok()) return 0;
  const HfModel& model = described->model;
  if (model.q_heads.size() != static_cast<size_t>(model.layers) || model.kv_heads.size() != model.q_heads.size() ||
      model.ffn.size() != model.q_heads.size() || described->metadata.Encode().empty()) {
    abort();
  }
  return 0;
}
