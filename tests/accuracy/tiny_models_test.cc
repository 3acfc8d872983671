// A tiny random model of each family against Transformers' f32 logits (tests/golden/make_tiny_models.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/thread_pool.h"
#include "tests/accuracy/golden.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/decoder.h"
#include "worker/model/family.h"
#include "worker/model/weights.h"

namespace linnet::accuracy {
namespace {

using worker::Decoder;
using worker::LayerDescription;
using worker::ModelDescription;
using worker::NormDescription;
using worker::NormKind;
using worker::TokenId;
using worker::Weights;

constexpr int64_t kMaxStep = 300;
constexpr double kReferenceTolerance = 1e-4;  // of the largest logit

class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  TinyModel() : pool_(2) {
    const auto golden = ReadGoldenJson("tiny/" + GetParam() + ".json");
    tokens_ = golden["tokens"].get<std::vector<TokenId>>();
    vocab_ = golden["vocab"].get<size_t>();
    columns_ = golden["columns"].get<std::vector<size_t>>();
    logits_ = ReadGoldenFloats("tiny/" + GetParam() + ".f32");
    for (float l : logits_) largest_ = std::max(largest_, std::abs(double{l}));
    double sum = 0, squares = 0;
    for (float l : logits_) sum += l, squares += double{l} * l;
    const double n = static_cast<double>(logits_.size());
    EXPECT_GE(std::sqrt(squares / n - sum / n * (sum / n)), 1) << "logits too flat to show anything";
    EXPECT_GE(tokens_.size(), 256u);
    EXPECT_EQ(logits_.size(), tokens_.size() * columns_.size());

    file_ = *worker::GgufFile::Open(GoldenPath("tiny/" + GetParam() + ".gguf"));
    model_ = *worker::DescribeModel(*file_);
    bindings_ = *worker::BindTensors(*file_, model_);
    for (const LayerDescription& layer : model_.layers) {
      const auto original = static_cast<size_t>(layer.rope.original_context_tokens);
      depends_on_length_ |= layer.rope.DependsOnLength() && original < tokens_.size();
    }
  }

  Weights Load(kernels::Precision precision) {
    return *worker::LoadWeights(*file_, model_, bindings_, {.precision = precision, .pool = &pool_});
  }

