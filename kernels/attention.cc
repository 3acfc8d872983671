#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/log/check.h"
#include "kernels/attention_part.h"
#include "kernels/isa.h"

namespace linnet::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kTasksPerThread = 4, kMostPartsPerTask = 16;
// Query rows (tokens x heads of a group) that go through the context together.
constexpr int kRowsPerTask = 96;

// What the active ISA brings.
struct Kernels {
  const AttentionTable* table;  // nullptr: plain loops
  QuantizeRowFn quantize;
  QuantMatmulFn multiply_keys;

  static Kernels Active() {
    const auto active = ActiveIsa();
    CHECK_OK(active.status());
    // Products as small as these are not for the tile unit; the bits are the same.
    const Isa isa = *active == Isa::kAvx512Amx ? Isa::kAvx512Vnni : *active;
    return {AttentionTableFor(isa), QuantizeRowFor(isa), QuantMatmulTableFor(isa).q8_0};
  }
};

int64_t FirstVisible(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
}

// The softmax of one row over the parts seen so far: maximum, sum, weighted values.
struct RowState {
  float max = kMinusInfinity;
  float sum = 0;
};

// Adds a part. Parts come in the order of their tokens, everywhere.
void Merge(const AttentionTable& table, RowState& state, float* out, float part_max, float part_sum,
           const float* part_out, int value_dim) {
  if (part_max == kMinusInfinity) return;
  const float max = std::max(state.max, part_max);
  const float keep = std::exp2(state.max - max), add = std::exp2(part_max - max);
  state.max = max;
  state.sum = state.sum * keep + part_sum * add;
  table.scale_add(out, keep, part_out, add, value_dim);
}

// A block of query tokens of one span and one key/value head, over the parts [first_part, end_part).
struct Task {
  int span = 0;
  int kv_head = 0;
  int first_token = 0, tokens = 0;
  int64_t first_part = 0, end_part = 0;
  // Where its parts go in the shared scratch, in rows, part by part; -1: it sees all parts and writes the output.
  int64_t partial = -1;
};

// What one thread needs for a task; kept from call to call.
struct Scratch {
  std::vector<float> q, scores, wide, out, state_out, max, sum, slopes;
  std::vector<ActivationGroup> q8;
  std::vector<RowState> states;
  std::vector<int64_t> first_visible, end_visible;

