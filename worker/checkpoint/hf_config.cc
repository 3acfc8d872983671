#include "worker/checkpoint/hf_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/log/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"
#include "worker/gguf/model_bounds.h"

namespace linnet::worker {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr size_t kMaxNumbers = 1 << 16;
constexpr size_t kShownValueBytes = 60;
constexpr int kUnknownShown = 8;

// `finetuned` tells of the training.
constexpr std::string_view kRopeMembers[] = {"rope_type",
                                             "type",
                                             "rope_theta",
                                             "partial_rotary_factor",
                                             "factor",
                                             "attention_factor",
                                             "beta_fast",
                                             "beta_slow",
                                             "truncate",
                                             "mscale",
                                             "mscale_all_dim",
                                             "short_factor",
                                             "long_factor",
                                             "low_freq_factor",
                                             "high_freq_factor",
                                             "finetuned",
                                             "original_max_position_embeddings"};

std::string RopeName(std::string_view key) { return base::StrCat("rope_parameters.", key); }

// By what YaRN's queries and keys grow (Peng et al., arXiv 2309.00071, section 3.4), times a model's own multiplier.
double YarnMagnitude(double factor, double multiplier) {
  return factor <= 1 ? 1 : 0.1 * multiplier * std::log(factor) + 1;
}

// For messages, at any depth of nesting.
std::string Shown(const nlohmann::json& value) {
  if (value.is_structured()) return base::StrCat("a ", value.is_array() ? "list" : "group", " of ", value.size());
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() <= kShownValueBytes ? text : text.substr(0, kShownValueBytes) + "...";
}

}  // namespace

absl::StatusOr<HfConfig> HfConfig::Read(const std::string& path) {
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path, kMaxConfigBytes));
  return Parse(text, path);
}

absl::StatusOr<HfConfig> HfConfig::Parse(std::string_view text, std::string path) {
  LINNET_ASSIGN_OR_RETURN(nlohmann::json json, ParseJson(text, path));
  if (!json.is_object()) return CheckpointError(path, {"is no JSON object"});
  HfConfig config(std::move(json), std::move(path));
  const std::vector<std::string> architectures = config.Strings({"architectures"});
  if (!architectures.empty()) config.architecture_ = architectures[0];
  config.model_type_ = config.StringOr({"model_type"}, "");
  // Models that also see keep what describes their language model in a group of its own; so does open_lm.
  for (const char* group : {"text_config", "params_args_dict"}) {
    const nlohmann::json* inner = Member(config.json_, group);
    if (inner == nullptr || !inner->is_object()) continue;
    nlohmann::json merged = config.json_;
    merged.erase(group);
    for (const auto& [key, value] : inner->items()) {
      if (key != "architectures" && key != "model_type") merged[key] = value;
    }
    config.json_ = std::move(merged);
  }
  return config;
}

void HfConfig::SetDefaults(std::string_view json) {
  const nlohmann::json defaults = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  CHECK(defaults.is_object()) << "defaults of a family";
  for (const auto& [key, value] : defaults.items()) {
    if (Member(json_, key) == nullptr) json_[key] = value;
  }
}

void HfConfig::Complain(std::string problem) {
  const bool new_one = std::find(problems_.begin(), problems_.end(), problem) == problems_.end();
  if (new_one) problems_.push_back(std::move(problem));
}

const nlohmann::json* HfConfig::Find(Names names) const {
  for (const std::string_view name : names) {
    if (const nlohmann::json* value = Member(json_, name)) return value;
  }
  return nullptr;
}

std::string HfConfig::NameOf(Names names) const {
  for (const std::string_view name : names) {
    if (Member(json_, name) != nullptr) return std::string(name);
  }
  return std::string(*names.begin());
}

int64_t HfConfig::CheckedInt(const nlohmann::json& value, const std::string& name, int64_t low, int64_t high) {
  // Some files write whole numbers with a point.
  const bool whole = value.is_number_integer() ||
                     (value.is_number_float() && std::nearbyint(value.get<double>()) == value.get<double>());
  if (!whole) {
    Complain(base::StrCat(name, " is ", Shown(value), ", must be a whole number"));
    return low;
  }
  const auto number = value.get<double>();
  if (number < static_cast<double>(low) || number > static_cast<double>(high)) {
    Complain(base::StrCat(name, " is ", Shown(value), ", must be from ", low, " to ", high));
    return low;
  }
  return static_cast<int64_t>(number);
}

