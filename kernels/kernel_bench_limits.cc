#include "kernels/kernel_bench_limits.h"

// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernel_bench_limits.cc"
#include "kernels/simd_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

#if LINNET_SIMD_TARGET
HWY_BEFORE_NAMESPACE();
namespace linnet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Which instructions make the dot products; as in quant_matmul.cc.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL
constexpr bool kPairwise16 = true;
#else
constexpr bool kPairwise16 = false;
#endif

// Makes the compiler take `v` for another value, at no instruction: else it would compute equal products once.
template <class V>
HWY_INLINE void Opaque(V& v) {
#if HWY_ARCH_X86
  asm volatile("" : "+v"(v.raw));
#elif HWY_ARCH_ARM
  asm volatile("" : "+w"(v.raw));
#endif
}

uint64_t Sum(const uint64_t* words, int64_t n) {
  const hn::CappedTag<uint64_t, 8> d;
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(d));
  auto a = hn::Zero(d), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    // As the products do: the hardware alone stops at the end of each page.
    for (int64_t ahead = 0; ahead < 4 * kLanes; ahead += 8) {
      __builtin_prefetch(words + i + ahead + 2048 / 8, 0, 3);
      __builtin_prefetch(words + i + ahead + 20480 / 8, 0, 2);
    }
    a = hn::Add(a, hn::LoadU(d, words + i));
    b = hn::Add(b, hn::LoadU(d, words + i + kLanes));
    c = hn::Add(c, hn::LoadU(d, words + i + 2 * kLanes));
    e = hn::Add(e, hn::LoadU(d, words + i + 3 * kLanes));
  }
  uint64_t sum = hn::ReduceSum(d, hn::Add(hn::Add(a, b), hn::Add(c, e)));
  for (; i < n; ++i) sum += words[i];
  return sum;
}

// Chains of sums: more than an instruction's latency times how many of them start in a cycle.
constexpr int kChains = 12;

int64_t MultiplyAdds(int64_t rounds) {
  const hn::CappedTag<float, 16> d;
  hn::Vec<decltype(d)> sum[kChains];
  for (auto& s : sum) s = hn::Zero(d);
  auto w = hn::Set(d, 1.0f);
  auto x = w;
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
      sum[c] = hn::MulAdd(w, x, sum[c]);
      Opaque(x);
    }
  }
  for (auto& s : sum) Opaque(s);
  return rounds * kChains * static_cast<int64_t>(hn::MaxLanes(d)) * 2;
}

// Products whose pairs fit in 16 bits kPer16 times. Those of 8-bit weights, which fit once, do so only when the sign
// has moved from the weight to the activation: an exclusive or more.
template <int kPer16>
int64_t DotProducts(int64_t rounds) {
  const hn::CappedTag<uint8_t, 64> du8;
  const hn::RebindToSigned<decltype(du8)> di8;
  const hn::Repartition<int32_t, decltype(du8)> di32;
  constexpr int64_t kOperations = static_cast<int64_t>(hn::MaxLanes(du8)) * 2;
  auto w = hn::Set(du8, uint8_t{1});
  auto x = hn::Set(di8, int8_t{1});
  Opaque(w);
#if HWY_ARCH_X86
  if constexpr (kPairwise16) {
    const hn::Repartition<int16_t, decltype(du8)> di16;
    constexpr int kSums = 8;  // additions take one cycle each
    auto ones = hn::Set(di16, int16_t{1});
    Opaque(ones);
    auto sign = hn::Zero(di8);
    Opaque(sign);
    hn::Vec<decltype(di32)> sum[kSums];
    for (auto& s : sum) s = hn::Zero(di32);
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kSums; ++c) {
        auto pairs = hn::SatWidenMulPairwiseAdd(di16, w, kPer16 == 1 ? hn::Xor(x, sign) : x);
        Opaque(x);
#pragma GCC unroll 8
        for (int i = 1; i < kPer16; ++i) {
          pairs = hn::Add(pairs, hn::SatWidenMulPairwiseAdd(di16, w, x));
          Opaque(x);
        }
        sum[c] = hn::Add(sum[c], hn::WidenMulPairwiseAdd(di32, pairs, ones));
      }
    }
    for (auto& s : sum) Opaque(s);
    return rounds * kSums * kPer16 * kOperations;
  }
#endif
  if constexpr (!kPairwise16) {
    hn::Vec<decltype(di32)> sum[kChains];
    for (auto& s : sum) s = hn::Zero(di32);
    for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kChains; ++c) {
        sum[c] = hn::SumOfMulQuadAccumulate(di32, w, x, sum[c]);
        Opaque(x);
      }
    }
    for (auto& s : sum) Opaque(s);
    return rounds * kChains * kOperations;
  }
}

#if HWY_TARGET == HWY_AVX2 || HWY_ARCH_ARM_A64
// Four-way dot products that Highway has no target for: vpdpbusd without AVX-512, sdot beside NEON.
int64_t ExtendedDotProducts(int64_t rounds) {
  const hn::CappedTag<uint8_t, 64> du8;
  const hn::Repartition<int32_t, decltype(du8)> di32;
  const auto w = hn::Set(du8, uint8_t{1}), x = w;
  hn::Vec<decltype(di32)> sum[kChains];
  for (auto& s : sum) s = hn::Zero(di32);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
#if HWY_ARCH_X86
      asm volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum[c].raw) : "x"(w.raw), "x"(x.raw));
#else
      asm volatile(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum[c].raw) : "w"(w.raw), "w"(x.raw));
#endif
    }
  }
  return rounds * kChains * static_cast<int64_t>(hn::MaxLanes(du8)) * 2;
}
#endif

