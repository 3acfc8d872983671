#include "gateway/routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/strings.h"

namespace linnet::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using worker::v1::VARIANT_STATE_FAILED;
using worker::v1::VARIANT_STATE_LOADING;
using worker::v1::VARIANT_STATE_READY;
using worker::v1::VariantStatus;

class RoutingTest : public ::testing::Test {
 protected:
  // A reachable worker "workers/{name}" at address "{name}:1" with one ready, idle variant.
  VariantStatus& AddWorker(const std::string& name, const std::string& variant) {
    auto view = std::make_shared<WorkerView>();
    view->address = base::StrCat(name, ":1");
    view->reachable = true;
    view->status.set_worker(base::StrCat("workers/", name));
    fleet_.workers.push_back(view);
    views_[name] = view;
    return AddVariant(name, variant);
  }
  VariantStatus& AddVariant(const std::string& worker, const std::string& variant) {
    VariantStatus& s = *views_[worker]->status.add_variants();
    s.set_variant(base::StrCat("models/", variant.substr(0, variant.find('/')), "/variants/",
                               variant.substr(variant.find('/') + 1)));
    s.set_state(VARIANT_STATE_READY);
    s.set_max_running_requests(4);
    s.set_max_queued_requests(8);
    s.set_kv_blocks(100);
    s.set_context_tokens(2048);
    return s;
  }
  void Register(const std::string& model, const std::vector<std::string>& variants,
                const std::map<std::string, std::string>& aliases = {}) {
    auto& m = registry_->models["models/" + model];
    m.set_name("models/" + model);
    for (const auto& [alias, variant] : aliases) (*m.mutable_aliases())[alias] = variant;
    for (const auto& v : variants) registry_->variants[base::StrCat("models/", model, "/variants/", v)];
    fleet_.registry = registry_;
  }
  absl::StatusOr<RouteChoice> RouteFor(std::string_view model) {
    request_.model = model;
    return Route(request_, fleet_);
  }
  std::string Chosen(std::string_view model) {
    absl::StatusOr<RouteChoice> choice = RouteFor(model);
    return choice.ok() ? choice->worker->status.worker() : choice.status().ToString();
  }

  FleetSnapshot fleet_;
  RouteRequest request_;
  std::map<std::string, std::shared_ptr<WorkerView>> views_;
  std::shared_ptr<registry::RegistrySnapshot> registry_ = std::make_shared<registry::RegistrySnapshot>();
};

TEST_F(RoutingTest, AModelsNameFindsAnyReadyVariantOfIt) {
  AddWorker("a", "other/q4_0");
  AddWorker("b", "smol/q4_1");
  absl::StatusOr<RouteChoice> choice = RouteFor("smol");
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->worker->address, "b:1");
  EXPECT_EQ(choice->variant, "models/smol/variants/q4_1");
  EXPECT_EQ(choice->model, "smol");
}

TEST_F(RoutingTest, AVariantsNameFindsThatVariantOnly) {
  AddWorker("a", "smol/q4_1");
  AddWorker("b", "smol/f16").set_running_requests(3);
  EXPECT_EQ(Chosen("smol/f16"), "workers/b");
  EXPECT_EQ(Chosen("smol/q4_1"), "workers/a");
}

TEST_F(RoutingTest, AnAliasIsWhatTheRegistrySaysItIs) {
  Register("smol", {"q4_1", "f16"}, {{"stable", "q4_1"}, {"canary", "f16"}});
  AddWorker("a", "smol/q4_1");
  AddWorker("b", "smol/f16");
  EXPECT_EQ(Chosen("smol@stable"), "workers/a");
  EXPECT_EQ(Chosen("smol@canary"), "workers/b");
}

