// The decoder's recurrent layers.
#include <algorithm>

#include "absl/log/check.h"
#include "kernels/recurrence.h"
#include "worker/model/decoder.h"

namespace linnet::worker {
namespace {

// Channels that one thread takes at a time.
constexpr int64_t kChannelBlock = 128;

}  // namespace

void Decoder::RunRecurrent(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer_index, bool last) {
  const LayerDescription& layer = model_.layers[layer_index];
  const RecurrentDescription& recurrent = layer.recurrent;
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer.weights_of_layer)];
  activations_.Set(Norm(layer.attention_norm, weights.attention_norm, weights.attention_norm_bias, x_.get(), h_.get()),
                   row_count_, model_.model_dim);
  const kernels::Product products[] = {
      {.weights = weights.recurrent_x.get(), .y = recurrent_[0].get(), .bias = weights.recurrent_x_bias.data()},
      {.weights = weights.recurrent_y.get(),
       .y = recurrent_[4].get(),
       .bias = weights.recurrent_y_bias.data(),
       .activation = recurrent.activation,
       .reference = reference_},
  };
  kernels::Multiply(products, activations_, pool_);
  Recur(batch, cache, layer_index);
  if (last) KeepLogitRows(batch, {{.data = recurrent_[1].get(), .width = recurrent.width}});
  if (row_count_ == 0) return;
  activations_.Set(recurrent_[1].get(), row_count_, recurrent.width);
  AddBranch(layer, {.weights = weights.recurrent_out.get(),
                    .bias = &weights.recurrent_out_bias,
                    .post_norm = &layer.attention_post_norm,
                    .post_norm_weight = &weights.attention_post_norm});
}

void Decoder::Recur(std::span<const BatchSpan> batch, const KvCache& cache, size_t layer_index) {
  const LayerDescription& layer = model_.layers[layer_index];
  const RecurrentDescription& recurrent = layer.recurrent;
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer.weights_of_layer)];
  const int64_t width = recurrent.width;
  states_.clear();
  for (size_t s = 0; s < batch.size(); ++s) {
    const KvCache::State state = cache.LayerState(static_cast<int>(layer_index), *batch[s].kv);
    if (batch[s].first_position == 0) {
      std::fill_n(state.values, recurrent.StateFloats(), 0.0f);
    } else {
      CHECK_EQ(*state.tokens, batch[s].first_position) << "a recurrent state knows no way back";
    }
    *state.tokens = batch[s].first_position + static_cast<int64_t>(batch[s].tokens.size());
    states_.push_back(state.values);
  }
  // Channels go by themselves, sequences too: [span][block of channels].
  const int64_t blocks = (width + kChannelBlock - 1) / kChannelBlock;
  const auto for_channels = [&](auto f) {
    ForRows(static_cast<int64_t>(batch.size()) * blocks, row_count_ * kChannelBlock, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % blocks * kChannelBlock;
        f(static_cast<size_t>(i / blocks), first, std::min(width, first + kChannelBlock));
      }
    });
  };
  const kernels::ConvolutionWeights convolution = {.taps = recurrent.taps,
                                                   .width = width,
                                                   .weights = weights.convolution.data(),
                                                   .bias = weights.convolution_bias.data()};
  for_channels([&](size_t s, int64_t begin, int64_t end) {
    const int64_t at = first_row_[s] * width;
    kernels::ShortConvolution(convolution,
                              {.x = recurrent_[0].get() + at,
                               .y = recurrent_[1].get() + at,
                               .tokens = static_cast<int64_t>(batch[s].tokens.size()),
                               .history = states_[s] + width},
                              begin, end);
  });
  const int64_t block = width / recurrent.heads;
  kernels::BlockProduct gate = {.x = recurrent_[1].get(),
                                .x_stride = width,
                                .x_block_stride = block,
                                .y = recurrent_[2].get(),
                                .y_stride = width,
                                .y_block_stride = block,
                                .bias = weights.input_gate_bias.data(),
                                .rows = row_count_};
  weights.input_gate->Multiply(gate, pool_);
  gate.y = recurrent_[3].get();
  gate.bias = weights.recurrence_gate_bias.data();
  weights.recurrence_gate->Multiply(gate, pool_);
  for_channels([&](size_t s, int64_t begin, int64_t end) {
    const int64_t at = first_row_[s] * width;
    kernels::RgLru(decay_[layer_index].data(), width,
                   {.x = recurrent_[1].get() + at,
                    .input_gate = recurrent_[2].get() + at,
                    .recurrence_gate = recurrent_[3].get() + at,
                    .multiplier = recurrent_[4].get() + at,
                    .out = recurrent_[1].get() + at,
                    .tokens = static_cast<int64_t>(batch[s].tokens.size()),
                    .begins = batch[s].first_position == 0,
                    .state = states_[s]},
                   begin, end, reference_);
  });
}

}  // namespace linnet::worker
