// A GGUF file on its way into the registry: what `model import`, `variant quantize` and `variant prune` share.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "linnet/registry/v1/registry.pb.h"
#include "tools/linnet/command.h"
#include "tools/linnet/describe_file.h"

namespace linnet::cli {

// Everything that can be said against a model file, and what the registry is told of it; the digest of its blob is
// missing yet. Reads metadata only.
absl::StatusOr<FileDescription> DescribeModelFile(const std::string& path, const Naming& naming);

// Reads the whole file; with a progress bar.
absl::StatusOr<std::string> DigestFile(const std::string& path, bool quiet);

// Uploads the blob (a progress bar again) and publishes model and variant in one write. `described` has the digest.
absl::StatusOr<registry::v1::PublishVariantResponse> PublishFile(const CommandContext& context, const std::string& path,
                                                                 const FileDescription& described, bool replace);

// A file that this program made of another one.
struct MadeFile {
  std::string path;
  Naming naming;
  bool named = false;  // by who asked for it; else the registry has MODEL.QUANTIZATION.gguf
  std::string how;     // "variant prune of models/..."
};
absl::StatusOr<registry::v1::Variant> PublishMadeFile(const CommandContext& context, const MadeFile& made,
                                                      bool replace);

}  // namespace linnet::cli
