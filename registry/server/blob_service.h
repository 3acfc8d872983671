// linnet.registry.v1.Blobs over the blob store. File work runs on an IoPool; a transfer has one chunk in hand at a
// time.
#pragma once

#include <atomic>
#include <cstddef>

#include "linnet/registry/v1/registry.grpc.pb.h"
#include "registry/blobs/blob_store.h"
#include "registry/server/io_pool.h"
#include "registry/server/metrics.h"

namespace linnet::registry {

// Thread-safe. What it is given must outlive the gRPC server that it is registered with.
class BlobService final : public v1::Blobs::CallbackService {
 public:
  // Most that one message carries.
  static constexpr size_t kMaxChunkBytes = 2 << 20;
  static constexpr size_t kDownloadChunkBytes = 1 << 20;
  static constexpr int kMaxDownloads = 256;

  BlobService(BlobStore* store, IoPool* pool, Metrics* metrics) : store_(store), pool_(pool), metrics_(metrics) {}

  grpc::ServerUnaryReactor* GetBlobStatus(grpc::CallbackServerContext* context, const v1::GetBlobStatusRequest* request,
                                          v1::BlobStatus* response) override;
  grpc::ServerReadReactor<v1::UploadBlobRequest>* UploadBlob(grpc::CallbackServerContext* context,
                                                             v1::BlobStatus* response) override;
  grpc::ServerWriteReactor<v1::DownloadBlobResponse>* DownloadBlob(grpc::CallbackServerContext* context,
                                                                   const v1::DownloadBlobRequest* request) override;

 private:
  class UploadReactor;
  class DownloadReactor;

  BlobStore* const store_;
  IoPool* const pool_;
  Metrics* const metrics_;
  std::atomic<int> downloads_{0};
};

}  // namespace linnet::registry
