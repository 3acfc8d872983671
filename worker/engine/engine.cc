#include "worker/engine/engine.h"

#include <thread>
#include <utility>

#include "base/status_macros.h"
#include "base/thread.h"
#include "worker/engine/engine_core.h"

namespace linnet::worker {
namespace {

// The core and the thread that steps it.
class ThreadedEngine : public Engine {
 public:
  explicit ThreadedEngine(std::unique_ptr<EngineCore> core) : core_(std::move(core)) {
    thread_ = base::StartThread("engine", [core = core_.get()] {
      while (core->WaitForWork()) core->Step();
    });
  }
  ~ThreadedEngine() override {
    core_->Stop();
    thread_.join();
    core_->FailAll();
  }

  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) override {
    return core_->Submit(std::move(request), std::move(sink));
  }
  void Cancel(uint64_t id) override { core_->Cancel(id); }
  void Drain(std::function<void()> done) override { core_->Drain(std::move(done)); }
  EngineLoad Load() const override { return core_->Load(); }
  uint32_t context_tokens() const override { return core_->context_tokens(); }

 private:
  const std::unique_ptr<EngineCore> core_;
  std::jthread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(Model* model, const Options& options) {
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<EngineCore> core, EngineCore::Create(model, options));
  return std::make_unique<ThreadedEngine>(std::move(core));
}

}  // namespace linnet::worker