  // The largest deviation from the golden logits, as a part of the largest logit.
  double Deviation(const ModelDescription& model, const Weights& weights, kernels::Precision precision,
                   const std::vector<size_t>& chunks) {
    return Deviation(model, weights, precision, chunks, tokens_, logits_);
  }
  double Deviation(const ModelDescription& model, const Weights& weights, kernels::Precision precision,
                   const std::vector<size_t>& chunks, std::span<const TokenId> tokens, std::span<const float> golden) {
    const bool reference = precision == kernels::Precision::kReference;
    Decoder decoder(model, weights, precision, kMaxStep, pool_);
    const auto step = static_cast<int64_t>(*std::max_element(chunks.begin(), chunks.end()));
    auto cache = *worker::KvCache::Create(model, reference ? kernels::DType::kF32 : kernels::DType::kF16, 16,
                                          {.sequences = 1, .step_tokens = step});
    double worst = 0;
    size_t rows = 0;
    ForEachLogits(decoder, *cache, tokens, vocab_, chunks, [&](size_t position, std::span<const float> row) {
      ++rows;
      for (size_t i = 0; i < columns_.size(); ++i) {
        const double difference = std::abs(double{row[columns_[i]]} - golden[position * columns_.size() + i]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      }
    });
    EXPECT_EQ(rows, tokens.size());
    return worst / largest_;
  }

  kernels::ThreadPool pool_;
  std::vector<TokenId> tokens_;
  size_t vocab_ = 0;
  std::vector<size_t> columns_;  // of the vocabulary: those whose logits are kept
  std::vector<float> logits_;    // [tokens, columns]
  double largest_ = 0;
  std::unique_ptr<worker::GgufFile> file_;
  ModelDescription model_;
  std::vector<worker::TensorBinding> bindings_;
  bool depends_on_length_ = false;  // the golden logits are of a sequence that is longer than the original context
};

TEST_P(TinyModel, ReferenceAgreesHoweverItIsChunked) {
  const Weights weights = Load(kernels::Precision::kReference);
  for (const std::vector<size_t>& chunks : std::vector<std::vector<size_t>>{{300}, {1}, {7}, {100, 1, 31, 64}}) {
    const double deviation = Deviation(model_, weights, kernels::Precision::kReference, chunks);
    EXPECT_LE(deviation, kReferenceTolerance) << "first chunk " << chunks[0];
    RecordProperty("deviation_chunk_" + std::to_string(chunks[0]), std::to_string(deviation));
  }
}

// The first tokens alone give what they give before others, but where positions go by the sequence's length.
TEST_P(TinyModel, ShortSequencesAgree) {
  const Weights weights = Load(kernels::Precision::kReference);
  std::vector<float> golden = logits_;
  size_t longest = 200;
  if (depends_on_length_) {
    golden = ReadGoldenFloats("tiny/" + GetParam() + ".short.f32");
    longest = golden.size() / columns_.size();
  }
  for (const size_t length : {size_t{7}, size_t{64}, size_t{200}}) {
    const std::span<const TokenId> tokens = std::span(tokens_).first(std::min(length, longest));
    const double deviation = Deviation(model_, weights, kernels::Precision::kReference, {300}, tokens, golden);
    EXPECT_LE(deviation, kReferenceTolerance) << tokens.size() << " tokens";
  }
}

TEST_P(TinyModel, SequencesDoNotTouchEachOther) {
  const Weights weights = Load(kernels::Precision::kReference);
  Decoder decoder(model_, weights, kernels::Precision::kReference, kMaxStep, pool_);
  constexpr int64_t kChunk = 50;
  auto cache = *worker::KvCache::Create(model_, kernels::DType::kF32, 2 * worker::KvCache::BlocksFor(kMaxStep),
                                        {.sequences = 2, .step_tokens = kChunk});
  const auto all = static_cast<int64_t>(tokens_.size());
  const std::vector<TokenId> others(tokens_.rbegin(), tokens_.rend());
  worker::KvSequence ours, other;
  ASSERT_TRUE(cache->Reserve(ours, all));
  double worst = 0;
  int64_t others_done = 0;
  for (int64_t at = 0; at < all; at += kChunk) {
    // The other one ends in the middle, and one more begins in its place.
    if (others_done == 0 || at == 3 * kChunk) {
      cache->Release(other);
      ASSERT_TRUE(cache->Reserve(other, all));
      others_done = 0;
    }
    const int64_t count = std::min(kChunk, all - at);
    const auto span = [&](const std::vector<TokenId>& tokens, int64_t begin, int64_t n, worker::KvSequence& kv) {
      return worker::BatchSpan{.tokens = std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)),
                               .first_position = begin,
                               .kv = &kv,
                               .logits = worker::BatchSpan::Logits::kAll,
                               .sequence_tokens = all};
    };
    const worker::BatchSpan batch[] = {span(others, others_done, 17, other), span(tokens_, at, count, ours)};
    others_done += 17;
    const std::span<const float> logits = decoder.Forward(batch, *cache).logits.subspan(17 * vocab_);
    for (int64_t i = 0; i < count; ++i) {
      for (size_t c = 0; c < columns_.size(); ++c) {
        const float want = logits_[static_cast<size_t>(at + i) * columns_.size() + c];
        const double off = std::abs(double{logits[static_cast<size_t>(i) * vocab_ + columns_[c]]} - want);
        worst = std::isnan(off) ? INFINITY : std::max(worst, off);
      }
    }
  }
  EXPECT_LE(worst / largest_, kReferenceTolerance);
  cache->Release(ours);
  cache->Release(other);
  EXPECT_EQ(cache->free_blocks(), cache->blocks());
}

TEST_P(TinyModel, FastIsNear) {
  // f16 keys and values, and products of f16 or f32 weights.
  const Weights weights = Load(kernels::Precision::kFast);
  EXPECT_LE(Deviation(model_, weights, kernels::Precision::kFast, {300}), 0.01);
  EXPECT_LE(Deviation(model_, weights, kernels::Precision::kFast, {1}), 0.01);
}

// A mechanism that is changed a little, or switched off.
struct Change {
  const char* what;
  bool (*applies)(const ModelDescription& model);
  void (*change)(ModelDescription& model, Weights& weights);
};

bool Has(const NormDescription& norm) { return norm.kind != NormKind::kNone; }
bool Recurs(const ModelDescription& model) { return model.layers[0].recurrent.width > 0; }
const LayerDescription& First(const ModelDescription& model) { return model.layers[0]; }

