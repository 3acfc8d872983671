#include "worker/checkpoint/special_tokens.h"

#include <filesystem>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr uint64_t kMaxTemplateBytes = 4 << 20;

struct Special {
  const char *name, *gguf;
};
constexpr Special kSpecials[] = {{"bos", "bos_token_id"},     {"eos", "eos_token_id"},
                                 {"unk", "unknown_token_id"}, {"sep", "seperator_token_id"},
                                 {"pad", "padding_token_id"}, {"mask", "mask_token_id"}};

class SpecialTokens {
 public:
  SpecialTokens(std::string dir, const json& tokenizer, HfVocabulary& vocabulary, GgufMetadata& metadata,
                std::vector<std::string>& notes)
      : dir_(std::move(dir)), tokenizer_(tokenizer), vocabulary_(vocabulary), metadata_(metadata), notes_(notes) {}

  absl::Status Add() {
    LINNET_ASSIGN_OR_RETURN(tokenizer_config_, ReadIfThere("tokenizer_config.json"));
    LINNET_ASSIGN_OR_RETURN(generation_, ReadIfThere("generation_config.json"));
    LINNET_ASSIGN_OR_RETURN(config_, ReadIfThere("config.json"));
    for (const Special& special : kSpecials) {
      const int64_t id = IdOf(special.name);
      if (id >= 0) metadata_.SetU32(Key(special.gguf), static_cast<uint32_t>(id));
      if (std::string_view(special.name) == "bos") bos_ = id;
      if (std::string_view(special.name) == "eos") eos_ = id;
    }
    // Generation may end in other ways than a text does.
    for (const int64_t end : Ids(generation_, "eos_token_id")) {
      if (end == eos_) continue;
      metadata_.SetU32(Key("eot_token_id"), static_cast<uint32_t>(end));
      break;
    }
    AddAround("bos", bos_, /*front=*/true);
    AddAround("eos", eos_, /*front=*/false);
    return AddChatTemplate();
  }

 private:
  static std::string Key(std::string_view name) { return base::StrCat("tokenizer.ggml.", name); }
  std::string Path(const char* name) const { return (fs::path(dir_) / name).string(); }
  bool Has(const char* name) const {
    std::error_code error;
    return fs::is_regular_file(Path(name), error);
  }
  absl::StatusOr<json> ReadIfThere(const char* name) const {
    if (!Has(name)) return json();
    LINNET_ASSIGN_OR_RETURN(json found, ReadJson(Path(name), kMaxConfigBytes));
    if (!found.is_object()) return CheckpointError(Path(name), {"is no JSON object"});
    return found;
  }

  // One id or a list of them; none that has no embedding.
  std::vector<int64_t> Ids(const json& file, const std::string& name) const {
    std::vector<int64_t> ids;
    const json* value = Member(file, name);
    if (value == nullptr) return ids;
    for (const json& id : value->is_array() ? *value : json::array({*value})) {
      if (id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocabulary_.size())) {
        ids.push_back(id.get<int64_t>());
      }
    }
    return ids;
  }

  // A token that tokenizer_config.json names: a text, or an object with one. "": none.
  std::string TextOf(const std::string& name) const {
    const json* token = Member(tokenizer_config_, name);
    if (token != nullptr && token->is_object()) token = Member(*token, "content");
    return token != nullptr && token->is_string() ? token->get<std::string>() : "";
  }

  int64_t IdOf(const std::string& special) {
    if (const std::string text = TextOf(special + "_token"); !text.empty()) {
      const int64_t id = vocabulary_.IdOf(text);
      if (id >= 0) {
        // Where tokenizer.json lists it, it says so itself.
        if (tokenizer_.is_null()) vocabulary_.PutAdded(json(static_cast<uint64_t>(id)), text, /*special=*/true);
        return id;
      }
    }
    for (const json* file : {&generation_, &config_}) {
      const std::vector<int64_t> ids = Ids(*file, special + "_token_id");
      if (!ids.empty()) return ids[0];
    }
    return -1;
  }

  // What a single text is put between: the elements of a TemplateProcessing. nullptr: there is none.
  const json* Template() const {
    const json* processor = Member(tokenizer_, "post_processor");
    if (processor == nullptr) return nullptr;
    if (const json* single = Member(*processor, "single"); single != nullptr && single->is_array()) return single;
    const json* steps = Member(*processor, "processors");
    if (steps == nullptr || !steps->is_array()) return nullptr;
    for (const json& step : *steps) {
      if (const json* single = Member(step, "single"); single != nullptr && single->is_array()) return single;
    }
    return nullptr;
  }

  void AddAround(const std::string& special, int64_t id, bool front) {
    const std::string key = Key(base::StrCat("add_", special, "_token"));
    const json* pieces = Template();
    if (pieces != nullptr && !pieces->empty()) {
      const json& piece = front ? pieces->front() : pieces->back();
      const json* token = Member(piece, "SpecialToken");
      const json* text = token == nullptr ? nullptr : Member(*token, "id");
      const bool is_it = text != nullptr && text->is_string() && id >= 0 &&
                         vocabulary_.IdOf(text->get_ref<const std::string&>()) == id;
      metadata_.SetBool(key, is_it);
    } else if (Member(tokenizer_, "post_processor") != nullptr) {
      metadata_.SetBool(key, false);  // one that spells bytes and adds nothing
    } else if (const json* flag = Member(tokenizer_config_, base::StrCat("add_", special, "_token"));
               flag != nullptr && flag->is_boolean()) {
      metadata_.SetBool(key, flag->get<bool>());
    } else if (!tokenizer_.is_null()) {
      metadata_.SetBool(key, false);
    }
  }

  absl::Status AddChatTemplate() {
    const json* found = Member(tokenizer_config_, "chat_template");
    LINNET_ASSIGN_OR_RETURN(const json beside, ReadIfThere("chat_template.json"));
    if (found == nullptr && Has("chat_template.jinja")) {
      LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(Path("chat_template.jinja"), kMaxTemplateBytes));
      metadata_.SetString("tokenizer.chat_template", text);
      return absl::OkStatus();
    }
    if (found == nullptr) found = Member(beside, "chat_template");
    if (found == nullptr) return absl::OkStatus();
    if (found->is_string()) {
      metadata_.SetString("tokenizer.chat_template", found->get_ref<const std::string&>());
      return absl::OkStatus();
    }
    // Several, by name.
    if (found->is_array()) {
      for (const json& one : *found) {
        const json *name = Member(one, "name"), *text = Member(one, "template");
        if (name == nullptr || *name != "default" || text == nullptr || !text->is_string()) continue;
        metadata_.SetString("tokenizer.chat_template", text->get_ref<const std::string&>());
        return absl::OkStatus();
      }
    }
    notes_.push_back("the chat template is neither a text nor a list with one named \"default\": left out");
    return absl::OkStatus();
  }

  const std::string dir_;
  const json& tokenizer_;
  HfVocabulary& vocabulary_;
  GgufMetadata& metadata_;
  std::vector<std::string>& notes_;
  json tokenizer_config_, generation_, config_;
  int64_t bos_ = -1, eos_ = -1;
};

}  // namespace

absl::Status AddSpecialTokens(const std::string& dir, const json& tokenizer, HfVocabulary& vocabulary,
                              GgufMetadata& metadata, std::vector<std::string>& notes) {
  return SpecialTokens(dir, tokenizer, vocabulary, metadata, notes).Add();
}

}  // namespace linnet::worker
