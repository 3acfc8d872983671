#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/log/check.h"
#include "kernels/attention_part.h"
#include "kernels/float16.h"
#include "kernels/isa.h"

namespace linnet::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Query rows (tokens x heads of a group) that go through the context together.
constexpr int kRowsPerTask = 48;

const AttentionTable* Table() {
  const auto isa = ActiveIsa();
  CHECK_OK(isa.status());
  return AttentionTableFor(*isa);
}

int64_t KeyIndex(const KvBlocks& kv, int head, int64_t in_block, int d) {
  return head * int64_t{kv.block_tokens} * kv.head_dim + (in_block / kKeyTile * kv.head_dim + d) * kKeyTile +
         in_block % kKeyTile;
}
int64_t ValueIndex(const KvBlocks& kv, int head, int64_t in_block, int d) {
  return ((int64_t{kv.kv_heads} + head) * kv.block_tokens + in_block) * kv.head_dim + d;
}

int64_t FirstVisible(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
}

// The softmax of one row over the parts seen so far: maximum, sum, weighted values.
struct RowState {
  float max = kMinusInfinity;
  float sum = 0;
};

// Adds a part. Parts come in the order of their tokens, everywhere.
void Merge(RowState& state, float* out, float part_max, float part_sum, const float* part_out, int head_dim) {
  if (part_max == kMinusInfinity) return;
  const float max = std::max(state.max, part_max);
  const float keep = std::exp(state.max - max), add = std::exp(part_max - max);
  state.max = max;
  state.sum = state.sum * keep + part_sum * add;
  for (int d = 0; d < head_dim; ++d) out[d] = out[d] * keep + part_out[d] * add;
}

// A block of query tokens of one span and one key/value head, over the parts [first_part, end_part).
struct Task {
  int span = 0;
  int kv_head = 0;
  int first_token = 0, tokens = 0;
  int64_t first_part = 0, end_part = 0;
  int64_t partial =
      -1;  // where its part goes in the shared scratch, in rows; -1: it sees all parts and writes the output
};

// What one thread needs for a task; kept from call to call.
struct Scratch {
  std::vector<float> q, scores, out, state_out, max, sum;
  std::vector<RowState> states;
  std::vector<int64_t> first_visible, end_visible;

  void Fit(int rows, int head_dim) {
    const auto r = static_cast<size_t>(rows), values = r * static_cast<size_t>(head_dim);
    if (max.size() < r) {
      max.resize(r);
      sum.resize(r);
      states.resize(r);
      first_visible.resize(r);
      end_visible.resize(r);
      scores.resize(r * kPartTokens);
    }
    if (q.size() < values) {
      q.resize(values);
      out.resize(values);
      state_out.resize(values);
    }
  }
};

// Results of parts that are merged after the region: a row of `partials` is [max, sum, out...].
struct Partials {
  std::vector<float> rows;
  int64_t row_floats = 0;
};

void RunTask(const Task& task, const AttentionSpan& span, const AttentionParams& params, const AttentionTable& table,
             float* partials, int64_t row_floats) {
  const KvBlocks& kv = span.kv;
  const int head_dim = kv.head_dim, group = params.q_heads / kv.kv_heads, rows = task.tokens * group;
  thread_local Scratch s;
  s.Fit(rows, head_dim);
  int64_t first_seen = std::numeric_limits<int64_t>::max(), end_seen = 0;
  for (int t = 0; t < task.tokens; ++t) {
    const int64_t position = span.first_position + task.first_token + t;
    for (int h = 0; h < group; ++h) {
      const auto r = static_cast<size_t>(int64_t{t} * group + h);
      s.first_visible[r] = FirstVisible(position, params.window);
      s.end_visible[r] = position + 1;
      s.states[r] = {};
      const float* const q = span.q + (task.first_token + t) * span.q_stride + (task.kv_head * group + h) * head_dim;
      for (int d = 0; d < head_dim; ++d)
        s.q[r * static_cast<size_t>(head_dim) + static_cast<size_t>(d)] = q[d] * params.scale;
    }
    first_seen = std::min(first_seen, FirstVisible(position, params.window));
    end_seen = position + 1;
  }
  if (task.partial < 0) std::fill_n(s.state_out.begin(), rows * head_dim, 0.0f);
  for (int64_t part = task.first_part; part < task.end_part; ++part) {
    table.part({.kv = &kv,
                .kv_head = task.kv_head,
                .begin = std::max(first_seen, part * kPartTokens),
                .end = std::min(end_seen, (part + 1) * kPartTokens),
                .rows = rows,
                .q = s.q.data(),
                .first_visible = s.first_visible.data(),
                .end_visible = s.end_visible.data(),
                .softcap = params.softcap,
                .scores = s.scores.data(),
                .max = s.max.data(),
                .sum = s.sum.data(),
                .out = s.out.data()});
    for (int r = 0; r < rows; ++r) {
      const auto i = static_cast<size_t>(r);
      const float* const out = s.out.data() + r * head_dim;
      if (task.partial < 0) {
        Merge(s.states[i], s.state_out.data() + r * head_dim, s.max[i], s.sum[i], out, head_dim);
        continue;
      }
      float* const to = partials + (task.partial + r) * row_floats;
      to[0] = s.max[i];
      to[1] = s.sum[i];
      std::copy_n(out, head_dim, to + 2);
    }
  }
  if (task.partial >= 0) return;
  for (int r = 0; r < rows; ++r) {
    float* const out =
        span.out + (task.first_token + r / group) * span.out_stride + (task.kv_head * group + r % group) * head_dim;
    const float sum = s.states[static_cast<size_t>(r)].sum;
    for (int d = 0; d < head_dim; ++d) out[d] = s.state_out[static_cast<size_t>(int64_t{r} * head_dim + d)] / sum;
  }
}