const Change kChanges[] = {
    {"eps of the attention norms", [](auto& m) { return Has(First(m).attention_norm); },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.attention_norm.eps *= 10;
     }},
    {"eps of one FFN norm", [](auto& m) { return Has(First(m).ffn_norm); },
     [](auto& m, auto&) { m.layers[1].ffn_norm.eps *= 10; }},
    {"a block that runs once", [](auto& m) { return m.layers[1].weights_of_layer == 0; },
     [](auto& m, auto&) { m.layers.erase(m.layers.begin()); }},
    {"no augmented shortcuts", [](auto& m) { return First(m).shortcut_width > 0; },
     [](auto& m, auto&) { m.layers[1].shortcut_width = 0; }},
    {"a term of the series activation less", [](auto& m) { return First(m).ffn.series > 0; },
     [](auto& m, auto&) { m.layers[1].ffn.series -= 1; }},
    {"one scale of the series activation", [](auto& m) { return First(m).ffn.series > 0; },
     [](auto& m, auto& w) { w.layers[1].ffn_series_scale[static_cast<size_t>(m.layers[1].ffn.width)] += 0.3f; }},
    {"one bias of the series activation", [](auto& m) { return First(m).ffn.series > 0; },
     [](auto&, auto& w) { w.layers[2].ffn_series_bias[5] += 0.3f; }},
    {"eps of the latent norms", [](auto& m) { return First(m).attention.latent.kv_rank > 0; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.attention.latent.norm.eps = 1e-3f;
     }},
    {"one weight of a latent norm", [](auto& m) { return First(m).attention.latent.kv_rank > 0; },
     [](auto&, auto& w) { w.layers[1].kv_down_norm[3] *= 1.1f; }},
    {"no norm behind attention", [](auto& m) { return Has(First(m).attention_post_norm); },
     [](auto& m, auto&) { m.layers[1].attention_post_norm = {}; }},
    {"no norm behind an FFN", [](auto& m) { return Has(First(m).ffn_post_norm); },
     [](auto& m, auto&) { m.layers[0].ffn_post_norm = {}; }},
    {"no norm of x behind attention", [](auto& m) { return Has(First(m).attention_sum_norm); },
     [](auto& m, auto&) { m.layers[1].attention_sum_norm = {}; }},
    {"no norm of x behind an FFN", [](auto& m) { return Has(First(m).ffn_sum_norm); },
     [](auto& m, auto&) { m.layers[0].ffn_sum_norm = {}; }},
    {"one element of the bias of x's norm", [](auto& m) { return First(m).ffn_sum_norm.bias; },
     [](auto&, auto& w) { w.layers[1].ffn_sum_norm_bias[3] += 0.1f; }},
    {"no norm of queries and keys", [](auto& m) { return Has(First(m).attention.qk_norm); },
     [](auto& m, auto&) { m.layers[0].attention.qk_norm = {}; }},
    {"one weight of one head's norm", [](auto& m) { return First(m).attention.qk_norm_of_each_head; },
     [](auto&, auto& w) { w.layers[1].k_norm.back() *= 1.5f; }},
    {"no norm of embeddings", [](auto& m) { return Has(m.embedding_norm); },
     [](auto& m, auto&) { m.embedding_norm = {}; }},
    {"one element of the final norm's bias", [](auto& m) { return m.final_norm.bias; },
     [](auto&, auto& w) { w.final_norm_bias[3] += 0.1f; }},
    {"one element of a norm's bias", [](auto& m) { return First(m).attention_norm.bias; },
     [](auto&, auto& w) { w.layers[1].attention_norm_bias[3] += 0.1f; }},
    {"RoPE theta", [](auto& m) { return First(m).rope.rotary_dim > 0; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.rope.theta *= 1.1;
     }},
    {"RoPE pairing", [](auto& m) { return First(m).rope.rotary_dim > 0; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.rope.interleaved = !layer.rope.interleaved;
     }},
    {"a RoPE factor", [](auto& m) { return !First(m).rope.factors.empty(); },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) {
         layer.rope.factors.back() *= 0.9f;
         if (!layer.rope.long_factors.empty()) layer.rope.long_factors.back() *= 0.9f;
       }
     }},
    {"factors of the other length",
     [](auto& m) { return First(m).rope.DependsOnLength() || First(m).rope.scaling == worker::RopeScaling::kYarn; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) {
         int64_t& original = layer.rope.original_context_tokens;
         original = original < 200 ? 1000 : 50;
       }
     }},
    {"where YaRN's ramp ends", [](auto& m) { return First(m).rope.scaling == worker::RopeScaling::kYarn; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.rope.beta_slow *= 4;
     }},
    {"the magnitude of what was rotated", [](auto& m) { return First(m).rope.magnitude != 1; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.rope.magnitude = 1;
     }},
    {"no RoPE scaling",
     [](auto& m) { return m.layers.back().rope.scaling != worker::RopeScaling::kNone || m.family == "gemma3"; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.rope.scaling = worker::RopeScaling::kNone;
     }},
    {"positions where a layer has none", [](auto& m) { return m.family == "smollm3"; },
     [](auto& m, auto&) { m.layers[3].rope = m.layers[0].rope; }},
    {"RoPE over whole heads",
     [](auto& m) { return First(m).rope.rotary_dim > 0 && First(m).rope.rotary_dim < First(m).attention.head_dim; },
     [](auto& m, auto&) { m.layers[0].rope.rotary_dim = m.layers[0].attention.head_dim; }},
    {"no learned positions", [](auto& m) { return m.learned_positions > 0; },
     [](auto&, auto& w) { w.positions = nullptr; }},
    {"a slope", [](auto& m) { return !First(m).attention.slopes.empty(); },
     [](auto& m, auto&) { m.layers[0].attention.slopes[0] *= 1.1f; }},
    {"one more token in the windows",
     [](auto& m) {
       return std::any_of(m.layers.begin(), m.layers.end(), [](auto& l) { return l.attention.window > 0; });
     },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.attention.window += layer.attention.window > 0;
     }},
    {"a window in every layer", [](auto& m) { return m.family == "gemma2" || m.family == "gemma3"; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.attention.window = m.layers[0].attention.window;
     }},
    {"no soft cap of scores", [](auto& m) { return First(m).attention.softcap > 0; },
     [](auto& m, auto&) { m.layers[1].attention.softcap = 0; }},
    {"no soft cap of logits", [](auto& m) { return m.output_softcap > 0; },
     [](auto& m, auto&) { m.output_softcap = 0; }},
    {"no clipping", [](auto& m) { return First(m).attention.clip > 0; },
     [](auto& m, auto&) { m.layers[0].attention.clip = 0; }},
    {"no queries scaled by their position", [](auto& m) { return First(m).attention.logn_tokens > 0; },
     [](auto& m, auto&) { m.layers[1].attention.logn_tokens = 0; }},
    {"the scale of scores", [](auto&) { return true; },
     [](auto& m, auto&) { m.layers[m.family == "recurrentgemma" ? 2 : 1].attention.scale *= 1.02f; }},
    {"RoPE theta beside recurrent layers", [](auto& m) { return Recurs(m); },
     [](auto& m, auto&) { m.layers[2].rope.theta *= 1.1; }},
    {"RoPE over whole heads beside recurrent layers", [](auto& m) { return Recurs(m); },
     [](auto& m, auto&) { m.layers[2].rope.rotary_dim = m.layers[2].attention.head_dim; }},
    {"one weight of the convolution's oldest tap", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { w.layers[1].convolution[3] += 0.3f; }},
    {"one bias of the convolution", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { w.layers[1].convolution_bias[3] += 0.3f; }},
    {"one bias of the input gate", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { w.layers[1].input_gate_bias[3] += 0.5f; }},
    {"one bias of the recurrence gate", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { w.layers[0].recurrence_gate_bias[3] += 0.5f; }},
    {"one parameter of the recurrence", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { w.layers[0].recurrence_parameter[7] += 0.5f; }},
    {"another activation beside the recurrence", [](auto& m) { return Recurs(m); },
     [](auto& m, auto&) { m.layers[0].recurrent.activation = kernels::ActivationKind::kRelu; }},
    {"gates swapped", [](auto& m) { return Recurs(m); },
     [](auto&, auto& w) { std::swap(w.layers[1].input_gate, w.layers[1].recurrence_gate); }},
    {"the scale of embeddings", [](auto& m) { return m.embedding_scale != 1; },
     [](auto& m, auto&) { m.embedding_scale = 1; }},
    {"the scale of residuals", [](auto& m) { return First(m).residual_scale != 1; },
     [](auto& m, auto&) { m.layers[0].residual_scale = 1; }},
    {"the scale of logits", [](auto& m) { return m.output_scale != 1; }, [](auto& m, auto&) { m.output_scale = 1; }},
    {"one element of a query's bias", [](auto& m) { return First(m).attention.qkv_bias; },
     [](auto&, auto& w) { w.layers[0].q_bias[3] += 0.3f; }},
    {"one element of a value's bias", [](auto& m) { return First(m).attention.qkv_bias; },
     [](auto&, auto& w) { w.layers[2].v_bias[0] += 0.1f; }},
    {"one element of the bias of attention's output", [](auto& m) { return First(m).attention.out_bias; },
     [](auto&, auto& w) { w.layers[1].attention_out_bias[5] += 0.1f; }},
    {"one element of an FFN's inner bias", [](auto& m) { return First(m).ffn.up_bias; },
     [](auto&, auto& w) { w.layers[1].ffn_up_bias[5] += 0.3f; }},
    {"one element of an FFN's bias", [](auto& m) { return First(m).ffn.down_bias; },
     [](auto&, auto& w) { w.layers[1].ffn_down_bias[5] += 0.1f; }},
    {"one element of the logits' bias", [](auto& m) { return m.output_bias; },
     [](auto&, auto& w) { w.output_bias[6] += 0.1f; }},
    {"another activation", [](auto&) { return true; },
     [](auto& m, auto&) {
       auto& activation = m.layers[0].ffn.activation;
       activation = activation == kernels::ActivationKind::kRelu ? kernels::ActivationKind::kSilu
                                                                 : kernels::ActivationKind::kRelu;
     }},
    {"GELU by tanh or not", [](auto& m) { return First(m).ffn.activation == kernels::ActivationKind::kGelu; },
     [](auto& m, auto&) {
       for (auto& layer : m.layers) layer.ffn.activation = kernels::ActivationKind::kGeluTanh;
     }},
    {"attention before the FFN", [](auto& m) { return First(m).residual == worker::Residual::kParallel; },
     [](auto& m, auto&) { m.layers[1].residual = worker::Residual::kSequential; }},
    {"an FFN of whose norm attention has part",
     [](auto& m) { return First(m).residual == worker::Residual::kParallel; },
     [](auto& m, auto&) { m.layers[1].residual = worker::Residual::kParallelOfOneNorm; }},
    {"attention's norm for the FFN", [](auto& m) { return First(m).residual == worker::Residual::kParallelOfOneNorm; },
     [](auto& m, auto&) { m.layers[1].residual = worker::Residual::kParallel; }},
};

