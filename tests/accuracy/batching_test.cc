// On the real SmolLM2, as published, with f16 and bf16 weights, and in Linnet's own formats, and on a random model
// whose rows hold blocks of 256 as well: what else is in the batch, how a prompt is chunked, and how many threads run
// changes no bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/testing.h"
#include "kernels/isa.h"
#include "kernels/kernel_test_util.h"
#include "kernels/thread_pool.h"
#include "tests/accuracy/golden.h"
#include "tests/accuracy/random_llama.h"
#include "tools/linnet/quantize_file.h"
#include "worker/engine/engine.h"
#include "worker/gguf/gguf_file.h"
#include "worker/model/model.h"

namespace linnet::accuracy {
namespace {

using worker::EngineFinish;
using worker::Model;
using worker::TokenId;

class Sink : public worker::EngineSink {
 public:
  void OnTokens(std::vector<TokenId> tokens, std::string text) override {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }
  void OnFinish(const EngineFinish& finish) override {
    base::MutexLock lock(&mutex_);
    CHECK_OK(finish.status);
    finished_ = true;
    done_.NotifyAll();
  }
  std::vector<TokenId> Await() {
    base::MutexLock lock(&mutex_);
    while (!finished_) done_.Wait(&mutex_);
    return tokens_;
  }

 private:
  std::vector<TokenId> tokens_;  // of the engine's thread until the end
  base::Mutex mutex_;
  base::CondVar done_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class Batching : public ::testing::Test {
 protected:
  static std::unique_ptr<Model> Load(kernels::ThreadPool& pool, int64_t max_step_tokens = 512,
                                     const std::string& path = SmolLm2Path(),
                                     kernels::DType kv_type = kernels::DType::kF16) {
    auto model = Model::Load(path, {.max_step_tokens = max_step_tokens, .kv_type = kv_type}, &pool);
    CHECK_OK(model.status()) << "the tests need the SmolLM2 file; LINNET_TEST_MODEL says where it is";
    return *std::move(model);
  }
  static std::vector<TokenId> Text(const Model& model) {
    const auto text = base::ReadFile(GoldenPath("text_ordinary.txt"));
    CHECK_OK(text.status());
    return model.tokenizer().Encode(*text, {});
  }
  // Pieces of the golden text, of unequal lengths.
  static std::vector<worker::EngineRequest> Requests(const Model& model) {
    const std::vector<TokenId> text = Text(model);
    std::vector<worker::EngineRequest> requests;
    size_t begin = 0;
    for (const size_t length : {1u, 150u, 37u, 64u, 5u, 96u}) {
      worker::EngineRequest request = {
          .prompt = {text.begin() + static_cast<int64_t>(begin), text.begin() + static_cast<int64_t>(begin + length)},
          .sampling = {.temperature = 0},
          .max_tokens = 12,
          .ignore_eos = true};
      // One of them draws: the same numbers wherever it runs.
      if (length == 37) request.sampling = {.temperature = 1.0f, .top_k = 40, .top_p = 0.9f, .seed = 42};
      requests.push_back(std::move(request));
      begin += length;
    }
    return requests;
  }
  static std::vector<std::vector<TokenId>> Together(Model& model, const worker::Engine::Options& options) {
    auto engine = worker::Engine::Create(&model, options);
    CHECK_OK(engine.status());
    std::vector<std::shared_ptr<Sink>> sinks;
    for (worker::EngineRequest& request : Requests(model)) {
      sinks.push_back(std::make_shared<Sink>());
      CHECK_OK((*engine)->Submit(std::move(request), sinks.back()).status());
    }
    std::vector<std::vector<TokenId>> tokens;
    for (const auto& sink : sinks) tokens.push_back(sink->Await());
    return tokens;
  }
  struct Schedules {
    int count = 0;
    size_t longest = 40;  // tokens of the longest sequence: more than a block of the cache and of activations
    kernels::DType kv_type = kernels::DType::kF16;
  };
  static void CompareRandomSchedules(const std::string& path, const Schedules& schedules);
};

TEST_F(Batching, ConcurrentRequestsGetTheTokensThatTheyGetAlone) {
  kernels::ThreadPool pool(2);
  const auto model = Load(pool);
  // One at a time, each prompt in one chunk.
  const auto alone = Together(*model, {.max_running_requests = 1, .context_tokens = 512});
  for (const auto& tokens : alone) ASSERT_EQ(tokens.size(), 12u);
  EXPECT_EQ(Together(*model, {.max_running_requests = 8, .context_tokens = 512}), alone);
  // Small chunks beside decoding sequences.
  EXPECT_EQ(Together(*model, {.max_running_requests = 3, .context_tokens = 512, .step_token_budget = 48}), alone);
}

class BatchingOfFormat : public Batching, public ::testing::WithParamInterface<std::string> {
 protected:
  // The SmolLM2 file as it is, or its weights in another format.
  std::string FormatPath() const {
    if (GetParam() == "published") return SmolLm2Path();
    kernels::ThreadPool pool(2);
    const auto source = worker::GgufFile::Open(SmolLm2Path());
    CHECK_OK(source.status());
    const std::string path = files_.Path("quantized.gguf");
    const auto report = cli::QuantizeFile(
        **source, path, {.format = cli::FindQuantizeFormat(GetParam()), .allow_requantize = true}, pool);
    CHECK_OK(report.status());
    return path;
  }

