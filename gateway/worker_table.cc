#include "gateway/worker_table.h"

#include <chrono>
#include <set>
#include <utility>

#include "base/thread.h"

namespace linnet::gateway {
namespace {

constexpr std::chrono::milliseconds kTick(100);
// Statuses that come within this time make one snapshot.
constexpr std::chrono::milliseconds kGather(1);

}  // namespace

WorkerTable::WorkerTable(Options options) : options_(std::move(options)) {
  auto registry = std::make_shared<const registry::RegistrySnapshot>();
  auto fleet = std::make_shared<FleetSnapshot>();
  fleet->registry = registry;
  {
    base::MutexLock lock(&mu_);
    registry_ = std::move(registry);
    snapshot_ = std::move(fleet);
  }
  thread_ = base::StartThread("workers", [this] { Run(); });
}

WorkerTable::~WorkerTable() {
  {
    base::MutexLock lock(&wake_->mu);
    wake_->stop = true;
  }
  wake_->cv.NotifyAll();
}

void WorkerTable::SetRegistry(std::shared_ptr<const registry::RegistrySnapshot> snapshot) {
  {
    base::MutexLock lock(&mu_);
    registry_ = std::move(snapshot);
  }
  {
    base::MutexLock lock(&wake_->mu);
    wake_->changed = true;
  }
  wake_->cv.NotifyAll();
}

std::shared_ptr<const FleetSnapshot> WorkerTable::Snapshot() const {
  base::MutexLock lock(&mu_);
  return snapshot_;
}

void WorkerTable::Run() {
  while (true) {
    bool changed = false;
    {
      base::MutexLock lock(&wake_->mu);
      if (!wake_->stop && !wake_->changed) wake_->cv.WaitFor(&wake_->mu, kTick);
      if (wake_->changed && !wake_->stop) wake_->cv.WaitFor(&wake_->mu, kGather);
      if (wake_->stop) break;
      changed = std::exchange(wake_->changed, false);
    }
    std::shared_ptr<const registry::RegistrySnapshot> registry;
    {
      base::MutexLock lock(&mu_);
      registry = registry_;
    }
    if (SyncLinks(*registry)) changed = true;
    for (auto& [address, link] : links_) link->Tick();
    if (changed) Publish(std::move(registry));
  }
  links_.clear();
}

bool WorkerTable::SyncLinks(const registry::RegistrySnapshot& registry) {
  std::set<std::string> wanted(options_.static_workers.begin(), options_.static_workers.end());
  for (const auto& [name, worker] : registry.workers) {
    if (!worker.address().empty()) wanted.insert(worker.address());
  }
  bool changed = false;
  for (auto it = links_.begin(); it != links_.end();) {
    if (!wanted.contains(it->first) && it->second->Unheard() > options_.forget_after) {
      it = links_.erase(it);
      changed = true;
    } else {
      ++it;
    }
  }
  for (const std::string& address : wanted) {
    std::unique_ptr<WorkerLink>& link = links_[address];
    if (link != nullptr) continue;
    link = std::make_unique<WorkerLink>(WorkerLink::Options{
        .address = address, .clock = options_.clock, .make_stub = options_.make_stub, .on_change = [wake = wake_] {
          {
            base::MutexLock lock(&wake->mu);
            wake->changed = true;
          }
          wake->cv.NotifyAll();
        }});
    changed = true;
  }
  return changed;
}

void WorkerTable::Publish(std::shared_ptr<const registry::RegistrySnapshot> registry) {
  auto fleet = std::make_shared<FleetSnapshot>();
  for (auto& [address, link] : links_) fleet->workers.push_back(link->View());
  fleet->registry = std::move(registry);
  {
    base::MutexLock lock(&mu_);
    snapshot_ = fleet;
  }
  if (options_.on_snapshot) options_.on_snapshot(fleet);
}

}  // namespace linnet::gateway
