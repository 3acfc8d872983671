// Store on RocksDB. See docs/registry-format.md for what is written when.
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"
#include "openssl/rand.h"
#include "registry/store/keys.h"
#include "registry/store/store.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/table.h"

namespace linnet::registry {
namespace {

// Handles in this order; the first four match Kind.
const std::array<std::string, 7> kFamilies = {
    "models", "variants", "profiles", "deployments", "meta", "log", rocksdb::kDefaultColumnFamilyName};
constexpr size_t kMeta = 4;
constexpr size_t kLog = 5;
constexpr size_t kMaxPageBytes = 2 << 20;

absl::Status FromRocks(const rocksdb::Status& status, std::string_view what, const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  if (status.IsNoSpace()) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_DISK",
                       base::StrCat(what, " ", path, ": no space left on the disk; free some and try again"),
                       {{"path", path}});
  }
  const std::string message = base::StrCat(what, " ", path, ": ", status.ToString());
  if (status.IsCorruption()) {
    return absl::DataLossError(
        base::StrCat(message, "; the database is damaged: restore the data folder from a backup"));
  }
  return base::Error(absl::StatusCode::kInternal, "INTERNAL_ERROR", message);
}

absl::Status OpenError(const rocksdb::Status& status, const std::string& path) {
  const std::string text = status.ToString();
  if (absl::StrContains(text, "lock")) {
    return absl::FailedPreconditionError(
        base::StrCat("database ", path,
                     " is in use by another process: stop the registry that runs on it, or give this "
                     "one another --data-dir (",
                     text, ")"));
  }
  if (absl::StrContains(text, "Permission denied") || absl::StrContains(text, "Read-only")) {
    return base::Error(absl::StatusCode::kPermissionDenied, "ACCESS_DENIED",
                       base::StrCat("database ", path, " cannot be written (", text,
                                    "): make the data folder writable for this user, or give another --data-dir"));
  }
  return FromRocks(status, "open database", path);
}

rocksdb::Options DatabaseOptions() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // A small database on a small machine.
  options.write_buffer_size = 2 << 20;
  options.max_total_wal_size = 16 << 20;
  options.max_open_files = 128;
  options.max_background_jobs = 2;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1 << 20;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

class RocksStore final : public Store, private Transaction::Reader {
 public:
  explicit RocksStore(Options options) : options_(std::move(options)) {}
  ~RocksStore() override {
    {
      base::MutexLock lock(&mu_);
      stopping_ = true;
    }
    work_.NotifyAll();
    if (committer_.joinable()) committer_.join();
    if (db_) {
      for (rocksdb::ColumnFamilyHandle* handle : all_handles_) (void)db_->DestroyColumnFamilyHandle(handle);
      (void)db_->Close();
    }
  }

  absl::Status Open();

