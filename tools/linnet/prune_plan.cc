#include "tools/linnet/prune_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "base/error.h"
#include "base/strings.h"
#include "kernels/dtype.h"
#include "worker/model/gguf_names.h"

namespace linnet::cli {
namespace {

using worker::LayerDescription;
using worker::ModelDescription;

constexpr int kLeastMultiple = 32;  // what most quantized formats have in a block

// The indices of the `count` best, ascending.
std::vector<int32_t> Best(std::span<const double> scores, int count) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

int KeptNeurons(int width, double keep, int multiple) {
  if (width <= multiple) return width;
  const int kept = static_cast<int>(std::lround(keep * width / multiple)) * multiple;
  return std::clamp(kept, multiple, width);
}

int KeptHeads(int heads, double keep) { return std::clamp(static_cast<int>(std::lround(keep * heads)), 1, heads); }

int MultipleOf(const worker::GgufFile& file, int block) {
  const worker::GgufTensor* down = file.FindTensor(worker::GgufTensorName(worker::TensorRole::kFfnDown, block));
  const int64_t elements = down == nullptr ? 1 : kernels::Info(down->type).block_elements;
  return std::max(kLeastMultiple, static_cast<int>(elements));
}

// What keeps heads from being left out one by one, nullptr: nothing.
const char* HeadsStayFor(const LayerDescription& layer) {
  if (layer.recurrent.width > 0) return "recurrent layers, which have none";
  if (layer.attention.latent.kv_rank > 0) return "latent attention, whose heads all come out of one vector";
  if (!layer.attention.slopes.empty()) return "ALiBi, whose slopes depend on how many heads there are";
  if (layer.attention.qk_norm_over_heads) return "queries and keys that are normed over all heads together";
  if (layer.attention.qk_norm_of_each_head) return "queries and keys whose heads have norms of their own";
  return nullptr;
}

absl::Status CheckShares(const ModelDescription& model, const PruneShares& shares) {
  for (const auto& [name, share] :
       {std::pair("ffn-keep", shares.ffn_keep), std::pair("heads-keep", shares.heads_keep)}) {
    if (share > 0 && share <= 1) continue;
    return base::FieldErrors({{base::StrCat("--", name), "must be above 0 and at most 1"}});
  }
  if (shares.ffn_keep >= 1 && shares.heads_keep >= 1) {
    return base::FieldErrors({{"--ffn-keep", "and --heads-keep are both 1: there is nothing to leave out"}});
  }
  if (shares.heads_keep >= 1) return absl::OkStatus();
  for (const LayerDescription& layer : model.layers) {
    const char* const what = HeadsStayFor(layer);
    if (what == nullptr) continue;
    return base::FieldErrors(
        {{"--heads-keep", base::StrCat("does not go with ", what, ", as in ", model.family, "; prune the FFN alone")}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<BlockCut>> PlanPruning(const worker::GgufFile& file, const ModelDescription& model,
                                                  const PruneScores& scores, const PruneShares& shares) {
  if (absl::Status status = CheckShares(model, shares); !status.ok()) return status;
  std::vector<BlockCut> cuts(scores.blocks.size());
  for (const LayerDescription& layer : model.layers) {
    const auto block = static_cast<size_t>(layer.weights_of_layer);
    const auto ffn_block = static_cast<size_t>(layer.ffn_weights_of_layer);
    if (shares.ffn_keep < 1) {
      const int multiple = shares.ffn_multiple > 0 ? shares.ffn_multiple : MultipleOf(file, layer.ffn_weights_of_layer);
      cuts[ffn_block].ffn = Best(scores.blocks[ffn_block].ffn, KeptNeurons(layer.ffn.width, shares.ffn_keep, multiple));
    }
    if (shares.heads_keep < 1) {
      cuts[block].kv_heads =
          Best(scores.blocks[block].kv_heads, KeptHeads(layer.attention.kv_heads, shares.heads_keep));
    }
  }
  return cuts;
}

}  // namespace linnet::cli
