#include "registry/store/store.h"

#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"

namespace linnet::registry {

absl::Status Store::Write(Mutation mutation) {
  // The callback notifies under the lock: the waiter's stack may end as soon as it sees `done`.
  base::Mutex mu;
  base::CondVar cv;
  bool done = false;
  absl::Status result;
  WriteAsync(std::move(mutation), [&](absl::Status status) {
    base::MutexLock lock(&mu);
    result = std::move(status);
    done = true;
    cv.NotifyAll();
  });
  base::MutexLock lock(&mu);
  while (!done) cv.Wait(&mu);
  return result;
}

template <class T>
absl::StatusOr<T> Store::Get(const std::string& name) const {
  using Traits = ResourceTraits<T>;
  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> bytes, Read(Traits::kKind, name));
  if (!bytes) return NotFound(Traits::kKind, Traits::kNoun, name);
  return ParseRecord<T>(name, *bytes);
}

template <class T>
absl::StatusOr<Store::Page<T>> Store::List(const std::string& prefix, const std::string& after, size_t limit) const {
  using Traits = ResourceTraits<T>;
  LINNET_ASSIGN_OR_RETURN(RawPage raw, Scan(Traits::kKind, prefix, after, limit));
  Page<T> page;
  page.last_name = std::move(raw.last_name);
  page.revision = raw.revision;
  page.items.reserve(raw.values.size());
  for (const std::string& value : raw.values) {
    T& resource = page.items.emplace_back();
    if (!resource.ParseFromString(value)) {
      return absl::DataLossError(base::StrCat("a stored ", Traits::kNoun, " after ", after, " does not parse"));
    }
    resource.set_etag(EtagOf(resource.revision()));
  }
  return page;
}

#define LINNET_INSTANTIATE(T)                                         \
  template absl::StatusOr<T> Store::Get<T>(const std::string&) const; \
  template absl::StatusOr<Store::Page<T>> Store::List<T>(const std::string&, const std::string&, size_t) const;
LINNET_INSTANTIATE(v1::Model)
LINNET_INSTANTIATE(v1::Variant)
LINNET_INSTANTIATE(v1::DeviceProfile)
LINNET_INSTANTIATE(v1::Deployment)
#undef LINNET_INSTANTIATE

}  // namespace linnet::registry
