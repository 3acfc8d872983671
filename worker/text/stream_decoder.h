// Token ids to text as they come: never half a UTF-8 character, never the beginning of what may become a stop text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "worker/text/tokenizer.h"

namespace linnet::worker {

// One per sequence; not thread-safe. The tokenizer must outlive it.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer* tokenizer, std::vector<std::string> stop_texts);

  // Returns the text that has become final. After a stop text was found, stopped() is true and nothing more comes: text
  // from the stop text on is never returned. Bytes that can never become UTF-8 come out as U+FFFD.
  std::string Push(TokenId token);
  // What is still held back, at the end of generation.
  std::string Flush();
  bool stopped() const { return stopped_; }

 private:
  std::string Emit(bool at_end);

  const Tokenizer* const tokenizer_;
  const std::vector<std::string> stop_texts_;
  std::string pending_;  // bytes not yet returned
  bool stopped_ = false;
};

}  // namespace linnet::worker