  void WriteAsync(Mutation mutation, std::function<void(absl::Status)> done) override {
    absl::Status refusal;  // OK: `done` is the queue's
    {
      base::MutexLock lock(&mu_);
      if (stopping_) {
        refusal = base::Error(absl::StatusCode::kUnavailable, "DRAINING", "the registry is stopping; try again later");
      } else if (queue_.size() >= options_.max_queued_writes) {
        refusal = base::WithRetryAfter(
            base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                        base::StrCat(queue_.size(), " writes wait for the registry's disk; try again later")),
            absl::Seconds(1));
      } else {
        queue_.push_back({std::move(mutation), std::move(done)});
      }
    }
    if (!refusal.ok()) return done(refusal);  // NOLINT(bugprone-use-after-move)
    work_.NotifyOne();
  }

  absl::StatusOr<std::vector<v1::Event>> ReadLog(int64_t since, size_t max_bytes, int64_t* last) const override;
  void OnCommit(std::function<void(int64_t)> listener) override {
    base::MutexLock lock(&mu_);
    listener_ = std::move(listener);
  }
  const std::string& id() const override { return id_; }
  uint64_t SizeBytes() const override {
    uint64_t total = 0;
    for (rocksdb::ColumnFamilyHandle* handle : handles_) {
      for (const char* property : {"rocksdb.total-sst-files-size", "rocksdb.size-all-mem-tables"}) {
        uint64_t bytes = 0;
        if (db_->GetIntProperty(handle, property, &bytes)) total += bytes;
      }
    }
    return total;
  }

 protected:
  absl::StatusOr<std::optional<std::string>> Read(Kind kind, const std::string& name) const override {
    return Get(static_cast<size_t>(kind), name);
  }
  absl::StatusOr<RawPage> Scan(Kind kind, const std::string& prefix, const std::string& after,
                               size_t limit) const override;

 private:
  struct Write {
    Mutation mutation;
    std::function<void(absl::Status)> done;
  };

  // Transaction::Reader, on the committing thread.
  absl::StatusOr<std::optional<std::string>> Read(Kind kind, const std::string& name) override {
    return Get(static_cast<size_t>(kind), name);
  }
  absl::StatusOr<std::vector<std::string>> Names(Kind kind, const std::string& prefix, size_t limit) override;
  size_t Count(Kind kind) override { return counts_[static_cast<size_t>(kind)]; }

  absl::StatusOr<std::optional<std::string>> Get(size_t family, const std::string& key,
                                                 const rocksdb::Snapshot* snapshot = nullptr) const;
  absl::StatusOr<int64_t> GetRevision(const char* key, const rocksdb::Snapshot* snapshot = nullptr) const;
  absl::Status OpenFamilies();
  absl::Status CheckSchema();
  absl::Status CountRecords();
  void CommitLoop();
  absl::Status Commit(const Mutation& mutation);
  absl::Status Append(const Transaction& txn);
  absl::Status WriteBatch(rocksdb::WriteBatch* batch);

  // Constant after Open.
  const Options options_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> all_handles_;  // owned by db_
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies.size()> handles_{};
  std::string id_;

  // Committing thread only.
  std::array<size_t, 4> counts_{};
  int64_t log_floor_ = 0;
  bool write_failed_ = false;

  mutable base::Mutex mu_;
  base::CondVar work_;
  std::deque<Write> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::function<void(int64_t)> listener_ ABSL_GUARDED_BY(mu_);
  std::jthread committer_;
};

absl::Status RocksStore::Open() {
  LINNET_RETURN_IF_ERROR(base::MakeDirs(options_.path));
  LINNET_RETURN_IF_ERROR(OpenFamilies());
  LINNET_RETURN_IF_ERROR(CountRecords());
  committer_ = base::StartThread("registry-commit", [this] { CommitLoop(); });
  return absl::OkStatus();
}