// Merges what the parts of one (span, key/value head) left, beginning at tasks[first]. Returns the task after them.
size_t MergeParts(const std::vector<Task>& tasks, size_t first, const AttentionSpan& span, int group,
                  const Partials& partials) {
  const Task& task = tasks[first];
  const int head_dim = span.kv.head_dim;
  size_t end = first;
  while (end < tasks.size() && tasks[end].span == task.span && tasks[end].kv_head == task.kv_head) ++end;
  for (int r = 0; r < task.tokens * group; ++r) {
    float* const out = span.out + r / group * span.out_stride + (task.kv_head * group + r % group) * head_dim;
    std::fill_n(out, head_dim, 0.0f);
    RowState state;
    for (size_t i = first; i < end; ++i) {
      const float* const row = partials.rows.data() + (tasks[i].partial + r) * partials.row_floats;
      Merge(state, out, row[0], row[1], row + 2, head_dim);
    }
    for (int d = 0; d < head_dim; ++d) out[d] /= state.sum;
  }
  return end;
}

float Load(const KvBlocks& kv, int64_t token, int64_t index) {
  const std::byte* const block = kv.blocks[static_cast<size_t>(token / kv.block_tokens)];
  return kv.type == DType::kF32 ? reinterpret_cast<const float*>(block)[index] : LoadF16(block + 2 * index);
}

// One query row, plain loops.
void ReferenceRow(const AttentionSpan& span, const AttentionParams& params, int token, int head,
                  std::vector<float>& weights) {
  const KvBlocks& kv = span.kv;
  const int kv_head = head / (params.q_heads / kv.kv_heads);
  const int64_t position = span.first_position + token, first = FirstVisible(position, params.window);
  const float* const q = span.q + token * span.q_stride + int64_t{head} * kv.head_dim;
  float* const out = span.out + token * span.out_stride + int64_t{head} * kv.head_dim;
  weights.resize(static_cast<size_t>(position + 1 - first));
  float max = kMinusInfinity;
  for (int64_t t = first; t <= position; ++t) {
    float score = 0;
    for (int d = 0; d < kv.head_dim; ++d) score += q[d] * Load(kv, t, KeyIndex(kv, kv_head, t % kv.block_tokens, d));
    score *= params.scale;
    if (params.softcap > 0) score = params.softcap * std::tanh(score / params.softcap);
    weights[static_cast<size_t>(t - first)] = score;
    max = std::max(max, score);
  }
  float sum = 0;
  for (float& w : weights) sum += w = std::exp(w - max);
  for (int d = 0; d < kv.head_dim; ++d) {
    float value = 0;
    for (int64_t t = first; t <= position; ++t) {
      value += weights[static_cast<size_t>(t - first)] * Load(kv, t, ValueIndex(kv, kv_head, t % kv.block_tokens, d));
    }
    out[d] = value / sum;
  }
}

void ReferenceAttention(std::span<const AttentionSpan> spans, const AttentionParams& params, ThreadPool& pool) {
  for (const AttentionSpan& span : spans) {
    pool.ParallelFor(int64_t{span.tokens} * params.q_heads, 1, [&](int64_t begin, int64_t end, int) {
      thread_local std::vector<float> weights;
      for (int64_t i = begin; i < end; ++i) {
        ReferenceRow(span, params, static_cast<int>(i / params.q_heads), static_cast<int>(i % params.q_heads), weights);
      }
    });
  }
}

}  // namespace

