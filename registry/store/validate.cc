// Bounds of every field that a client may set: a resource that passes takes at most about 64 KiB.
#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"
#include "base/strings.h"
#include "registry/client/names.h"
#include "registry/store/resource.h"

namespace linnet::registry {
namespace {

constexpr int kMaxLabels = 32;
constexpr int kMaxAliases = 32;
constexpr int kMaxBlobs = 16;
constexpr int kMaxLayers = 512;
constexpr int kMaxListed = 64;  // ISA features, data sets, tensor types, profiles of a deployment
constexpr size_t kMaxText = 1024;

// Collects every violation, so that a client sees them all at once.
class Checker {
 public:
  explicit Checker(std::string_view field) : prefix_(field) {}

  void Fail(std::string_view field, std::string message) {
    violations_.emplace_back(base::StrCat(prefix_, field), std::move(message));
  }
  void Text(std::string_view field, const std::string& text, size_t max = kMaxText) {
    if (text.size() > max) Fail(field, base::StrCat("must have at most ", max, " bytes, has ", text.size()));
  }
  void Id(std::string_view field, const std::string& id) {
    if (!IsValidId(id)) Fail(field, "must be 1 to 63 of lower-case letters, digits, '.', '-', '_', the first no sign");
  }
  void AtMost(std::string_view field, int64_t count, int64_t max) {
    if (count > max) Fail(field, base::StrCat("must have at most ", max, " entries, has ", count));
  }
  void Finite(std::string_view field, double value) {
    if (!(value >= 0 && value <= 1e18)) Fail(field, "must be a number from 0 to 1e18");
  }
  template <class Parsed>
  void Name(const std::string& name, const absl::StatusOr<Parsed>& parsed, std::string_view form) {
    if (!parsed.ok()) Fail("name", name.empty() ? base::StrCat("is missing: ", form) : base::StrCat("must be ", form));
  }
  template <class Labels>
  void CheckLabels(std::string_view field, const Labels& labels) {
    AtMost(field, labels.size(), kMaxLabels);
    for (const auto& [key, value] : labels) {
      if (key.empty() || key.size() > 63 || value.size() > 63) {
        Fail(field, "keys must have 1 to 63 bytes and values at most 63");
        return;
      }
    }
  }
  template <class Texts>
  void EachText(std::string_view field, const Texts& texts, size_t max_each = 128) {
    AtMost(field, texts.size(), kMaxListed);
    for (const std::string& text : texts) {
      if (text.empty() || text.size() > max_each) {
        Fail(field, base::StrCat("each must have 1 to ", max_each, " bytes"));
        return;
      }
    }
  }
  absl::Status Result() const { return violations_.empty() ? absl::OkStatus() : base::FieldErrors(violations_); }