TEST_P(TinyModel, AChangedMechanismShows) {
  const auto deviation = [&](const Change* change) {
    ModelDescription model = model_;
    Weights weights = Load(kernels::Precision::kReference);
    if (change != nullptr) change->change(model, weights);
    return Deviation(model, weights, kernels::Precision::kReference, {300});
  };
  ASSERT_LE(deviation(nullptr), kReferenceTolerance);
  for (const Change& change : kChanges) {
    if (!change.applies(model_)) continue;
    EXPECT_GT(deviation(&change), kReferenceTolerance) << change.what;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TinyModel,
                         ::testing::Values("bloom", "gemma", "gemma2", "gemma3", "gpt2", "gpt2_gelu", "gptneox",
                                           "granite", "llama", "llama_dynamic", "llama_yarn", "minicpm", "minicpm3",
                                           "mistral", "mobilellm", "mobillama", "nemotron", "olmo", "olmo2", "openelm",
                                           "openlm", "opt", "opt_350m", "opt_gelu", "pangu_pi", "phi2", "phi3",
                                           "phi3_long", "phi3_short", "qwen", "qwen2", "qwen3", "qwen_long",
                                           "recurrentgemma", "smollm3", "stablelm", "stablelm_parallel"),
                         [](const auto& info) { return info.param; });

TEST(TinyModels, EveryFamilyHasOne) {
  for (const worker::Family& family : worker::Families()) {
    EXPECT_TRUE(std::filesystem::exists(GoldenPath("tiny/" + std::string(family.architecture) + ".gguf")))
        << family.architecture;
  }
}

}  // namespace
}  // namespace linnet::accuracy