  void Fit(int rows, int head_dim) {
    const auto r = static_cast<size_t>(rows), values = r * static_cast<size_t>(head_dim);
    if (max.size() < r) {
      max.resize(r);
      sum.resize(r);
      slopes.resize(r);
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
    if (const auto part = static_cast<size_t>(kPartTokens) * static_cast<size_t>(head_dim); wide.size() < part)
      wide.resize(part);
  }
};

// Results of parts that are merged after the region: a row of `partials` is [max, sum, out...].
struct Partials {
  std::vector<float> rows;
  int64_t row_floats = 0;
};

// The task's rows of queries, in q, as integers.
ActivationBlocks QuantizeQueries(const Kernels& kernels, const KvBlocks& kv, int rows, Scratch& s) {
  const int64_t groups = kv.groups(), block_rows = std::min<int64_t>(rows, kActivationBlock);
  const auto needed = static_cast<size_t>((rows + block_rows - 1) / block_rows * block_rows * groups);
  if (s.q8.size() < needed) s.q8.resize(needed);
  const ActivationBlocks blocks = {.block_rows = block_rows, .groups = groups, .data = s.q8.data()};
  thread_local std::vector<float> padded;
  padded.assign(static_cast<size_t>(groups * kGroup), 0.0f);
  for (int r = 0; r < rows; ++r) {
    std::copy_n(s.q.data() + int64_t{r} * kv.head_dim, kv.head_dim, padded.data());
    kernels.quantize(padded.data(), groups, block_rows, blocks.Row(r));
  }
  return blocks;
}

void RunTask(const Task& task, const AttentionSpan& span, const AttentionParams& params, const Kernels& kernels,
             float* partials, int64_t row_floats) {
  const AttentionTable& table = *kernels.table;
  const KvBlocks& kv = span.kv;
  const int head_dim = kv.head_dim, value_dim = kv.value_dim;
  const int group = params.q_heads / kv.kv_heads, rows = task.tokens * group;
  const float q_scale = params.softcap > 0 ? params.scale : params.scale * kLog2E;
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
      if (params.slopes != nullptr) s.slopes[r] = params.slopes[task.kv_head * group + h] * kLog2E;
      const float* const q = span.q + (task.first_token + t) * span.q_stride + (task.kv_head * group + h) * head_dim;
      table.scale(q, q_scale, head_dim, s.q.data() + r * static_cast<size_t>(head_dim));
    }
    first_seen = std::min(first_seen, FirstVisible(position, params.window));
    end_seen = position + 1;
  }
  if (task.partial < 0) std::fill_n(s.state_out.begin(), rows * value_dim, 0.0f);
  ActivationBlocks q8;
  QuantLayout key_layout;
  if (kv.type == DType::kQ8_0) {
    q8 = QuantizeQueries(kernels, kv, rows, s);
    key_layout = QuantLayout::For(DType::kQ8_0, kv.block_tokens, kv.groups() * kGroup);
  }
  for (int64_t part = task.first_part; part < task.end_part; ++part) {
    table.part({.kv = &kv,
                .kv_head = task.kv_head,
                .begin = std::max(first_seen, part * kPartTokens),
                .end = std::min(end_seen, (part + 1) * kPartTokens),
                .next_end = part + 1 < task.end_part ? std::min(end_seen, (part + 2) * kPartTokens) : 0,
                .rows = rows,
                .q = s.q.data(),
                .q8 = q8,
                .key_layout = &key_layout,
                .multiply_keys = kernels.multiply_keys,
                .first_visible = s.first_visible.data(),
                .end_visible = s.end_visible.data(),
                .softcap = params.softcap,
                .slopes = params.slopes != nullptr ? s.slopes.data() : nullptr,
                .scores = s.scores.data(),
                .wide = s.wide.data(),
                .max = s.max.data(),
                .sum = s.sum.data(),
                .out = s.out.data()});
    for (int r = 0; r < rows; ++r) {
      const auto i = static_cast<size_t>(r);
      const float* const out = s.out.data() + r * value_dim;
      if (task.partial < 0) {
        Merge(table, s.states[i], s.state_out.data() + r * value_dim, s.max[i], s.sum[i], out, value_dim);
        continue;
      }
      float* const to = partials + (task.partial + (part - task.first_part) * rows + r) * row_floats;
      to[0] = s.max[i];
      to[1] = s.sum[i];
      std::copy_n(out, value_dim, to + 2);
    }
  }
  if (task.partial >= 0) return;
  for (int r = 0; r < rows; ++r) {
    float* const out =
        span.out + (task.first_token + r / group) * span.out_stride + (task.kv_head * group + r % group) * value_dim;
    table.scale(s.state_out.data() + r * value_dim, 1.0f / s.states[static_cast<size_t>(r)].sum, value_dim, out);
  }
}

// Merges what the parts of one (span, key/value head) left, beginning at tasks[first]. Returns the task after them.
size_t MergeParts(const AttentionTable& table, const std::vector<Task>& tasks, size_t first, const AttentionSpan& span,
                  int group, const Partials& partials) {
  const Task& task = tasks[first];
  const int value_dim = span.kv.value_dim, rows = task.tokens * group;
  size_t end = first;
  while (end < tasks.size() && tasks[end].span == task.span && tasks[end].kv_head == task.kv_head) ++end;
  for (int r = 0; r < rows; ++r) {
    float* const out = span.out + r / group * span.out_stride + (task.kv_head * group + r % group) * value_dim;
    std::fill_n(out, value_dim, 0.0f);
    RowState state;
    for (size_t i = first; i < end; ++i) {
      for (int64_t part = 0; part < tasks[i].end_part - tasks[i].first_part; ++part) {
        const float* const row = partials.rows.data() + (tasks[i].partial + part * rows + r) * partials.row_floats;
        Merge(table, state, out, row[0], row[1], row + 2, value_dim);
      }
    }
    table.scale(out, 1.0f / state.sum, value_dim, out);
  }
  return end;
}