 private:
  const std::string prefix_;
  std::vector<std::pair<std::string, std::string>> violations_;
};

void CheckArchitecture(const v1::Architecture& a, Checker& check) {
  check.Text("architecture.family", a.family(), 63);
  check.AtMost("architecture.layer_shapes", a.layer_shapes_size(), kMaxLayers);
  if (a.layers() > kMaxLayers) check.Fail("architecture.layers", base::StrCat("must be at most ", kMaxLayers));
  if (a.layer_shapes_size() > 0 && a.layer_shapes_size() != static_cast<int>(a.layers())) {
    check.Fail("architecture.layer_shapes", base::StrCat("must have one entry for each of the ", a.layers(),
                                                         " layers, has ", a.layer_shapes_size()));
  }
  for (const v1::LayerShape& layer : a.layer_shapes()) {
    if (std::max(layer.query_heads(), layer.kv_heads()) > 1 << 12 ||
        std::max({layer.head_dim(), layer.value_dim(), layer.ffn_dim()}) > 1 << 20 ||
        layer.window() > uint64_t{1} << 40 || layer.state_floats() > 1 << 28) {
      check.Fail("architecture.layer_shapes",
                 "must have at most 4096 heads, widths of 1048576, windows of 2^40 tokens and states of 2^28 numbers");
      break;
    }
  }
  if (a.model_dim() > 1 << 20) check.Fail("architecture.model_dim", "must be at most 1048576");
  if (a.vocab_size() > 1 << 24) check.Fail("architecture.vocab_size", "must be at most 16777216");
  if (a.context_tokens() > 1 << 28) check.Fail("architecture.context_tokens", "must be at most 268435456");
  if (a.parameters() > uint64_t{1} << 50) check.Fail("architecture.parameters", "must be at most 2^50");
}

void CheckConstraints(const v1::Constraints& c, Checker& check) {
  check.Finite("constraints.min_decode_tokens_per_second", c.min_decode_tokens_per_second());
  check.Finite("constraints.max_time_to_first_token_seconds", c.max_time_to_first_token_seconds());
}

}  // namespace

absl::Status Validate(const v1::Model& model, std::string_view field) {
  Checker check(field);
  check.Name(model.name(), ParseModelName(model.name()), "models/{model}");
  check.Text("display_name", model.display_name(), 256);
  check.Text("license", model.license(), 256);
  CheckArchitecture(model.architecture(), check);
  check.Text("lineage.base_model", model.lineage().base_model(), 256);
  check.Text("lineage.teacher_model", model.lineage().teacher_model(), 256);
  check.Text("lineage.pruned_from", model.lineage().pruned_from(), 256);
  check.EachText("lineage.datasets", model.lineage().datasets(), 256);
  check.Text("lineage.base_model_relation", model.lineage().base_model_relation(), 63);
  check.EachText("lineage.merged_models", model.lineage().merged_models(), 256);
  check.Text("lineage.pruning.method", model.lineage().pruning().method(), 256);
  check.Text("lineage.pruning.calibration", model.lineage().pruning().calibration(), 256);
  check.AtMost("lineage.pruning.ffn_widths", model.lineage().pruning().ffn_widths_size(), kMaxLayers);
  check.AtMost("lineage.pruning.kv_heads", model.lineage().pruning().kv_heads_size(), kMaxLayers);
  check.CheckLabels("labels", model.labels());
  check.AtMost("aliases", model.aliases().size(), kMaxAliases);
  for (const auto& [alias, variant] : model.aliases()) {
    if (!IsValidId(alias) || !IsValidId(variant)) {
      check.Fail("aliases", "both alias and {variant} must be valid ids");
      break;
    }
  }
  return check.Result();
}

absl::Status Validate(const v1::Variant& variant, std::string_view field) {
  Checker check(field);
  check.Name(variant.name(), ParseVariantName(variant.name()), "models/{model}/variants/{variant}");
  if (variant.quantization().empty()) check.Fail("quantization", "is missing: 'q4_1', 'f16', ...");
  check.Text("quantization", variant.quantization(), 63);
  if (variant.blobs().empty()) check.Fail("blobs", "must have at least one");
  check.AtMost("blobs", variant.blobs_size(), kMaxBlobs);
  std::set<std::string> roles;
  for (const v1::BlobRef& blob : variant.blobs()) {
    if (!base::IsSha256Digest(blob.digest()))
      check.Fail("blobs.digest", "must be 'sha256:' and 64 lower-case hex digits");
    if (!IsValidId(blob.role())) check.Fail("blobs.role", "must be an id such as 'main'");
    if (!roles.insert(blob.role()).second) check.Fail("blobs.role", "must differ from that of the other blobs");
    check.Text("blobs.file_name", blob.file_name(), 255);
  }
  check.AtMost("tensor_types", variant.tensor_types().size(), kMaxListed);
  for (const auto& [type, elements] : variant.tensor_types()) {
    if (type.empty() || type.size() > 63) {
      check.Fail("tensor_types", "keys must have 1 to 63 bytes");
      break;
    }
  }
  check.Text("source", variant.source());
  check.EachText("requirements.any_isa", variant.requirements().any_isa(), 63);
  check.CheckLabels("labels", variant.labels());
  return check.Result();
}

absl::Status Validate(const v1::DeviceProfile& profile, std::string_view field) {
  Checker check(field);
  check.Name(profile.name(), ParseDeviceProfileName(profile.name()), "deviceProfiles/{profile}");
  check.Text("display_name", profile.display_name(), 256);
  check.Text("cpu_arch", profile.cpu_arch(), 63);
  check.Text("cpu_model", profile.cpu_model(), 256);
  check.EachText("isa_features", profile.isa_features(), 63);
  check.Finite("memory_bandwidth_bytes_per_second", profile.memory_bandwidth_bytes_per_second());
  check.Finite("int8_ops_per_second", profile.int8_ops_per_second());
  check.CheckLabels("labels", profile.labels());
  return check.Result();
}

absl::Status Validate(const v1::Deployment& deployment, std::string_view field) {
  Checker check(field);
  check.Name(deployment.name(), ParseDeploymentName(deployment.name()), "deployments/{deployment}");
  if (!ParseModelReference(deployment.model()).ok()) {
    check.Fail("model", "must be {model}, {model}@{alias} or {model}/{variant}");
  }
  check.AtMost("profiles", deployment.profiles_size(), kMaxListed);
  for (const std::string& profile : deployment.profiles()) {
    if (!ParseDeviceProfileName(profile).ok()) {
      check.Fail("profiles", "each must be deviceProfiles/{profile}");
      break;
    }
  }
  check.CheckLabels("worker_selector", deployment.worker_selector());
  CheckConstraints(deployment.constraints(), check);
  check.AtMost("weights", deployment.weights().size(), kMaxListed);
  uint64_t sum = 0;
  for (const auto& [variant, percent] : deployment.weights()) {
    if (!IsValidId(variant)) {
      check.Fail("weights", "keys must be ids of variants");
      break;
    }
    sum += percent;
  }
  if (!deployment.weights().empty() && sum != 100) check.Fail("weights", base::StrCat("must add up to 100, is ", sum));
  return check.Result();
}

}  // namespace linnet::registry
