#include "kernels/isa.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>

#include "absl/base/no_destructor.h"
#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hwy/targets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace linnet::kernels {
namespace {

std::atomic<int> g_isa_for_testing{-1};

#if defined(__x86_64__) && !LINNET_SIMD_AVX2_ONLY
// The tile registers' state is so large that Linux saves it only for processes that asked for it.
bool AllowAmx() {
#if defined(__linux__)
  constexpr int kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
#else
  return false;
#endif
}
#endif

std::vector<Isa> FindSupported() {
  std::vector<Isa> found = {Isa::kScalar};
  [[maybe_unused]] const int64_t targets = hwy::SupportedTargets();
  const std::vector<std::string> features = DetectCpuFeatures();
  [[maybe_unused]] const auto has = [&](std::string_view name) {
    return std::find(features.begin(), features.end(), name) != features.end();
  };
#if defined(__x86_64__)
  if (targets & HWY_AVX2) found.push_back(Isa::kAvx2);
  if (has("avx_vnni")) found.push_back(Isa::kAvx2Vnni);
#if !LINNET_SIMD_AVX2_ONLY
  if (targets & HWY_AVX3) found.push_back(Isa::kAvx512);
  if (targets & HWY_AVX3_DL) found.push_back(Isa::kAvx512Vnni);
  if ((targets & HWY_AVX3_DL) && has("amx_int8") && AllowAmx()) found.push_back(Isa::kAvx512Amx);
#endif
#elif defined(__aarch64__)
  found.push_back(Isa::kNeon);
  if (has("dotprod")) found.push_back(Isa::kNeonDotprod);
  if (has("dotprod") && has("i8mm")) found.push_back(Isa::kNeonI8mm);
#endif
  return found;
}

absl::StatusOr<Isa> Choose() {
  const std::vector<Isa>& supported = SupportedIsas();
  const char* const wanted = std::getenv("LINNET_ISA");
  if (wanted == nullptr || *wanted == '\0') return supported.back();
  for (const Isa isa : supported) {
    if (IsaName(isa) == wanted) return isa;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "LINNET_ISA=", wanted, " is not an instruction set that this build and CPU support; set it to one of ",
      absl::StrJoin(supported, ", ", [](std::string* out, Isa isa) { out->append(IsaName(isa)); }), ", or unset it"));
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx2Vnni:
      return "avx2_vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
    case Isa::kAvx512Amx:
      return "avx512_amx";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neon_dotprod";
    case Isa::kNeonI8mm:
      return "neon_i8mm";
  }
  LOG(FATAL) << "no such Isa: " << static_cast<int>(isa);
}

const std::vector<Isa>& SupportedIsas() {
  static const absl::NoDestructor<std::vector<Isa>> supported(FindSupported());
  return *supported;
}

absl::StatusOr<Isa> ActiveIsa() {
  if (const int forced = g_isa_for_testing.load(std::memory_order_relaxed); forced >= 0) return Isa{forced};
  static const absl::NoDestructor<absl::StatusOr<Isa>> chosen(Choose());
  return *chosen;
}

void SetIsaForTesting(Isa isa) {
  bool supported = false;
  for (const Isa candidate : SupportedIsas()) supported |= candidate == isa;
  CHECK(supported) << IsaName(isa) << " is not supported here";
  g_isa_for_testing.store(static_cast<int>(isa), std::memory_order_relaxed);
}

std::vector<std::string> DetectCpuFeatures() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  // What Highway found takes the operating system's support for the registers into account.
  const int64_t targets = hwy::SupportedTargets();
  const bool avx2 = (targets & HWY_AVX2) != 0, avx512 = (targets & HWY_AVX3) != 0;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  uint32_t leaf7_c = 0, leaf7_d = 0, leaf7_1_a = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf7_c = c, leaf7_d = d;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) leaf7_1_a = a;
  if (avx2) features.insert(features.end(), {"avx2", "f16c", "fma"});
  if (avx2 && (leaf7_1_a & (1u << 4))) features.push_back("avx_vnni");
  if (avx512) features.insert(features.end(), {"avx512f", "avx512bw", "avx512dq", "avx512vl"});
  if (avx512 && (leaf7_c & (1u << 11))) features.push_back("avx512_vnni");
  if (avx512 && (leaf7_1_a & (1u << 5))) features.push_back("avx512_bf16");
  if (avx512 && (leaf7_d & (1u << 23))) features.push_back("avx512_fp16");
  if (avx512 && (leaf7_d & (1u << 24)) && (leaf7_d & (1u << 25))) features.push_back("amx_int8");
  if (avx512 && (leaf7_d & (1u << 24)) && (leaf7_d & (1u << 22))) features.push_back("amx_bf16");
#elif defined(__aarch64__)
  features.push_back("neon");
#if defined(__linux__)
  constexpr unsigned long kAsimdDotProd = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  if (getauxval(AT_HWCAP) & kAsimdDotProd) features.push_back("dotprod");
  if (getauxval(AT_HWCAP2) & kI8mm) features.push_back("i8mm");
#endif
#endif
  return features;
}

std::string CpuModelName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    return colon == std::string::npos ? "" : line.substr(colon + 2);
  }
  return "";
}

}  // namespace linnet::kernels
