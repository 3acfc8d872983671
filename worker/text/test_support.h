// What the tests of worker/text share: golden files, small vocabularies as GGUF, the SmolLM2 file.
#pragma once

#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/escaping.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_test_writer.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {

inline nlohmann::json ReadGolden(const std::string& name) {
  std::ifstream in("tests/golden/" + name);  // tests run in the checkout
  CHECK(in.good()) << "tests/golden/" << name << " is missing";
  return nlohmann::json::parse(in);
}

inline std::string FromHex(const std::string& hex) {
  std::string bytes;
  CHECK(absl::HexStringToBytes(hex, &bytes));
  return bytes;
}

// Of this process: what a busy machine does not stretch.
inline double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

inline std::string Decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool special = false) {
  std::string text;
  for (TokenId id : ids) text.append(tokenizer.TokenBytes(id, special));
  return text;
}

// A tokenizer with the bytes that it was made from.
struct TokenizerFile {
  std::string bytes;
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<Tokenizer> tokenizer;
};

// Of the bytes of a GGUF file.
inline TokenizerFile OpenTokenizer(std::string bytes) {
  TokenizerFile made{.bytes = std::move(bytes)};
  auto file = GgufFile::Parse(BytesOf(made.bytes), "model.gguf");
  CHECK_OK(file.status());
  made.file = std::move(file).value();
  auto tokenizer = Tokenizer::FromGguf(*made.file);
  CHECK_OK(tokenizer.status());
  made.tokenizer = std::move(tokenizer).value();
  return made;
}

// Why there is none in them.
inline absl::Status TokenizerError(const std::string& bytes) {
  const auto file = GgufFile::Parse(BytesOf(bytes), "model.gguf");
  CHECK_OK(file.status());
  return Tokenizer::FromGguf(**file).status();
}

// GPT-2's printable character for a byte, as in tokenizer.ggml.tokens.
inline std::string ByteText(int byte) {
  static const auto* texts = [] {
    auto* all = new std::array<std::string, 256>;
    int next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const int c = printable ? b : next++;
      if (c < 0x80) {
        (*all)[b] = std::string(1, static_cast<char>(c));
      } else {
        (*all)[b] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
      }
    }
    return all;
  }();
  return (*texts)[byte];
}

// The 256 bytes are tokens 0 to 255; what is added comes behind them.
class VocabularyBuilder {
 public:
  VocabularyBuilder() {
    for (int b = 0; b < 256; ++b) Add(ByteText(b));
  }
  struct Empty {};
  explicit VocabularyBuilder(Empty) {}

  TokenId Add(std::string text, int type = 1) {
    tokens.push_back(std::move(text));
    types.push_back(type);
    return static_cast<TokenId>(tokens.size()) - 1;
  }
  TokenId Control(std::string text) { return Add(std::move(text), 3); }
  TokenId UserDefined(std::string text) { return Add(std::move(text), 4); }
  // Adds the token that the merge makes.
  TokenId Merge(const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    return Add(left + right);
  }

  std::string Bytes() const {
    GgufTestWriter w = extra;
    w.String("tokenizer.ggml.model", model);
    w.String("tokenizer.ggml.pre", pre);
    w.Strings("tokenizer.ggml.tokens", tokens);
    w.I32s("tokenizer.ggml.token_type", types);
    if (model == "gpt2") w.Strings("tokenizer.ggml.merges", merges);
    if (!scores.empty()) w.F32s("tokenizer.ggml.scores", scores);
    return w.Build();
  }
  absl::Status Error() const { return TokenizerError(Bytes()); }
  TokenizerFile Build() const { return OpenTokenizer(Bytes()); }

  std::string model = "gpt2";
  std::string pre = "smollm";
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;  // of gpt2
  std::vector<float> scores;        // of llama
  GgufTestWriter extra;
};

// The vocabulary of tests/golden/tokenizer_sentencepiece.json.
inline VocabularyBuilder SentencePieceBuilder() {
  const nlohmann::json golden = ReadGolden("tokenizer_sentencepiece.json");
  VocabularyBuilder builder{VocabularyBuilder::Empty()};
  builder.model = "llama";
  for (size_t i = 0; i < golden["tokens"].size(); ++i) builder.Add(golden["tokens"][i], golden["types"][i]);
  builder.scores = golden["scores"].get<std::vector<float>>();
  builder.extra.U32("tokenizer.ggml.unknown_token_id", 0);
  builder.extra.U32("tokenizer.ggml.bos_token_id", 1);
  builder.extra.U32("tokenizer.ggml.eos_token_id", 2);
  return builder;
}

inline TokenizerFile SmolLm2() {
  const char* env = std::getenv("LINNET_TEST_MODEL");
  const std::string path =
      env != nullptr ? env : std::string(std::getenv("HOME")) + "/.cache/linnet/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  TokenizerFile made;
  auto file = GgufFile::Open(path);
  CHECK_OK(file.status());
  made.file = std::move(file).value();
  auto tokenizer = Tokenizer::FromGguf(*made.file);
  CHECK_OK(tokenizer.status());
  made.tokenizer = std::move(tokenizer).value();
  return made;
}

}  // namespace linnet::worker
