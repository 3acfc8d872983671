#include "tools/linnet/quantize_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "kernels/packed_type.h"
#include "tools/linnet/describe_file.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/family.h"
#include "worker/model/kv_cache.h"
#include "worker/model/memory_plan.h"
#include "worker/model/model.h"
#include "worker/model/packed_cache.h"
#include "worker/model/weights.h"

namespace linnet::cli {
namespace {

using kernels::DType;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kTinyLlama[] = "tests/golden/tiny/llama.gguf";  // f32, rows of 96 and 151

class QuantizeFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<QuantizeReport> Run(const std::string& source, const std::string& format, const std::string& out,
                                     QuantizeJob job = {}, int threads = 2) {
    auto file = worker::GgufFile::Open(source);
    EXPECT_TRUE(file.ok()) << file.status();
    kernels::ThreadPool pool(threads);
    job.format = FindQuantizeFormat(format);
    return QuantizeFile(**file, out, job, pool);
  }

  // A file of one matrix [2, 64] and one vector.
  std::string Small(const std::vector<float>& matrix, const std::vector<float>& vector) {
    const std::string path = files_.Path("small.gguf");
    worker::GgufMetadata metadata;
    metadata.SetString("general.architecture", "llama");
    metadata.SetU32("general.file_type", 0);
    auto writer = worker::GgufWriter::Create(
        path, metadata, {{"blk.0.attn_q.weight", DType::kF32, {64, 2}}, {"blk.0.attn_norm.weight", DType::kF32, {4}}});
    EXPECT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Append(std::as_bytes(std::span(matrix))).ok());
    EXPECT_TRUE((*writer)->Append(std::as_bytes(std::span(vector))).ok());
    EXPECT_TRUE((*writer)->Finish().ok());
    return path;
  }

  base::FileTree files_;
  const std::string out_ = files_.Path("out.gguf");
};

// Log-probabilities of the golden tokens.
std::vector<double> Score(worker::Model& model, const std::vector<worker::TokenId>& tokens, size_t vocab) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto cache = *worker::KvCache::Create(model.description(), model.kv_type(), worker::KvCache::BlocksFor(count));
  worker::KvSequence sequence;
  EXPECT_TRUE(cache->Reserve(sequence, count));
  const worker::BatchSpan span = {.tokens = tokens, .kv = &sequence, .logits = worker::BatchSpan::Logits::kAll};
  const std::span<const float> logits = model.Forward({&span, 1}, *cache).logits;
  std::vector<double> logprobs;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const auto row = logits.subspan(i * vocab, vocab);
    double sum = 0;
    for (const float l : row) sum += std::exp(double{l});
    logprobs.push_back(row[static_cast<size_t>(tokens[i + 1])] - std::log(sum));
  }
  return logprobs;
}

// By the model in a file.
std::vector<double> Score(const std::string& path, const std::vector<worker::TokenId>& tokens, size_t vocab,
                          kernels::Precision precision = kernels::Precision::kReference) {
  kernels::ThreadPool pool(2);
  return Score(**worker::Model::Load(path, {.precision = precision}, &pool), tokens, vocab);
}

// The mean absolute difference of log-probabilities, in nat.
double MeanDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

struct GoldenTokens {
  const nlohmann::json json = nlohmann::json::parse(*base::ReadFile("tests/golden/tiny/llama.json"));
  const std::vector<worker::TokenId> tokens = json["tokens"].get<std::vector<worker::TokenId>>();
  const size_t vocab = json["vocab"].get<size_t>();
};

