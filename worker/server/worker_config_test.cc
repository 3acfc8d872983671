#include "worker/server/worker_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "registry/client/names.h"

namespace linnet::worker {
namespace {

using ::testing::HasSubstr;

TEST(WorkerConfigTest, DefaultsAreWhole) {
  config::v1::WorkerConfig config;
  config.set_registry_address("127.0.0.1:8082");
  config.set_cache_dir("/var/lib/linnet");
  FillDefaults(&config);
  EXPECT_TRUE(CheckConfig(config).ok()) << CheckConfig(config);
  EXPECT_EQ(config.listen().address(), "127.0.0.1:8083");
  EXPECT_EQ(config.metrics().address(), "127.0.0.1:9466");
  EXPECT_EQ(config.drain_seconds(), 25u);
  EXPECT_EQ(config.packed_cache().max_bytes(), uint64_t{16} << 30);
  EXPECT_FALSE(config.packed_cache().disabled());
  EXPECT_TRUE(registry::IsValidId(config.name())) << config.name();
  EXPECT_EQ(EngineOptions(config).max_running_requests, 16u);
  EXPECT_EQ(EngineOptions(config).step_token_budget, 512u);
  EXPECT_EQ(KvType(config), kernels::DType::kF16);
}

TEST(WorkerConfigTest, EveryBadFieldIsNamed) {
  config::v1::WorkerConfig config;
  config.mutable_listen()->set_address("0.0.0.0:8083");  // not loopback, not insecure
  config.mutable_metrics()->set_address("nonsense");
  config.set_registry_address("127.0.0.1:8082");  // without cache_dir
  config.set_name("Upper Case");
  config.add_models("a/b/c");
  config.add_local_models("no path");
  config.set_threads(100'000);
  config.mutable_engine()->set_context_tokens(1000);
  config.mutable_engine()->set_kv_cache_tokens(10);
  FillDefaults(&config);
  const std::string message(CheckConfig(config).message());
  for (const char* field : {"listen.address", "metrics.address", "cache_dir", "name", "models[0]", "local_models[0]",
                            "threads", "engine.kv_cache_tokens"}) {
    EXPECT_THAT(message, HasSubstr(field));
  }
}

TEST(WorkerConfigTest, SomethingMustBeServed) {
  config::v1::WorkerConfig config;
  FillDefaults(&config);
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("registry_address"));
  config.set_stub_model(true);
  EXPECT_TRUE(CheckConfig(config).ok());
}

TEST(WorkerConfigTest, OtherAddressesNeedInsecure) {
  config::v1::WorkerConfig config;
  config.set_stub_model(true);
  config.mutable_listen()->set_address("0.0.0.0:8083");
  FillDefaults(&config);
  EXPECT_FALSE(CheckConfig(config).ok());
  config.mutable_listen()->set_insecure(true);
  EXPECT_TRUE(CheckConfig(config).ok()) << CheckConfig(config);
}

TEST(WorkerConfigTest, LocalModelHasNameAndPath) {
  const auto local = ParseLocalModel("smollm2=/models/a=b.gguf");
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->model, "smollm2");
  EXPECT_EQ(local->path, "/models/a=b.gguf");
  EXPECT_FALSE(ParseLocalModel("=x").ok());
  EXPECT_FALSE(ParseLocalModel("x=").ok());
}

}  // namespace
}  // namespace linnet::worker
