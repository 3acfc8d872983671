// The engine with its thread.
#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "worker/engine/fake_model.h"

namespace linnet::worker {
namespace {

class WaitingSink : public EngineSink {
 public:
  void OnTokens(std::vector<TokenId> tokens, std::string text) override {
    base::MutexLock lock(&mutex_);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    changed_.NotifyAll();
  }
  void OnFinish(const EngineFinish& finish) override {
    base::MutexLock lock(&mutex_);
    finish_ = finish;
    ++finished_;
    changed_.NotifyAll();
  }
  void AwaitTokens(size_t n) {
    base::MutexLock lock(&mutex_);
    while (tokens_.size() < n && finished_ == 0) changed_.Wait(&mutex_);
  }
  EngineFinish Await() {
    base::MutexLock lock(&mutex_);
    while (finished_ == 0) changed_.Wait(&mutex_);
    EXPECT_EQ(finished_, 1);
    return finish_;
  }

 private:
  base::Mutex mutex_;
  base::CondVar changed_;
  std::vector<TokenId> tokens_ ABSL_GUARDED_BY(mutex_);
  int finished_ ABSL_GUARDED_BY(mutex_) = 0;
  EngineFinish finish_ ABSL_GUARDED_BY(mutex_);
};

EngineRequest Request(int prompt_tokens, uint32_t max_tokens) {
  EngineRequest request = {.prompt = std::vector<TokenId>(static_cast<size_t>(prompt_tokens), 1),
                           .sampling = {.temperature = 0},
                           .max_tokens = max_tokens,
                           .ignore_eos = true};
  return request;
}

TEST(Engine, ManyThreadsSubmitAndCancel) {
  FakeModel model({});
  auto engine = *Engine::Create(&model, {.max_running_requests = 4, .max_queued_requests = 100});
  std::atomic<int> done = 0, cancelled = 0;
  std::vector<std::jthread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 20; ++i) {
        auto sink = std::make_shared<WaitingSink>();
        const auto id = engine->Submit(Request(5 + i, 40), sink);
        ASSERT_TRUE(id.ok()) << id.status();
        if ((i + c) % 3 == 0) {
          sink->AwaitTokens(1);
          engine->Cancel(*id);
        }
        const EngineFinish finish = sink->Await();
        if (finish.status.ok()) {
          EXPECT_EQ(finish.completion_tokens, 40u);
          ++done;
        } else {
          EXPECT_EQ(finish.status.code(), absl::StatusCode::kCancelled);
          ++cancelled;
        }
        engine->Load();
      }
    });
  }
  clients.clear();
  EXPECT_EQ(done + cancelled, 80);
  EXPECT_GE(done.load(), 50) << "only what was cancelled ends early";
}

TEST(Engine, DestructionEndsWhatRuns) {
  FakeModel model({.context_tokens = 100000});
  auto sink = std::make_shared<WaitingSink>();
  {
    auto engine = *Engine::Create(&model, {.max_running_requests = 1, .context_tokens = 100000});
    ASSERT_TRUE(engine->Submit(Request(5, 0), sink).ok());
    sink->AwaitTokens(1);
  }
  const EngineFinish finish = sink->Await();
  EXPECT_TRUE(finish.status.ok() || base::ErrorReason(finish.status) == "DRAINING") << finish.status;
}

TEST(Engine, DrainCallsBackWhenTheLastHasFinished) {
  FakeModel model({});
  auto engine = *Engine::Create(&model, {.max_running_requests = 2});
  auto sink = std::make_shared<WaitingSink>();
  ASSERT_TRUE(engine->Submit(Request(5, 200), sink).ok());
  base::Mutex mutex;
  base::CondVar changed;
  bool drained = false;
  engine->Drain([&] {
    base::MutexLock lock(&mutex);
    drained = true;
    changed.NotifyAll();
  });
  base::MutexLock lock(&mutex);
  while (!drained) changed.Wait(&mutex);
  EXPECT_TRUE(sink->Await().status.ok());
}

}  // namespace
}  // namespace linnet::worker