TEST_F(QuantizeFileTest, FusedTensorsAreQuantizedPackedAndCached) {
  const std::string source = "tests/golden/tiny/phi3.gguf", key = "sha256:" + std::string(64, 'f');
  const auto golden = nlohmann::json::parse(*base::ReadFile("tests/golden/tiny/phi3.json"));
  const auto tokens = golden["tokens"].get<std::vector<worker::TokenId>>();
  const auto vocab = golden["vocab"].get<size_t>();
  ASSERT_TRUE(Run(source, "q8_0", out_).ok());
  kernels::ThreadPool pool(2);
  const auto cache = worker::PackedCache::Open({.dir = files_.Path("packed")});
  std::vector<std::vector<double>> scores;
  for (const worker::PackedLoad expected : {worker::PackedLoad::kMiss, worker::PackedLoad::kHit}) {
    const auto model = worker::Model::Load(out_, {.packed_cache = cache.get(), .packed_key = key}, &pool);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->packed_load(), expected);
    (*model)->SavePacked([] { return false; });
    scores.push_back(Score(**model, tokens, vocab));
  }
  EXPECT_EQ(scores[0], scores[1]);
  const std::vector<double> want = Score(source, tokens, vocab);
  EXPECT_LE(MeanDifference(scores[0], want), 0.15) << "rows in a wrong role make whole nats";
}

TEST_F(QuantizeFileTest, AQuantizedModelAnswersNearlyTheSame) {
  const GoldenTokens golden;
  const std::vector<double> want = Score(kTinyLlama, golden.tokens, golden.vocab);
  // This model is made so that every weight shows.
  const std::vector<std::pair<std::string, double>> most = {{"f16", 0.006}, {"bf16", 0.05},  {"q8_0", 0.13},
                                                            {"q6_k", 0.13}, {"q5_k_m", 0.8}, {"q4_k_m", 1.0},
                                                            {"q4_0", 1.7},  {"int8", 0.4},   {"int4-g64", 1.9}};
  for (const auto& [format, bound] : most) {
    const auto report = Run(kTinyLlama, format, out_);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->file_bytes, std::filesystem::file_size(out_));
    const double mean = MeanDifference(Score(out_, golden.tokens, golden.vocab), want);
    std::printf("%-7s mean difference of a log-probability %.4f, relative error of the weights %.5f\n", format.c_str(),
                mean, report->relative_error);
    EXPECT_LE(mean, bound) << format;
    EXPECT_GT(mean, 0) << format;
  }
}

TEST_F(QuantizeFileTest, MetadataSaysWhatItIs) {
  QuantizeJob job;
  job.source_name = "models/tiny/variants/f32";
  job.calibration = "text.txt";
  ASSERT_TRUE(Run(kTinyLlama, "q4_0", out_, job).ok());
  const auto file = *worker::GgufFile::Open(out_);
  const auto source = *worker::GgufFile::Open(kTinyLlama);
  EXPECT_EQ(*file->GetInt("general.file_type"), 2);
  EXPECT_EQ(*file->GetInt("general.quantization_version"), 2);
  EXPECT_EQ(*file->GetString("linnet.quantize.source"), "models/tiny/variants/f32");
  EXPECT_EQ(*file->GetString("linnet.quantize.calibration"), "text.txt");
  EXPECT_FALSE(file->GetString("linnet.quantize.version")->empty());
  for (const auto& [key, value] : source->metadata()) EXPECT_TRUE(file->metadata().contains(key)) << key;
  EXPECT_EQ(**file->FindStrings("tokenizer.ggml.tokens"), **source->FindStrings("tokenizer.ggml.tokens"));
  ASSERT_EQ(file->tensors().size(), source->tensors().size());
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    EXPECT_EQ(file->tensors()[i].name, source->tensors()[i].name);
    EXPECT_EQ(file->tensors()[i].dims, source->tensors()[i].dims);
  }
  EXPECT_EQ(file->FindTensor("blk.0.attn_q.weight")->type, DType::kQ4_0);
  EXPECT_EQ(file->FindTensor("output.weight")->type, DType::kQ8_0);
  EXPECT_EQ(file->FindTensor("blk.0.ffn_down.weight")->type, DType::kF16);  // rows of 151
  const worker::GgufTensor* norm = file->FindTensor("blk.0.attn_norm.weight");
  EXPECT_EQ(norm->type, DType::kF32);
  EXPECT_EQ(std::memcmp(norm->data.data(), source->FindTensor(norm->name)->data.data(), norm->data.size()), 0);
}

