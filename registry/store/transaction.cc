#include "registry/store/transaction.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "registry/client/names.h"

namespace linnet::registry {
namespace {

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp result;
  const int64_t ns = absl::ToUnixNanos(time);
  result.set_seconds(ns / 1'000'000'000);
  result.set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
  return result;
}

bool IsModelOrVariant(Kind kind) { return kind == Kind::kModel || kind == Kind::kVariant; }

}  // namespace

absl::Status NotFound(Kind kind, std::string_view noun, const std::string& name) {
  return base::Error(absl::StatusCode::kNotFound, IsModelOrVariant(kind) ? "MODEL_NOT_FOUND" : "RESOURCE_NOT_FOUND",
                     base::StrCat(noun, " ", name, " does not exist in this registry"), {{"resource", name}});
}

v1::Event EventOf(int64_t revision, const storage::v1::Change& change) {
  v1::Event event;
  event.set_revision(revision);
  event.set_deleted(change.deleted());
  event.set_name(change.name());
  const std::string etag = EtagOf(revision);
  switch (change.resource_case()) {
    case storage::v1::Change::kModel:
      *event.mutable_model() = change.model();
      event.mutable_model()->set_etag(etag);
      break;
    case storage::v1::Change::kVariant:
      *event.mutable_variant() = change.variant();
      event.mutable_variant()->set_etag(etag);
      break;
    case storage::v1::Change::kDeviceProfile:
      *event.mutable_device_profile() = change.device_profile();
      event.mutable_device_profile()->set_etag(etag);
      break;
    case storage::v1::Change::kDeployment:
      *event.mutable_deployment() = change.deployment();
      event.mutable_deployment()->set_etag(etag);
      break;
    case storage::v1::Change::RESOURCE_NOT_SET:
      break;
  }
  return event;
}

template <class T>
absl::StatusOr<T> Transaction::Get(const std::string& name) {
  using Traits = ResourceTraits<T>;
  if (auto it = changes_.find(name); it != changes_.end()) {
    if (it->second.deleted()) return NotFound(Traits::kKind, Traits::kNoun, name);
    T resource = *Traits::InChange(&it->second);
    resource.set_etag(EtagOf(resource.revision()));
    return resource;
  }
  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> bytes, reader_->Read(Traits::kKind, name));
  if (!bytes) return NotFound(Traits::kKind, Traits::kNoun, name);
  return ParseRecord<T>(name, *bytes);
}

template <class T>
absl::StatusOr<bool> Transaction::Exists(const std::string& name) {
  if (auto it = changes_.find(name); it != changes_.end()) return !it->second.deleted();
  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> bytes, reader_->Read(ResourceTraits<T>::kKind, name));
  return bytes.has_value();
}

absl::StatusOr<std::vector<std::string>> Transaction::VariantsOf(const std::string& model_id) {
  const std::string prefix = base::StrCat(ModelName(model_id), "/variants/");
  LINNET_ASSIGN_OR_RETURN(std::vector<std::string> committed,
                          reader_->Names(Kind::kVariant, prefix, kMaxVariantsOfModel));
  std::set<std::string> names(committed.begin(), committed.end());
  for (auto it = changes_.lower_bound(prefix); it != changes_.end() && absl::StartsWith(it->first, prefix); ++it) {
    if (it->second.deleted()) {
      names.erase(it->first);
    } else {
      names.insert(it->first);
    }
  }
  return std::vector<std::string>(names.begin(), names.end());
}

template <class T>
absl::Status Transaction::Put(T* resource) {
  using Traits = ResourceTraits<T>;
  LINNET_RETURN_IF_ERROR(Validate(*resource, ""));
  LINNET_ASSIGN_OR_RETURN(const bool exists, Exists<T>(resource->name()));
  if (exists) {
    LINNET_ASSIGN_OR_RETURN(const T old, Get<T>(resource->name()));
    *resource->mutable_create_time() = old.create_time();
  } else {
    if (reader_->Count(Traits::kKind) >= kMaxResources) {
      return base::Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                         base::StrCat("this registry holds ", kMaxResources, " ", Traits::kNoun,
                                      "s, the most it takes; delete some first"));
    }
    if constexpr (Traits::kKind == Kind::kVariant) {
      LINNET_ASSIGN_OR_RETURN(const VariantId id, ParseVariantName(resource->name()));
      LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> others, VariantsOf(id.model));
      if (others.size() >= kMaxVariantsOfModel) {
        return base::Error(absl::StatusCode::kResourceExhausted, "LIMIT_EXCEEDED",
                           base::StrCat("model ", ModelName(id.model), " has ", others.size(),
                                        " variants, the most a model takes; delete some first"));
      }
    }
    *resource->mutable_create_time() = ToProto(now_);
  }
  *resource->mutable_update_time() = ToProto(now_);
  resource->set_revision(revision_);
  resource->clear_etag();
  storage::v1::Change change;
  change.set_name(resource->name());
  *Traits::InChange(&change) = *resource;
  changes_[resource->name()] = std::move(change);
  resource->set_etag(EtagOf(revision_));
  return absl::OkStatus();
}

template <class T>
absl::Status Transaction::Delete(const std::string& name) {
  using Traits = ResourceTraits<T>;
  LINNET_ASSIGN_OR_RETURN(const bool exists, Exists<T>(name));
  if (!exists) return NotFound(Traits::kKind, Traits::kNoun, name);
  storage::v1::Change change;
  change.set_name(name);
  change.set_deleted(true);
  changes_[name] = std::move(change);
  return absl::OkStatus();
}

template <class T>
absl::Status CheckEtag(const T& resource, const std::string& etag) {
  const std::string current = EtagOf(resource.revision());
  if (etag.empty() || etag == current) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "ETAG_MISMATCH",
                     base::StrCat(ResourceTraits<T>::kNoun, " ", resource.name(), " changed since it was read (etag ",
                                  current, " now); read it again and repeat the change"),
                     {{"resource", resource.name()}, {"etag", current}});
}

#define LINNET_INSTANTIATE(T)                                               \
  template absl::StatusOr<T> Transaction::Get<T>(const std::string&);       \
  template absl::StatusOr<bool> Transaction::Exists<T>(const std::string&); \
  template absl::Status Transaction::Put<T>(T*);                            \
  template absl::Status Transaction::Delete<T>(const std::string&);         \
  template absl::Status CheckEtag<T>(const T&, const std::string&);
LINNET_INSTANTIATE(v1::Model)
LINNET_INSTANTIATE(v1::Variant)
LINNET_INSTANTIATE(v1::DeviceProfile)
LINNET_INSTANTIATE(v1::Deployment)
#undef LINNET_INSTANTIATE

}  // namespace linnet::registry
