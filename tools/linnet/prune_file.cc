#include "tools/linnet/prune_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/version.h"
#include "kernels/quantize.h"
#include "tools/linnet/quantize_file.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/weights.h"

namespace linnet::cli {
namespace {

using kernels::DType;
using worker::LayerDescription;
using worker::ModelDescription;
using worker::TensorRole;

constexpr int64_t kChunkElements = 1 << 20;  // of the source, at a time

std::vector<int32_t> All(int64_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// Heads of `head_dim` each, as the elements that they are.
std::vector<int32_t> Elements(const std::vector<int32_t>& heads, int head_dim) {
  std::vector<int32_t> elements;
  for (const int32_t head : heads) {
    for (int d = 0; d < head_dim; ++d) elements.push_back(head * head_dim + d);
  }
  return elements;
}

std::vector<int32_t> QueryHeads(const std::vector<int32_t>& kv_heads, int group) {
  std::vector<int32_t> heads;
  for (const int32_t kv_head : kv_heads) {
    for (int i = 0; i < group; ++i) heads.push_back(kv_head * group + i);
  }
  return heads;
}

// What is kept of a tensor's rows and columns (of a vector: of its elements, as columns).
struct Kept {
  std::vector<int32_t> rows, cols;
};

// The same of the parts of a vector that has one for each term of a series, of `width` elements.
std::vector<int32_t> OfEachTerm(const std::vector<int32_t>& neurons, int64_t width, int terms) {
  std::vector<int32_t> elements;
  for (int term = 0; term < terms; ++term) {
    for (const int32_t neuron : neurons) elements.push_back(neuron + static_cast<int32_t>(term * width));
  }
  return elements;
}

// Leaves out of a role's part of a tensor what belongs to heads that go.
void KeepHeads(const worker::TensorBinding& binding, const worker::AttentionDescription& attention,
               const std::vector<int32_t>& kv_heads, Kept* kept) {
  std::vector<int32_t>& outputs = binding.is_vector() ? kept->cols : kept->rows;
  const std::vector<int32_t> q_heads = QueryHeads(kv_heads, attention.q_heads / attention.kv_heads);
  switch (binding.role) {
    case TensorRole::kQ:
    case TensorRole::kQBias:
      outputs = Elements(q_heads, attention.head_dim);
      break;
    case TensorRole::kK:
    case TensorRole::kV:
    case TensorRole::kKBias:
    case TensorRole::kVBias:
      outputs = Elements(kv_heads, attention.head_dim);
      break;
    case TensorRole::kAttentionOut:
      kept->cols = Elements(q_heads, attention.head_dim);
      break;
    default:
      break;
  }
}

// The same for neurons.
void KeepNeurons(const worker::TensorBinding& binding, const worker::FfnDescription& ffn,
                 const std::vector<int32_t>& neurons, Kept* kept) {
  switch (binding.role) {
    case TensorRole::kFfnGate:
    case TensorRole::kFfnUp:
      kept->rows = neurons;
      break;
    case TensorRole::kFfnGateBias:
    case TensorRole::kFfnUpBias:
    case TensorRole::kFfnDown:
      kept->cols = neurons;
      break;
    case TensorRole::kFfnSeriesScale:
    case TensorRole::kFfnSeriesBias:
      kept->cols = OfEachTerm(neurons, ffn.width, ffn.series);
      break;
    default:
      break;
  }
}

// Roles that share a tensor lie in it one below the other.
void Append(const Kept& part, const worker::TensorBinding& binding, int32_t offset, Kept* whole) {
  std::vector<int32_t>& to = binding.is_vector() ? whole->cols : whole->rows;
  for (const int32_t i : binding.is_vector() ? part.cols : part.rows) to.push_back(offset + i);
  if (!binding.is_vector()) whole->cols = part.cols;
}

// Whether the columns are whole runs of `unit` neighbours from the source.
bool AreWholeBlocks(const std::vector<int32_t>& cols, int64_t unit) {
  const auto n = static_cast<int64_t>(cols.size());
  if (n % unit != 0) return false;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t first = cols[static_cast<size_t>(i / unit * unit)];
    if (first % unit != 0 || cols[static_cast<size_t>(i)] != first + i % unit) return false;
  }
  return true;
}

// One tensor on its way from the mapped file to the new one.
class TensorCut {
 public:
  TensorCut(const worker::GgufFile& file, const worker::GgufTensor& tensor, Kept kept, int64_t columns_per_scale)
      : file_(file), tensor_(tensor), kept_(std::move(kept)), columns_per_scale_(columns_per_scale) {
    const int64_t cols = tensor.dims[0];
    const auto left = static_cast<int64_t>(kept_.cols.size());
    all_cols_ = left == cols;
    int64_t unit = kernels::Info(tensor.type).block_elements;
    // Blocks with one scale stay together, but for whole rows of one.
    if (columns_per_scale > unit && columns_per_scale < cols) unit = columns_per_scale;
    whole_blocks_ = all_cols_ || AreWholeBlocks(kept_.cols, unit);
    type_ = whole_blocks_ ? tensor.type : TypeThatDivides(tensor.type, left);
  }

