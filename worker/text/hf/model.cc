#include "worker/text/hf/model.h"

#include "base/status_macros.h"
#include "worker/text/hf/fields.h"

namespace linnet::worker::hf {

absl::StatusOr<std::unique_ptr<ModelSource>> ModelSource::Read(const nlohmann::json& json) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(json, "model"));
  // Old files do not name the type.
  const bool has_merges = fields.Find("merges") != nullptr;
  LINNET_ASSIGN_OR_RETURN(const std::string type, fields.String("type", has_merges ? "BPE" : "Unigram"));
  if (type == "BPE") return ReadBpe(json);
  if (type == "Unigram") return ReadUnigram(json);
  return UnsupportedType("model", type, "BPE, Unigram");
}

}  // namespace linnet::worker::hf
