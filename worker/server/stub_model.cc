#include "worker/server/stub_model.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/error.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

constexpr uint32_t kContextTokens = 4096;

// One token a byte.
class ByteTokenizer : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int i = 0; i < 256; ++i) bytes_.push_back(static_cast<char>(i));
  }
  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<TokenId> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string_view TokenBytes(TokenId id, bool special) const override {
    return id >= 0 && id < 256 ? std::string_view(&bytes_[id], 1) : std::string_view();
  }
  int vocab_size() const override { return 256; }
  bool IsControl(TokenId id) const override { return false; }
  const std::vector<TokenId>& end_of_generation() const override { return none_; }
  TokenId bos() const override { return -1; }
  TokenId eos() const override { return -1; }
  const std::vector<std::string>& control_texts() const override { return no_texts_; }

 private:
  std::string bytes_;
  const std::vector<TokenId> none_;
  const std::vector<std::string> no_texts_;
};

class JoinTemplate : public ChatTemplate {
 public:
  explicit JoinTemplate(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}
  absl::StatusOr<std::vector<TokenId>> Encode(const ChatConversation& conversation) const override {
    const absl::StatusOr<std::string> text = Render(conversation);
    return tokenizer_->Encode(*text, {});
  }
  absl::StatusOr<std::string> Render(const ChatConversation& conversation) const override {
    std::string text;
    for (const ChatMessage& m : conversation.messages) base::StrAppend(&text, m.role, ": ", m.content, "\n");
    return text;
  }

 private:
  const Tokenizer* const tokenizer_;
};

// Answers on the caller's thread, before Submit returns.
class StubEngine : public Engine {
 public:
  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<EngineSink> sink) override {
    if (draining_) {
      return base::WithRetryAfter(base::Error(absl::StatusCode::kUnavailable, "DRAINING", "the worker is stopping"),
                                  absl::Seconds(1));
    }
    EngineFinish finish;
    finish.prompt_tokens = static_cast<uint32_t>(request.prompt.size());
    finish.completion_tokens = request.max_tokens > 0 ? std::min(request.max_tokens, kContextTokens) : kStubTokens;
    finish.reason = StopReason::kMaxTokens;
    for (uint32_t i = 0; i < finish.completion_tokens; ++i) sink->OnTokens({TokenId{'t'}}, " tok");
    sink->OnFinish(finish);
    return ++last_id_;
  }
  void Cancel(uint64_t id) override {}
  void Drain(std::function<void()> done) override {
    draining_ = true;
    done();
  }
  EngineLoad Load() const override { return {}; }
  uint32_t context_tokens() const override { return kContextTokens; }

 private:
  std::atomic<uint64_t> last_id_{0};
  std::atomic<bool> draining_{false};
};

}  // namespace

std::unique_ptr<LoadedVariant> MakeStubVariant() {
  auto loaded = std::make_unique<LoadedVariant>();
  loaded->name = kStubVariant;
  loaded->numerics_id = "stub";
  loaded->max_running_requests = 1024;
  loaded->max_queued_requests = 1024;
  loaded->own_tokenizer = std::make_unique<ByteTokenizer>();
  loaded->own_chat_template = std::make_unique<JoinTemplate>(loaded->own_tokenizer.get());
  loaded->tokenizer = loaded->own_tokenizer.get();
  loaded->chat_template = loaded->own_chat_template.get();
  loaded->engine = std::make_unique<StubEngine>();
  return loaded;
}

}  // namespace linnet::worker
