#include "worker/text/sentencepiece_model.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <bit>
#include <climits>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/charsmap.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// A field of a message as the wire has it.
struct Field {
  int number = 0;
  uint64_t integer = 0;   // of a varint or a fixed number
  std::string_view text;  // of a string, bytes or a message
};

// Calls visit(field) for each field, until one is an error. False: the bytes are no message.
absl::StatusOr<bool> ForEachField(std::string_view message, const std::function<absl::Status(const Field&)>& visit) {
  if (message.size() > INT_MAX) return false;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()), static_cast<int>(message.size()));
  while (const uint32_t tag = in.ReadTag()) {
    Field field{.number = WireFormatLite::GetTagFieldNumber(tag)};
    uint32_t word = 0;
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        if (!in.ReadVarint64(&field.integer)) return false;
        break;
      case WireFormatLite::WIRETYPE_FIXED32:
        if (!in.ReadLittleEndian32(&word)) return false;
        field.integer = word;
        break;
      case WireFormatLite::WIRETYPE_FIXED64:
        if (!in.ReadLittleEndian64(&field.integer)) return false;
        break;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
        if (!in.ReadVarint32(&word)) return false;
        const auto at = static_cast<size_t>(in.CurrentPosition());
        if (word > message.size() - at || !in.Skip(static_cast<int>(word))) return false;
        field.text = message.substr(at, word);
        break;
      }
      default:
        return false;
    }
    LINNET_RETURN_IF_ERROR(visit(field));
  }
  return in.ConsumedEntireMessage();
}

constexpr uint64_t kUnigramType = 1, kBpeType = 2;

// Numbers of fields are those of sentencepiece_model.proto.
class ModelReader {
 public:
  explicit ModelReader(std::string_view name) : name_(name) {}

  absl::StatusOr<SentencePieceModel> Read(std::string_view message) {
    LINNET_RETURN_IF_ERROR(Fields(message, "the file", [this](const Field& field) -> absl::Status {
      if (field.number == 1) return ReadPiece(field.text);
      if (field.number == 2) return ReadTrainer(field.text);
      if (field.number == 3) return ReadNormalizer(field.text);
      if (field.number == 5) return ReadDenormalizer(field.text);
      return absl::OkStatus();
    }));
    if (model_.pieces.empty()) return Error("it has no pieces");
    if (type_ != kUnigramType && type_ != kBpeType) {
      return Error(base::StrCat("model_type ", type_, " is not supported; UNIGRAM (1) and BPE (2) are"));
    }
    model_.bpe = type_ == kBpeType;
    if (suffix_spaces_) return Error("treat_whitespace_as_suffix is not supported");
    if (!escape_spaces_) return Error("escape_whitespaces: false is not supported");
    if (const auto charsmap = Charsmap::Parse(model_.charsmap); !charsmap.ok()) {
      return Error(base::StrCat("normalizer_spec: ", charsmap.status().message()));
    }
    return std::move(model_);
  }

 private:
  absl::Status Error(std::string_view what) const {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE",
                       base::StrCat(name_, ": SentencePiece model: ", what), {{"file", std::string(name_)}});
  }
  absl::Status Fields(std::string_view message, std::string_view what,
                      const std::function<absl::Status(const Field&)>& visit) const {
    LINNET_ASSIGN_OR_RETURN(const bool whole, ForEachField(message, visit));
    if (!whole) return Error(base::StrCat(what, " is no protobuf message; fetch it again"));
    return absl::OkStatus();
  }

  absl::Status ReadPiece(std::string_view message) {
    std::string text;
    float score = 0;
    int64_t type = 1;
    LINNET_RETURN_IF_ERROR(Fields(message, base::StrCat("piece ", model_.pieces.size()), [&](const Field& field) {
      if (field.number == 1) text = field.text;
      if (field.number == 2) score = std::bit_cast<float>(static_cast<uint32_t>(field.integer));
      if (field.number == 3) type = static_cast<int64_t>(field.integer);
      return absl::OkStatus();
    }));
    if (type < 1 || type > 6 || std::isnan(score)) {
      return Error(base::StrCat("piece ", model_.pieces.size(), ", ", QuoteToken(text), ", has type ", type,
                                " and score ", score));
    }
    model_.pieces.push_back(std::move(text));
    model_.scores.push_back(score);
    model_.types.push_back(static_cast<int32_t>(type));
    return absl::OkStatus();
  }

  absl::Status ReadTrainer(std::string_view message) {
    return Fields(message, "trainer_spec", [this](const Field& field) {
      if (field.number == 3) type_ = field.integer;
      if (field.number == 24) suffix_spaces_ = field.integer != 0;
      if (field.number == 40) model_.unknown = static_cast<int32_t>(field.integer);
      if (field.number == 41) model_.bos = static_cast<int32_t>(field.integer);
      if (field.number == 42) model_.eos = static_cast<int32_t>(field.integer);
      if (field.number == 43) model_.pad = static_cast<int32_t>(field.integer);
      return absl::OkStatus();
    });
  }

  absl::Status ReadNormalizer(std::string_view message) {
    return Fields(message, "normalizer_spec", [this](const Field& field) {
      if (field.number == 2) model_.charsmap = field.text;
      if (field.number == 3) model_.add_space_prefix = field.integer != 0;
      if (field.number == 4) model_.remove_extra_spaces = field.integer != 0;
      if (field.number == 5) escape_spaces_ = field.integer != 0;
      return absl::OkStatus();
    });
  }

  absl::Status ReadDenormalizer(std::string_view message) {
    return Fields(message, "denormalizer_spec", [this](const Field& field) -> absl::Status {
      if (field.number == 2 && !field.text.empty()) return Error("a denormalizer's rules are not supported");
      return absl::OkStatus();
    });
  }

  const std::string_view name_;
  SentencePieceModel model_;
  uint64_t type_ = kUnigramType;
  bool suffix_spaces_ = false;  // behind words, not before them
  bool escape_spaces_ = true;
};

}  // namespace

absl::StatusOr<SentencePieceModel> ReadSentencePieceModel(std::string_view name, std::string_view bytes) {
  return ModelReader(name).Read(bytes);
}

void SetSentencePieceTokenizer(const SentencePieceModel& model, GgufMetadata* metadata) {
  metadata->SetString("tokenizer.ggml.model", model.bpe ? "llama" : "t5");
  metadata->SetString("tokenizer.ggml.pre", "default");
  metadata->SetStrings("tokenizer.ggml.tokens", model.pieces);
  metadata->SetF32s("tokenizer.ggml.scores", model.scores);
  metadata->SetI32s("tokenizer.ggml.token_type", model.types);
  const auto set_id = [&](const char* key, int64_t id) {
    if (id >= 0) metadata->SetU32(key, static_cast<uint32_t>(id));
  };
  set_id("tokenizer.ggml.unknown_token_id", model.unknown);
  set_id("tokenizer.ggml.bos_token_id", model.bos);
  set_id("tokenizer.ggml.eos_token_id", model.eos);
  set_id("tokenizer.ggml.padding_token_id", model.pad);
  metadata->SetBool("tokenizer.ggml.add_bos_token", model.bpe && model.bos >= 0);
  metadata->SetBool("tokenizer.ggml.add_eos_token", !model.bpe && model.eos >= 0);
  metadata->SetBool("tokenizer.ggml.add_space_prefix", model.add_space_prefix);
  metadata->SetBool("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_spaces);
  if (!model.charsmap.empty()) metadata->SetU8s("tokenizer.ggml.precompiled_charsmap", model.charsmap);
}

}  // namespace linnet::worker
