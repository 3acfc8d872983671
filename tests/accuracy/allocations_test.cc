// A decode step allocates nothing on the thread that calls it: its memory is kept from step to step. (The plain loops
// of LINNET_ISA=scalar, which nobody serves with, may.)
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_replace.h"
#include "base/testing.h"
#include "kernels/dtype.h"
#include "kernels/isa.h"
#include "kernels/thread_pool.h"
#include "tests/accuracy/golden.h"
#include "tests/accuracy/random_llama.h"
#include "worker/model/kv_cache.h"
#include "worker/model/model.h"

namespace {

thread_local int64_t t_allocations = 0;

#if LINNET_SANITIZED
constexpr bool kCounts = false;
}  // namespace
#else
constexpr bool kCounts = true;

void* Allocate(std::size_t size, std::size_t alignment) {
  ++t_allocations;
  void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

// The standard library's others call these. Not inline: GCC would see new without delete, or delete without new.
[[gnu::noinline]] void* operator new(std::size_t size) { return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif

namespace linnet::accuracy {
namespace {

using worker::BatchSpan;
using worker::Model;
using worker::TokenId;

constexpr int64_t kPrompt = 20, kSteps = 4;

// Allocations of each decode step behind the first one. `best`: as of BatchSpan.
std::vector<int64_t> AllocationsOfSteps(const std::string& path, kernels::DType kv_type, int32_t best) {
  kernels::ThreadPool pool(1);
  const auto model = Model::Load(path, {.max_step_tokens = 64, .kv_type = kv_type}, &pool);
  CHECK_OK(model.status());
  const auto cache = *worker::KvCache::Create((*model)->description(), kv_type, 4);
  worker::KvSequence sequence;
  CHECK(cache->Reserve(sequence, kPrompt + kSteps + 1));
  const std::vector<TokenId> prompt(kPrompt, 5);
  BatchSpan span = {.tokens = prompt, .kv = &sequence, .best = best};
  (*model)->Forward({&span, 1}, *cache);
  span.first_position = kPrompt;
  span.tokens = span.tokens.first(1);
  std::vector<int64_t> allocations;
  for (int64_t step = 0; step <= kSteps; ++step, ++span.first_position) {
    const int64_t before = t_allocations;
    (*model)->Forward({&span, 1}, *cache);
    if (step > 0) allocations.push_back(t_allocations - before);
  }
  return allocations;
}

const std::vector<int64_t> kNone(kSteps, 0);

TEST(Allocations, AreCounted) {
  if (!kCounts) GTEST_SKIP() << "not with this sanitizer";
  const int64_t before = t_allocations;
  operator delete(operator new(100));  // not of an expression, which compilers may leave out
  EXPECT_EQ(t_allocations, before + 1);
}

class DecodeAllocations : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!kCounts) GTEST_SKIP() << "not with this sanitizer";
    if (*kernels::ActiveIsa() == kernels::Isa::kScalar) GTEST_SKIP() << "plain loops";
  }
};

class AllocationsOfFormat : public DecodeAllocations {};
INSTANTIATE_TEST_SUITE_P(Formats, AllocationsOfFormat,
                         ::testing::Values("f16", "q8_0", "q4_0", "q4_k_m", "int8", "int4-g64"),
                         [](const auto& info) { return absl::StrReplaceAll(info.param, {{"-", "_"}}); });

TEST_P(AllocationsOfFormat, DecodingHasNone) {
  base::FileTree files;
  const std::string path = WriteRandomLlama(GetParam(), files);
  for (const kernels::DType kv_type : {kernels::DType::kF16, kernels::DType::kQ8_0}) {
    for (const int32_t best : {0, 1, 40}) {
      EXPECT_EQ(AllocationsOfSteps(path, kv_type, best), kNone)
          << "KV cache in " << kernels::Info(kv_type).name << ", best " << best;
    }
  }
}

class AllocationsOfFamily : public DecodeAllocations {};
// Whole contexts, windows and recurrent layers. (Positions that depend on the sequence's length have a table for each
// sequence and step.)
INSTANTIATE_TEST_SUITE_P(Families, AllocationsOfFamily, ::testing::Values("llama", "gemma2", "recurrentgemma"),
                         [](const auto& info) { return info.param; });

TEST_P(AllocationsOfFamily, DecodingHasNone) {
  EXPECT_EQ(AllocationsOfSteps(GoldenPath("tiny/" + GetParam() + ".gguf"), kernels::DType::kF16, 1), kNone);
}

}  // namespace
}  // namespace linnet::accuracy
