// Tiny random Llama and Qwen2 models against Transformers' f32 logits (tests/golden/make_tiny_models.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
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
using worker::ModelDescription;
using worker::TokenId;
using worker::Weights;

constexpr int64_t kMaxStep = 300;
constexpr double kReferenceTolerance = 1e-4;  // of the largest logit

class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  TinyModel() : pool_(2) {
    const auto golden = ReadGoldenJson("logits_tiny_" + GetParam() + ".json");
    tokens_ = golden["tokens"].get<std::vector<TokenId>>();
    vocab_ = golden["vocab"].get<size_t>();
    logits_ = ReadGoldenFloats(golden["logits"].get<std::string>());
    for (float l : logits_) largest_ = std::max(largest_, std::abs(double{l}));
    double sum = 0, squares = 0;
    for (float l : logits_) sum += l, squares += double{l} * l;
    const double n = static_cast<double>(logits_.size());
    EXPECT_GE(std::sqrt(squares / n - sum / n * (sum / n)), 1) << "logits too flat to show anything";
    EXPECT_GE(tokens_.size(), 256u);
    EXPECT_EQ(logits_.size(), tokens_.size() * vocab_);

    file_ = *worker::GgufFile::Open(GoldenPath("tiny_" + GetParam() + ".gguf"));
    const worker::Family* family = worker::FindFamily(GetParam());
    model_ = *family->describe(*file_);
    bindings_ = *worker::BindTensors(*file_, model_, *family);
  }

  Weights Load(kernels::Precision precision) {
    return *worker::LoadWeights(*file_, model_, bindings_, {.precision = precision, .pool = &pool_});
  }

  // The largest deviation from the golden logits, as a part of the largest logit.
  double Deviation(const ModelDescription& model, const Weights& weights, kernels::Precision precision,
                   const std::vector<size_t>& chunks) {
    const bool reference = precision == kernels::Precision::kReference;
    Decoder decoder(model, weights, precision, kMaxStep, pool_);
    auto cache = *worker::KvCache::Create(model, reference ? kernels::DType::kF32 : kernels::DType::kF16, 16);
    double worst = 0;
    size_t rows = 0;
    ForEachLogits(decoder, *cache, tokens_, vocab_, chunks, [&](size_t position, std::span<const float> row) {
      ++rows;
      for (size_t i = 0; i < vocab_; ++i) {
        const double difference = std::abs(double{row[i]} - logits_[position * vocab_ + i]);
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      }
    });
    EXPECT_EQ(rows, tokens_.size());
    return worst / largest_;
  }

  kernels::ThreadPool pool_;
  std::vector<TokenId> tokens_;
  size_t vocab_ = 0;
  std::vector<float> logits_;  // [tokens, vocab]
  double largest_ = 0;
  std::unique_ptr<worker::GgufFile> file_;
  ModelDescription model_;
  std::vector<worker::TensorBinding> bindings_;
};

TEST_P(TinyModel, ReferenceAgreesHoweverItIsChunked) {
  const Weights weights = Load(kernels::Precision::kReference);
  for (const std::vector<size_t>& chunks : std::vector<std::vector<size_t>>{{300}, {1}, {7}, {100, 1, 31, 64}}) {
    const double deviation = Deviation(model_, weights, kernels::Precision::kReference, chunks);
    EXPECT_LE(deviation, kReferenceTolerance) << "first chunk " << chunks[0];
    RecordProperty("deviation_chunk_" + std::to_string(chunks[0]), std::to_string(deviation));
  }
}

TEST_P(TinyModel, FastIsNear) {
  // f16 keys and values, and products of f16 or f32 weights.
  const Weights weights = Load(kernels::Precision::kFast);
  EXPECT_LE(Deviation(model_, weights, kernels::Precision::kFast, {300}), 0.01);
  EXPECT_LE(Deviation(model_, weights, kernels::Precision::kFast, {1}), 0.01);
}

TEST_P(TinyModel, AChangedParameterShows) {
  const auto deviation = [&](const std::function<void(ModelDescription&, Weights&)>& change) {
    ModelDescription model = model_;
    Weights weights = Load(kernels::Precision::kReference);
    change(model, weights);
    return Deviation(model, weights, kernels::Precision::kReference, {300});
  };
  ASSERT_LE(deviation([](ModelDescription&, Weights&) {}), kReferenceTolerance);

  EXPECT_GT(deviation([](ModelDescription& m, Weights&) {
              for (auto& layer : m.layers) layer.attention_norm.eps *= 10;
            }),
            kReferenceTolerance)
      << "eps of the attention norms";
  EXPECT_GT(deviation([](ModelDescription& m, Weights&) { m.layers[1].ffn_norm.eps *= 10; }), kReferenceTolerance)
      << "eps of one layer's FFN norm";
  EXPECT_GT(deviation([](ModelDescription& m, Weights&) {
              for (auto& layer : m.layers) layer.rope.theta *= 1.1;
            }),
            kReferenceTolerance)
      << "RoPE theta";
  EXPECT_GT(deviation([](ModelDescription& m, Weights&) {
              for (auto& layer : m.layers) layer.rope.interleaved = !layer.rope.interleaved;
            }),
            kReferenceTolerance)
      << "RoPE pairing";
  if (GetParam() == "llama") {
    ASSERT_EQ(model_.layers[0].rope.scaling, worker::RopeScaling::kFactors);
    EXPECT_GT(deviation([](ModelDescription& m, Weights&) {
                for (auto& layer : m.layers) layer.rope.factors.back() *= 0.9f;
              }),
              kReferenceTolerance)
        << "a RoPE factor";
    EXPECT_GT(deviation([](ModelDescription& m, Weights&) {
                for (auto& layer : m.layers) layer.rope.scaling = worker::RopeScaling::kNone;
              }),
              kReferenceTolerance)
        << "no RoPE scaling";
  } else {
    ASSERT_TRUE(model_.layers[0].attention.qkv_bias);
    EXPECT_GT(deviation([](ModelDescription&, Weights& w) { w.layers[0].q_bias[3] += 0.05f; }), kReferenceTolerance)
        << "one element of a query bias";
    EXPECT_GT(deviation([](ModelDescription&, Weights& w) { w.layers[2].v_bias[0] += 0.05f; }), kReferenceTolerance)
        << "one element of a value bias";
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TinyModel, ::testing::Values("llama", "qwen2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace linnet::accuracy