TEST_F(RoutingTest, AnUnknownAliasIsNotFoundAndTheKnownOnesAreNamed) {
  Register("smol", {"q4_1"}, {{"stable", "q4_1"}});
  AddWorker("a", "smol/q4_1");
  const absl::Status status = RouteFor("smol@nightly").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(base::ErrorReason(status), "MODEL_NOT_FOUND");
  EXPECT_THAT(std::string(status.message()), HasSubstr("aliases are stable"));
}

TEST_F(RoutingTest, AnAliasWithoutARegistryIsNotFound) {
  AddWorker("a", "smol/q4_1");
  EXPECT_EQ(base::ErrorReason(RouteFor("smol@stable").status()), "MODEL_NOT_FOUND");
}

TEST_F(RoutingTest, TheLeastLoadedWorkerIsChosen) {
  VariantStatus& a = AddWorker("a", "smol/q4_1");
  VariantStatus& b = AddWorker("b", "smol/q4_1");
  a.set_running_requests(2);
  b.set_running_requests(1);
  EXPECT_EQ(Chosen("smol"), "workers/b");
  b.set_queued_requests(3);  // counts like running ones
  EXPECT_EQ(Chosen("smol"), "workers/a");
}

TEST_F(RoutingTest, LoadIsRelativeToWhatAWorkerRunsAtOnce) {
  VariantStatus& small = AddWorker("small", "smol/q4_1");
  VariantStatus& large = AddWorker("large", "smol/q4_1");
  small.set_running_requests(2);  // of 4
  large.set_max_running_requests(16);
  large.set_running_requests(4);  // of 16
  EXPECT_EQ(Chosen("smol"), "workers/large");
}

TEST_F(RoutingTest, WaitingPrefillThenKvUseDecideBetweenEquals) {
  VariantStatus& a = AddWorker("a", "smol/q4_1");
  VariantStatus& b = AddWorker("b", "smol/q4_1");
  a.set_pending_prefill_tokens(500);
  b.set_kv_blocks_used(90);
  EXPECT_EQ(Chosen("smol"), "workers/b");
  a.set_pending_prefill_tokens(0);
  EXPECT_EQ(Chosen("smol"), "workers/a");
}

TEST_F(RoutingTest, RequestsThatTheWorkerHasNotReportedYetCount) {
  AddWorker("a", "smol/q4_1");
  AddWorker("b", "smol/q4_1").set_running_requests(1);
  request_.in_flight = {2, 1};
  EXPECT_EQ(Chosen("smol"), "workers/b");
}

TEST_F(RoutingTest, EqualsShareTheRequests) {
  AddWorker("a", "smol/q4_1");
  AddWorker("b", "smol/q4_1");
  std::map<std::string, int> hits;
  for (request_.random = 0; request_.random < 1000; ++request_.random) ++hits[Chosen("smol")];
  EXPECT_GT(hits["workers/a"], 400);
  EXPECT_GT(hits["workers/b"], 400);
}

TEST_F(RoutingTest, TheSameArgumentsGiveTheSameChoice) {
  AddWorker("a", "smol/q4_1");
  AddWorker("b", "smol/q4_1");
  request_.random = 7;
  const std::string first = Chosen("smol");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Chosen("smol"), first);
}

TEST_F(RoutingTest, DrainingSilentAndExcludedWorkersGetNothing) {
  AddWorker("draining", "smol/q4_1");
  AddWorker("silent", "smol/q4_1");
  AddWorker("failed", "smol/q4_1");
  AddWorker("good", "smol/q4_1").set_running_requests(4);
  views_["draining"]->status.set_draining(true);
  views_["silent"]->reachable = false;
  request_.excluded = {"failed:1"};
  EXPECT_EQ(Chosen("smol"), "workers/good");
  views_["good"]->reachable = false;
  const absl::Status status = RouteFor("smol").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ErrorReason(status), "NO_READY_WORKER");
  EXPECT_THAT(std::string(status.message()), HasSubstr("workers/draining is stopping"));
}

