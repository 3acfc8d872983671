#include "worker/server/worker_process.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "base/backoff.h"
#include "base/config.h"
#include "base/cpu_budget.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"
#include "base/version.h"
#include "kernels/isa.h"
#include "registry/client/names.h"
#include "worker/server/device_profile.h"
#include "worker/server/request_rules.h"
#include "worker/server/worker_config.h"

namespace linnet::worker {
namespace {

constexpr int kEncodeThreads = 2;
constexpr size_t kMaxPendingPrompts = 256;
// What streams that were told to end may take, after the drain.
constexpr absl::Duration kAbortTime = absl::Seconds(5);
constexpr int kKeepaliveMs = 30'000;
constexpr int kMinClientPingMs = 5'000;

uint64_t DrawSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// For all models together: what is free, and what this process holds for them already.
uint64_t MemoryForModels(uint64_t limit) {
  const uint64_t bytes = base::DetectMemoryBudget().available_bytes + base::ReadProcessMemory().anonymous_bytes;
  return limit > 0 ? std::min(limit, bytes) : bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Create(config::v1::WorkerConfig config) {
  FillDefaults(&config);
  LINNET_RETURN_IF_ERROR(CheckConfig(config));
  std::unique_ptr<WorkerProcess> process(new WorkerProcess(std::move(config)));
  LINNET_RETURN_IF_ERROR(process->Start());
  return process;
}

absl::Status WorkerProcess::Start() {
  LINNET_ASSIGN_OR_RETURN(const kernels::Isa isa, kernels::ActiveIsa());
  const int threads = config_.threads() > 0 ? static_cast<int>(config_.threads()) : base::DetectCpuBudget().threads;
  LOG(INFO) << base::LogFields("computing with",
                               {{"isa", std::string(kernels::IsaName(isa))}, {"threads", base::StrCat(threads)}});
  DeviceProfileOptions device;
  device.name = config_.name();
  device.threads = threads;
  device.storage = config_.cache_dir();
  if (config_.registry_address().empty()) device.measure = absl::ZeroDuration();
  profile_ = DetectDeviceProfile(device);
  pool_ = std::make_unique<kernels::ThreadPool>(threads);
  if (!config_.cache_dir().empty() && !config_.packed_cache().disabled()) {
    packed_cache_ = PackedCache::Open(
        {.dir = base::StrCat(config_.cache_dir(), "/packed"), .max_bytes = config_.packed_cache().max_bytes()});
  }
  loader_ = NewGgufLoader(pool_.get(), packed_cache_.get());
  LINNET_RETURN_IF_ERROR(MakeVariants());
  LINNET_RETURN_IF_ERROR(Listen());
  LINNET_RETURN_IF_ERROR(JoinRegistry());
  variants_->Start();
  hub_->Start();
  return absl::OkStatus();
}

absl::Status WorkerProcess::MakeVariants() {
  VariantManager::Options options;
  options.loader = loader_.get();
  options.wanted.assign(config_.models().begin(), config_.models().end());
  for (const std::string& text : config_.local_models()) {
    LINNET_ASSIGN_OR_RETURN(LocalModel local, ParseLocalModel(text));
    options.local_models.push_back(std::move(local));
  }
  options.stub_model = config_.stub_model();
  options.engine = EngineOptions(config_);
  options.kv_type = KvType(config_);
  options.profile = profile_;
  options.memory_bytes = [limit = config_.max_memory_bytes()] { return MemoryForModels(limit); };
  options.on_change = [this] { Changed(); };
  options.abort_calls = [this](const std::string& variant) { calls_.Abort(variant); };
  options.drain = absl::Seconds(config_.drain_seconds());
  if (!config_.registry_address().empty()) {
    LINNET_ASSIGN_OR_RETURN(registry_, registry::RegistryClient::Create(config_.registry_address()));
    registry::RegistryClient* const client = registry_.get();
    LINNET_ASSIGN_OR_RETURN(BlobCache cache,
                            BlobCache::Open(
                                config_.cache_dir(),
                                [client](const std::string& digest, const std::string& path, std::stop_token stop) {
                                  return client->DownloadBlob(digest, path, {}, stop);
                                },
                                [this](uint64_t bytes) {
                                  if (packed_cache_ != nullptr) packed_cache_->Reclaim(bytes);
                                }));
    options.cache = std::move(cache);
    options.resolve = [client](const registry::v1::ResolveRequest& request) { return client->Resolve(request); };
  }
  variants_ = std::make_unique<VariantManager>(std::move(options));
  return absl::OkStatus();
}

absl::Status WorkerProcess::Listen() {
  encoders_ = std::make_unique<WorkQueue>("encode", kEncodeThreads, kMaxPendingPrompts);
  StatusHub::Options hub;
  hub.status = [this] { return Status(); };
  hub.on_tick = [this] {
    calls_.CheckReaders();
    UpdateMetrics();
  };
  hub_ = std::make_unique<StatusHub>(std::move(hub));
  context_.worker = registry::WorkerName(config_.name());
  context_.variants = variants_.get();
  context_.encoders = encoders_.get();
  context_.calls = &calls_;
  context_.metrics = &metrics_;
  context_.draw_seed = DrawSeed;
  service_ = std::make_unique<ControlService>(&context_, hub_.get());

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port that another process has is an error
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinClientPingMs);
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.AddListeningPort(config_.listen().address(), grpc::InsecureServerCredentials(), &grpc_port_);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || grpc_port_ == 0) {
    return absl::UnavailableError(base::StrCat("cannot listen on ", config_.listen().address(),
                                               ": the port is in use, or the address is none of this machine's; "
                                               "choose another with --listen"));
  }
  UpdateHealth();
  base::OpsServer::Options ops;
  ops.address = config_.metrics().address();
  ops.registry = metrics_.registry();
  ops.ready = [this] { return readiness(); };
  LINNET_ASSIGN_OR_RETURN(ops_, base::OpsServer::Create(std::move(ops)));
  return absl::OkStatus();
}

absl::Status WorkerProcess::JoinRegistry() {
  if (registry_ == nullptr) return absl::OkStatus();
  registry::Watcher::Options watch;
  watch.client = registry_.get();
  watch.snapshot_path = base::StrCat(config_.cache_dir(), "/registry-snapshot.pb");
  watch.on_change = [this](std::shared_ptr<const registry::RegistrySnapshot> snapshot) {
    // Before the registry's first answer an empty snapshot says nothing.
    if (snapshot->revision > 0 || !snapshot->from_disk) variants_->SetSnapshot(std::move(snapshot));
  };
  LINNET_ASSIGN_OR_RETURN(watcher_, registry::Watcher::Create(std::move(watch)));
  registry::LeaseKeeper::Options lease;
  lease.client = registry_.get();
  lease.worker = Presence();
  LINNET_ASSIGN_OR_RETURN(std::unique_ptr<registry::LeaseKeeper> keeper,
                          registry::LeaseKeeper::Create(std::move(lease)));
  {
    base::MutexLock lock(&mu_);
    lease_ = std::move(keeper);
  }
  profile_thread_ = std::jthread([this](std::stop_token stop) {
    base::SetThreadName("profile");
    RegisterProfile(stop);
  });
  return absl::OkStatus();
}

// --- what is told ---

registry::v1::Worker WorkerProcess::Presence() const {
  registry::v1::Worker worker;
  worker.set_name(registry::WorkerName(config_.name()));
  std::string address = config_.advertise_address();
  if (address.empty()) {
    const absl::StatusOr<base::HostPort> listen = base::ParseHostPort(config_.listen().address());
    std::string host = listen.ok() ? listen->host : "127.0.0.1";
    if (host.find(':') != std::string::npos) host = base::StrCat("[", host, "]");
    address = base::StrCat(host, ":", grpc_port_);
  }
  worker.set_address(address);
  worker.set_profile(profile_.name());
  worker.set_version(base::kVersion);
  *worker.mutable_labels() = config_.labels();
  for (const VariantRef& variant : variants_->Ready()) worker.add_ready_variants(variant->name);
  worker.set_state(draining() ? "DRAINING" : variants_->readiness().ok() ? "READY" : "STARTING");
  return worker;
}

v1::WorkerStatus WorkerProcess::Status() const {
  v1::WorkerStatus status;
  status.set_worker(context_.worker);
  status.set_draining(draining());
  status.set_version(base::kVersion);
  for (v1::VariantStatus& variant : variants_->Statuses()) *status.add_variants() = std::move(variant);
  return status;
}

void WorkerProcess::Changed() {
  UpdateHealth();
  hub_->Poke();
  std::shared_ptr<registry::LeaseKeeper> lease;
  {
    base::MutexLock lock(&mu_);
    lease = lease_;
  }
  if (lease != nullptr) lease->Update(Presence());
}

void WorkerProcess::UpdateHealth() {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  std::set<std::string> ready;
  for (const VariantRef& variant : variants_->Ready()) {
    const absl::StatusOr<registry::VariantId> id = registry::ParseVariantName(variant->name);
    if (id.ok()) ready.insert(registry::ModelName(id->model));
  }
  std::set<std::string> known;
  {
    base::MutexLock lock(&mu_);
    health_names_.insert(ready.begin(), ready.end());
    known = health_names_;
  }
  const bool serving = readiness().ok();
  for (const std::string& name : known) health->SetServingStatus(name, serving && ready.contains(name));
  health->SetServingStatus("liveness", true);
  health->SetServingStatus("readiness", serving);
  health->SetServingStatus("", serving);
}

void WorkerProcess::UpdateMetrics() {
  uint64_t weight_bytes = 0, kv_bytes = 0;
  for (const VariantRef& variant : variants_->Ready()) {
    weight_bytes += variant->weight_bytes;
    kv_bytes += variant->kv_bytes;
  }
  metrics_.Update(variants_->Statuses(), weight_bytes, kv_bytes);
  if (packed_cache_ != nullptr) {
    const PackedCache::Stats stats = packed_cache_->stats();
    metrics_.UpdatePackedCache(stats.hits, stats.misses, stats.bytes);
  }
}

void WorkerProcess::RegisterProfile(std::stop_token stop) {
  base::Backoff backoff({}, DrawSeed());
  while (!stop.stop_requested()) {
    const auto put = registry_->PutDeviceProfile(profile_);
    if (put.ok()) return;
    if (put.status().code() != absl::StatusCode::kUnavailable &&
        put.status().code() != absl::StatusCode::kDeadlineExceeded) {
      LOG(WARNING) << base::LogFields("the registry refused the device profile",
                                      {{"error", std::string(put.status().message())}});
      return;
    }
    base::MutexLock lock(&mu_);
    if (!stop.stop_requested()) stopping_.WaitFor(&mu_, absl::ToChronoNanoseconds(backoff.Next()));
  }
}

bool WorkerProcess::draining() const {
  base::MutexLock lock(&mu_);
  return draining_;
}

// --- the end ---

void WorkerProcess::Drain() {
  {
    base::MutexLock lock(&mu_);
    if (draining_) return;
    draining_ = true;
  }
  variants_->StopServing();
  Changed();
  if (!calls_.WaitUntilEmpty(absl::Seconds(config_.drain_seconds()))) {
    LOG(WARNING) << base::LogFields("streams are cut off", {{"streams", base::StrCat(calls_.size())}});
    calls_.Abort();
    calls_.WaitUntilEmpty(kAbortTime);
  }
  std::shared_ptr<registry::LeaseKeeper> lease;
  {
    base::MutexLock lock(&mu_);
    lease = std::move(lease_);
  }
  lease.reset();  // gives it back
}

WorkerProcess::~WorkerProcess() {
  // Where Start failed half-way, some parts are not there.
  if (server_ != nullptr) {
    Drain();
    watcher_.reset();
    {
      base::MutexLock lock(&mu_);
      profile_thread_.request_stop();
      stopping_.NotifyAll();
    }
    if (profile_thread_.joinable()) profile_thread_.join();
    ops_.reset();
    hub_->Close();
    hub_->WaitUntilEmpty(absl::Seconds(1));
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    encoders_.reset();  // no call is left; what its threads did in gRPC is done before the server goes
  }
  if (variants_ != nullptr) variants_->Stop();  // while there is someone to tell
}

}  // namespace linnet::worker