double HfConfig::CheckedPositive(const nlohmann::json& value, const std::string& name) {
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(static_cast<float>(value.get<double>()))) {
    Complain(base::StrCat(name, " is ", Shown(value), ", must be a positive number"));
    return 1;
  }
  return value.get<double>();
}

int64_t HfConfig::Int(Names names, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(names);
  if (value != nullptr) return CheckedInt(*value, NameOf(names), low, high);
  Complain(base::StrCat(NameOf(names), " is missing"));
  return low;
}

int64_t HfConfig::IntOr(Names names, int64_t fallback, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(names);
  return value == nullptr ? fallback : CheckedInt(*value, NameOf(names), low, high);
}

std::vector<int64_t> HfConfig::IntPerLayer(Names names, int64_t count, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr || !value->is_array()) {
    return std::vector<int64_t>(static_cast<size_t>(count), Int(names, low, high));
  }
  std::vector<int64_t> values(static_cast<size_t>(count), low);
  if (value->size() != values.size()) {
    Complain(base::StrCat(NameOf(names), " has ", value->size(), " elements for ", count, " layers"));
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] = CheckedInt((*value)[i], NameOf(names), low, high);
  return values;
}

double HfConfig::Positive(Names names) {
  const nlohmann::json* value = Find(names);
  if (value != nullptr) return CheckedPositive(*value, NameOf(names));
  Complain(base::StrCat(NameOf(names), " is missing"));
  return 1;
}

double HfConfig::PositiveOr(Names names, double fallback) {
  const nlohmann::json* value = Find(names);
  return value == nullptr ? fallback : CheckedPositive(*value, NameOf(names));
}

bool HfConfig::BoolOr(Names names, bool fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Complain(base::StrCat(NameOf(names), " is ", Shown(*value), ", must be true or false"));
  return fallback;
}

std::string HfConfig::StringOr(Names names, std::string_view fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) return value->get<std::string>();
  Complain(base::StrCat(NameOf(names), " is ", Shown(*value), ", must be text"));
  return std::string(fallback);
}

std::vector<double> HfConfig::CheckedNumbers(const nlohmann::json& value, const std::string& name) {
  std::vector<double> numbers;
  if (!value.is_array() || value.size() > kMaxNumbers) {
    Complain(base::StrCat(name, " is ", Shown(value), ", must be a list of numbers"));
    return numbers;
  }
  for (const nlohmann::json& element : value) {
    if (!element.is_number() && !element.is_boolean()) {
      Complain(base::StrCat(name, " has the element ", Shown(element), ", which is no number"));
      return {};
    }
    numbers.push_back(element.is_boolean() ? (element.get<bool>() ? 1 : 0) : element.get<double>());
  }
  return numbers;
}

std::vector<double> HfConfig::Numbers(Names names) {
  const nlohmann::json* value = Find(names);
  return value == nullptr ? std::vector<double>() : CheckedNumbers(*value, NameOf(names));
}