// The scales of every row of a matrix, as f16 bits.
std::vector<std::vector<uint16_t>> Scales(const worker::GgufTensor& tensor) {
  std::vector<std::vector<uint16_t>> rows(static_cast<size_t>(tensor.dims[1]));
  const int64_t row_bytes = kernels::BytesFor(tensor.type, tensor.dims[0]);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int64_t at = 0; at < row_bytes; at += kernels::Info(tensor.type).block_bytes) {
      uint16_t scale;
      std::memcpy(&scale, tensor.data.data() + static_cast<int64_t>(r) * row_bytes + at, sizeof(scale));
      rows[r].push_back(scale);
    }
  }
  return rows;
}

TEST_F(QuantizeFileTest, OwnFormatsShareScales) {
  ASSERT_TRUE(Run(kTinyLlama, "int8", out_).ok());
  auto file = *worker::GgufFile::Open(out_);
  EXPECT_EQ(*file->GetString("linnet.quantization"), "int8");
  EXPECT_EQ(QuantizationOf(*file), "int8");
  for (const auto& row : Scales(*file->FindTensor("blk.1.attn_q.weight"))) {
    EXPECT_THAT(row, ::testing::ElementsAre(row[0], row[0], row[0]));  // 96 columns
  }
  ASSERT_TRUE(Run(kTinyLlama, "int4-g64", out_).ok());
  file = *worker::GgufFile::Open(out_);
  EXPECT_EQ(QuantizationOf(*file), "int4-g64");
  int differ = 0;
  for (const auto& row : Scales(*file->FindTensor("blk.1.attn_q.weight"))) {
    ASSERT_EQ(row.size(), 3u);
    EXPECT_EQ(row[0], row[1]);
    differ += row[2] != row[0];
  }
  EXPECT_GT(differ, 50);
  // In another format it is not its own any more.
  QuantizeJob job;
  job.allow_requantize = true;
  const std::string again = files_.Path("again.gguf");
  ASSERT_TRUE(Run(out_, "q4_0", again, job).ok());
  EXPECT_EQ(QuantizationOf(**worker::GgufFile::Open(again)), "q4_0");
}

// What the tiny Llama's tensor of that name is packed as where the others are `rest`: rows of 151 inputs divide into no
// blocks, and the output matrix has 8 bits.
kernels::PackedType PackedAs(const std::string& name, kernels::PackedType output, kernels::PackedType rest) {
  if (name.ends_with("ffn_down.weight")) return DType::kF16;
  return name == "output.weight" ? output : rest;
}

// A model file as it is loaded: what its matrices are packed as, and the bytes planned for its weights (where they
// turned out to be of another format: planned then) beside those that they take.
struct LoadedFile {
  std::map<std::string, kernels::PackedType> types;
  uint64_t planned_bytes = 0, bytes = 0;
};
LoadedFile LoadFile(const std::string& path) {
  kernels::ThreadPool pool(2);
  const auto file = *worker::GgufFile::Open(path);
  const auto model = *worker::DescribeModel(*file);
  const auto bindings = *worker::BindTensors(*file, model);
  LoadedFile loaded;
  const auto plan = [&](std::span<const worker::TensorBinding> bound) {
    loaded.planned_bytes = worker::PlanMemory(model, bound, kernels::Precision::kFast, 1).weights_bytes;
    return absl::OkStatus();
  };
  EXPECT_TRUE(plan(bindings).ok());
  const worker::Weights weights = *worker::LoadWeights(*file, model, bindings, {.pool = &pool, .on_unshared = plan});
  loaded.bytes = weights.bytes;
  for (const worker::PackedTensor& tensor : weights.packed->table.tensors) {
    loaded.types.emplace(tensor.name, tensor.type);
  }
  return loaded;
}

