#include "kernels/onednn_matmul.h"

#include <list>
#include <tuple>
#include <vector>

#include "absl/log/log.h"
#include "dnnl.hpp"

// Of the OpenMP runtime that oneDNN has (OpenMP API 5.0, section 3.2.1): all that we need of it, and clang's omp.h
// would bring another runtime.
extern "C" void omp_set_num_threads(int num_threads);

namespace linnet::kernels {
namespace {

// Primitives that a thread keeps. A layer's shapes times the step sizes in use; making one takes tens of microseconds.
constexpr size_t kCachedPrimitives = 128;

using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, bool>;

// oneDNN's engine is the process's and is never destroyed: threads may outlive static destruction.
dnnl::engine& Engine() {
  static dnnl::engine* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::matmul::primitive_desc Describe(const Key& key) {
  using dnnl::memory;
  const auto& [m, n, k, y_stride, accumulate] = key;
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  const memory::desc x({m, k}, memory::data_type::f32, memory::dims{k, 1});
  const memory::desc w({k, n}, memory::data_type::f32, memory::dims{1, k});
  const memory::desc y({m, n}, memory::data_type::f32, memory::dims{y_stride, 1});
  return dnnl::matmul::primitive_desc(Engine(), x, w, y, attr);
}

struct Cached {
  Key key;
  dnnl::matmul::primitive_desc desc;
  dnnl::matmul primitive;
};

struct ThreadState {
  // OpenMP's count is a property of the thread: our pool is what spreads work.
  ThreadState() : stream(Engine()) { omp_set_num_threads(1); }
  dnnl::stream stream;
  std::list<Cached> cache;  // most recently used first
  std::vector<uint8_t> scratch;

  const Cached& Get(const Key& key) {
    for (auto it = cache.begin(); it != cache.end(); ++it) {
      if (it->key != key) continue;
      cache.splice(cache.begin(), cache, it);
      return cache.front();
    }
    auto desc = Describe(key);
    dnnl::matmul primitive(desc);
    cache.push_front({key, std::move(desc), std::move(primitive)});
    if (cache.size() > kCachedPrimitives) cache.pop_back();
    return cache.front();
  }
};

ThreadState& Local() {
  thread_local ThreadState state;
  return state;
}

}  // namespace

void LimitOnednn(Isa isa) {
  static const bool once = [isa] {
    dnnl::cpu_isa limit = dnnl::cpu_isa::isa_default;
    if (isa == Isa::kAvx2) limit = dnnl::cpu_isa::avx2;
    if (isa == Isa::kAvx512) limit = dnnl::cpu_isa::avx512_core;
    // Refused where something in the process used oneDNN before us: then its choice stands.
    if (limit != dnnl::cpu_isa::isa_default) (void)dnnl_set_max_cpu_isa(static_cast<dnnl_cpu_isa_t>(limit));
    return true;
  }();
  (void)once;
}

void OnednnMultiply(const OnednnSlice& slice) {
  using dnnl::memory;
  ThreadState& state = Local();
  try {
    const Cached& cached = state.Get({slice.m, slice.n, slice.k, slice.y_stride, slice.accumulate});
    const size_t scratch_bytes = cached.desc.scratchpad_desc().get_size();
    if (state.scratch.size() < scratch_bytes) state.scratch.resize(scratch_bytes);
    memory x(cached.desc.src_desc(), Engine(), const_cast<float*>(slice.x));
    memory w(cached.desc.weights_desc(), Engine(), const_cast<float*>(slice.weights));
    memory y(cached.desc.dst_desc(), Engine(), slice.y);
    memory scratch(cached.desc.scratchpad_desc(), Engine(), state.scratch.data());
    cached.primitive.execute(
        state.stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, y}, {DNNL_ARG_SCRATCHPAD, scratch}});
    state.stream.wait();
  } catch (const dnnl::error& error) {
    LOG(FATAL) << "oneDNN refused f32 " << slice.m << "x" << slice.k << "x" << slice.n << ": " << error.what();
  }
}

}  // namespace linnet::kernels
