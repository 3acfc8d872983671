#include "tools/linnet/prune_scores.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/status_macros.h"

namespace linnet::cli {
namespace {

using worker::LayerDescription;
using worker::ModelDescription;
using worker::TensorRole;

// Magnitudes of the parts of one block: of the sequence that runs, and of those before it.
struct Sums {
  std::vector<double> of_sequence, squares;
  int64_t rows = 0;

  void EndSequence() {
    squares.resize(of_sequence.size());
    for (size_t i = 0; i < of_sequence.size() && rows > 0; ++i) {
      const double mean = of_sequence[i] / static_cast<double>(rows);
      squares[i] += mean * mean;
      of_sequence[i] = 0;
    }
    rows = 0;
  }
  std::vector<double> Scores() const {
    std::vector<double> scores;
    for (const double sum : squares) scores.push_back(std::sqrt(sum));
    return scores;
  }
};

class ActivationScores : public MatrixObserver {
 public:
  explicit ActivationScores(const ModelDescription& model) {
    for (const LayerDescription& layer : model.layers) {
      const auto block = static_cast<size_t>(layer.weights_of_layer);
      if (block >= attention_of_block_.size()) attention_of_block_.resize(block + 1);
      attention_of_block_[block] = layer.attention;
    }
    ffn_.resize(attention_of_block_.size());
    kv_heads_.resize(attention_of_block_.size());
  }

  void OnRows(const worker::TensorBinding& matrix, const float* x, int64_t rows) override {
    const auto block = static_cast<size_t>(matrix.layer);
    if (matrix.role == TensorRole::kFfnDown) AddNeurons(ffn_[block], x, rows, matrix.cols);
    if (matrix.role == TensorRole::kAttentionOut) AddHeads(kv_heads_[block], attention_of_block_[block], x, rows);
  }

  void OnSequenceEnd() override {
    for (Sums& sums : ffn_) sums.EndSequence();
    for (Sums& sums : kv_heads_) sums.EndSequence();
  }

  std::vector<BlockScores> Scores() const {
    std::vector<BlockScores> scores;
    for (size_t b = 0; b < ffn_.size(); ++b) scores.push_back({ffn_[b].Scores(), kv_heads_[b].Scores()});
    return scores;
  }

 private:
  static void AddNeurons(Sums& sums, const float* x, int64_t rows, int64_t width) {
    sums.of_sequence.resize(static_cast<size_t>(width));
    sums.rows += rows;
    for (int64_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < sums.of_sequence.size(); ++c) {
        sums.of_sequence[c] += std::abs(double{x[r * width + static_cast<int64_t>(c)]});
      }
    }
  }

  static void AddHeads(Sums& sums, const worker::AttentionDescription& attention, const float* x, int64_t rows) {
    if (attention.latent.kv_rank > 0) return;  // one vector is the keys and values of all heads
    sums.of_sequence.resize(static_cast<size_t>(attention.kv_heads));
    sums.rows += rows;
    const int group = attention.q_heads / attention.kv_heads;
    for (int64_t i = 0; i < rows * attention.q_heads; ++i) {
      double squares = 0;
      for (int d = 0; d < attention.head_dim; ++d) squares += double{x[d]} * x[d];
      x += attention.head_dim;
      sums.of_sequence[static_cast<size_t>(i % attention.q_heads / group)] += std::sqrt(squares);
    }
  }

  std::vector<worker::AttentionDescription> attention_of_block_;
  std::vector<Sums> ffn_, kv_heads_;
};

}  // namespace

absl::StatusOr<PruneScores> ScoreByActivations(const worker::GgufFile& file, const ModelDescription& model,
                                               const ObservedText& text, kernels::ThreadPool& pool) {
  ActivationScores observer(model);
  PruneScores scores;
  LINNET_ASSIGN_OR_RETURN(scores.tokens, RunObserved(file, text, observer, pool));
  scores.blocks = observer.Scores();
  return scores;
}

PruneScores ScoreByChance(const ModelDescription& model, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&](int count) {
    std::vector<double> scores(static_cast<size_t>(count));
    // Not std::uniform_real_distribution, which libraries do each in their own way.
    for (double& score : scores) score = static_cast<double>(random() >> 11) * 0x1p-53;
    return scores;
  };
  PruneScores scores;
  for (const LayerDescription& layer : model.layers) {
    const auto block = static_cast<size_t>(layer.weights_of_layer);
    const auto ffn_block = static_cast<size_t>(layer.ffn_weights_of_layer);
    scores.blocks.resize(std::max({scores.blocks.size(), block + 1, ffn_block + 1}));
    scores.blocks[ffn_block].ffn = draw(layer.ffn.width);
    scores.blocks[block].kv_heads = draw(layer.attention.kv_heads);
  }
  return scores;
}

}  // namespace linnet::cli
