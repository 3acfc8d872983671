#include "worker/text/hf/pattern.h"

#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/text/hf/fields.h"
#include "worker/text/hf/oniguruma.h"

namespace linnet::worker::hf {

absl::StatusOr<Regex> ReadPattern(const nlohmann::json& pattern, const std::string& where) {
  LINNET_ASSIGN_OR_RETURN(Fields fields, Fields::Of(pattern, where));
  const bool is_string = fields.Find("String") != nullptr;
  LINNET_ASSIGN_OR_RETURN(const std::string text, fields.String(is_string ? "String" : "Regex"));
  LINNET_RETURN_IF_ERROR(fields.Finish());
  if (text.empty()) return fields.Error("an empty pattern is not supported");
  absl::StatusOr<Regex> regex = is_string ? Regex::Compile(QuoteForRegex(text)) : CompileOniguruma(text);
  if (!regex.ok()) return fields.Error(base::ToStd(regex.status().message()));
  return regex;
}

}  // namespace linnet::worker::hf
