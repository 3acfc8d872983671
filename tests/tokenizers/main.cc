// Tokenizes many texts in one process, for tests/golden/compare_tokenizers.py:
//
//   linnet_tokenize_texts TOKENIZER TEXTS OUT [--special]
//
// TOKENIZER is a GGUF file or SentencePiece's tokenizer.model. TEXTS holds for each text its bytes behind their number
// (u32); OUT gets for each the number of ids (u32), the ids (i32), and the text that a stream of them yields, likewise
// behind its number of bytes. --special: control tokens written in a text are recognised, BOS and EOS added.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/text/sentencepiece_model.h"
#include "worker/text/stream_decoder.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {
namespace {

void Append(uint32_t number, std::string& out) { out.append(reinterpret_cast<const char*>(&number), sizeof(number)); }

// tokenizer.model as a GGUF file without tensors.
absl::Status WriteGguf(const std::string& path, const std::string& bytes) {
  LINNET_ASSIGN_OR_RETURN(const SentencePieceModel model, ReadSentencePieceModel(path, bytes));
  GgufMetadata metadata;
  SetSentencePieceTokenizer(model, &metadata);
  LINNET_ASSIGN_OR_RETURN(const auto writer, GgufWriter::Create(path + ".gguf", metadata, {}));
  return writer->Finish();
}

absl::Status Run(std::string path, const std::string& texts_path, const std::string& out_path, bool special) {
  if (path.ends_with(".model")) {
    LINNET_ASSIGN_OR_RETURN(const std::string model, base::ReadFile(path));
    LINNET_RETURN_IF_ERROR(WriteGguf(path, model));
    path += ".gguf";
  }
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<GgufFile> file, GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromGguf(*file));
  LINNET_ASSIGN_OR_RETURN(const std::string input, base::ReadFile(texts_path));
  std::string out;
  std::string_view rest(input);
  const auto begin = std::chrono::steady_clock::now();
  size_t texts = 0;
  for (; rest.size() >= sizeof(uint32_t); ++texts) {
    uint32_t bytes = 0;
    std::memcpy(&bytes, rest.data(), sizeof(bytes));
    const std::string_view text = rest.substr(sizeof(bytes), bytes);
    rest.remove_prefix(std::min(rest.size(), sizeof(bytes) + bytes));
    const std::vector<TokenId> ids = tokenizer->Encode(text, {.parse_special = special, .add_special = special});
    Append(static_cast<uint32_t>(ids.size()), out);
    out.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
    StreamDecoder decoder(tokenizer.get(), {});
    std::string decoded;
    for (const TokenId id : ids) decoded += decoder.Push(id);
    decoded += decoder.Flush();
    Append(static_cast<uint32_t>(decoded.size()), out);
    out += decoded;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cerr << texts << " texts, " << input.size() << " bytes, " << took.count() << " s\n";
  std::ofstream(out_path, std::ios::binary) << out;
  return absl::OkStatus();
}

}  // namespace
}  // namespace linnet::worker

int main(int argc, char** argv) {
  const bool special = argc == 5 && std::string_view(argv[4]) == "--special";
  if (argc != 4 && !special) {
    std::cerr << "usage: linnet_tokenize_texts TOKENIZER TEXTS OUT [--special]\n";
    return 2;
  }
  const absl::Status status = linnet::worker::Run(argv[1], argv[2], argv[3], special);
  if (!status.ok()) std::cerr << "linnet_tokenize_texts: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