  worker::GgufTensorPlan Plan() const {
    worker::GgufTensorPlan plan = {tensor_.name, type_, tensor_.dims};
    plan.dims[0] = static_cast<int64_t>(kept_.cols.size());
    if (plan.dims.size() == 2) plan.dims[1] = rows();
    return plan;
  }
  bool loses() const { return !all_cols_ || rows() * tensor_.dims[0] != tensor_.elements(); }
  bool requantizes() const { return !whole_blocks_ && kernels::IsGroupQuantized(tensor_.type); }
  int64_t rows() const { return static_cast<int64_t>(kept_.rows.size()); }
  int64_t source_cols() const { return tensor_.dims[0]; }
  int64_t row_bytes() const { return kernels::BytesFor(type_, static_cast<int64_t>(kept_.cols.size())); }

  // Kept rows [begin, end) to `out`.
  absl::Status Write(int64_t begin, int64_t end, uint8_t* out, kernels::ThreadPool& pool) {
    const int64_t grain = std::max<int64_t>(1, (end - begin) / (8 * pool.threads()));
    pool.ParallelFor(end - begin, grain, [&](int64_t first, int64_t last, int) {
      std::vector<float> x, y;
      for (int64_t i = first; i < last; ++i) {
        const int64_t row = kept_.rows[static_cast<size_t>(begin + i)];
        const absl::Status status = WriteRow(row, x, y, out + i * row_bytes());
        if (status.ok()) continue;
        const base::MutexLock lock(&mu_);
        if (status_.ok()) status_ = status;
      }
    });
    const base::MutexLock lock(&mu_);
    return status_;
  }

 private:
  absl::Status WriteRow(int64_t row, std::vector<float>& x, std::vector<float>& y, uint8_t* out) const {
    const kernels::DTypeInfo& info = kernels::Info(tensor_.type);
    const std::byte* const source = tensor_.data.data() + row * kernels::BytesFor(tensor_.type, source_cols());
    if (all_cols_) {
      std::memcpy(out, source, static_cast<size_t>(row_bytes()));
      return absl::OkStatus();
    }
    if (whole_blocks_) {
      for (size_t i = 0; i < kept_.cols.size(); i += static_cast<size_t>(info.block_elements)) {
        const int64_t at = kernels::BytesFor(tensor_.type, kept_.cols[i]);
        std::memcpy(out, source + at, static_cast<size_t>(info.block_bytes));
        out += info.block_bytes;
      }
      return absl::OkStatus();
    }
    x.resize(static_cast<size_t>(source_cols()));
    y.resize(kept_.cols.size());
    kernels::Dequantize(tensor_.type, source, source_cols(), x.data());
    for (size_t i = 0; i < y.size(); ++i) y[i] = x[static_cast<size_t>(kept_.cols[i])];
    const absl::Status status = kernels::QuantizeRow(
        type_, {.x = y.data(), .cols = static_cast<int64_t>(y.size()), .columns_per_scale = columns_per_scale_}, out);
    if (status.ok()) return status;
    return base::Error(
        absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
        base::StrCat(file_.path(), ": tensor ", tensor_.name, ", row ", row, ": ", base::ToStd(status.message())),
        {{"file", file_.path()}});
  }