void StoreKv(const KvBlocks& kv, int64_t first_position, int tokens, const float* k, int64_t k_stride, const float* v,
             int64_t v_stride) {
  const AttentionTable* const table = Table();
  const int n = kv.kv_heads * kv.head_dim;
  thread_local std::vector<uint16_t> half;
  half.resize(static_cast<size_t>(n));
  const auto to_f16 = [&](const float* from) {
    if (table != nullptr) return table->to_f16(from, n, half.data());
    for (int i = 0; i < n; ++i) half[static_cast<size_t>(i)] = F16FromF32(std::clamp(from[i], -65504.0f, 65504.0f));
  };
  const auto store = [&](auto* block, const auto* from, int64_t in_block, auto index) {
    for (int head = 0; head < kv.kv_heads; ++head) {
      for (int d = 0; d < kv.head_dim; ++d) block[index(kv, head, in_block, d)] = *from++;
    }
  };
  for (int t = 0; t < tokens; ++t) {
    const int64_t position = first_position + t, in_block = position % kv.block_tokens;
    std::byte* const block = kv.blocks[static_cast<size_t>(position / kv.block_tokens)];
    if (kv.type == DType::kF32) {
      store(reinterpret_cast<float*>(block), k + t * k_stride, in_block, KeyIndex);
      store(reinterpret_cast<float*>(block), v + t * v_stride, in_block, ValueIndex);
    } else {
      to_f16(k + t * k_stride);
      store(reinterpret_cast<uint16_t*>(block), half.data(), in_block, KeyIndex);
      to_f16(v + t * v_stride);
      store(reinterpret_cast<uint16_t*>(block), half.data(), in_block, ValueIndex);
    }
  }
}

void Attention(std::span<const AttentionSpan> spans, const AttentionParams& params, ThreadPool& pool) {
  const AttentionTable* const table = params.reference ? nullptr : Table();
  if (table == nullptr) return ReferenceAttention(spans, params, pool);
  // The calling thread's, and lent to the region.
  thread_local std::vector<Task> tasks_storage;
  thread_local Partials partials_storage;
  std::vector<Task>& tasks = tasks_storage;
  Partials& partials = partials_storage;
  tasks.clear();
  int64_t partial_rows = 0;
  int widest = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const AttentionSpan& span = spans[i];
    CHECK_EQ(span.kv.block_tokens % kKeyTile, 0);
    CHECK_EQ(params.q_heads % span.kv.kv_heads, 0);
    widest = std::max(widest, span.kv.head_dim);
    const int group = params.q_heads / span.kv.kv_heads;
    const int block = std::max(1, kRowsPerTask / group);
    for (int head = 0; head < span.kv.kv_heads; ++head) {
      // The last tokens see most: they go first, so that threads end together.
      for (int64_t b = (span.tokens + block - 1) / block - 1; b >= 0; --b) {
        Task task{.span = static_cast<int>(i), .kv_head = head, .first_token = static_cast<int>(b * block)};
        task.tokens = std::min(block, span.tokens - task.first_token);
        const int64_t first = span.first_position + task.first_token;
        task.first_part = FirstVisible(first, params.window) / kPartTokens;
        task.end_part = (first + task.tokens - 1) / kPartTokens + 1;
        if (span.tokens > block || task.end_part - task.first_part == 1) {
          tasks.push_back(task);
          continue;
        }
        const int64_t end_part = task.end_part;
        for (int64_t part = task.first_part; part < end_part; ++part) {
          task.first_part = part;
          task.end_part = part + 1;
          task.partial = partial_rows;
          partial_rows += int64_t{task.tokens} * group;
          tasks.push_back(task);
        }
      }
    }
  }
  partials.row_floats = widest + 2;
  const auto floats = static_cast<size_t>(partial_rows * partials.row_floats);
  if (partials.rows.size() < floats) partials.rows.resize(floats);
  pool.ParallelFor(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<size_t>(i)];
      RunTask(task, spans[static_cast<size_t>(task.span)], params, *table, partials.rows.data(), partials.row_floats);
    }
  });
  for (size_t i = 0; i < tasks.size();) {
    const AttentionSpan& span = spans[static_cast<size_t>(tasks[i].span)];
    i = tasks[i].partial < 0 ? i + 1 : MergeParts(tasks, i, span, params.q_heads / span.kv.kv_heads, partials);
  }
}

}  // namespace linnet::kernels
