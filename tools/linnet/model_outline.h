// Outlines of model files that are not there: of a model of the catalogue as a converter would write it, and of what
// the quantizer would make of a file.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "linnet/catalog/v1/catalog.pb.h"
#include "tools/linnet/quantize_plan.h"
#include "worker/gguf/gguf_file.h"
#include "worker/gguf/gguf_outline.h"

namespace linnet::cli {

// In F16, vectors in F32. What tensors there are is what the model's family asks for. FAILED_PRECONDITION NOT_SUPPORTED
// where this version does not run its architecture.
absl::StatusOr<std::unique_ptr<worker::GgufOutline>> OutlineOf(const catalog::v1::Model& model);

// The file that QuantizeFile would write. `source` need not be one of real weights.
absl::StatusOr<std::unique_ptr<worker::GgufOutline>> QuantizedOutline(const worker::GgufFile& source,
                                                                      const QuantizeFormat& format);

}  // namespace linnet::cli