TEST_F(QuantizeFileTest, OwnFormatsRunAsWhatTheyAre) {
  const GoldenTokens golden;
  // Activations of 8 bits with a scale for 64 inputs, in a model made so that every weight shows.
  for (const auto& [format, type, bound] :
       {std::tuple{"int8", kernels::kInt8, 0.2}, {"int4-g64", kernels::kInt4G64, 0.2}}) {
    ASSERT_TRUE(Run(kTinyLlama, format, out_).ok());
    const LoadedFile loaded = LoadFile(out_);
    EXPECT_EQ(loaded.planned_bytes, loaded.bytes) << format;
    EXPECT_GT(loaded.types.size(), 12u);
    for (const auto& [name, packed] : loaded.types) {
      EXPECT_EQ(packed, PackedAs(name, kernels::kInt8, type)) << format << " " << name;
    }
    const double mean = MeanDifference(Score(out_, golden.tokens, golden.vocab, kernels::Precision::kFast),
                                       Score(out_, golden.tokens, golden.vocab));
    std::printf("%-8s mean difference of a log-probability, fast from reference: %.4f\n", format, mean);
    EXPECT_LE(mean, bound) << format;
    EXPECT_GT(mean, 0) << format;
  }
}

// The bytes of a file in one of Linnet's own formats after another program had its way with it: a bit of one block's
// scale is another, in the layer that is loaded last.
std::string WithOneScaleChanged(const std::string& path) {
  std::string bytes = *base::ReadFile(path);
  const auto file = *worker::GgufFile::Open(path);
  const worker::GgufTensor& tensor = *file->FindTensor("blk.2.ffn_up.weight");
  const size_t at = bytes.find(std::string_view(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()));
  EXPECT_NE(at, std::string::npos);
  bytes[at + static_cast<size_t>(kernels::Info(tensor.type).block_bytes)] ^= 1;
  return bytes;
}

TEST_F(QuantizeFileTest, AFileThatIsNoLongerOfItsFormatRunsAsItIsStored) {
  const GoldenTokens golden;
  for (const auto& [format, type] : {std::pair{"int8", DType::kQ8_0}, {"int4-g64", DType::kQ4_0}}) {
    ASSERT_TRUE(Run(kTinyLlama, format, out_).ok());
    const std::string changed = files_.Write("changed.gguf", WithOneScaleChanged(out_));
    const LoadedFile loaded = LoadFile(changed);
    EXPECT_EQ(loaded.planned_bytes, loaded.bytes) << format;
    for (const auto& [name, packed] : loaded.types) {
      EXPECT_EQ(packed, PackedAs(name, DType::kQ8_0, type)) << format << " " << name;
    }
    EXPECT_LE(MeanDifference(Score(changed, golden.tokens, golden.vocab, kernels::Precision::kFast),
                             Score(changed, golden.tokens, golden.vocab)),
              0.2);
  }
}

TEST_F(QuantizeFileTest, OwnFormatsComeBackFromThePackedCache) {
  const GoldenTokens golden;
  kernels::ThreadPool pool(2);
  const auto cache = worker::PackedCache::Open({.dir = files_.Path("packed")});
  char key = 'a';
  for (const std::string format : {"int8", "int4-g64"}) {
    ASSERT_TRUE(Run(kTinyLlama, format, out_).ok());
    // What a file turns out not to be is found out once.
    for (const std::string& path : {out_, files_.Write("changed.gguf", WithOneScaleChanged(out_))}) {
      const worker::Model::Options options = {.packed_cache = cache.get(),
                                              .packed_key = "sha256:" + std::string(64, key++)};
      std::vector<double> first;
      {
        const auto model = *worker::Model::Load(path, options, &pool);
        EXPECT_EQ(model->packed_load(), worker::PackedLoad::kMiss);
        model->SavePacked([] { return false; });
        first = Score(*model, golden.tokens, golden.vocab);
      }
      const auto model = *worker::Model::Load(path, options, &pool);
      EXPECT_EQ(model->packed_load(), worker::PackedLoad::kHit) << format << " " << path;
      EXPECT_EQ(Score(*model, golden.tokens, golden.vocab), first);
    }
  }
}

