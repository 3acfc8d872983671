#include "kernels/aligned_buffer.h"

#include <sys/mman.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace linnet::kernels {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

absl::StatusOr<AlignedBuffer> AlignedBuffer::Create(int64_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  void* const data =
      mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", bytes, " bytes of weights; use a smaller variant or free memory"));
  }
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) (void)madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a hint: may be refused
#endif
  buffer.data_ = static_cast<uint8_t*>(data);
  buffer.bytes_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace linnet::kernels