std::vector<std::string> HfConfig::Strings(Names names) {
  const nlohmann::json* value = Find(names);
  std::vector<std::string> texts;
  if (value == nullptr) return texts;
  for (const nlohmann::json& element : value->is_array() ? *value : nlohmann::json::array({*value})) {
    if (!element.is_string()) {
      Complain(base::StrCat(NameOf(names), " has the element ", Shown(element), ", which is no text"));
      return {};
    }
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

const nlohmann::json* HfConfig::RopeObject(std::string_view kind) const {
  for (const std::string_view name : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* group = Member(json_, name);
    if (group == nullptr) continue;
    if (const nlohmann::json* inner = Member(*group, kind)) return inner;
    // Groups by kind of layer, none of which is this one.
    if (Member(*group, "full_attention") != nullptr || Member(*group, "sliding_attention") != nullptr) continue;
    return group;
  }
  return nullptr;
}

void HfConfig::ReadYarnVariants(const nlohmann::json& group, HfRope& rope) {
  const nlohmann::json* truncate = Member(group, "truncate");
  if (truncate != nullptr && *truncate != true) {
    Complain(base::StrCat(RopeName("truncate"), " is ", Shown(*truncate), ", must be true"));
  }
  // Zero counts as absent.
  const auto multiplier = [&](std::string_view key) {
    const nlohmann::json* value = Member(group, key);
    return value == nullptr || *value == 0 ? 0 : CheckedPositive(*value, RopeName(key));
  };
  const double of_cos = multiplier("mscale"), of_all = multiplier("mscale_all_dim");
  if (rope.attention_factor || of_cos == 0 || of_all == 0) return;
  rope.attention_factor = YarnMagnitude(rope.factor, of_cos) / YarnMagnitude(rope.factor, of_all);
}

void HfConfig::ComplainOfUnknown(const nlohmann::json& rope_group) {
  int unknown = 0;
  for (const auto& [key, value] : rope_group.items()) {
    const bool known = std::find(std::begin(kRopeMembers), std::end(kRopeMembers), key) != std::end(kRopeMembers);
    if (known || value.is_null()) continue;
    Complain(base::StrCat("the RoPE's ", Quoted(key), " is not supported: it may change what positions do"));
    if (++unknown == kUnknownShown) return;
  }
}

HfRope HfConfig::Rope(std::string_view kind) {
  HfRope rope;
  const nlohmann::json none = nlohmann::json::object();
  const nlohmann::json* found = RopeObject(kind);
  if (found != nullptr && !found->is_object()) {
    Complain(base::StrCat("rope_scaling is ", Shown(*found), ", must be a group of values"));
    found = nullptr;
  }
  const nlohmann::json& group = found == nullptr ? none : *found;
  const auto positive = [&](std::string_view key, double fallback) {
    const nlohmann::json* value = Member(group, key);
    return value == nullptr ? fallback : CheckedPositive(*value, RopeName(key));
  };
  const auto optional = [&](std::string_view key) -> std::optional<double> {
    if (Member(group, key) == nullptr) return std::nullopt;
    return positive(key, 1);
  };
  for (const std::string_view key : {"rope_type", "type"}) {
    const nlohmann::json* value = Member(group, key);
    if (value == nullptr) continue;
    if (!value->is_string()) {
      Complain(base::StrCat(RopeName(key), " is ", Shown(*value), ", must be text"));
    } else {
      rope.type = value->get<std::string>();
    }
    break;
  }
  if (rope.type == "su") rope.type = "longrope";  // its first name
  rope.theta = optional("rope_theta");
  rope.factor = positive("factor", 1);
  const bool scaled = rope.type == "linear" || rope.type == "dynamic" || rope.type == "llama3" || rope.type == "yarn";
  if (scaled && Member(group, "factor") == nullptr) {
    Complain(base::StrCat(RopeName("factor"), " is missing, which RoPE of type ", rope.type, " needs"));
  }
  rope.low_freq_factor = positive("low_freq_factor", 1);
  rope.high_freq_factor = positive("high_freq_factor", 4);
  rope.attention_factor = optional("attention_factor");
  rope.beta_fast = optional("beta_fast");
  rope.beta_slow = optional("beta_slow");
  rope.partial = optional("partial_rotary_factor");
  if (rope.type == "yarn") ReadYarnVariants(group, rope);
  ComplainOfUnknown(group);
  if (const nlohmann::json* original = Member(group, "original_max_position_embeddings")) {
    rope.original_context = CheckedInt(*original, RopeName("original_max_position_embeddings"), 1, kMaxContext);
  } else {
    rope.original_context = IntOr({"original_max_position_embeddings"}, 0, 1, kMaxContext);
  }
  if (const nlohmann::json* factors = Member(group, "long_factor")) {
    rope.long_factors = CheckedNumbers(*factors, RopeName("long_factor"));
  }
  if (const nlohmann::json* factors = Member(group, "short_factor")) {
    rope.short_factors = CheckedNumbers(*factors, RopeName("short_factor"));
  }
  return rope;
}

}  // namespace linnet::worker
