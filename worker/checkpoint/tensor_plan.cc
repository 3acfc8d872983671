#include "worker/checkpoint/tensor_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

constexpr size_t kCompareBytes = 4 << 20;

// What checkpoints carry besides weights: buffers that are computed anew, and the parts of models that also see.
constexpr std::string_view kSkippedEnds[] = {".inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias",
                                             ".attention.masked_bias"};
constexpr std::string_view kSkippedBegins[] = {"vision_tower.", "model.vision_tower.", "multi_modal_projector.",
                                               "model.multi_modal_projector."};

// The end or beginning by which a tensor is left out; empty: it is not.
std::string_view SkippedAs(std::string_view name) {
  for (const std::string_view end : kSkippedEnds) {
    if (name.ends_with(end)) return end;
  }
  for (const std::string_view begin : kSkippedBegins) {
    if (name.starts_with(begin)) return begin;
  }
  return {};
}

bool SameData(const CheckpointTensor& a, const CheckpointTensor& b) {
  const auto x = a.tensor->data, y = b.tensor->data;
  if (a.tensor->type != b.tensor->type || x.size() != y.size()) return false;
  for (size_t at = 0; at < x.size(); at += kCompareBytes) {
    const size_t n = std::min(kCompareBytes, x.size() - at);
    const bool same = std::memcmp(x.data() + at, y.data() + at, n) == 0;
    a.file->Release(x.subspan(at, n));
    b.file->Release(y.subspan(at, n));
    if (!same) return false;
  }
  return true;
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const HfDescription& description)
      : checkpoint_(checkpoint), description_(description), model_(description.model) {}

  absl::StatusOr<TensorPlan> Plan() {
    for (const GeneratedTensor& made : description_.generated) {
      PlannedTensor planned;
      planned.target = {made.name, kernels::DType::kF32, {static_cast<int64_t>(made.values.size())}};
      planned.generated = made.values;
      plan_.tensors.push_back(std::move(planned));
    }
    for (const TensorRules rules : description_.tensors) {
      for (const TensorRule& rule : rules) Apply(rule);
    }
    for (const auto& [name, tensor] : checkpoint_.tensors()) CheckUsed(name);
    for (const auto& [as, count] : skipped_) {
      plan_.notes.push_back(base::StrCat("left out, since they are no weights: ", count, " tensors *", as));
    }
    if (!problems_.empty()) return CheckpointError(checkpoint_.dir(), problems_);
    return std::move(plan_);
  }

 private:
  // With the family's prefix, without it, or as a part of a model that also sees.
  CheckpointTensor Find(const std::string& name) {
    const std::string_view prefix = description_.family->prefix;
    for (const std::string& full :
         {base::StrCat(prefix, name), name, base::StrCat("language_model.", prefix, name),
          base::StrCat(prefix, "language_model.", name), base::StrCat("language_model.", name)}) {
      const auto it = checkpoint_.tensors().find(full);
      if (it == checkpoint_.tensors().end()) continue;
      used_.insert(full);
      return it->second;
    }
    return {};
  }

  bool Applies(const TensorRule& rule, int64_t layer) const {
    if (rule.layers == Layers::kAll || model_.recurrent.empty()) return true;
    return model_.recurrent[static_cast<size_t>(layer)] == (rule.layers == Layers::kRecurrent);
  }

  int64_t SourceCount(TensorChange change, size_t layer) const {
    switch (change) {
      case TensorChange::kStacked:
      case TensorChange::kSideBySide:
        return model_.shortcuts;
      case TensorChange::kOfQueries:
        return model_.q_heads[layer];
      case TensorChange::kOfKeys:
        return model_.kv_heads[layer];
      default:
        return 1;
    }
  }

  // All tensors of a rule in a layer; empty where one is missing.
  std::vector<CheckpointTensor> Sources(const TensorRule& rule, int64_t layer, std::vector<std::string>& missing) {
    std::vector<CheckpointTensor> sources;
    for (int64_t i = 0; i < SourceCount(rule.change, static_cast<size_t>(layer)); ++i) {
      const std::string name = Numbered(Numbered(rule.name, '$', layer), '%', i);
      CheckpointTensor source = Find(name);
      if (source.tensor == nullptr && rule.gguf == "token_embd.weight" && model_.tied) source = Find(OutputName());
      if (source.tensor == nullptr) {
        missing.push_back(name);
        return {};
      }
      sources.push_back(source);
    }
    return sources;
  }

  void Apply(const TensorRule& rule) {
    if (rule.presence == Presence::kOutput) return ApplyOutput(rule);
    if (rule.presence == Presence::kShared) return ApplyShared(rule);
    std::vector<std::string> missing;
    std::string found;
    for (int64_t layer = 0; layer < (rule.per_layer() ? model_.layers : 1); ++layer) {
      if (!Applies(rule, layer)) continue;
      const std::vector<CheckpointTensor> sources = Sources(rule, layer, missing);
      if (sources.empty()) continue;
      found = sources[0].tensor->name;
      Add(rule, layer, sources);
    }
    std::string promise;
    if (const HfBiases* biases = BiasesOf(rule.presence)) {
      if (found.empty() && !biases->promised) return;
      if (biases->promised) promise = base::StrCat(", and config.json promises it (", biases->key, " is true)");
      if (!biases->promised && !biases->key.empty()) {
        problems_.push_back(base::StrCat("tensor ", Quoted(found), " is unexpected, since ", biases->key, " is false"));
        return;
      }
    }
    for (const std::string& name : missing) {
      problems_.push_back(base::StrCat("tensor ", description_.family->prefix, name, " is missing", promise));
    }
  }

  // nullptr: the rule is not of biases that may be there or not.
  const HfBiases* BiasesOf(Presence presence) const {
    switch (presence) {
      case Presence::kQkvBias:
        return &model_.qkv_bias;
      case Presence::kOutBias:
        return &model_.out_bias;
      case Presence::kFfnBias:
        return &model_.ffn_bias;
      default:
        return nullptr;
    }
  }

  // One block's tensor for all: the others lack it, or have it again.
  void ApplyShared(const TensorRule& rule) {
    std::vector<std::string> missing;
    std::vector<CheckpointTensor> all;
    for (int64_t layer = 0; layer < model_.layers; ++layer) {
      const std::vector<CheckpointTensor> sources = Sources(rule, layer, missing);
      if (!sources.empty()) all.push_back(sources[0]);
    }
    if (all.empty() || (!missing.empty() && all.size() > 1)) {
      for (const std::string& name : missing) {
        problems_.push_back(base::StrCat("tensor ", description_.family->prefix, name, " is missing"));
      }
      return;
    }
    const bool same =
        std::all_of(all.begin() + 1, all.end(), [&](const auto& other) { return SameData(all[0], other); });
    if (!same) {
      for (size_t layer = 0; layer < all.size(); ++layer) Add(rule, static_cast<int64_t>(layer), {all[layer]});
      return;
    }
    plan_.shared_ffn = model_.layers > 1;
    Add(rule, 0, {all[0]});
  }

  std::string OutputName() const {
    for (const TensorRules rules : description_.tensors) {
      for (const TensorRule& rule : rules) {
        if (rule.presence == Presence::kOutput) return std::string(rule.name);
      }
    }
    return {};
  }

  void ApplyOutput(const TensorRule& rule) {
    const std::string name(rule.name);
    const bool is_embeddings = used_.contains(name);  // the only copy of a shared matrix
    const CheckpointTensor output = Find(name);
    if (is_embeddings) return;
    if (output.tensor == nullptr) {
      if (model_.tied) return;
      problems_.push_back(base::StrCat("tensor ", name,
                                       " is missing, and config.json does not say that the embeddings "
                                       "serve as output (tie_word_embeddings)"));
      return;
    }
    const auto embeddings = std::find_if(plan_.tensors.begin(), plan_.tensors.end(), [](const PlannedTensor& tensor) {
      return tensor.target.name == "token_embd.weight";
    });
    if (embeddings != plan_.tensors.end() && SameData(embeddings->sources[0], output)) {
      plan_.notes.push_back(base::StrCat("left out: ", name, ", since it is the embeddings again"));
      return;
    }
    if (model_.tied && model_.tied_stated) {
      plan_.notes.push_back(base::StrCat("config.json says that the embeddings serve as output, but ", name,
                                         " is another matrix: it is used"));
    }
    Add(rule, 0, {output});
  }

  int64_t SizeOf(TensorSize size, size_t layer) const {
    const int64_t q = model_.q_heads[layer] * model_.head_dim, kv = model_.kv_heads[layer] * model_.head_dim;
    switch (size) {
      case TensorSize::kNone:
        return 0;
      case TensorSize::kModel:
        return model_.model_dim;
      case TensorSize::kQ:
        return q;
      case TensorSize::kKv:
        return kv;
      case TensorSize::kQkv:
        return q + 2 * kv;
      case TensorSize::kHead:
        return model_.head_dim;
      case TensorSize::kFfn:
        return model_.ffn[layer];
      case TensorSize::kTwoFfn:
        return 2 * model_.ffn[layer];
      case TensorSize::kVocab:
        return model_.vocab;
      case TensorSize::kPositions:
        return model_.context;
      case TensorSize::kPaddedPositions:
        return model_.context + 2;
      case TensorSize::kEmbedding:
        return model_.embedding_dim > 0 ? model_.embedding_dim : model_.model_dim;
      case TensorSize::kRecurrent:
        return model_.recurrent_width;
      case TensorSize::kRecurrentHead:
        return model_.recurrent_width / model_.recurrent_heads;
      case TensorSize::kTaps:
        return model_.taps;
      case TensorSize::kShortcut:
        return model_.shortcut_width;
      case TensorSize::kSeries:
        return model_.series;
      case TensorSize::kQLatent:
        return model_.q_latent;
      case TensorSize::kKvLatent:
        return model_.kv_latent;
      case TensorSize::kKvLatentAndRope:
        return model_.kv_latent + model_.rotary_dim;
      case TensorSize::kLatentKv:
        return model_.q_heads[layer] * (model_.nope_dim + model_.value_dim);
      case TensorSize::kValues:
        return model_.q_heads[layer] * model_.value_dim;
    }
    return 0;
  }

  // Sizes of one between the others, and leading ones that make up the rows together, do not matter.
  static bool Fits(const std::vector<int64_t>& shape, const std::vector<int64_t>& want) {
    if (shape == want) return true;
    if (shape.size() < want.size() || (want.size() == 2 && shape.back() != want[1])) return false;
    int64_t rows = 1;
    for (size_t i = 0; i < shape.size() - (want.size() - 1); ++i) rows *= shape[i];
    return rows == want[0];
  }

  // Complains where the tensor is not of this shape and a type of weights.
  bool Check(const SafetensorsTensor& tensor, const std::vector<int64_t>& want) {
    if (!Fits(tensor.shape, want)) {
      problems_.push_back(base::StrCat("tensor ", Quoted(tensor.name), " has shape [",
                                       absl::StrJoin(tensor.shape, ", "), "], and config.json makes it [",
                                       absl::StrJoin(want, ", "), "]"));
      return false;
    }
    if (!tensor.dtype()) {
      problems_.push_back(
          base::StrCat("tensor ", Quoted(tensor.name), " is ", tensor.type, ", should be F32, F16 or BF16"));
      return false;
    }
    return true;
  }

  // As GGUF has it, rows first.
  std::vector<int64_t> TargetShape(std::vector<int64_t> shape, TensorChange change, int64_t sources) const {
    switch (change) {
      case TensorChange::kTransposed:
        return {shape[1], shape[0]};
      case TensorChange::kUpperHalf:
      case TensorChange::kLowerHalf:
        return {shape[0] / 2, shape[1]};
      case TensorChange::kFromRowTwo:
        return {shape[0] - 2, shape[1]};
      case TensorChange::kFlat:
      case TensorChange::kFlatAcross:
        return {shape[0] * shape[1]};
      case TensorChange::kStacked:
        if (shape.size() == 1) return {sources, shape[0]};
        return {shape[0] * sources, shape[1]};
      case TensorChange::kSideBySide:
        return {shape[0], shape[1] * sources};
      default:
        return shape;
    }
  }

  void Add(const TensorRule& rule, int64_t layer, const std::vector<CheckpointTensor>& sources) {
    const auto l = static_cast<size_t>(layer);
    std::vector<int64_t> want = {SizeOf(rule.rows, l)};
    if (rule.cols != TensorSize::kNone) want.push_back(SizeOf(rule.cols, l));
    for (const CheckpointTensor& source : sources) {
      if (!Check(*source.tensor, want)) return;
    }
    const SafetensorsTensor& first = *sources[0].tensor;
    for (const CheckpointTensor& source : sources) {
      if (source.tensor->type == first.type) continue;
      problems_.push_back(base::StrCat("tensors ", Quoted(first.name), " and ", Quoted(source.tensor->name),
                                       " are of different types"));
      return;
    }
    PlannedTensor planned;
    planned.sources = sources;
    planned.change = ChangeOf(rule.change);
    planned.heads = rule.change == TensorChange::kKeys ? model_.kv_heads[l] : model_.q_heads[l];
    if (planned.change == TensorChange::kByKind && model_.q_heads[l] != model_.kv_heads[l]) {
      problems_.push_back(base::StrCat("tensor ", Quoted(first.name), " has query heads without keys of their own"));
      return;
    }
    std::vector<int64_t> dims = TargetShape(want, planned.change, static_cast<int64_t>(sources.size()));
    std::reverse(dims.begin(), dims.end());  // GGUF counts from the contiguous one
    const std::string name = Numbered(rule.gguf, '$', layer);
    // As llama.cpp's readers expect it.
    const bool in_f32 = want.size() == 1 || dims.size() == 1 || name == "position_embd.weight";
    planned.target = {name, in_f32 ? kernels::DType::kF32 : *first.dtype(), dims};
    plan_.tensors.push_back(std::move(planned));
  }

  TensorChange ChangeOf(TensorChange change) const {
    const HfFamily& family = *description_.family;
    if (change == TensorChange::kOfQueries || change == TensorChange::kOfKeys) return TensorChange::kStacked;
    const bool reordered = change == TensorChange::kQueries || change == TensorChange::kKeys;
    if (reordered && family.rope != HfRopeUse::kNeighbours) return TensorChange::kAsIs;
    if (change == TensorChange::kNorm && !family.norms_from_zero) return TensorChange::kAsIs;
    return change;
  }

  void CheckUsed(const std::string& name) {
    if (used_.contains(name)) return;
    if (const std::string_view as = SkippedAs(name); !as.empty()) {
      ++skipped_[std::string(as)];
    } else {
      problems_.push_back(base::StrCat("tensor ", Quoted(name), " is unexpected"));
    }
  }

  const Checkpoint& checkpoint_;
  const HfDescription& description_;
  const HfModel& model_;
  TensorPlan plan_;
  std::set<std::string, std::less<>> used_;
  std::map<std::string, int> skipped_;
  std::vector<std::string> problems_;
};

}  // namespace

absl::StatusOr<TensorPlan> PlanTensors(const Checkpoint& checkpoint, const HfDescription& description) {
  return Planner(checkpoint, description).Plan();
}

}  // namespace linnet::worker
