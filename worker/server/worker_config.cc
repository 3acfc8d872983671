#include "worker/server/worker_config.h"

#include <unistd.h>

#include <utility>

#include "base/config.h"
#include "base/error.h"
#include "base/strings.h"
#include "registry/client/names.h"
#include "worker/model/packed_cache.h"
#include "worker/server/device_profile.h"

namespace linnet::worker {
namespace {

constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kMaxRequests = 4096;
constexpr uint32_t kMaxStepTokens = 65536;
constexpr uint32_t kMaxContextTokens = 1 << 20;
constexpr uint32_t kMaxDrainSeconds = 3600;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? SlugOf(name) : "worker";
}

class Checker {
 public:
  void Field(std::string name, const absl::Status& status) {
    if (!status.ok()) bad_.emplace_back(std::move(name), std::string(status.message()));
  }
  void AtMost(std::string name, uint64_t value, uint64_t most) {
    if (value > most) bad_.emplace_back(std::move(name), base::StrCat("must be at most ", most, ", is ", value));
  }
  void Need(std::string name, bool holds, std::string what) {
    if (!holds) bad_.emplace_back(std::move(name), std::move(what));
  }
  absl::Status Done() const { return bad_.empty() ? absl::OkStatus() : base::FieldErrors(bad_); }

 private:
  std::vector<std::pair<std::string, std::string>> bad_;
};

}  // namespace

void FillDefaults(config::v1::WorkerConfig* config) {
  if (config->listen().address().empty()) config->mutable_listen()->set_address("127.0.0.1:8083");
  if (config->metrics().address().empty()) config->mutable_metrics()->set_address("127.0.0.1:9466");
  if (config->name().empty()) config->set_name(HostName());
  if (config->drain_seconds() == 0) config->set_drain_seconds(25);
  config::v1::PackedCache* packed = config->mutable_packed_cache();
  if (packed->max_bytes() == 0) packed->set_max_bytes(PackedCache::kDefaultMaxBytes);
  config::v1::Engine* engine = config->mutable_engine();
  if (engine->max_running_requests() == 0) engine->set_max_running_requests(16);
  if (engine->max_queued_requests() == 0) engine->set_max_queued_requests(64);
  if (engine->step_token_budget() == 0) engine->set_step_token_budget(512);
  if (engine->kv_cache_type() == config::v1::KV_CACHE_TYPE_UNSPECIFIED) {
    engine->set_kv_cache_type(config::v1::KV_CACHE_TYPE_F16);
  }
}

absl::Status CheckConfig(const config::v1::WorkerConfig& config) {
  Checker check;
  check.Field("listen.address", base::ParseHostPort(config.listen().address()).status());
  check.Field("metrics.address", base::ParseHostPort(config.metrics().address()).status());
  const bool insecure = config.listen().insecure();
  check.Field("listen.address", base::CheckListenAddress("listen.address", config.listen().address(), insecure));
  check.Field("metrics.address", base::CheckListenAddress("metrics.address", config.metrics().address(), insecure));
  if (!config.registry_address().empty()) {
    check.Field("registry_address", base::ParseHostPort(config.registry_address()).status());
    check.Need("cache_dir", !config.cache_dir().empty(), "is required with a registry: blobs are kept there");
  }
  if (!config.advertise_address().empty()) {
    check.Field("advertise_address", base::ParseHostPort(config.advertise_address()).status());
  }
  check.Need("registry_address",
             !config.registry_address().empty() || config.stub_model() || config.local_models_size() > 0,
             "is required unless local_models or stub_model are served");
  check.Need("name", registry::IsValidId(config.name()), "must be an id: 1 to 63 of a-z, 0-9, '.', '-' and '_'");
  for (int i = 0; i < config.models_size(); ++i) {
    check.Field(base::StrCat("models[", i, "]"), registry::ParseModelReference(config.models(i)).status());
  }
  for (int i = 0; i < config.local_models_size(); ++i) {
    check.Field(base::StrCat("local_models[", i, "]"), ParseLocalModel(config.local_models(i)).status());
  }
  check.AtMost("threads", config.threads(), kMaxThreads);
  check.AtMost("drain_seconds", config.drain_seconds(), kMaxDrainSeconds);
  check.AtMost("engine.max_running_requests", config.engine().max_running_requests(), kMaxRequests);
  check.AtMost("engine.max_queued_requests", config.engine().max_queued_requests(), kMaxRequests);
  check.AtMost("engine.step_token_budget", config.engine().step_token_budget(), kMaxStepTokens);
  check.AtMost("engine.context_tokens", config.engine().context_tokens(), kMaxContextTokens);
  const uint64_t kv_tokens = config.engine().kv_cache_tokens();
  check.Need("engine.kv_cache_tokens", kv_tokens == 0 || kv_tokens >= config.engine().context_tokens(),
             base::StrCat("must be at least context_tokens, is ", kv_tokens));
  return check.Done();
}

absl::StatusOr<LocalModel> ParseLocalModel(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals + 1 == text.size() || !registry::IsValidId(text.substr(0, equals))) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                       base::StrCat("\"", text, "\" must be {model}={path of a GGUF file}"));
  }
  return LocalModel{text.substr(0, equals), text.substr(equals + 1)};
}

Engine::Options EngineOptions(const config::v1::WorkerConfig& config) {
  Engine::Options options;
  options.max_running_requests = config.engine().max_running_requests();
  options.max_queued_requests = config.engine().max_queued_requests();
  options.context_tokens = config.engine().context_tokens();
  options.kv_cache_tokens = config.engine().kv_cache_tokens();
  options.step_token_budget = config.engine().step_token_budget();
  return options;
}

kernels::DType KvType(const config::v1::WorkerConfig& config) {
  return config.engine().kv_cache_type() == config::v1::KV_CACHE_TYPE_Q8_0 ? kernels::DType::kQ8_0
                                                                           : kernels::DType::kF16;
}

}  // namespace linnet::worker