// Opens the families that are there, checks the schema, and only then creates those that are missing: a database of a
// newer version is left as it is.
absl::Status RocksStore::OpenFamilies() {
  const rocksdb::Options options = DatabaseOptions();
  std::vector<std::string> names;
  if (rocksdb::Status s = rocksdb::DB::ListColumnFamilies(options, options_.path, &names); !s.ok()) {
    if (!s.IsPathNotFound() && !s.IsNotFound() && !absl::StrContains(s.ToString(), "CURRENT")) {
      return OpenError(s, options_.path);
    }
    names = {rocksdb::kDefaultColumnFamilyName};
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.reserve(names.size());
  for (const std::string& name : names) descriptors.emplace_back(name, options);
  rocksdb::DB* db = nullptr;
  if (rocksdb::Status s = rocksdb::DB::Open(options, options_.path, descriptors, &all_handles_, &db); !s.ok()) {
    return OpenError(s, options_.path);
  }
  db_.reset(db);
  const auto assign = [&] {
    for (size_t i = 0; i < kFamilies.size(); ++i) {
      for (rocksdb::ColumnFamilyHandle* handle : all_handles_) {
        if (handle->GetName() == kFamilies[i]) handles_[i] = handle;
      }
    }
  };
  assign();
  if (handles_[kMeta] != nullptr) LINNET_RETURN_IF_ERROR(CheckSchema());
  for (size_t i = 0; i < kFamilies.size(); ++i) {
    if (handles_[i] != nullptr) continue;
    rocksdb::ColumnFamilyHandle* handle = nullptr;
    LINNET_RETURN_IF_ERROR(
        FromRocks(db_->CreateColumnFamily(options, kFamilies[i], &handle), "create column family in", options_.path));
    all_handles_.push_back(handle);
  }
  assign();

  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> id, Get(kMeta, kStoreIdKey));
  if (!id) {
    std::array<unsigned char, 16> random{};
    if (RAND_bytes(random.data(), random.size()) != 1) return absl::InternalError("no random numbers from OpenSSL");
    id = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(random.data()), random.size()));
    storage::v1::Schema schema;
    schema.set_version(kSchemaVersion);
    rocksdb::WriteBatch batch;
    batch.Put(handles_[kMeta], kSchemaKey, schema.SerializeAsString());
    batch.Put(handles_[kMeta], kStoreIdKey, *id);
    batch.Put(handles_[kMeta], kRevisionKey, EncodeRevision(0));
    LINNET_RETURN_IF_ERROR(WriteBatch(&batch));
  }
  id_ = *id;
  LINNET_ASSIGN_OR_RETURN(const int64_t revision, GetRevision(kRevisionKey));
  LINNET_ASSIGN_OR_RETURN(log_floor_, GetRevision(kLogFloorKey));
  revision_.store(revision, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status RocksStore::CheckSchema() {
  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> bytes, Get(kMeta, kSchemaKey));
  if (!bytes) {
    // A crash between the creation of the families and the first batch: nothing was ever stored.
    LINNET_ASSIGN_OR_RETURN(std::optional<std::string> revision, Get(kMeta, kRevisionKey));
    if (!revision) return absl::OkStatus();
    return absl::DataLossError(base::StrCat(
        "database ", options_.path, " holds records but no schema version: restore the data folder from a backup"));
  }
  storage::v1::Schema schema;
  if (!schema.ParseFromString(*bytes) || schema.version() == 0) {
    return absl::DataLossError(base::StrCat(
        "database ", options_.path, ": its schema version does not parse: restore the data folder from a backup"));
  }
  if (schema.version() > kSchemaVersion) {
    return absl::FailedPreconditionError(
        base::StrCat("database ", options_.path, " has schema version ", schema.version(), ", this binary knows ",
                     kSchemaVersion, ": run the newer linnet-registry that wrote it, or restore a backup of before"));
  }
  return absl::OkStatus();
}

absl::Status RocksStore::CountRecords() {
  for (size_t i = 0; i < counts_.size(); ++i) {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, handles_[i]));
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++counts_[i];
    LINNET_RETURN_IF_ERROR(FromRocks(it->status(), "read", options_.path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> RocksStore::Get(size_t family, const std::string& key,
                                                           const rocksdb::Snapshot* snapshot) const {
  rocksdb::ReadOptions read;
  read.snapshot = snapshot;
  std::string value;
  const rocksdb::Status status = db_->Get(read, handles_[family], key, &value);
  if (status.IsNotFound()) return std::nullopt;
  LINNET_RETURN_IF_ERROR(FromRocks(status, "read", options_.path));
  return value;
}

absl::StatusOr<int64_t> RocksStore::GetRevision(const char* key, const rocksdb::Snapshot* snapshot) const {
  LINNET_ASSIGN_OR_RETURN(std::optional<std::string> bytes, Get(kMeta, key, snapshot));
  if (!bytes) return 0;
  const std::optional<int64_t> revision = DecodeRevision(*bytes);
  if (!revision) return absl::DataLossError(base::StrCat("database ", options_.path, ": meta/", key, " is malformed"));
  return *revision;
}

absl::StatusOr<std::vector<std::string>> RocksStore::Names(Kind kind, const std::string& prefix, size_t limit) {
  std::vector<std::string> names;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, handles_[static_cast<size_t>(kind)]));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    if (names.size() >= limit)
      return absl::ResourceExhaustedError(base::StrCat("more than ", limit, " below ", prefix));
    names.push_back(it->key().ToString());
  }
  LINNET_RETURN_IF_ERROR(FromRocks(it->status(), "read", options_.path));
  return names;
}

