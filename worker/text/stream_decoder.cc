#include "worker/text/stream_decoder.h"

#include <algorithm>
#include <utility>

#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

std::vector<std::string> WithoutEmpty(std::vector<std::string> texts) {
  std::erase_if(texts, [](const std::string& text) { return text.empty(); });
  return texts;
}

// Bytes at the end of `text` that a stop text may begin with.
size_t HeldForStop(std::string_view text, const std::vector<std::string>& stop_texts) {
  size_t held = 0;
  for (std::string_view stop : stop_texts) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > held; --n) {
      if (text.ends_with(stop.substr(0, n))) held = n;
    }
  }
  return held;
}

// Bytes at the end of `text` that begin a character and do not complete it.
size_t HeldForUtf8(std::string_view text) {
  for (size_t n = std::min<size_t>(3, text.size()); n > 0; --n) {
    if (IsUtf8Beginning(text, text.size() - n)) return n;
  }
  return 0;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer* tokenizer, std::vector<std::string> stop_texts)
    : tokenizer_(tokenizer), stop_texts_(WithoutEmpty(std::move(stop_texts))) {}

std::string StreamDecoder::Push(TokenId token) {
  if (stopped_) return "";
  pending_.append(tokenizer_->TokenBytes(token));
  return Emit(/*at_end=*/false);
}

std::string StreamDecoder::Flush() {
  if (stopped_) return "";
  return Emit(/*at_end=*/true);
}

std::string StreamDecoder::Emit(bool at_end) {
  size_t stop_at = std::string::npos;
  for (const std::string& stop : stop_texts_) stop_at = std::min(stop_at, pending_.find(stop));
  if (stop_at != std::string::npos) {
    stopped_ = true;
    std::string text = ReplaceBrokenUtf8(std::string_view(pending_).substr(0, stop_at));
    pending_.clear();
    return text;
  }
  const size_t held = at_end ? 0 : std::max(HeldForStop(pending_, stop_texts_), HeldForUtf8(pending_));
  const size_t final_bytes = pending_.size() - held;
  std::string text = ReplaceBrokenUtf8(std::string_view(pending_).substr(0, final_bytes));
  pending_.erase(0, final_bytes);
  return text;
}

}  // namespace linnet::worker