 private:
  base::FileTree files_;
};
INSTANTIATE_TEST_SUITE_P(Formats, BatchingOfFormat, ::testing::Values("published", "f16", "bf16", "int8", "int4-g64"),
                         [](const auto& info) { return absl::StrReplaceAll(info.param, {{"-", "_"}}); });

TEST_P(BatchingOfFormat, LogitsAreTheSameBitsHoweverTheyAreComputed) {
  const std::string path = FormatPath();
  // The logits of every 16th token.
  const auto logits = [&](int threads, const std::vector<size_t>& chunks) {
    kernels::ThreadPool pool(threads);
    const auto model = Load(pool, 512, path);
    const std::vector<TokenId> text = Text(*model);
    const std::span<const TokenId> tokens = std::span(text).first(160);
    auto cache = *worker::KvCache::Create(model->description(), model->kv_type(), 8);
    std::vector<float> rows;
    ForEachLogits(*model, *cache, tokens, static_cast<size_t>(model->description().vocab_size), chunks,
                  [&](size_t position, std::span<const float> row) {
                    if (position % 16 == 15) rows.insert(rows.end(), row.begin(), row.end());
                  });
    return rows;
  };
  const std::vector<float> whole = logits(2, {160});
  ASSERT_EQ(whole.size(), 10u * 49152);
  EXPECT_TRUE(logits(2, {33, 1, 64, 7}) == whole) << "chunks";
  EXPECT_TRUE(logits(1, {1}) == whole) << "one thread, token by token";
}

// Hundreds of random schedules: which sequences run together, how each is cut into chunks, where prefill ends and
// single tokens begin, on one, two or three threads. Logits are compared by a hash of their bits with those of each
// sequence computed alone, token by token.
void Batching::CompareRandomSchedules(const std::string& path, const Schedules& schedules) {
  constexpr size_t kSequences = 5;
  const size_t most_tokens = kSequences * schedules.longest;
  std::mt19937 random(2024);
  const auto draw = [&](size_t least, size_t most) {
    return std::uniform_int_distribution<size_t>(least, most)(random);
  };
  const auto hash = [](std::span<const float> row) {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(row.data()), row.size_bytes()});
  };
  kernels::ThreadPool one(1), two(2), three(3);
  const auto load = [&](kernels::ThreadPool& pool) {
    return Load(pool, static_cast<int64_t>(most_tokens), path, schedules.kv_type);
  };
  const std::unique_ptr<Model> models[] = {load(one), load(two), load(three)};
  const size_t vocab = static_cast<size_t>(models[0]->description().vocab_size);
  const int64_t blocks = kSequences + worker::KvCache::BlocksFor(static_cast<int64_t>(most_tokens));
  auto cache = *worker::KvCache::Create(models[0]->description(), models[0]->kv_type(), blocks);

  const std::vector<TokenId> text = Text(*models[0]);
  std::vector<std::span<const TokenId>> sequences;
  std::vector<std::vector<size_t>> expected(kSequences);
  size_t begin = 0;
  for (size_t s = 0; s < kSequences; ++s) {
    const size_t length = s == 0 ? schedules.longest : draw(1, schedules.longest / 2);
    sequences.push_back(std::span(text).subspan(begin, length));
    begin += length;
    ForEachLogits(*models[1], *cache, sequences[s], vocab, {1},
                  [&](size_t, std::span<const float> row) { expected[s].push_back(hash(row)); });
  }

