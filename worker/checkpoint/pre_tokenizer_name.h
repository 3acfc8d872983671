// How a tokenizer.json cuts text, as GGUF names it. Internal to worker/checkpoint.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace linnet::worker {

// tokenizer.ggml.pre of what llama.cpp and Linnet cut in the same way; "" where there is no such name.
std::string PreTokenizerName(const nlohmann::json& tokenizer);

// Whether text is brought into Unicode's composed form (NFC) first.
bool ComposesText(const nlohmann::json& tokenizer);

// Whether a SentencePiece tokenizer puts a space before the text.
bool AddsSpacePrefix(const nlohmann::json& tokenizer);

}  // namespace linnet::worker
