// What this machine can do at most, measured: the yardsticks beside every speed that is reported.
//
//   ThreadPool pool(2);
//   LINNET_ASSIGN_OR_RETURN(const MachineLimits limits, MeasureMachineLimits({.read_bytes = 1 << 30}, pool));
//   share = bytes_per_token * tokens_per_s / limits.read.median;
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/dtype.h"
#include "kernels/isa.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

// Bytes or operations per second over some samples.
struct Rate {
  double median = 0, least = 0, most = 0;
};

struct MachineLimits {
  Isa isa = Isa::kScalar;
  int threads = 0;
  int64_t read_bytes = 0;  // of the buffer that was read; what fits in a cache is read from there
  Rate read;               // bytes per second, all threads
  Rate read_one_thread;
  // Operations per second with everything in registers, all threads; a multiply-add counts as two.
  Rate f32;                     // fused multiply-adds
  Rate int8, int6, int5, int4;  // weights of so many bits, 8-bit activations, with the instructions that these allow

  // The arithmetic that products with weights of this type can be made of.
  const Rate& ForType(DType type) const;
};

struct MachineLimitsOptions {
  int64_t read_bytes = 0;                          // 0: 1 GiB, or a quarter of the available memory if that is less
  int samples = 7;                                 // of each limit, at least 1
  absl::Duration sample = absl::Milliseconds(10);  // the least that a sample takes
};
// Takes all threads of `pool`, one after the other for all limits: a second or two. Uses the active ISA.
// RESOURCE_EXHAUSTED OUT_OF_MEMORY: the buffer does not fit into memory.
absl::StatusOr<MachineLimits> MeasureMachineLimits(const MachineLimitsOptions& options, ThreadPool& pool);

}  // namespace linnet::kernels
