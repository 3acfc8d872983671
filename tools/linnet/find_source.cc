#include "tools/linnet/find_source.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "registry/client/names.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/progress.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;
namespace fs = std::filesystem;

absl::StatusOr<Source> FetchVariant(const CommandContext& context, const registry::VariantId& id, WorkFiles& work) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  Source source = {.path = "", .name = registry::VariantName(id.model, id.variant), .model = id.model};
  LINNET_ASSIGN_OR_RETURN(const v1::Variant variant, client->GetVariant(source.name));
  const v1::BlobRef* main = nullptr;
  for (const v1::BlobRef& blob : variant.blobs()) {
    if (blob.role() == "main") main = &blob;
  }
  if (main == nullptr) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
                       absl::StrCat(source.name, " has no blob with the role 'main'; import the model again"));
  }
  // The digest as the name: a download that was interrupted goes on.
  LINNET_ASSIGN_OR_RETURN(source.path, work.Add(absl::StrCat(main->digest().substr(7), ".gguf")));
  Progress progress("downloading", context.quiet);
  LINNET_RETURN_IF_ERROR(client->DownloadBlob(main->digest(), source.path,
                                              [&](uint64_t done, uint64_t total) { progress.Update(done, total); }));
  return source;
}

}  // namespace

absl::StatusOr<Source> FindSource(const CommandContext& context, const std::string& typed, WorkFiles& work) {
  std::error_code error;
  if (fs::exists(typed, error)) return Source{.path = typed, .name = fs::path(typed).filename().string(), .model = ""};
  if (const auto name = VariantNameFrom(typed); name.ok() && !typed.ends_with(".gguf")) {
    LINNET_ASSIGN_OR_RETURN(const auto id, registry::ParseVariantName(*name));
    return FetchVariant(context, id, work);
  }
  return base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                     absl::StrCat("there is no file ", typed,
                                  ", and it is not the name of a variant either (MODEL/VARIANT, as `linnet variant ls` "
                                  "shows them)"),
                     {{"resource", typed}});
}

}  // namespace linnet::cli
