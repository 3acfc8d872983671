#include "registry/server/blob_service.h"

#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/grpc_status.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::registry {
// Read -> (pool) append -> read ... -> half-close -> (pool) verify, sync -> Finish. Each step starts the next one, so
// only one thread is in it at a time; a client that leaves shows as a failed read. The lock is held through a step, and
// nobody waits for it but the step that this one started: it says so where gRPC's own ordering cannot be seen.
class BlobService::UploadReactor final : public grpc::ServerReadReactor<v1::UploadBlobRequest> {
 public:
  UploadReactor(BlobService* service, v1::BlobStatus* response) : service_(service), response_(response) {
    base::MutexLock lock(&mu_);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    service_->pool_->Run([this, ok] {
      base::MutexLock lock(&mu_);
      ok ? Take() : Complete();
    });
  }
  void OnDone() override {
    {
      base::MutexLock lock(&mu_);
    }  // the step that finished has left
    delete this;
  }

 private:
  void Take() {
    if (absl::Status status = Append(); !status.ok()) return End(std::move(status));
    if (response_->complete()) return End(absl::OkStatus());
    StartRead(&request_);
  }

  absl::Status Append() {
    if (request_.data().size() > kMaxChunkBytes) {
      return base::FieldErrors({{"data", base::StrCat("must have at most ", kMaxChunkBytes, " bytes")}});
    }
    if (first_) {
      first_ = false;
      LINNET_ASSIGN_OR_RETURN(const BlobState state, service_->store_->Status(request_.digest()));
      response_->set_digest(request_.digest());
      if (state.complete) {  // nothing left to do, whatever offset was named
        response_->set_complete(true);
        response_->set_size_bytes(state.size_bytes);
        response_->set_received_bytes(state.size_bytes);
        return absl::OkStatus();
      }
      LINNET_ASSIGN_OR_RETURN(
          upload_, service_->store_->StartUpload(request_.digest(), request_.size_bytes(), request_.offset_bytes()));
      service_->metrics_->uploads.Increment();
    } else if (!request_.digest().empty() && request_.digest() != response_->digest()) {
      return base::FieldErrors({{"digest", "must be that of the first message, or empty"}});
    }
    LINNET_RETURN_IF_ERROR(upload_->Append(request_.data()));
    service_->metrics_->uploaded_bytes.Increment(static_cast<double>(request_.data().size()));
    return absl::OkStatus();
  }

  void Complete() {
    if (upload_ == nullptr) {
      return End(base::FieldErrors({{"digest", "is missing: the stream has no first message"}}));
    }
    absl::Status status = upload_->Finish();
    if (status.ok()) {
      response_->set_complete(true);
      response_->set_size_bytes(upload_->size_bytes());
      response_->set_received_bytes(upload_->size_bytes());
    }
    End(std::move(status));
  }

  void End(absl::Status status) {
    if (upload_ != nullptr) {
      upload_.reset();  // syncs what came, before the client hears of it
      service_->metrics_->uploads.Decrement();
    }
    const grpc::Status result = base::ToGrpc(status);
    service_->metrics_->CountRpc("UploadBlob", result.error_code());
    service_->metrics_->ObserveRpc("UploadBlob", base::Clock::Real()->Since(start_ns_));
    Finish(result);
  }

  BlobService* const service_;
  v1::BlobStatus* const response_;
  const int64_t start_ns_ = base::Clock::Real()->MonotonicNs();
  v1::UploadBlobRequest request_;  // gRPC's between StartRead and OnReadDone
  base::Mutex mu_;
  std::unique_ptr<BlobStore::Upload> upload_;
  bool first_ = true;
};

// (pool) read a chunk -> write -> (pool) read ... -> Finish.
class BlobService::DownloadReactor final : public grpc::ServerWriteReactor<v1::DownloadBlobResponse> {
 public:
  DownloadReactor(BlobService* service, const v1::DownloadBlobRequest& request)
      : service_(service), digest_(request.digest()), offset_(request.offset_bytes()) {
    ++service_->downloads_;
    base::MutexLock lock(&mu_);
    // The work starts when gRPC has the reactor.
    StartSendInitialMetadata();
  }
  ~DownloadReactor() override { --service_->downloads_; }

  void OnSendInitialMetadataDone(bool ok) override { Next(ok); }
  void OnWriteDone(bool ok) override { Next(ok); }
  void OnDone() override {
    {
      base::MutexLock lock(&mu_);
    }  // as in UploadReactor
    delete this;
  }

 private:
  void Next(bool ok) {
    service_->pool_->Run([this, ok] {
      base::MutexLock lock(&mu_);
      if (!ok) return End(base::Error(absl::StatusCode::kCancelled, "CLIENT_CANCELLED", "the client left"));
      const absl::Status status = Fill();
      if (!status.ok() || response_.data().empty()) return End(status);
      service_->metrics_->downloaded_bytes.Increment(static_cast<double>(response_.data().size()));
      StartWrite(&response_);
    });
  }

  absl::Status Fill() {
    if (reader_ == nullptr) {
      if (service_->downloads_ > kMaxDownloads) {
        return base::WithRetryAfter(base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                                                base::StrCat(kMaxDownloads, " downloads are running; try again later")),
                                    absl::Seconds(1));
      }
      LINNET_ASSIGN_OR_RETURN(reader_, service_->store_->OpenReader(digest_, offset_));
      response_.set_size_bytes(reader_->size_bytes());
    }
    return reader_->Read(kDownloadChunkBytes, response_.mutable_data());
  }

  void End(const absl::Status& status) {
    const grpc::Status result = base::ToGrpc(status);
    service_->metrics_->CountRpc("DownloadBlob", result.error_code());
    service_->metrics_->ObserveRpc("DownloadBlob", base::Clock::Real()->Since(start_ns_));
    Finish(result);
  }

  BlobService* const service_;
  const std::string digest_;
  const uint64_t offset_;
  const int64_t start_ns_ = base::Clock::Real()->MonotonicNs();
  v1::DownloadBlobResponse response_;  // gRPC's between StartWrite and OnWriteDone
  base::Mutex mu_;
  std::unique_ptr<BlobStore::Reader> reader_;
};

grpc::ServerUnaryReactor* BlobService::GetBlobStatus(grpc::CallbackServerContext* context,
                                                     const v1::GetBlobStatusRequest* request,
                                                     v1::BlobStatus* response) {
  const int64_t start_ns = base::Clock::Real()->MonotonicNs();
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const absl::StatusOr<BlobState> state = store_->Status(request->digest());
  if (state.ok()) {
    response->set_digest(request->digest());
    response->set_complete(state->complete);
    response->set_size_bytes(state->size_bytes);
    response->set_received_bytes(state->received_bytes);
  }
  const grpc::Status result = base::ToGrpc(state.status());
  metrics_->CountRpc("GetBlobStatus", result.error_code());
  metrics_->ObserveRpc("GetBlobStatus", base::Clock::Real()->Since(start_ns));
  reactor->Finish(result);
  return reactor;
}

grpc::ServerReadReactor<v1::UploadBlobRequest>* BlobService::UploadBlob(grpc::CallbackServerContext* context,
                                                                        v1::BlobStatus* response) {
  return new UploadReactor(this, response);
}

grpc::ServerWriteReactor<v1::DownloadBlobResponse>* BlobService::DownloadBlob(grpc::CallbackServerContext* context,
                                                                              const v1::DownloadBlobRequest* request) {
  return new DownloadReactor(this, *request);
}

}  // namespace linnet::registry
