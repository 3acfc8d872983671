#include "tools/linnet/calibrate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/matrix.h"
#include "kernels/quantize.h"
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

// Sums of squares over all rows that a matrix was multiplied with, per column.
using ColumnSums = std::vector<double>;

// A matrix that multiplies as the one inside does, and notes what it is multiplied with.
class ObservedMatrix : public Matrix {
 public:
  ObservedMatrix(std::unique_ptr<Matrix> inner, ColumnSums* sums)
      : Matrix(inner->type(), inner->rows(), inner->cols()), inner_(std::move(inner)), sums_(sums) {
    sums_->resize(static_cast<size_t>(cols()));
  }

  int64_t bytes() const override { return inner_->bytes(); }
  void DequantizeRow(int64_t row, float* out) const override { inner_->DequantizeRow(row, out); }

 private:
  // Multiply calls this once for each product, before any slice: the whole product is made here.
  void PrepareForms(kernels::Activations& x, kernels::ThreadPool& pool) const override {
    for (int64_t r = 0; r < x.rows(); ++r) {
      const float* row = x.data() + r * x.cols();
      for (int64_t c = 0; c < x.cols(); ++c) (*sums_)[static_cast<size_t>(c)] += double{row[c]} * row[c];
    }
    y_.resize(static_cast<size_t>(x.rows() * rows()));
    const kernels::Product product = {.weights = inner_.get(), .y = y_.data()};
    kernels::Multiply({&product, 1}, x, pool);
  }

  void MultiplySlice(const kernels::OutputSlice& out, kernels::Activations& x, int64_t begin,
                     int64_t end) const override {
    for (int64_t r = 0; r < x.rows(); ++r) {
      for (int64_t i = 0; i < end - begin; ++i) {
        float y = y_[static_cast<size_t>(r * rows() + begin + i)];
        if (out.bias != nullptr) y += out.bias[i];
        if (out.residual != nullptr) y += out.residual[r * out.stride + i];
        out.y[r * out.stride + i] = y;
      }
    }
  }

  int64_t SliceRows(int64_t) const override { return rows(); }

  const std::unique_ptr<Matrix> inner_;
  ColumnSums* const sums_;
  mutable std::vector<float> y_;  // [x.rows, rows]
};

// The model's weights with an observer around every matrix; `sums` by tensor name. They skip whatever a worker does to
// load fast: this process reads them once.
absl::StatusOr<worker::Weights> LoadObserved(const worker::GgufFile& file, const worker::ModelDescription& model,
                                             const std::vector<worker::TensorBinding>& bindings,
                                             kernels::ThreadPool& pool, std::map<std::string, ColumnSums>& sums) {
  worker::Weights weights;
  for (const worker::TensorBinding& binding : bindings) {
    weights.layers.resize(std::max(weights.layers.size(), static_cast<size_t>(binding.layer) + 1));
    if (binding.is_vector()) {
      std::vector<float>& values = *worker::VectorOf(weights, binding.role, binding.layer);
      values.resize(static_cast<size_t>(binding.cols));
      kernels::Dequantize(binding.tensor->type, binding.data.data(), binding.cols, values.data());
      continue;
    }
    if (binding.is_blocks()) {  // heads' own products: rounded without weights
      worker::LoadBlocks(binding, model, kernels::Precision::kFast, weights);
      continue;
    }
    const Matrix::Source source = {
        .type = binding.tensor->type, .rows = binding.rows, .cols = binding.cols, .data = binding.data.data()};
    LINNET_ASSIGN_OR_RETURN(auto matrix, Matrix::Create(source, kernels::Precision::kFast, pool));
    file.Release(binding.data);
    *worker::MatrixOf(weights, binding.role, binding.layer) =
        std::make_unique<ObservedMatrix>(std::move(matrix), &sums[binding.tensor->name]);
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

absl::StatusOr<Calibration> Calibrate(const worker::GgufFile& file, const CalibrationOptions& options,
                                      kernels::ThreadPool& pool) {
  LINNET_ASSIGN_OR_RETURN(const auto model, worker::DescribeModel(file));
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(file, model));
  LINNET_ASSIGN_OR_RETURN(const auto tokens, Tokens(file, options.text));
  std::map<std::string, ColumnSums> sums;
  LINNET_ASSIGN_OR_RETURN(const worker::Weights weights, LoadObserved(file, model, bindings, pool, sums));
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
      if (options.stop.stop_requested()) return absl::CancelledError("interrupted; nothing was written");
      const int64_t count = std::min(kStepTokens, length - at);
      // All logits: rows without any would leave the last layer early.
      const worker::BatchSpan span = {
          .tokens = std::span(tokens).subspan(static_cast<size_t>(begin + at), static_cast<size_t>(count)),
          .first_position = at,
          .kv = &sequence,
          .logits = worker::BatchSpan::Logits::kAll,
          .sequence_tokens = length};
      decoder.Forward({&span, 1}, *cache);
      if (options.progress) options.progress(static_cast<uint64_t>(begin + at + count), static_cast<uint64_t>(total));
    }
    cache->Release(sequence);
  }
  Calibration calibration;
  calibration.tokens = total;
  for (const auto& [name, columns] : sums) calibration.importances[name] = kernels::ImportanceFrom(columns);
  return calibration;
}

}  // namespace linnet::cli
