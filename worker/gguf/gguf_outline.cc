#include "worker/gguf/gguf_outline.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/human.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {

absl::StatusOr<std::unique_ptr<GgufOutline>> GgufOutline::Create(std::string name, const GgufMetadata& metadata,
                                                                 const std::vector<GgufTensorPlan>& tensors,
                                                                 const Data& data) {
  std::unique_ptr<GgufOutline> outline(new GgufOutline());
  uint64_t data_bytes = 0;
  const std::string header = EncodeGgufHeader(metadata, tensors, &data_bytes);
  outline->bytes_ = header.size() + data_bytes;
  const auto no_memory = [&](int error) {
    return base::Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                       base::StrCat(name, ": cannot reserve ", base::HumanBytes(outline->bytes_),
                                    " of address space for the outline of its file: ", strerror(error),
                                    "; raise the limit (ulimit -v)"));
  };
  // Writable pages would count against a strict limit on memory, so that only those are which are written.
  void* memory = mmap(nullptr, outline->bytes_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return no_memory(errno);
  outline->memory_ = static_cast<std::byte*>(memory);
  const auto header_bytes = std::as_bytes(std::span<const char>(header));
  if (const int error = outline->Write(outline->memory_, header_bytes); error != 0) return no_memory(error);
  LINNET_ASSIGN_OR_RETURN(outline->file_, GgufFile::Parse(std::span(outline->memory_, outline->bytes_), name));
  for (const auto& [tensor, bytes] : data) {
    const int error = outline->Write(outline->file_->FindTensor(tensor)->data.data(), bytes);
    if (error != 0) return no_memory(error);
  }
  return outline;
}

int GgufOutline::Write(const std::byte* part, std::span<const std::byte> bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto at = static_cast<size_t>(part - memory_);
  const size_t first = at / page * page;
  if (mprotect(memory_ + first, at + bytes.size() - first, PROT_READ | PROT_WRITE) != 0) return errno;
  std::memcpy(memory_ + at, bytes.data(), bytes.size());
  return 0;
}

GgufOutline::~GgufOutline() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

}  // namespace linnet::worker