absl::StatusOr<Store::RawPage> RocksStore::Scan(Kind kind, const std::string& prefix, const std::string& after,
                                                size_t limit) const {
  rocksdb::ManagedSnapshot snapshot(db_.get());
  rocksdb::ReadOptions read;
  read.snapshot = snapshot.snapshot();
  RawPage page;
  LINNET_ASSIGN_OR_RETURN(page.revision, GetRevision(kRevisionKey, read.snapshot));
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, handles_[static_cast<size_t>(kind)]));
  size_t bytes = 0;
  std::string last;
  // '\0' after a name is the smallest key behind it.
  for (it->Seek(after.empty() ? prefix : after + std::string(1, 0)); it->Valid() && it->key().starts_with(prefix);
       it->Next()) {
    if (page.values.size() >= limit || bytes >= kMaxPageBytes) {
      page.last_name = last;
      break;
    }
    page.values.push_back(it->value().ToString());
    bytes += page.values.back().size();
    last = it->key().ToString();
  }
  LINNET_RETURN_IF_ERROR(FromRocks(it->status(), "read", options_.path));
  return page;
}

absl::StatusOr<std::vector<v1::Event>> RocksStore::ReadLog(int64_t since, size_t max_bytes, int64_t* last) const {
  *last = since;
  rocksdb::ManagedSnapshot snapshot(db_.get());
  rocksdb::ReadOptions read;
  read.snapshot = snapshot.snapshot();
  LINNET_ASSIGN_OR_RETURN(const int64_t floor, GetRevision(kLogFloorKey, read.snapshot));
  LINNET_ASSIGN_OR_RETURN(const int64_t newest, GetRevision(kRevisionKey, read.snapshot));
  if (since < floor || since > newest) {
    return absl::OutOfRangeError(base::StrCat("revision ", since, " is not in the log, which reaches from ", floor,
                                              " to ", newest, "; list everything and watch from the list's revision"));
  }
  std::vector<v1::Event> events;
  size_t bytes = 0;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, handles_[kLog]));
  for (it->Seek(EncodeRevision(since + 1)); it->Valid(); it->Next()) {
    if (!events.empty() && bytes + it->value().size() > max_bytes) break;
    storage::v1::LogEntry entry;
    if (!entry.ParseFromArray(it->value().data(), static_cast<int>(it->value().size())) ||
        entry.revision() != *last + 1) {
      return absl::DataLossError(base::StrCat("database ", options_.path, ": log entry ", *last + 1, " is damaged"));
    }
    bytes += it->value().size();
    for (const storage::v1::Change& change : entry.changes()) events.push_back(EventOf(entry.revision(), change));
    *last = entry.revision();
  }
  LINNET_RETURN_IF_ERROR(FromRocks(it->status(), "read", options_.path));
  return events;
}

void RocksStore::CommitLoop() {
  for (;;) {
    Write write;
    {
      base::MutexLock lock(&mu_);
      while (queue_.empty() && !stopping_) work_.Wait(&mu_);
      if (queue_.empty()) return;
      write = std::move(queue_.front());
      queue_.pop_front();
    }
    const int64_t before = revision();
    absl::Status status = Commit(write.mutation);
    if (revision() != before) {
      std::function<void(int64_t)> listener;
      {
        base::MutexLock lock(&mu_);
        listener = listener_;
      }
      if (listener) listener(revision());
    }
    write.done(std::move(status));
  }
}

