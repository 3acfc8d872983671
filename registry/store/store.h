// The registry's database: resources by name, and the log of revisions that Watch reads. docs/registry-format.md is the
// format; RocksDB appears nowhere outside this folder.
//
//   LINNET_ASSIGN_OR_RETURN(auto store, Store::Open({.path = data_dir + "/db"}));
//   absl::Status status = store->Write([](Transaction& txn) { v1::Model m; ...; return txn.Put(&m); });
//
// One thread, "registry-commit", runs all mutations one after the other: read, check and write are one step, and no
// lock is held across the disk's work. Reads run on the caller's thread and see the last commit.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "registry/store/resource.h"
#include "registry/store/transaction.h"

namespace linnet::registry {

// Thread-safe. Errors: RESOURCE_EXHAUSTED (OUT_OF_DISK; QUEUE_FULL when too many writes wait), UNAVAILABLE (DRAINING,
// in destruction), INTERNAL with RocksDB's message.
class Store {
 public:
  struct Options {
    std::string path;
    // Revisions kept for Watch.
    uint64_t watch_log_entries = 100'000;
    size_t max_queued_writes = 1024;
    base::Clock* clock = base::Clock::Real();
  };
  // Creates what is missing. FAILED_PRECONDITION where another process has it open, the schema is newer, or the folder
  // cannot be written; DATA_LOSS where the database is damaged.
  static absl::StatusOr<std::unique_ptr<Store>> Open(Options options);
  // Finishes the writes that were queued.
  virtual ~Store() = default;

  // Changes what it likes through the transaction. An error abandons the write and goes to the caller. A mutation
  // without changes commits nothing and uses no revision.
  using Mutation = std::function<absl::Status(Transaction&)>;
  // `done` is called once, on the committing thread after the disk has it, or on the caller's where it is refused.
  // The resources' final values are what the mutation put (it may keep copies).
  virtual void WriteAsync(Mutation mutation, std::function<void(absl::Status)> done) = 0;
  absl::Status Write(Mutation mutation);

  // NOT_FOUND (MODEL_NOT_FOUND, RESOURCE_NOT_FOUND).
  template <class T>
  absl::StatusOr<T> Get(const std::string& name) const;

  template <class T>
  struct Page {
    std::vector<T> items;
    std::string last_name;  // empty: this was the last page
    int64_t revision = 0;   // of the state listed
  };
  // In order of names, those that begin with `prefix` and come after the name `after`. At most `limit`, and about 2
  // MiB.
  template <class T>
  absl::StatusOr<Page<T>> List(const std::string& prefix, const std::string& after, size_t limit) const;

  // The last revision committed.
  int64_t revision() const { return revision_.load(std::memory_order_acquire); }

  // Changes after `since`, in order, whole revisions only: at least one if there is one, more while they stay below
  // `max_bytes`. `*last` is the last revision included (or `since`). OUT_OF_RANGE where the log does not reach back
  // that far, or `since` is in the future.
  virtual absl::StatusOr<std::vector<v1::Event>> ReadLog(int64_t since, size_t max_bytes, int64_t* last) const = 0;

  // Called after each commit on the committing thread; must return at once. Set it before the first write.
  virtual void OnCommit(std::function<void(int64_t revision)> listener) = 0;

  // Which database this is: 32 hex digits.
  virtual const std::string& id() const = 0;

  // What the database takes on the disk, about.
  virtual uint64_t SizeBytes() const = 0;

 protected:
  // nullopt: no such record.
  virtual absl::StatusOr<std::optional<std::string>> Read(Kind kind, const std::string& name) const = 0;
  struct RawPage {
    std::vector<std::string> values;
    std::string last_name;
    int64_t revision = 0;
  };
  virtual absl::StatusOr<RawPage> Scan(Kind kind, const std::string& prefix, const std::string& after,
                                       size_t limit) const = 0;
  std::atomic<int64_t> revision_{0};
};

}  // namespace linnet::registry