  const worker::GgufFile& file_;
  const worker::GgufTensor& tensor_;
  const Kept kept_;
  const int64_t columns_per_scale_;
  bool all_cols_ = false, whole_blocks_ = false;
  DType type_ = DType::kF32;
  base::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

// A layer that computes with these weights. `weights` names one of the layer's two sets: its block's, or its FFN's.
const LayerDescription& LayerWith(const ModelDescription& model, int LayerDescription::* weights, int block) {
  const auto layer = std::ranges::find(model.layers, block, weights);
  return layer != model.layers.end() ? *layer : model.layers[0];
}

// Of a role's part of a tensor.
Kept KeptOf(const worker::TensorBinding& binding, const ModelDescription& model, const BlockCut& cut) {
  Kept kept = {.rows = All(binding.rows), .cols = All(binding.cols)};
  if (!cut.kv_heads.empty()) {
    const LayerDescription& layer = LayerWith(model, &LayerDescription::weights_of_layer, binding.layer);
    KeepHeads(binding, layer.attention, cut.kv_heads, &kept);
  }
  if (!cut.ffn.empty()) {
    const LayerDescription& layer = LayerWith(model, &LayerDescription::ffn_weights_of_layer, binding.layer);
    KeepNeurons(binding, layer.ffn, cut.ffn, &kept);
  }
  return kept;
}

// The parts of every tensor, in the order of the file.
absl::StatusOr<std::vector<Kept>> KeptParts(const worker::GgufFile& source, const ModelDescription& model,
                                            const PruneJob& job) {
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(source, model));
  std::map<std::string, Kept> by_name;
  std::map<std::string, int32_t> bound;  // rows (elements) of it that roles have had
  for (const worker::TensorBinding& binding : bindings) {
    const std::string& name = binding.tensor->name;
    const BlockCut& cut = job.cuts[static_cast<size_t>(binding.layer)];
    Append(KeptOf(binding, model, cut), binding, bound[name], &by_name[name]);
    bound[name] += static_cast<int32_t>(binding.is_vector() ? binding.cols : binding.rows);
  }
  std::vector<Kept> parts;
  for (const worker::GgufTensor& tensor : source.tensors()) {
    Kept& kept = by_name[tensor.name];
    // A vector has its one row; what has no role is kept as it is.
    if (kept.cols.empty()) kept.cols = All(tensor.dims[0]);
    if (kept.rows.empty()) kept.rows = All(tensor.elements() / tensor.dims[0]);
    parts.push_back(std::move(kept));
  }
  return parts;
}

// One number where all layers have the same.
void SetPerLayer(worker::GgufMetadata& metadata, const std::string& key, const std::vector<int32_t>& values) {
  const bool uniform = std::all_of(values.begin(), values.end(), [&](int32_t v) { return v == values[0]; });
  if (uniform) {
    metadata.SetU32(key, static_cast<uint32_t>(values[0]));
  } else {
    metadata.SetI32s(key, values);
  }
}

worker::GgufMetadata NewMetadata(const worker::GgufFile& source, const ModelDescription& model, const PruneJob& job) {
  worker::GgufMetadata metadata = worker::GgufMetadata::CopyOf(source);
  const auto key = [&](std::string_view name) { return base::StrCat(model.family, ".", name); };
  std::vector<int32_t> widths, stated_widths, q_heads, kv_heads;
  bool heads_go = false;
  for (const LayerDescription& layer : model.layers) {
    const std::vector<int32_t>& ffn = job.cuts[static_cast<size_t>(layer.ffn_weights_of_layer)].ffn;
    widths.push_back(ffn.empty() ? layer.ffn.width : static_cast<int32_t>(ffn.size()));
    // The first Qwen states the width of gate and up together.
    stated_widths.push_back(widths.back() * (model.family == "qwen" ? 2 : 1));
    const std::vector<int32_t>& heads = job.cuts[static_cast<size_t>(layer.weights_of_layer)].kv_heads;
    kv_heads.push_back(heads.empty() ? layer.attention.kv_heads : static_cast<int32_t>(heads.size()));
    if (heads.empty()) continue;
    heads_go = true;
    q_heads.push_back(kv_heads.back() * (layer.attention.q_heads / layer.attention.kv_heads));
  }
  SetPerLayer(metadata, key("feed_forward_length"), stated_widths);
  if (heads_go) {
    SetPerLayer(metadata, key("attention.head_count"), q_heads);
    SetPerLayer(metadata, key("attention.head_count_kv"), kv_heads);
    // Readers derive it from the number of heads otherwise.
    metadata.SetU32(key("attention.key_length"), static_cast<uint32_t>(model.layers[0].attention.head_dim));
    metadata.SetU32(key("attention.value_length"), static_cast<uint32_t>(model.layers[0].attention.head_dim));
  }
  metadata.Remove("general.size_label");  // of what it was made of
  metadata.SetString("linnet.prune.version", base::kVersion);
  metadata.SetString("linnet.prune.method", job.method);
  metadata.SetString("linnet.prune.source", job.source_name);
  metadata.SetI32s("linnet.prune.ffn_widths", widths);
  metadata.SetI32s("linnet.prune.kv_heads", kv_heads);
  if (job.calibration.empty()) {
    metadata.Remove("linnet.prune.calibration");
  } else {
    metadata.SetString("linnet.prune.calibration", job.calibration);
  }
  return metadata;
}

}  // namespace

absl::StatusOr<PruneReport> PruneFile(const worker::GgufFile& source, const ModelDescription& model,
                                      const std::string& path, const PruneJob& job, kernels::ThreadPool& pool) {
  LINNET_RETURN_IF_ERROR(CheckQuantizable(source, /*allow_requantize=*/true));
  LINNET_ASSIGN_OR_RETURN(std::vector<Kept> parts, KeptParts(source, model, job));
  LINNET_ASSIGN_OR_RETURN(const std::string_view own_name, source.GetStringOr("linnet.quantization", ""));
  const QuantizeFormat* own = FindQuantizeFormat(own_name);
  std::vector<std::unique_ptr<TensorCut>> cuts;
  std::vector<worker::GgufTensorPlan> plans;
  uint64_t total = 0, done = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const worker::GgufTensor& tensor = source.tensors()[i];
    const int64_t columns_per_scale = own == nullptr ? 0 : own->ColumnsPerScale(tensor.type);
    cuts.push_back(std::make_unique<TensorCut>(source, tensor, std::move(parts[i]), columns_per_scale));
    plans.push_back(cuts.back()->Plan());
    total += tensor.data.size();
  }
  LINNET_ASSIGN_OR_RETURN(const auto writer, worker::GgufWriter::Create(path, NewMetadata(source, model, job), plans));
  PruneReport report;
  report.file_bytes = writer->file_bytes();
  std::vector<uint8_t> chunk;
  for (size_t i = 0; i < cuts.size(); ++i) {
    TensorCut& cut = *cuts[i];
    report.parameters += static_cast<uint64_t>(plans[i].elements());
    if (cut.loses()) ++(cut.requantizes() ? report.requantized_tensors : report.copied_tensors);
    const int64_t rows_at_once = std::max<int64_t>(1, kChunkElements / cut.source_cols());
    for (int64_t begin = 0; begin < cut.rows(); begin += rows_at_once) {
      if (job.stop.stop_requested()) return absl::CancelledError("interrupted; nothing was written");
      const int64_t end = std::min(cut.rows(), begin + rows_at_once);
      chunk.resize(static_cast<size_t>((end - begin) * cut.row_bytes()));
      LINNET_RETURN_IF_ERROR(cut.Write(begin, end, chunk.data(), pool));
      LINNET_RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(chunk))));
    }
    done += source.tensors()[i].data.size();
    if (job.progress) job.progress(done, total);
    source.Release(source.tensors()[i]);
  }
  LINNET_RETURN_IF_ERROR(writer->Finish());
  return report;
}

}  // namespace linnet::cli
