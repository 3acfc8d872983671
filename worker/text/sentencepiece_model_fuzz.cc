// Any bytes as a tokenizer.model: refused, or GGUF metadata that is refused or a tokenizer that is safe.
#include <cstdint>
#include <string>
#include <string_view>

#include "worker/text/fuzz_support.h"
#include "worker/text/sentencepiece_model.h"
#include "worker/text/test_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace linnet::worker;  // NOLINT: a program of one file
  const auto model = ReadSentencePieceModel("fuzz.model", {reinterpret_cast<const char*>(data), size});
  if (!model.ok()) return 0;
  GgufMetadata metadata;
  SetSentencePieceTokenizer(*model, &metadata);
  const std::string bytes = metadata.AsFile();
  const auto file = GgufFile::Parse(BytesOf(bytes), "fuzz.gguf");
  if (!file.ok()) return 0;
  const auto tokenizer = Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) return 0;
  const auto is_unknown = [&](TokenId id) { return id == model->unknown; };
  CheckEncoding(**tokenizer, kFuzzText, {}, is_unknown);
  CheckEncoding(**tokenizer, kFuzzText, {.parse_special = true, .add_special = true}, is_unknown);
  return 0;
}
