#include "worker/checkpoint/model_card.h"

#include <filesystem>
#include <string_view>

#include "base/file.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxCardBytes = 4 << 20;
constexpr size_t kMaxTextBytes = 256;

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kAround = " \t\r'\"";
  const size_t begin = text.find_first_not_of(kAround);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kAround) - begin + 1);
}

}  // namespace

std::string ModelName(const std::string& dir) {
  std::error_code error;
  fs::path path = fs::canonical(dir, error);
  if (error) path = fs::path(dir);
  // models--{owner}--{name}/snapshots/{commit}
  if (path.parent_path().filename() == "snapshots") {
    const std::string repository = path.parent_path().parent_path().filename().string();
    const size_t at = repository.rfind("--");
    if (repository.starts_with("models--") && at + 2 < repository.size()) return repository.substr(at + 2);
  }
  return base::BoundedUtf8(path.filename().string(), kMaxTextBytes);
}

std::string ModelLicense(const std::string& dir) {
  const auto card = base::ReadFile((fs::path(dir) / "README.md").string(), kMaxCardBytes);
  if (!card.ok() || !card->starts_with("---")) return "";
  for (const std::string_view line : base::StrSplit(std::string_view(*card).substr(3), '\n')) {
    if (line.starts_with("---")) break;  // the head ends
    if (line.starts_with("license:")) return base::BoundedUtf8(Trimmed(line.substr(8)), kMaxTextBytes);
  }
  return "";
}

}  // namespace linnet::worker
