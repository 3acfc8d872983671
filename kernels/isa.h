// Which instruction set the kernels run on: the best one that this CPU has, or the one that LINNET_ISA names.
//
//   LINNET_ISA = scalar | avx2 | avx2_vnni | avx512 | avx512_vnni | avx512_amx | neon | neon_dotprod | neon_i8mm
//
// An unknown or unsupported one is an error. A later one of a family differs from the one before only in how 8-bit dot
// products are made.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace linnet::kernels {

enum class Isa { kScalar, kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni, kAvx512Amx, kNeon, kNeonDotprod, kNeonI8mm };

std::string_view IsaName(Isa isa);
// Those compiled in and supported by this CPU, worst first; always has kScalar.
const std::vector<Isa>& SupportedIsas();
// Chosen once per process, at the first call. The error names the variable, its value and what is supported.
absl::StatusOr<Isa> ActiveIsa();
// For tests that compare instruction sets: from now on ActiveIsa() is this one. REQUIRES: supported; no other thread
// computes.
void SetIsaForTesting(Isa isa);

// CPU features as the registry names them: "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "neon", "dotprod",
// "i8mm".
std::vector<std::string> DetectCpuFeatures();
// "Intel(R) Xeon(R) Processor", or "" where the system does not say.
std::string CpuModelName();

// Part of numerics_id: changes whenever a kernel's results change.
inline constexpr int kKernelRevision = 4;

}  // namespace linnet::kernels