  int compared = 0;
  for (int schedule = 0; schedule < schedules.count; ++schedule) {
    Model& model = *models[draw(0, 2)];
    std::vector<worker::KvSequence> kv(kSequences);
    std::vector<size_t> computed(kSequences);
    std::vector<size_t> open;  // sequences that are not at their end
    for (size_t s = 0; s < kSequences; ++s) {
      if (draw(0, 2) != 0) open.push_back(s);
      ASSERT_TRUE(cache->Reserve(kv[s], static_cast<int64_t>(sequences[s].size())));
    }
    while (!open.empty()) {
      std::shuffle(open.begin(), open.end(), random);
      std::vector<worker::BatchSpan> batch;
      std::vector<std::pair<size_t, size_t>> rows;  // sequence and position of each row of logits
      for (size_t i = 0; i < draw(1, open.size()) || batch.empty(); ++i) {
        if (i == open.size()) break;
        const size_t s = open[i], count = draw(1, sequences[s].size() - computed[s]);
        const auto wanted = std::array{worker::BatchSpan::Logits::kNone, worker::BatchSpan::Logits::kLast,
                                       worker::BatchSpan::Logits::kLast}[draw(0, 2)];
        batch.push_back({.tokens = sequences[s].subspan(computed[s], count),
                         .first_position = static_cast<int64_t>(computed[s]),
                         .kv = &kv[s],
                         .logits = wanted});
        computed[s] += count;
        if (wanted == worker::BatchSpan::Logits::kLast) rows.emplace_back(s, computed[s] - 1);
      }
      const std::span<const float> logits = model.Forward(batch, *cache).logits;
      ASSERT_EQ(logits.size(), rows.size() * vocab);
      for (size_t r = 0; r < rows.size(); ++r) {
        const auto [s, position] = rows[r];
        ASSERT_EQ(hash(logits.subspan(r * vocab, vocab)), expected[s][position])
            << "schedule " << schedule << ", sequence " << s << ", position " << position << ", "
            << model.pool().threads() << " threads";
        ++compared;
      }
      std::erase_if(open, [&](size_t s) { return computed[s] == sequences[s].size(); });
    }
    for (worker::KvSequence& sequence : kv) cache->Release(sequence);
  }
  EXPECT_GT(compared, schedules.count * 3);
}

TEST_P(BatchingOfFormat, RandomSchedulesGiveTheSameBits) {
  CompareRandomSchedules(FormatPath(), {.count = GetParam() == "published" ? 200 : 30});
}

TEST_F(Batching, RandomSchedulesOverAnEightBitCacheGiveTheSameBits) {
  CompareRandomSchedules(SmolLm2Path(), {.count = 200, .kv_type = kernels::DType::kQ8_0});
}

// Attention splits these contexts into parts (of 128 tokens), and merges what comes of them.
constexpr size_t kThreeParts = 300;

TEST_F(Batching, RandomSchedulesOfLongSequencesGiveTheSameBits) {
  CompareRandomSchedules(SmolLm2Path(), {.count = 10, .longest = kThreeParts});
}

TEST_F(Batching, RandomSchedulesOnAvx2GiveTheSameBits) {
  const std::vector<kernels::Isa>& isas = kernels::SupportedIsas();
  const auto avx2 = std::find(isas.begin(), isas.end(), kernels::Isa::kAvx2);
  if (avx2 == isas.end() || avx2 + 1 == isas.end()) GTEST_SKIP() << "not here, or what the other tests run on";
  const kernels::testing::ScopedIsa scoped(kernels::Isa::kAvx2);
  CompareRandomSchedules(SmolLm2Path(), {.count = 30});
}

class BatchingOfRandomLlama : public Batching, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Formats, BatchingOfRandomLlama, ::testing::Values("q4_0", "q8_0", "q4_k_m"),
                         [](const auto& info) { return info.param; });

TEST_P(BatchingOfRandomLlama, RandomSchedulesOfLongSequencesGiveTheSameBitsOnEveryIsa) {
  base::FileTree files;
  const std::string path = WriteRandomLlama(GetParam(), files);
  for (const kernels::Isa isa : kernels::SupportedIsas()) {
    if (isa == kernels::Isa::kScalar) continue;  // one row at a time anyhow
    SCOPED_TRACE(kernels::IsaName(isa));
    const kernels::testing::ScopedIsa scoped(isa);
    for (const kernels::DType kv_type : {kernels::DType::kF16, kernels::DType::kQ8_0}) {
      CompareRandomSchedules(path, {.count = 40, .longest = kThreeParts, .kv_type = kv_type});
    }
  }
}

}  // namespace
}  // namespace linnet::accuracy
