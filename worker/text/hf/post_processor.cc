#include "worker/text/hf/post_processor.h"

#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/hf/fields.h"
#include "worker/text/vocabulary.h"

namespace linnet::worker::hf {
namespace {

constexpr std::string_view kTypes = "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing";
constexpr int kMaxNesting = 8;
constexpr size_t kMaxTokensAround = 64;

absl::StatusOr<TokenId> IdOf(const nlohmann::json& id, const Fields& fields) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= Vocabulary::kMaxTokens)
    return fields.Error("a token's id is none");
  return static_cast<TokenId>(id.get<uint64_t>());
}

// "[CLS]": ["[CLS]", 101].
absl::StatusOr<TokenId> NamedToken(Fields& fields, std::string_view key) {
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json* pair, fields.Array(key));
  if (pair->size() != 2) return fields.Error(base::StrCat(key, " should be a text and an id"));
  return IdOf((*pair)[1], fields);
}

absl::StatusOr<PostProcessor> MakeClsSep(Fields& fields) {
  PostProcessor made;
  LINNET_ASSIGN_OR_RETURN(const TokenId cls, NamedToken(fields, "cls"));
  LINNET_ASSIGN_OR_RETURN(const TokenId sep, NamedToken(fields, "sep"));
  fields.Ignore("trim_offsets");  // of places in the text, which are not kept here
  fields.Ignore("add_prefix_space");
  made.prefix.push_back(cls);
  made.suffix.push_back(sep);
  return made;
}

// "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}].
absl::StatusOr<PostProcessor> MakeTemplate(Fields& fields) {
  PostProcessor made;
  fields.Ignore("pair");  // of two texts
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json* pieces, fields.Array("single"));
  const nlohmann::json* tokens = fields.Find("special_tokens");
  bool behind = false;
  for (size_t i = 0; i < pieces->size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(Fields piece, Fields::Of((*pieces)[i], fields.Where("single", i)));
    const bool is_text = piece.Find("Sequence") != nullptr;
    const nlohmann::json* object = piece.Find(is_text ? "Sequence" : "SpecialToken");
    if (object == nullptr) return piece.Error("should be a Sequence or a SpecialToken");
    LINNET_RETURN_IF_ERROR(piece.Finish());
    LINNET_ASSIGN_OR_RETURN(Fields inner, Fields::Of(*object, piece.Where(is_text ? "Sequence" : "SpecialToken")));
    LINNET_ASSIGN_OR_RETURN(const std::string id, inner.String("id"));
    inner.Ignore("type_id");  // of models of two texts
    LINNET_RETURN_IF_ERROR(inner.Finish());
    if (is_text) {
      if (behind || id != "A") return inner.Error(base::StrCat("a second text, ", id, ", is not supported"));
      behind = true;
      continue;
    }
    if (tokens == nullptr || !tokens->is_object() || !tokens->contains(id)) {
      return inner.Error(base::StrCat(QuoteToken(id), " is not in special_tokens"));
    }
    LINNET_ASSIGN_OR_RETURN(Fields token, Fields::Of((*tokens)[id], fields.Where("special_tokens")));
    LINNET_ASSIGN_OR_RETURN(const nlohmann::json* ids, token.Array("ids"));
    for (const nlohmann::json& each : *ids) {
      LINNET_ASSIGN_OR_RETURN((behind ? made.suffix : made.prefix).emplace_back(), IdOf(each, token));
    }
    if (made.prefix.size() + made.suffix.size() > kMaxTokensAround) return fields.Error("too many tokens");
  }
  if (!behind) return fields.Error("single has no place for the text");
  return made;
}

absl::StatusOr<PostProcessor> Make(const nlohmann::json& json, const std::string& where, int depth);

absl::StatusOr<PostProcessor> MakeSequence(Fields& fields, int depth) {
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json* array, fields.Array("processors"));
  PostProcessor made;
  for (size_t i = 0; i < array->size(); ++i) {
    LINNET_ASSIGN_OR_RETURN(const PostProcessor outer, Make((*array)[i], fields.Where("processors", i), depth + 1));
    made.prefix.insert(made.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    made.suffix.insert(made.suffix.end(), outer.suffix.begin(), outer.suffix.end());
    if (made.prefix.size() + made.suffix.size() > kMaxTokensAround) return fields.Error("too many tokens");
  }
  return made;
}

absl::StatusOr<PostProcessor> MakeTyped(std::string_view type, Fields& fields, const std::string& where, int depth) {
  if (type == "Sequence") return MakeSequence(fields, depth);
  if (type == "TemplateProcessing") return MakeTemplate(fields);
  if (type == "RobertaProcessing" || type == "BertProcessing") return MakeClsSep(fields);
  if (type == "ByteLevel") {  // of places in the text, which are not kept here
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.Ignore(key);
    return PostProcessor();
  }
  return UnsupportedType(where, type, kTypes);
}

absl::StatusOr<PostProcessor> Make(const nlohmann::json& json, const std::string& where, int depth) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, where));
  if (depth > kMaxNesting) return fields.Error("sequences are nested too deeply");
  LINNET_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  LINNET_ASSIGN_OR_RETURN(PostProcessor made, MakeTyped(type, fields, where, depth));
  LINNET_RETURN_IF_ERROR(fields.Finish());
  return made;
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Read(const nlohmann::json& json, const std::string& where) {
  if (json.is_null()) return PostProcessor();
  return Make(json, where, 0);
}

}  // namespace linnet::worker::hf
