#include "tools/linnet/model_card.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace linnet::cli {
namespace {

constexpr size_t kMaxCardBytes = 8 << 20;
constexpr size_t kMaxYamlBytes = 64 << 10;
constexpr size_t kMaxTextBytes = 256;
constexpr size_t kMaxListed = 64;

absl::Status Broken(const std::string& path, std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                     base::StrCat(path, ": ", what, "; mend it, or say what it should (--license, --base-model, ...)"),
                     {{"file", path}});
}

// The lines between the first "---", which begins the file, and the next; empty: there are none.
std::string_view FrontMatter(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const auto is_border = [](std::string_view line) {
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    return line == "---";
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (is_border(text.substr(at, end - at))) {
      if (begin > 0) return text.substr(begin, at - begin);
      begin = end + 1;
    } else if (begin == 0) {
      return "";
    }
    at = end + 1;
  }
  return "";
}

// A text, or a list of texts.
std::vector<std::string> Texts(const YAML::Node& node) {
  std::vector<std::string> texts;
  const auto add = [&](const YAML::Node& one) {
    if (!one.IsScalar() || texts.size() == kMaxListed) return;
    std::string text = base::BoundedUtf8(ModelReferenceFrom(one.Scalar()), kMaxTextBytes);
    if (!text.empty()) texts.push_back(std::move(text));
  };
  if (!node.IsDefined()) return texts;
  add(node);
  if (node.IsSequence()) {
    for (const YAML::Node& one : node) add(one);
  }
  return texts;
}

std::string First(const std::vector<std::string>& texts) { return texts.empty() ? "" : texts[0]; }

Origin OriginOf(const YAML::Node& card, const catalog::v1::Catalog& catalog) {
  Origin origin;
  origin.license = First(Texts(card["license"]));
  if (const std::string name = First(Texts(card["license_name"])); origin.license == "other" && !name.empty()) {
    origin.license = name;
  }
  const std::vector<std::string> bases = Texts(card["base_model"]);
  origin.lineage.set_base_model(First(bases));
  for (size_t i = 1; i < bases.size(); ++i) origin.lineage.add_merged_models(bases[i]);
  origin.lineage.set_base_model_relation(First(Texts(card["base_model_relation"])));
  if (bases.size() > 1 && origin.lineage.base_model_relation().empty()) {
    origin.lineage.set_base_model_relation("merge");
  }
  for (const std::string& name : Texts(card["datasets"])) AddDataset(catalog, name, &origin.lineage);
  return origin;
}

}  // namespace

absl::StatusOr<Origin> ParseModelCard(std::string_view text, const std::string& path,
                                      const catalog::v1::Catalog& catalog) {
  const std::string_view yaml = FrontMatter(text);
  if (yaml.empty()) return Origin{};
  if (yaml.size() > kMaxYamlBytes) return Broken(path, "its front matter is larger than 64 KiB");
  try {
    const YAML::Node card = YAML::Load(std::string(yaml));
    if (card.IsNull()) return Origin{};
    if (!card.IsMap()) return Broken(path, "its front matter is no list of keys and values");
    return OriginOf(card, catalog);
  } catch (const YAML::Exception& e) {
    return Broken(path, base::StrCat("line ", e.mark.line + 2, " of its front matter: ", e.msg));
  }
}

absl::StatusOr<Origin> ReadModelCard(const std::string& path, const catalog::v1::Catalog& catalog) {
  std::string file = path;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    file = (std::filesystem::path(path) / "README.md").string();
    if (!std::filesystem::exists(file, error)) return Origin{};
  }
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(file, kMaxCardBytes));
  return ParseModelCard(text, file, catalog);
}

}  // namespace linnet::cli