// One query row, plain loops.
void ReferenceRow(const AttentionSpan& span, const AttentionParams& params, int token, int head,
                  std::vector<float>& weights) {
  const KvBlocks& kv = span.kv;
  const int kv_head = head / (params.q_heads / kv.kv_heads);
  const int64_t position = span.first_position + token, first = FirstVisible(position, params.window);
  const float* const q = span.q + token * span.q_stride + int64_t{head} * kv.head_dim;
  float* const out = span.out + token * span.out_stride + int64_t{head} * kv.value_dim;
  weights.resize(static_cast<size_t>(position + 1 - first));
  float max = kMinusInfinity;
  for (int64_t t = first; t <= position; ++t) {
    float score = 0;
    for (int d = 0; d < kv.head_dim; ++d) score += q[d] * LoadKey(kv, kv_head, t, d);
    score *= params.scale;
    if (params.slopes != nullptr) score += params.slopes[head] * static_cast<float>(t - position);
    if (params.softcap > 0) score = params.softcap * std::tanh(score / params.softcap);
    weights[static_cast<size_t>(t - first)] = score;
    max = std::max(max, score);
  }
  float sum = 0;
  for (float& w : weights) sum += w = std::exp(w - max);
  for (int d = 0; d < kv.value_dim; ++d) {
    float value = 0;
    for (int64_t t = first; t <= position; ++t) {
      value += weights[static_cast<size_t>(t - first)] * LoadValue(kv, kv_head, t, d);
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

void Attention(std::span<const AttentionSpan> spans, const AttentionParams& params, ThreadPool& pool) {
  const Kernels kernels = Kernels::Active();
  if (params.reference || kernels.table == nullptr) return ReferenceAttention(spans, params, pool);
  // The calling thread's, and lent to the region.
  thread_local std::vector<Task> tasks_storage;
  thread_local Partials partials_storage;
  std::vector<Task>& tasks = tasks_storage;
  Partials& partials = partials_storage;
  tasks.clear();
  // Parts of one task where few rows see a long context: some for each thread.
  int64_t all_parts = 0;
  for (const AttentionSpan& span : spans) {
    all_parts += span.kv.kv_heads * ((span.first_position + span.tokens - 1) / kPartTokens + 1);
  }
  const int64_t run = std::clamp<int64_t>(all_parts / (pool.threads() * kTasksPerThread), 1, kMostPartsPerTask);
  int64_t partial_rows = 0;
  int widest = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const AttentionSpan& span = spans[i];
    CHECK_EQ(span.kv.block_tokens % kKeyTile, 0);
    CHECK_LE(span.kv.value_dim, span.kv.head_dim);
    CHECK_EQ(params.q_heads % span.kv.kv_heads, 0);
    widest = std::max(widest, span.kv.value_dim);
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
        for (int64_t part = task.first_part; part < end_part; part += run) {
          task.first_part = part;
          task.end_part = std::min(end_part, part + run);
          task.partial = partial_rows;
          partial_rows += (task.end_part - part) * task.tokens * group;
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
      RunTask(task, spans[static_cast<size_t>(task.span)], params, kernels, partials.rows.data(), partials.row_floats);
    }
  });
  for (size_t i = 0; i < tasks.size();) {
    const AttentionSpan& span = spans[static_cast<size_t>(tasks[i].span)];
    i = tasks[i].partial < 0 ? i + 1
                             : MergeParts(*kernels.table, tasks, i, span, params.q_heads / span.kv.kv_heads, partials);
  }
}

}  // namespace linnet::kernels
