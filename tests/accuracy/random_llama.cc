#include "tests/accuracy/random_llama.h"

#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "absl/log/check.h"
#include "base/strings.h"
#include "kernels/dtype.h"
#include "kernels/thread_pool.h"
#include "tests/accuracy/golden.h"
#include "tools/linnet/quantize_file.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"

namespace linnet::accuracy {
namespace {

constexpr int64_t kDim = 256, kKvDim = 128, kFfn = 512, kHeadDim = 64, kContext = 1024, kLayers = 2;

std::vector<worker::GgufTensorPlan> Tensors(int64_t vocab) {
  std::vector<worker::GgufTensorPlan> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> dims) {
    tensors.push_back({.name = base::StrCat(name, ".weight"), .dims = std::move(dims)});
  };
  add("token_embd", {kDim, vocab});
  for (int64_t l = 0; l < kLayers; ++l) {
    const std::string layer = base::StrCat("blk.", l, ".");
    add(layer + "attn_norm", {kDim});
    add(layer + "attn_q", {kDim, kDim});
    add(layer + "attn_k", {kDim, kKvDim});
    add(layer + "attn_v", {kDim, kKvDim});
    add(layer + "attn_output", {kDim, kDim});
    add(layer + "ffn_norm", {kDim});
    add(layer + "ffn_gate", {kDim, kFfn});
    add(layer + "ffn_up", {kDim, kFfn});
    add(layer + "ffn_down", {kFfn, kDim});
  }
  add("output_norm", {kDim});
  add("output", {kDim, vocab});
  return tensors;
}

}  // namespace

std::string WriteRandomLlama(const std::string& format, base::FileTree& files) {
  const auto tiny = worker::GgufFile::Open(GoldenPath("tiny/llama.gguf"));
  CHECK_OK(tiny.status());
  worker::GgufMetadata metadata = worker::GgufMetadata::CopyOf(**tiny);
  metadata.SetU32("llama.block_count", kLayers);
  metadata.SetU32("llama.context_length", kContext);
  metadata.SetU32("llama.embedding_length", kDim);
  metadata.SetU32("llama.feed_forward_length", kFfn);
  metadata.SetU32("llama.attention.head_count", kDim / kHeadDim);
  metadata.SetU32("llama.attention.head_count_kv", kKvDim / kHeadDim);
  metadata.SetU32("llama.rope.dimension_count", kHeadDim);
  const std::vector<worker::GgufTensorPlan> tensors = Tensors((*tiny)->FindTensor("token_embd.weight")->dims[1]);
  const std::string path = files.Path("random.gguf"), quantized = files.Path("random-" + format + ".gguf");
  const auto writer = worker::GgufWriter::Create(path, metadata, tensors);
  CHECK_OK(writer.status());
  std::mt19937 random(7);
  for (const worker::GgufTensorPlan& tensor : tensors) {
    const bool vector = tensor.dims.size() == 1;
    // Products of unit inputs are of about unit size; norms are near one.
    std::normal_distribution<float> value(vector ? 1.0f : 0.0f,
                                          vector ? 0.1f : 1 / std::sqrt(static_cast<float>(tensor.dims[0])));
    std::vector<float> values(static_cast<size_t>(tensor.elements()));
    for (float& v : values) v = value(random);
    CHECK_OK((*writer)->Append(std::as_bytes(std::span(values))));
  }
  CHECK_OK((*writer)->Finish());
  const auto source = worker::GgufFile::Open(path);
  CHECK_OK(source.status());
  kernels::ThreadPool pool(1);
  CHECK_OK(cli::QuantizeFile(**source, quantized, {.format = cli::FindQuantizeFormat(format)}, pool).status());
  return quantized;
}

}  // namespace linnet::accuracy
