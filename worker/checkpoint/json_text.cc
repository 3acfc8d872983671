#include "worker/checkpoint/json_text.h"

#include <algorithm>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_depth.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::worker {
namespace {

constexpr size_t kProblemsShown = 40;
constexpr size_t kQuotedBytes = 80;

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const std::string& path) {
  if (base::NestsDeeperThan(text, kMaxJsonDepth))
    return CheckpointError(path, {base::StrCat("nests deeper than ", kMaxJsonDepth, " levels")});
  std::vector<std::set<std::string>> open;  // keys so far of the objects around
  std::string twice;
  const auto watch = [&](int, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    if (event == nlohmann::json::parse_event_t::object_start) open.emplace_back();
    if (event == nlohmann::json::parse_event_t::object_end) open.pop_back();
    if (event == nlohmann::json::parse_event_t::key && twice.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open.back().insert(key).second) twice = Quoted(key);
    }
    return true;
  };
  nlohmann::json json = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (json.is_discarded()) return CheckpointError(path, {"is no valid JSON"});
  if (!twice.empty()) return CheckpointError(path, {base::StrCat("has the key ", twice, " twice in one object")});
  return json;
}

absl::StatusOr<nlohmann::json> ReadJson(const std::string& path, uint64_t max_bytes) {
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path, max_bytes));
  return ParseJson(text, path);
}

const nlohmann::json* Member(const nlohmann::json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(name));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::Status CheckpointError(std::string_view path, const std::vector<std::string>& problems) {
  const size_t shown = std::min(problems.size(), kProblemsShown);
  std::string message =
      base::StrCat(path, " cannot be used: ", absl::StrJoin(problems.begin(), problems.begin() + shown, "; "));
  if (shown < problems.size()) base::StrAppend(&message, "; and ", problems.size() - shown, " more");
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE", message, {{"file", std::string(path)}});
}

std::string Quoted(std::string_view text) {
  const bool cut = text.size() > kQuotedBytes;
  return base::StrCat("\"", absl::CHexEscape(std::string(text.substr(0, kQuotedBytes))), cut ? "..." : "", "\"");
}

}  // namespace linnet::worker
