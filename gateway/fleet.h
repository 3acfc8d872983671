// The gateway's view of its workers at one moment: what the routing policy decides on. Built by WorkerTable, immutable
// once handed out.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "linnet/worker/v1/worker.grpc.pb.h"
#include "linnet/worker/v1/worker.pb.h"
#include "registry/client/snapshot.h"

namespace linnet::gateway {

// How a worker is reached. Thread-safe; lives as long as a snapshot or a call refers to it.
class WorkerHandle {
 public:
  explicit WorkerHandle(std::shared_ptr<worker::v1::WorkerControl::StubInterface> stub) : stub_(std::move(stub)) {}

  worker::v1::WorkerControl::StubInterface& stub() const { return *stub_; }
  // Requests of this gateway that run there now: known at once, while the worker's own figures are some ms old.
  uint32_t in_flight() const { return in_flight_.load(std::memory_order_relaxed); }
  void Begin() { in_flight_.fetch_add(1, std::memory_order_relaxed); }
  void End() { in_flight_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  const std::shared_ptr<worker::v1::WorkerControl::StubInterface> stub_;
  std::atomic<uint32_t> in_flight_{0};
};

struct WorkerView {
  // "host:port", the worker's identity in the table.
  std::string address;
  // Its status stream is open and was heard lately.
  bool reachable = false;
  // As last heard; empty before the first.
  worker::v1::WorkerStatus status;
  // Null in tests of the policy.
  std::shared_ptr<WorkerHandle> handle;
};

struct FleetSnapshot {
  std::vector<std::shared_ptr<const WorkerView>> workers;
  // Never null in a snapshot of WorkerTable; null means: nothing known.
  std::shared_ptr<const registry::RegistrySnapshot> registry;
};

}  // namespace linnet::gateway
