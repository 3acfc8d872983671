#include "tools/linnet/observed_run.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/matrix.h"
#include "worker/model/decoder.h"
#include "worker/model/family.h"
#include "worker/model/kv_cache.h"
#include "worker/model/weights.h"
#include "worker/text/tokenizer.h"

namespace linnet::cli {
namespace {

using kernels::Matrix;

constexpr int64_t kSequenceTokens = 512;
constexpr size_t kMostTokens = 64 << 10;
constexpr size_t kLeastTokens = 16;
constexpr int64_t kStepTokens = 128;  // their logits are in memory

// A matrix that multiplies as the one inside does, and shows what it is multiplied with.
class ObservedMatrix : public Matrix {
 public:
  // `binding` must outlive it.
  ObservedMatrix(std::unique_ptr<Matrix> inner, const worker::TensorBinding& binding, MatrixObserver* observer)
      : Matrix(inner->type(), inner->rows(), inner->cols()),
        inner_(std::move(inner)),
        binding_(binding),
        observer_(observer) {}

  int64_t bytes() const override { return inner_->bytes(); }
  void DequantizeRow(int64_t row, float* out) const override { inner_->DequantizeRow(row, out); }

 private:
  // Multiply calls this once for each product, before any slice: the whole product is made here.
  void PrepareForms(kernels::Activations& x, kernels::ThreadPool& pool) const override {
    observer_->OnRows(binding_, x.data(), x.rows());
    y_.resize(static_cast<size_t>(x.rows() * rows()));
    const kernels::Product product = {.weights = inner_.get(), .y = y_.data()};
    kernels::Multiply({&product, 1}, x, pool);
  }

  void MultiplySlice(const kernels::OutputSlice& out, kernels::Activations& x, int64_t begin,
                     int64_t end) const override {
    for (int64_t r = 0; r < x.rows(); ++r) {
      for (int64_t i = 0; i < end - begin; ++i) {
        out.Store(r, i, y_[static_cast<size_t>(r * rows() + begin + i)]);
      }
    }
  }

  int64_t SliceRows(int64_t) const override { return rows(); }

  const std::unique_ptr<Matrix> inner_;
  const worker::TensorBinding& binding_;
  MatrixObserver* const observer_;
  mutable std::vector<float> y_;  // [x.rows, rows]
};

// The model's weights, every matrix of them observed but for those of heads. They skip whatever a worker does to load
// fast: this process reads them once.
absl::StatusOr<worker::Weights> LoadObserved(const worker::GgufFile& file, const worker::ModelDescription& model,
                                             const std::vector<worker::TensorBinding>& bindings,
                                             kernels::ThreadPool& pool, MatrixObserver* observer) {
  worker::Weights weights;
  for (const worker::TensorBinding& binding : bindings) {
    weights.layers.resize(std::max(weights.layers.size(), static_cast<size_t>(binding.layer) + 1));
    if (binding.is_vector()) {
      std::vector<float>& values = *worker::VectorOf(weights, binding.role, binding.layer);
      values.resize(static_cast<size_t>(binding.rows * binding.cols));
      kernels::Dequantize(binding.tensor->type, binding.data.data(), binding.rows * binding.cols, values.data());
      continue;
    }
    if (binding.is_blocks()) {  // heads' own products
      worker::LoadBlocks(binding, model, kernels::Precision::kFast, weights);
      continue;
    }
    const Matrix::Source source = {
        .type = binding.tensor->type, .rows = binding.rows, .cols = binding.cols, .data = binding.data.data()};
    LINNET_ASSIGN_OR_RETURN(auto matrix, Matrix::Create(source, kernels::Precision::kFast, pool));
    file.Release(binding.data);
    *worker::MatrixOf(weights, binding.role, binding.layer) =
        std::make_unique<ObservedMatrix>(std::move(matrix), binding, observer);
  }
  return weights;
}

absl::StatusOr<std::vector<worker::TokenId>> Tokens(const worker::GgufFile& file, const std::string& text) {
  LINNET_ASSIGN_OR_RETURN(const auto tokenizer, worker::Tokenizer::FromGguf(file));
  std::vector<worker::TokenId> tokens = tokenizer->Encode(text, {.parse_special = false, .add_special = true});
  if (tokens.size() < kLeastTokens) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                       base::StrCat("the calibration text has ", tokens.size(), " tokens, and at least ", kLeastTokens,
                                    " are needed; some thousand do well"));
  }
  if (tokens.size() > kMostTokens) tokens.resize(kMostTokens);
  return tokens;
}

}  // namespace

std::string DescribeText(const std::string& path, const std::string& text, int64_t tokens) {
  return base::StrCat(std::filesystem::path(path).filename().string(), " (", tokens, " tokens, ", base::Sha256Of(text),
                      ")");
}

absl::StatusOr<int64_t> RunObserved(const worker::GgufFile& file, const ObservedText& text, MatrixObserver& observer,
                                    kernels::ThreadPool& pool) {
  LINNET_ASSIGN_OR_RETURN(const auto model, worker::DescribeModel(file));
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(file, model));
  LINNET_ASSIGN_OR_RETURN(const auto tokens, Tokens(file, text.text));
  LINNET_ASSIGN_OR_RETURN(const worker::Weights weights, LoadObserved(file, model, bindings, pool, &observer));
  worker::Decoder decoder(model, weights, kernels::Precision::kFast, kStepTokens, pool);
  const int64_t sequence_tokens = std::min(kSequenceTokens, model.context_tokens);
  LINNET_ASSIGN_OR_RETURN(const auto cache, worker::KvCache::Create(model, kernels::DType::kF16,
                                                                    worker::KvCache::BlocksFor(sequence_tokens)));
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < total; begin += sequence_tokens) {
    const int64_t length = std::min(sequence_tokens, total - begin);
    worker::KvSequence sequence;
    if (!cache->Reserve(sequence, length)) return absl::InternalError("the KV cache is smaller than asked for");
    for (int64_t at = 0; at < length; at += kStepTokens) {
      if (text.stop.stop_requested()) return absl::CancelledError("interrupted; nothing was written");
      const int64_t count = std::min(kStepTokens, length - at);
      // All logits: rows without any would leave the last layer early.
      const worker::BatchSpan span = {
          .tokens = std::span(tokens).subspan(static_cast<size_t>(begin + at), static_cast<size_t>(count)),
          .first_position = at,
          .kv = &sequence,
          .logits = worker::BatchSpan::Logits::kAll,
          .sequence_tokens = length};
      decoder.Forward({&span, 1}, *cache);
      if (text.progress) text.progress(static_cast<uint64_t>(begin + at + count), static_cast<uint64_t>(total));
    }
    cache->Release(sequence);
    observer.OnSequenceEnd();
  }
  return total;
}

}  // namespace linnet::cli
