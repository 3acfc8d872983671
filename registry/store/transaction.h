// One write in the making: reads see what the write has changed so far; Store commits it as a whole or not at all.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "registry/store/resource.h"

namespace linnet::registry {

// Used on the committing thread only, inside Store::Mutation.
class Transaction {
 public:
  // What lies below: the committed records.
  class Reader {
   public:
    virtual ~Reader() = default;
    // nullopt: no such record.
    virtual absl::StatusOr<std::optional<std::string>> Read(Kind kind, const std::string& name) = 0;
    // Names that begin with `prefix`, in order; RESOURCE_EXHAUSTED above `limit`.
    virtual absl::StatusOr<std::vector<std::string>> Names(Kind kind, const std::string& prefix, size_t limit) = 0;
    // How many there are of a kind.
    virtual size_t Count(Kind kind) = 0;
  };
  Transaction(Reader* reader, int64_t revision, absl::Time now) : reader_(reader), revision_(revision), now_(now) {}

  // The revision that this write will have.
  int64_t revision() const { return revision_; }

  // NOT_FOUND (MODEL_NOT_FOUND for models and variants, RESOURCE_NOT_FOUND) where it does not exist.
  template <class T>
  absl::StatusOr<T> Get(const std::string& name);
  template <class T>
  absl::StatusOr<bool> Exists(const std::string& name);
  // Names of variants of a model, pending changes included.
  absl::StatusOr<std::vector<std::string>> VariantsOf(const std::string& model_id);
  // Validates and writes `resource` (RESOURCE_EXHAUSTED above kMaxResources); sets its revision, etag, update_time and,
  // where it is new, create_time. An existing one's create_time stays.
  template <class T>
  absl::Status Put(T* resource);
  // NOT_FOUND where it does not exist.
  template <class T>
  absl::Status Delete(const std::string& name);

  const std::map<std::string, storage::v1::Change>& changes() const { return changes_; }

  // The most resources of a kind that a registry holds, and variants of one model.
  static constexpr size_t kMaxResources = 100'000;
  static constexpr size_t kMaxVariantsOfModel = 1'000;

 private:
  Reader* const reader_;
  const int64_t revision_;
  const absl::Time now_;
  std::map<std::string, storage::v1::Change> changes_;  // by name
};

// ABORTED (ETAG_MISMATCH) unless `etag` is empty or that of `resource`.
template <class T>
absl::Status CheckEtag(const T& resource, const std::string& etag);

}  // namespace linnet::registry