TEST_F(QuantizeFileTest, TheSameBytesForAnyNumberOfThreads) {
  ASSERT_TRUE(Run(kTinyLlama, "q4_k_m", out_, {}, 1).ok());
  const std::string other = files_.Path("other.gguf");
  ASSERT_TRUE(Run(kTinyLlama, "q4_k_m", other, {}, 3).ok());
  EXPECT_EQ(*base::ReadFile(out_), *base::ReadFile(other));
}

TEST_F(QuantizeFileTest, WeightsThatAreNoNumbersAreRefusedByName) {
  std::vector<float> matrix(128, 0.5f);
  matrix[64 + 7] = NAN;
  auto report = Run(Small(matrix, {1, 1, 1, 1}), "q4_0", out_);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(base::ErrorReason(report.status()), "INVALID_MODEL_FILE");
  EXPECT_THAT(std::string(report.status().message()),
              AllOf(HasSubstr("small.gguf"), HasSubstr("blk.0.attn_q.weight"), HasSubstr("row 1"),
                    HasSubstr("element 7"), HasSubstr("nan")));
  EXPECT_FALSE(std::filesystem::exists(out_));
  matrix[64 + 7] = 1;
  report = Run(Small(matrix, {1, 1, INFINITY, 1}), "q4_0", out_);
  EXPECT_THAT(std::string(report.status().message()), AllOf(HasSubstr("blk.0.attn_norm.weight"), HasSubstr("inf")));
  matrix[0] = 1e6f;
  report = Run(Small(matrix, {1, 1, 1, 1}), "f16", out_);
  EXPECT_THAT(std::string(report.status().message()), AllOf(HasSubstr("attn_q"), HasSubstr("65504")));
  EXPECT_TRUE(Run(Small(matrix, {1, 1, 1, 1}), "bf16", out_).ok());
}

TEST_F(QuantizeFileTest, QuantizingTwiceMustBeAskedFor) {
  ASSERT_TRUE(Run(kTinyLlama, "q8_0", out_).ok());
  const std::string again = files_.Path("again.gguf");
  const auto refused = Run(out_, "q4_0", again);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), AllOf(HasSubstr("Q8_0"), HasSubstr("--allow-requantize")));
  EXPECT_FALSE(std::filesystem::exists(again));
  QuantizeJob job;
  job.allow_requantize = true;
  EXPECT_TRUE(Run(out_, "q4_0", again, job).ok());
  EXPECT_TRUE(Run(again, "f16", out_, job).ok());
  EXPECT_FALSE((*worker::GgufFile::Open(out_))->metadata().contains("general.quantization_version"));
}

TEST_F(QuantizeFileTest, StopsWhenAskedAndLeavesNothing) {
  std::stop_source stop;
  QuantizeJob job;
  job.stop = stop.get_token();
  int calls = 0;
  job.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    if (++calls == 5) stop.request_stop();
  };
  EXPECT_EQ(Run(kTinyLlama, "q4_0", out_, job).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 5);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(QuantizeFileTest, PartsOfAModelAreRefused) {
  const std::string path = files_.Path("part.gguf");
  worker::GgufMetadata metadata;
  metadata.SetU32("split.count", 3);
  auto writer = *worker::GgufWriter::Create(path, metadata, {{"w.weight", DType::kF32, {1}}});
  const float one = 1;
  ASSERT_TRUE(writer->Append(std::as_bytes(std::span(&one, 1))).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_THAT(std::string(Run(path, "q4_0", out_).status().message()), HasSubstr("one of 3 parts"));
}

}  // namespace
}  // namespace linnet::cli
