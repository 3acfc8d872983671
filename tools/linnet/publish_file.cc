#include "tools/linnet/publish_file.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/version.h"
#include "registry/catalog/model_catalog.h"
#include "registry/client/variant_memory.h"
#include "tools/linnet/connect.h"
#include "tools/linnet/lineage.h"
#include "tools/linnet/progress.h"
#include "worker/model/family.h"
#include "worker/model/memory_plan.h"
#include "worker/model/weights.h"
#include "worker/text/chat_template.h"
#include "worker/text/tokenizer.h"

namespace linnet::cli {

absl::StatusOr<FileDescription> DescribeModelFile(const std::string& path, const Naming& naming) {
  LINNET_ASSIGN_OR_RETURN(auto file, worker::GgufFile::Open(path));
  LINNET_ASSIGN_OR_RETURN(const auto description, worker::DescribeModel(*file));
  LINNET_ASSIGN_OR_RETURN(const auto bindings, worker::BindTensors(*file, description));
  LINNET_ASSIGN_OR_RETURN(const auto tokenizer, worker::Tokenizer::FromGguf(*file));
  LINNET_ASSIGN_OR_RETURN(const auto chat_template, file->GetStringOr("tokenizer.chat_template", ""));
  if (!chat_template.empty()) {
    LINNET_RETURN_IF_ERROR(worker::ChatTemplate::Create(std::string(chat_template), tokenizer.get()).status());
  }
  const auto plan = worker::PlanMemory(description, bindings, kernels::Precision::kFast, registry::kDefaultStepTokens);
  // What the registry is told that loading takes besides weights and KV cache.
  LINNET_ASSIGN_OR_RETURN(FileDescription described,
                          DescribeFile(*file, description, plan.scratch_bytes + worker::kProcessBytes, naming));
  LINNET_ASSIGN_OR_RETURN(const auto catalog, registry::BuiltinModels());
  Origin origin = OriginOfFile(*file, catalog);
  described.model.set_license(origin.license);
  *described.model.mutable_lineage() = std::move(origin.lineage);
  return described;
}

absl::StatusOr<std::string> DigestFile(const std::string& path, bool quiet) {
  LINNET_ASSIGN_OR_RETURN(auto file, base::MappedFile::Open(path));
  constexpr size_t kStep = 4 << 20;
  Progress progress("reading", quiet);
  base::Sha256 hash;
  const auto bytes = file->bytes();
  for (size_t done = 0; done < bytes.size(); done += kStep) {
    const auto part = bytes.subspan(done, std::min(kStep, bytes.size() - done));
    hash.Update(part);
    file->Release(part);  // a model may be larger than memory
    progress.Update(done + part.size(), bytes.size());
  }
  return hash.Digest();
}

absl::StatusOr<registry::v1::PublishVariantResponse> PublishFile(const CommandContext& context, const std::string& path,
                                                                 const FileDescription& described, bool replace) {
  LINNET_ASSIGN_OR_RETURN(auto client, OpenRegistry(context));
  Progress progress("uploading", context.quiet);
  LINNET_RETURN_IF_ERROR(client->UploadFile(path, described.variant.blobs(0).digest(),
                                            [&](uint64_t done, uint64_t total) { progress.Update(done, total); }));
  progress.Finish();
  return client->PublishVariant(described.model, described.variant, replace);
}

absl::StatusOr<registry::v1::Variant> PublishMadeFile(const CommandContext& context, const MadeFile& made,
                                                      bool replace) {
  LINNET_ASSIGN_OR_RETURN(FileDescription described, DescribeModelFile(made.path, made.naming));
  LINNET_ASSIGN_OR_RETURN(const std::string digest, DigestFile(made.path, context.quiet));
  registry::v1::Variant& variant = described.variant;
  variant.mutable_blobs(0)->set_digest(digest);
  if (!made.named) {
    variant.mutable_blobs(0)->set_file_name(base::StrCat(made.naming.model, ".", variant.quantization(), ".gguf"));
  }
  variant.set_source(base::StrCat("linnet ", base::kVersion, " ", made.how));
  LINNET_ASSIGN_OR_RETURN(const auto published, PublishFile(context, made.path, described, replace));
  return published.variant();
}

}  // namespace linnet::cli
