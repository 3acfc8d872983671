// tokenizer.json's model: turns a word into tokens. Internal to worker/text/hf.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/text/tokenizer.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker::hf {

// Thread-safe (const).
class Model {
 public:
  virtual ~Model() = default;
  // REQUIRES: word is well-formed UTF-8, and not empty.
  virtual void Encode(std::string_view word, std::vector<TokenId>& out) const = 0;
};

// What the file says of a model before the added tokens are known: its tokens, and how to make it when they are. So
// no text turns into a control token: the model does not know their texts.
class ModelSource {
 public:
  // Of the object "model", which must outlive it. INVALID_ARGUMENT: malformed or not supported, by name.
  static absl::StatusOr<std::unique_ptr<ModelSource>> Read(const nlohmann::json& json);
  virtual ~ModelSource() = default;

  const std::vector<std::pair<std::string, TokenId>>& tokens() const { return tokens_; }
  // -1: none.
  TokenId unknown() const { return unknown_; }
  bool byte_fallback() const { return byte_fallback_; }

  // `vocabulary` has all tokens, those added too, and must outlive the model.
  virtual absl::StatusOr<std::unique_ptr<Model>> Make(const Vocabulary& vocabulary) const = 0;

 protected:
  std::vector<std::pair<std::string, TokenId>> tokens_;
  TokenId unknown_ = -1;
  bool byte_fallback_ = false;
};

// The two kinds that there are.
absl::StatusOr<std::unique_ptr<ModelSource>> ReadBpe(const nlohmann::json& json);
absl::StatusOr<std::unique_ptr<ModelSource>> ReadUnigram(const nlohmann::json& json);

}  // namespace linnet::worker::hf
