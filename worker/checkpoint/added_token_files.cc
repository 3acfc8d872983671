#include "worker/checkpoint/added_token_files.h"

#include <charconv>
#include <filesystem>
#include <map>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxFileBytes = 16 << 20;
constexpr char kTokenizerConfig[] = "tokenizer_config.json";

struct Added {
  int64_t id = 0;
  bool special = false, lstrip = false, rstrip = false, single_word = false;
};

bool Flag(const json& token, const char* name) {
  const json* value = Member(token, name);
  return value != nullptr && *value == true;
}

class AddedTokenFiles {
 public:
  explicit AddedTokenFiles(std::string dir) : dir_(std::move(dir)) {}

  absl::StatusOr<AddedTokenIds> Put(HfVocabulary& vocabulary) {
    LINNET_RETURN_IF_ERROR(ReadList());
    LINNET_ASSIGN_OR_RETURN(const json config, ReadIfThere(kTokenizerConfig));
    LINNET_RETURN_IF_ERROR(ReadDecoder(config));
    LINNET_ASSIGN_OR_RETURN(const json map, ReadIfThere("special_tokens_map.json"));
    for (const json* file : {&config, &map}) MarkSpecial(*file, vocabulary);
    std::map<int64_t, const Added*> by_id;
    for (const auto& [text, token] : tokens_) {
      vocabulary.PutAdded(json(static_cast<uint64_t>(token.id)), text, token.special);
      if (token.id < vocabulary.size()) by_id.emplace(token.id, &token);
    }
    AddedTokenIds ids;
    for (const auto& [id, token] : by_id) {
      const auto at = static_cast<int32_t>(id);
      ids.all.push_back(at);
      if (token->lstrip) ids.lstrip.push_back(at);
      if (token->rstrip) ids.rstrip.push_back(at);
      if (token->single_word) ids.single_word.push_back(at);
    }
    return ids;
  }

 private:
  std::string Path(const char* name) const { return (fs::path(dir_) / name).string(); }
  absl::StatusOr<json> ReadIfThere(const char* name) const {
    std::error_code error;
    if (!fs::is_regular_file(Path(name), error)) return json();
    LINNET_ASSIGN_OR_RETURN(json found, ReadJson(Path(name), kMaxFileBytes));
    if (!found.is_object()) return CheckpointError(Path(name), {"is no JSON object"});
    return found;
  }

  // {"<|end|>": 32000, ...}
  absl::Status ReadList() {
    LINNET_ASSIGN_OR_RETURN(const json list, ReadIfThere("added_tokens.json"));
    for (const auto& [text, id] : list.items()) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
        return CheckpointError(Path("added_tokens.json"), {base::StrCat("token ", Quoted(text), " has no id")});
      }
      tokens_[text].id = id.get<int64_t>();
    }
    return absl::OkStatus();
  }

  // {"32000": {"content": "<|end|>", "special": true, ...}, ...}
  absl::Status ReadDecoder(const json& config) {
    const json* decoder = Member(config, "added_tokens_decoder");
    if (decoder == nullptr) return absl::OkStatus();
    const auto wrong = [&](std::string what) {
      return CheckpointError(Path(kTokenizerConfig), {"added_tokens_decoder " + std::move(what)});
    };
    if (!decoder->is_object()) return wrong("is no JSON object");
    for (const auto& [key, token] : decoder->items()) {
      Added added{.special = Flag(token, "special"),
                  .lstrip = Flag(token, "lstrip"),
                  .rstrip = Flag(token, "rstrip"),
                  .single_word = Flag(token, "single_word")};
      int32_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      const json* content = Member(token, "content");
      if (error != std::errc() || end != key.data() + key.size() || id < 0 || content == nullptr ||
          !content->is_string() || content->get_ref<const std::string&>().empty()) {
        return wrong(base::StrCat("has the key ", Quoted(key), ", which is no id of a token with content"));
      }
      added.id = id;
      tokens_[content->get<std::string>()] = added;
    }
    return absl::OkStatus();
  }

  // What a file calls special, where the vocabulary has it.
  void MarkSpecial(const json& file, const HfVocabulary& vocabulary) {
    std::vector<const json*> named;
    if (const json* more = Member(file, "additional_special_tokens"); more != nullptr && more->is_array()) {
      for (const json& token : *more) named.push_back(&token);
    }
    for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) named.push_back(Member(file, name));
    for (const json* token : named) {
      if (token == nullptr) continue;
      const json* content = token->is_object() ? Member(*token, "content") : token;
      if (content == nullptr || !content->is_string()) continue;
      const std::string& text = content->get_ref<const std::string&>();
      if (const auto it = tokens_.find(text); it != tokens_.end()) {
        it->second.special = true;
      } else if (const int64_t id = vocabulary.IdOf(text); id >= 0) {
        tokens_[text] = {.id = id, .special = true};
      }
    }
  }

  const std::string dir_;
  std::map<std::string, Added> tokens_;
};

}  // namespace

absl::StatusOr<AddedTokenIds> AddTokensOfFiles(const std::string& dir, HfVocabulary& vocabulary) {
  return AddedTokenFiles(dir).Put(vocabulary);
}

}  // namespace linnet::worker
