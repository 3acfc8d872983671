// Which Highway targets the kernels are compiled for, and how one is selected. A file of kernels is laid out so:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/foo.cc"
//   #include "kernels/simd_targets.h"  // must come before
//   #include "hwy/foreach_target.h"
//   #include "hwy/highway.h"
//   #if LINNET_SIMD_TARGET
//   HWY_BEFORE_NAMESPACE(); namespace linnet::kernels::HWY_NAMESPACE { ... constexpr FooTable kFooTable = ...; }
//   #endif
//   #if HWY_ONCE
//   const FooTable& FooTableFor(Isa isa) { LINNET_SELECT_BY_ISA(isa, kFooTable, kScalarFooTable); }
#ifndef LINNET_KERNELS_SIMD_TARGETS_H_  // a guard, not a pragma: Highway includes its users once for each target
#define LINNET_KERNELS_SIMD_TARGETS_H_

#if defined(__x86_64__)

// One target for each family of Isa: dot products apart, kAvx2Vnni is as kAvx2, kAvx512Amx as kAvx512Vnni. The
// compiler's baseline becomes EMU128, for which we compile nothing.
#define HWY_WANT_AVX3_DL
#if LINNET_SIMD_AVX2_ONLY
// What compiles in bearable time under sanitizers.
#define HWY_DISABLED_TARGETS (HWY_SSE2 | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR)
#define LINNET_SELECT_BY_ISA(isa, table, scalar) \
  return (isa) == Isa::kAvx2 || (isa) == Isa::kAvx2Vnni ? N_AVX2::table : (scalar)
#else
#define HWY_DISABLED_TARGETS (HWY_SSE2 | HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_ZEN4 | HWY_AVX3_SPR)
#define LINNET_SELECT_BY_ISA(isa, table, scalar) \
  switch (isa) {                                 \
    case Isa::kAvx2:                             \
    case Isa::kAvx2Vnni:                         \
      return N_AVX2::table;                      \
    case Isa::kAvx512:                           \
      return N_AVX3::table;                      \
    case Isa::kAvx512Vnni:                       \
    case Isa::kAvx512Amx:                        \
      return N_AVX3_DL::table;                   \
    default:                                     \
      return scalar;                             \
  }
#endif

#elif defined(__aarch64__)

// Isa::kNeon is the baseline; the others are as kNeon but for dot products.
#define HWY_COMPILE_ONLY_STATIC
#define LINNET_SELECT_BY_ISA(isa, table, scalar) \
  switch (isa) {                                 \
    case Isa::kNeon:                             \
    case Isa::kNeonDotprod:                      \
    case Isa::kNeonI8mm:                         \
      return HWY_NAMESPACE::table;               \
    default:                                     \
      return scalar;                             \
  }

#else

#define HWY_COMPILE_ONLY_EMU128
#define LINNET_SELECT_BY_ISA(isa, table, scalar) return scalar

#endif

#define LINNET_SIMD_TARGET (HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR)

#endif  // LINNET_KERNELS_SIMD_TARGETS_H_