TEST_F(RoutingTest, AModelThatIsBeingLoadedIsNotReadyRatherThanUnknown) {
  AddWorker("a", "smol/q4_1").set_state(VARIANT_STATE_LOADING);
  const absl::Status status = RouteFor("smol").status();
  EXPECT_EQ(base::ErrorReason(status), "NO_READY_WORKER");
  EXPECT_GT(base::RetryAfter(status), absl::ZeroDuration());
  EXPECT_THAT(std::string(status.message()), HasSubstr("workers/a is loading it"));
}

TEST_F(RoutingTest, WhyAModelFailedToLoadIsSaid) {
  VariantStatus& a = AddWorker("a", "smol/q4_1");
  a.set_state(VARIANT_STATE_FAILED);
  a.set_error("needs 3.1 GiB, 2.4 GiB free");
  EXPECT_THAT(std::string(RouteFor("smol").status().message()), HasSubstr("needs 3.1 GiB, 2.4 GiB free"));
}

TEST_F(RoutingTest, AModelThatOnlyTheRegistryKnowsIsNotReady) {
  Register("smol", {"q4_1"});
  EXPECT_EQ(base::ErrorReason(RouteFor("smol").status()), "NO_READY_WORKER");
  EXPECT_EQ(base::ErrorReason(RouteFor("smol/q4_1").status()), "NO_READY_WORKER");
  EXPECT_EQ(base::ErrorReason(RouteFor("smol/f16").status()), "MODEL_NOT_FOUND");
}

TEST_F(RoutingTest, AnUnknownModelIsNotFoundAndABoundedListSaysWhatIsServed) {
  for (int i = 10; i < 40; ++i) AddWorker(base::StrCat("w", i), base::StrCat("m", i, "/q4_0"));
  const absl::Status status = RouteFor("gpt").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(base::ErrorReason(status), "MODEL_NOT_FOUND");
  EXPECT_EQ(base::ErrorMetadata(status, "resource"), "gpt");
  EXPECT_THAT(std::string(status.message()), HasSubstr("served now: m10, m11"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("and 22 more"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("m39")));
}

TEST_F(RoutingTest, AMalformedNameIsAnInvalidField) {
  for (const char* name : {"", "a b", "UPPER", "a/b/c", "a@b@c", "../x"}) {
    const absl::Status status = RouteFor(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(base::ErrorReason(status), "INVALID_FIELD") << name;
  }
}

TEST_F(RoutingTest, FullQueuesRefuseOnlyWhenAllAreFull) {
  AddWorker("a", "smol/q4_1").set_queued_requests(8);
  VariantStatus& b = AddWorker("b", "smol/q4_1");
  b.set_queued_requests(7);
  EXPECT_EQ(Chosen("smol"), "workers/b");
  b.set_queued_requests(8);
  const absl::Status status = RouteFor("smol").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ErrorReason(status), "QUEUE_FULL");
  EXPECT_GT(base::RetryAfter(status), absl::ZeroDuration());
  request_.ignore_queue = true;
  EXPECT_TRUE(RouteFor("smol").ok());
}

TEST_F(RoutingTest, ServedModelsAreThoseOfReadyWorkers) {
  AddWorker("a", "smol/q4_1");
  AddVariant("a", "smol/f16");
  AddWorker("b", "smol/q4_1");
  AddWorker("c", "qwen/q4_0").set_state(VARIANT_STATE_LOADING);
  AddWorker("d", "llama/q4_0");
  views_["d"]->reachable = false;
  const std::vector<v1::ServedModel> served = ServedModels(fleet_);
  ASSERT_EQ(served.size(), 1u);
  EXPECT_EQ(served[0].model(), "smol");
  EXPECT_EQ(served[0].ready_workers(), 2u);
  EXPECT_EQ(served[0].context_tokens(), 2048u);
  EXPECT_THAT(served[0].variants(), ElementsAre("models/smol/variants/f16", "models/smol/variants/q4_1"));
}

}  // namespace
}  // namespace linnet::gateway