absl::Status RocksStore::Commit(const Mutation& mutation) {
  Transaction txn(this, revision() + 1, options_.clock->WallNow());
  LINNET_RETURN_IF_ERROR(mutation(txn));
  if (txn.changes().empty()) return absl::OkStatus();
  return Append(txn);
}

absl::Status RocksStore::Append(const Transaction& txn) {
  rocksdb::WriteBatch batch;
  storage::v1::LogEntry entry;
  entry.set_revision(txn.revision());
  std::array<size_t, 4> counts = counts_;
  for (const auto& [name, change] : txn.changes()) {
    // A change's kind is that of its resource; that of a deletion, of its name.
    Kind kind = Kind::kModel;
    std::string bytes;
    switch (change.resource_case()) {
      case storage::v1::Change::kModel:
        bytes = change.model().SerializeAsString();
        break;
      case storage::v1::Change::kVariant:
        kind = Kind::kVariant;
        bytes = change.variant().SerializeAsString();
        break;
      case storage::v1::Change::kDeviceProfile:
        kind = Kind::kDeviceProfile;
        bytes = change.device_profile().SerializeAsString();
        break;
      case storage::v1::Change::kDeployment:
        kind = Kind::kDeployment;
        bytes = change.deployment().SerializeAsString();
        break;
      case storage::v1::Change::RESOURCE_NOT_SET:
        if (absl::StartsWith(name, "deviceProfiles/")) kind = Kind::kDeviceProfile;
        if (absl::StartsWith(name, "deployments/")) kind = Kind::kDeployment;
        if (absl::StrContains(name, "/variants/")) kind = Kind::kVariant;
        break;
    }
    const size_t family = static_cast<size_t>(kind);
    LINNET_ASSIGN_OR_RETURN(std::optional<std::string> old, Get(family, name));
    if (change.deleted()) {
      if (!old) continue;  // made and deleted within this write
      batch.Delete(handles_[family], name);
      --counts[family];
    } else {
      batch.Put(handles_[family], name, bytes);
      if (!old) ++counts[family];
    }
    *entry.add_changes() = change;
  }
  if (entry.changes().empty()) return absl::OkStatus();
  batch.Put(handles_[kLog], EncodeRevision(txn.revision()), entry.SerializeAsString());
  batch.Put(handles_[kMeta], kRevisionKey, EncodeRevision(txn.revision()));
  int64_t floor = log_floor_;
  while (txn.revision() - floor > static_cast<int64_t>(options_.watch_log_entries)) {
    batch.Delete(handles_[kLog], EncodeRevision(++floor));
  }
  if (floor != log_floor_) batch.Put(handles_[kMeta], kLogFloorKey, EncodeRevision(floor));

  LINNET_RETURN_IF_ERROR(WriteBatch(&batch));
  counts_ = counts;
  log_floor_ = floor;
  revision_.store(txn.revision(), std::memory_order_release);
  return absl::OkStatus();
}

// After a failed write RocksDB refuses all others until it is told to go on, which succeeds once there is space again.
absl::Status RocksStore::WriteBatch(rocksdb::WriteBatch* batch) {
  if (write_failed_) {
    LINNET_RETURN_IF_ERROR(FromRocks(db_->Resume(), "write to database", options_.path));
    write_failed_ = false;
  }
  rocksdb::WriteOptions write;
  write.sync = true;
  const rocksdb::Status status = db_->Write(write, batch);
  if (!status.ok()) {
    write_failed_ = true;
    LOG(ERROR) << base::LogFields("database write failed", {{"path", options_.path}, {"error", status.ToString()}});
  }
  return FromRocks(status, "write to database", options_.path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(Options options) {
  if (options.path.empty()) return absl::InvalidArgumentError("the store needs a path");
  if (options.watch_log_entries == 0) options.watch_log_entries = 1;
  auto store = std::make_unique<RocksStore>(std::move(options));
  LINNET_RETURN_IF_ERROR(store->Open());
  return store;
}

}  // namespace linnet::registry
