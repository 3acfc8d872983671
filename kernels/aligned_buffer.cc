#include "kernels/aligned_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace linnet::kernels {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

absl::StatusOr<AlignedBuffer> AlignedBuffer::Create(int64_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  const auto no_memory = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", bytes, " bytes of weights; use a smaller variant or free memory"));
  };
  // What may lie in huge pages begins at the border of one: older kernels do not see to that.
  const int64_t slack = bytes >= kHugePage ? kHugePage : 0;
  const int64_t page = sysconf(_SC_PAGESIZE);
  if (bytes > std::numeric_limits<int64_t>::max() - slack - page) return no_memory();
  const int64_t kept = (bytes + page - 1) / page * page;
  void* const mapped =
      mmap(nullptr, static_cast<size_t>(kept + slack), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return no_memory();
  auto* data = static_cast<uint8_t*>(mapped);
  if (slack > 0) {
    const int64_t before =
        (kHugePage - static_cast<int64_t>(reinterpret_cast<uintptr_t>(data) % kHugePage)) % kHugePage;
    if (before > 0) munmap(data, static_cast<size_t>(before));
    data += before;
    if (slack > before) munmap(data + kept, static_cast<size_t>(slack - before));
#ifdef MADV_HUGEPAGE
    (void)madvise(data, static_cast<size_t>(kept), MADV_HUGEPAGE);  // a hint: may be refused
#endif
  }
  buffer.data_ = data;
  buffer.bytes_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace linnet::kernels
