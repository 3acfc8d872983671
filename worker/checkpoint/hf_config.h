// Reads a config.json as published, by names that differ from family to family and from year to year, and gathers every
// complaint, so that one error names them all.
//
//   LINNET_ASSIGN_OR_RETURN(HfConfig config, HfConfig::Read(dir + "/config.json"));
//   const int64_t width = config.Int({"hidden_size", "n_embd"}, 1, 1 << 20);
//   ...
//   LINNET_RETURN_IF_ERROR(config.status());
//
// For one thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace linnet::worker {

// How positions turn queries and keys: from rope_parameters (new), or rope_theta and rope_scaling (old).
struct HfRope {
  std::optional<double> theta;
  std::string type = "default";  // linear, llama3, longrope, yarn, ...
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_context = 0;                      // llama3, longrope, yarn; 0: not stated
  // longrope, yarn; also what yarn's mscale and mscale_all_dim come to.
  std::optional<double> attention_factor;
  std::optional<double> beta_fast, beta_slow;       // yarn
  std::vector<double> long_factors, short_factors;  // longrope
  std::optional<double> partial;                    // of a head's dimensions
};

class HfConfig {
 public:
  // Names that mean the same; the first that is there counts. A null counts as absent.
  using Names = std::initializer_list<std::string_view>;

  static absl::StatusOr<HfConfig> Read(const std::string& path);
  static absl::StatusOr<HfConfig> Parse(std::string_view text, std::string path);

  const std::string& path() const { return path_; }
  // architectures[0], "" where the file has none.
  const std::string& architecture() const { return architecture_; }
  const std::string& model_type() const { return model_type_; }

  // Values for what the file does not state: a JSON object. REQUIRES: it is one.
  void SetDefaults(std::string_view json);

  bool Has(Names names) const { return Find(names) != nullptr; }
  // Within [low, high]; complains and returns `low` otherwise.
  int64_t Int(Names names, int64_t low, int64_t high);
  int64_t IntOr(Names names, int64_t fallback, int64_t low, int64_t high);
  // A list of `count`, or one value for all.
  std::vector<int64_t> IntPerLayer(Names names, int64_t count, int64_t low, int64_t high);
  double Positive(Names names);
  double PositiveOr(Names names, double fallback);
  bool BoolOr(Names names, bool fallback);
  std::string StringOr(Names names, std::string_view fallback);
  // Numbers, texts or true/false; empty where absent.
  std::vector<double> Numbers(Names names);
  std::vector<std::string> Strings(Names names);
  // `kind`: of layers that have a RoPE of their own ("full_attention", "sliding_attention"). Complains about members
  // that are not known: each may change what is computed.
  HfRope Rope(std::string_view kind);

  void Complain(std::string problem);  // once of each
  // The name under which the value is there, or the first one: for messages.
  std::string NameOf(Names names) const;
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  HfConfig(nlohmann::json json, std::string path) : json_(std::move(json)), path_(std::move(path)) {}
  const nlohmann::json* Find(Names names) const;
  int64_t CheckedInt(const nlohmann::json& value, const std::string& name, int64_t low, int64_t high);
  double CheckedPositive(const nlohmann::json& value, const std::string& name);
  std::vector<double> CheckedNumbers(const nlohmann::json& value, const std::string& name);
  const nlohmann::json* RopeObject(std::string_view kind) const;
  void ComplainOfUnknown(const nlohmann::json& rope_group);
  void ReadYarnVariants(const nlohmann::json& group, HfRope& rope);

  nlohmann::json json_;
  std::string path_;
  std::string architecture_, model_type_;
  std::vector<std::string> problems_;
};

}  // namespace linnet::worker
