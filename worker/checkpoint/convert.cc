#include "worker/checkpoint/convert.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "base/version.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/hf_config.h"
#include "worker/checkpoint/hf_family.h"
#include "worker/checkpoint/hf_tokenizer.h"
#include "worker/checkpoint/json_text.h"
#include "worker/checkpoint/model_card.h"
#include "worker/checkpoint/tensor_plan.h"
#include "worker/checkpoint/tensor_stream.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;
using kernels::DType;

constexpr uint32_t kQuantizationVersion = 2;

// llama.cpp's number for files most of whose weights have this type.
uint32_t FileType(const std::vector<PlannedTensor>& tensors) {
  std::map<DType, int64_t> elements;
  for (const PlannedTensor& tensor : tensors) {
    if (tensor.target.dims.size() > 1) elements[tensor.target.type] += tensor.target.elements();
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == elements.end() || most->first == DType::kF32) return 0;
  return most->first == DType::kF16 ? 1 : 32;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& dir, HfDescription& description) {
  LINNET_ASSIGN_OR_RETURN(HfConfig config, HfConfig::Read((fs::path(dir) / "config.json").string()));
  LINNET_ASSIGN_OR_RETURN(description, DescribeConfig(config));
  return Checkpoint::Open(dir);
}

// What would be refused when the file is to run is refused before it is written.
absl::Status CheckTokenizer(const std::string& dir, const GgufMetadata& metadata) {
  const std::string bytes = metadata.AsFile();
  LINNET_ASSIGN_OR_RETURN(const auto file, GgufFile::Parse(std::as_bytes(std::span(bytes)), "its tokenizer"));
  const absl::Status status = Tokenizer::FromGguf(*file).status();
  if (status.ok()) return status;
  return CheckpointError(dir, {base::StrCat(status.message(),
                                            "; fetch the tokenizer's files again, or take those of the "
                                            "model that this one was made from")});
}

}  // namespace

absl::StatusOr<ConvertReport> ConvertCheckpoint(const std::string& dir, const std::string& path,
                                                const ConvertOptions& options) {
  HfDescription description;
  LINNET_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint, OpenCheckpoint(dir, description));
  LINNET_ASSIGN_OR_RETURN(const TensorPlan plan, PlanTensors(*checkpoint, description));
  ConvertReport report = {.architecture = std::string(description.family->gguf), .name = ModelName(dir)};
  report.notes = description.notes;
  report.notes.insert(report.notes.end(), plan.notes.begin(), plan.notes.end());

  GgufMetadata& metadata = description.metadata;
  if (plan.shared_ffn) ArchitectureKeys(report.architecture, metadata).Bool("feed_forward_shared", true);
  metadata.SetString("general.type", "model");
  metadata.SetString("general.name", report.name);
  if (const std::string license = ModelLicense(dir); !license.empty()) metadata.SetString("general.license", license);
  metadata.SetU32("general.file_type", FileType(plan.tensors));
  metadata.SetU32("general.quantization_version", kQuantizationVersion);
  metadata.SetString("linnet.convert.version", base::kVersion);
  LINNET_RETURN_IF_ERROR(AddTokenizer(dir, description.model.vocab, metadata, report.notes));
  LINNET_RETURN_IF_ERROR(CheckTokenizer(dir, metadata));

  std::vector<GgufTensorPlan> targets;
  uint64_t total = 0, done = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    targets.push_back(tensor.target);
    total += tensor.target.bytes();
  }
  LINNET_ASSIGN_OR_RETURN(const auto writer, GgufWriter::Create(path, metadata, targets));
  for (const PlannedTensor& tensor : plan.tensors) {
    LINNET_RETURN_IF_ERROR(StreamTensor(tensor, *writer, [&](uint64_t bytes) {
      done += bytes;
      if (options.progress) options.progress(done, total);
      return !options.stop.stop_requested();
    }));
  }
  LINNET_RETURN_IF_ERROR(writer->Finish());
  report.tensors = targets.size();
  report.file_bytes = writer->file_bytes();
  return report;
}

}  // namespace linnet::worker