#if HWY_ARCH_X86
constexpr std::string_view kF32Names = "vfmadd";
#else
constexpr std::string_view kF32Names = "fmla";
#endif
constexpr std::string_view Names(int per16) {
  if (!kPairwise16) return HWY_ARCH_X86 ? "vpdpbusd" : "dot product of 8-bit integers, by four";
  switch (per16) {
    case 1:
      return "vpxor, vpmaddubsw, vpmaddwd, vpaddd";
    case 2:
      return "2 vpmaddubsw, vpaddw, vpmaddwd, vpaddd";
    case 4:
      return "4 vpmaddubsw, 3 vpaddw, vpmaddwd, vpaddd";
    default:
      return "8 vpmaddubsw, 7 vpaddw, vpmaddwd, vpaddd";
  }
}
constexpr LimitsTable kLimits = {.sum = Sum,
                                 .f32 = MultiplyAdds,
                                 .int8 = DotProducts<1>,
                                 .int6 = DotProducts<2>,
                                 .int5 = DotProducts<4>,
                                 .int4 = DotProducts<8>,
                                 .f32_instructions = kF32Names,
                                 .int8_instructions = Names(1),
                                 .int6_instructions = Names(2),
                                 .int5_instructions = Names(4),
                                 .int4_instructions = Names(8)};

// The same with one loop for weights of all widths.
constexpr LimitsTable WithDotProducts(LimitLoop loop, std::string_view instructions) {
  LimitsTable table = kLimits;
  table.int8 = table.int6 = table.int5 = table.int4 = loop;
  table.int8_instructions = table.int6_instructions = instructions;
  table.int5_instructions = table.int4_instructions = instructions;
  return table;
}
#if HWY_TARGET == HWY_AVX2
constexpr LimitsTable kVnniLimits = WithDotProducts(ExtendedDotProducts, "vpdpbusd of 256 bits");
#elif HWY_TARGET == HWY_AVX3_DL
// 16 rows by 16 outputs by 64 inputs in one instruction, with sums in four of the eight tile registers.
int64_t TileProducts(int64_t rounds) {
  struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static_assert(sizeof(TileConfig) == 64);
  const TileConfig config;
  asm volatile(
      "ldtilecfg %0\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
      "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::"m"(config));
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile(
        "tdpbssd %tmm6, %tmm4, %tmm0\n\t"
        "tdpbssd %tmm7, %tmm4, %tmm1\n\t"
        "tdpbssd %tmm6, %tmm5, %tmm2\n\t"
        "tdpbssd %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
  return rounds * 4 * (16 * 16 * 64) * 2;
}
constexpr LimitsTable kTileLimits = WithDotProducts(TileProducts, "tdpbssd");
#elif HWY_ARCH_ARM_A64
// Of smmla: two rows by two, over 8.
int64_t MatrixProducts(int64_t rounds) {
  const hn::Full128<int8_t> di8;
  const hn::Repartition<int32_t, decltype(di8)> di32;
  const auto w = hn::Set(di8, int8_t{1}), x = w;
  hn::Vec<decltype(di32)> sum[kChains];
  for (auto& s : sum) s = hn::Zero(di32);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) {
      asm volatile(".arch_extension i8mm\n\tsmmla %0.4s, %1.16b, %2.16b" : "+w"(sum[c].raw) : "w"(w.raw), "w"(x.raw));
    }
  }
  return rounds * kChains * (2 * 2 * 8) * 2;
}
constexpr LimitsTable kDotprodLimits = WithDotProducts(ExtendedDotProducts, "sdot");
constexpr LimitsTable kI8mmLimits = WithDotProducts(MatrixProducts, "smmla");
#endif

}  // namespace linnet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LINNET_SIMD_TARGET

#if HWY_ONCE
namespace linnet::kernels {
namespace {

uint64_t SumScalar(const uint64_t* words, int64_t n) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += words[i];
  return sum;
}
// Sums of products in f32; no compiler may reorder or shorten them.
int64_t MultiplyAddsScalar(int64_t rounds) {
  float a = 0, b = 0, c = 0, d = 0;
  for (int64_t r = 0; r < rounds; ++r) {
    const float x = static_cast<float>(r);
    a += x * 1.5f;
    b += x * 2.5f;
    c += x * 3.5f;
    d += x * 4.5f;
  }
  volatile float sink = a + b + c + d;
  (void)sink;
  return rounds * 4 * 2;
}
int64_t DotProductsScalar(int64_t rounds) {
  int32_t sum[4] = {};
  int32_t x = 1;
  asm volatile("" : "+r"(x));
  for (int64_t r = 0; r < rounds; ++r) {
    for (int32_t& s : sum) {
      s += x * x;
      asm volatile("" : "+r"(s), "+r"(x));
    }
  }
  return rounds * 4 * 2;
}
constexpr std::string_view kPlain = "plain C++";
constexpr LimitsTable kScalarLimits = {SumScalar,
                                       MultiplyAddsScalar,
                                       DotProductsScalar,
                                       DotProductsScalar,
                                       DotProductsScalar,
                                       DotProductsScalar,
                                       kPlain,
                                       kPlain,
                                       kPlain,
                                       kPlain,
                                       kPlain};

}  // namespace

const LimitsTable& LimitsTableFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2Vnni) return N_AVX2::kVnniLimits;
#if !LINNET_SIMD_AVX2_ONLY
  if (isa == Isa::kAvx512Amx) return N_AVX3_DL::kTileLimits;
#endif
#elif defined(__aarch64__)
  if (isa == Isa::kNeonDotprod) return HWY_NAMESPACE::kDotprodLimits;
  if (isa == Isa::kNeonI8mm) return HWY_NAMESPACE::kI8mmLimits;
#endif
  LINNET_SELECT_BY_ISA(isa, kLimits, kScalarLimits);
}

}  // namespace linnet::kernels
#endif  // HWY_ONCE
