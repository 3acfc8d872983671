#include "tools/linnet/quantize_file.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/version.h"
#include "kernels/quant_block.h"
#include "kernels/quantize.h"
#include "worker/gguf/gguf_writer.h"
#include "worker/model/shared_scales.h"

namespace linnet::cli {
namespace {

using kernels::DType;

constexpr int64_t kChunkElements = 1 << 20;  // read, quantized and written at a time
constexpr uint32_t kQuantizationVersion = 2;

absl::Status Refuse(const worker::GgufFile& file, std::string_view what) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_MODEL_FILE", base::StrCat(file.path(), ": ", what),
                     {{"file", file.path()}});
}

// One tensor on its way from the mapped file to the new one.
class TensorJob {
 public:
  TensorJob(const worker::GgufFile& file, const worker::GgufTensor& tensor, DType type, const float* importance,
            int64_t columns_per_scale)
      : file_(file),
        tensor_(tensor),
        type_(type),
        importance_(importance),
        columns_per_scale_(columns_per_scale),
        cols_(tensor.dims[0]) {
    source_row_bytes_ = kernels::BytesFor(tensor.type, cols_);
    row_bytes_ = kernels::BytesFor(type, cols_);
  }

  int64_t rows() const { return tensor_.elements() / cols_; }
  int64_t cols() const { return cols_; }
  int64_t row_bytes() const { return row_bytes_; }
  double squared_error() const { return squared_error_; }
  double squares() const { return squares_; }

  // Rows [begin, end) to `out`, by all threads.
  absl::Status Convert(int64_t begin, int64_t end, uint8_t* out, kernels::ThreadPool& pool) {
    const int64_t grain = std::max<int64_t>(1, (end - begin) / (8 * pool.threads()));
    std::vector<RowError> errors(static_cast<size_t>(end - begin));
    pool.ParallelFor(end - begin, grain, [&](int64_t first, int64_t last, int) {
      std::vector<float> x(static_cast<size_t>(cols_));
      for (int64_t row = first; row < last; ++row) {
        errors[static_cast<size_t>(row)] = ConvertRow(begin + row, x, out + row * row_bytes_);
      }
    });
    for (const RowError& error : errors) {
      squared_error_ += error.squared_error;
      squares_ += error.squares;
    }
    const base::MutexLock lock(&mu_);
    return status_;
  }

 private:
  struct RowError {
    double squared_error = 0, squares = 0;
  };

  RowError ConvertRow(int64_t row, std::vector<float>& x, uint8_t* out) {
    kernels::Dequantize(tensor_.type, tensor_.data.data() + row * source_row_bytes_, cols_, x.data());
    const absl::Status status = kernels::QuantizeRow(
        type_, {.x = x.data(), .cols = cols_, .importance = importance_, .columns_per_scale = columns_per_scale_}, out);
    if (!status.ok()) {
      const base::MutexLock lock(&mu_);
      // Of several bad rows the first, whichever thread came first.
      if (status_.ok() || row < bad_row_) {
        bad_row_ = row;
        status_ =
            Refuse(file_, base::StrCat("tensor ", tensor_.name, ", row ", row, ": ", base::ToStd(status.message()),
                                       "; the weights are damaged or need a "
                                       "wider format (f32, bf16)"));
      }
      return {};
    }
    if (!kernels::IsGroupQuantized(type_)) return {};
    std::vector<float> back(static_cast<size_t>(cols_));
    kernels::Dequantize(type_, out, cols_, back.data());
    RowError error;
    for (size_t i = 0; i < back.size(); ++i) {
      const double e = double{x[i]} - back[i];
      error.squared_error += e * e;
      error.squares += double{x[i]} * x[i];
    }
    return error;
  }

  const worker::GgufFile& file_;
  const worker::GgufTensor& tensor_;
  const DType type_;
  const float* const importance_;
  const int64_t columns_per_scale_;
  const int64_t cols_;
  int64_t source_row_bytes_ = 0, row_bytes_ = 0;
  base::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  int64_t bad_row_ ABSL_GUARDED_BY(mu_) = 0;
  double squared_error_ = 0, squares_ = 0;
};

worker::GgufMetadata NewMetadata(const worker::GgufFile& source, const QuantizeJob& job,
                                 const std::vector<DType>& types) {
  worker::GgufMetadata metadata = QuantizedMetadata(source, *job.format, types);
  metadata.SetString("linnet.quantize.version", base::kVersion);
  metadata.SetString("linnet.quantize.source", job.source_name);
  if (job.calibration.empty()) {
    metadata.Remove("linnet.quantize.calibration");
  } else {
    metadata.SetString("linnet.quantize.calibration", job.calibration);
  }
  return metadata;
}

}  // namespace

worker::GgufMetadata QuantizedMetadata(const worker::GgufFile& source, const QuantizeFormat& format,
                                       const std::vector<DType>& types) {
  worker::GgufMetadata metadata = worker::GgufMetadata::CopyOf(source);
  metadata.SetU32("general.file_type", static_cast<uint32_t>(format.file_type));
  if (std::any_of(types.begin(), types.end(), kernels::IsGroupQuantized)) {
    metadata.SetU32("general.quantization_version", kQuantizationVersion);
  } else {
    metadata.Remove("general.quantization_version");
  }
  if (format.own) {
    metadata.SetString(worker::kOwnQuantizationKey, format.name);
  } else {
    metadata.Remove(worker::kOwnQuantizationKey);
  }
  return metadata;
}

absl::Status CheckQuantizable(const worker::GgufFile& file, bool allow_requantize) {
  if (file.tensors().empty()) return Refuse(file, "has no tensors; give a file with the model's weights");
  LINNET_ASSIGN_OR_RETURN(const int64_t parts, file.GetIntOr("split.count", 1));
  if (parts > 1) {
    return Refuse(file,
                  base::StrCat("is one of ", parts, " parts of a model; merge them first (llama-gguf-split --merge)"));
  }
  if (allow_requantize) return absl::OkStatus();
  for (const worker::GgufTensor& tensor : file.tensors()) {
    if (!kernels::IsGroupQuantized(tensor.type)) continue;
    return base::Error(
        absl::StatusCode::kFailedPrecondition, "STATE_CONFLICT",
        base::StrCat(file.path(), " is quantized already (", tensor.name, " is ", kernels::Info(tensor.type).name,
                     "), and quantizing twice adds both errors; give the f32, f16 or bf16 file, or say "
                     "--allow-requantize"));
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizeReport> QuantizeFile(const worker::GgufFile& source, const std::string& path,
                                            const QuantizeJob& job, kernels::ThreadPool& pool) {
  LINNET_RETURN_IF_ERROR(CheckQuantizable(source, job.allow_requantize));
  const std::vector<DType> types = PlanTypes(source, *job.format);
  std::vector<worker::GgufTensorPlan> plans;
  uint64_t total = 0, done = 0;
  for (size_t i = 0; i < types.size(); ++i) {
    const worker::GgufTensor& tensor = source.tensors()[i];
    plans.push_back({tensor.name, types[i], tensor.dims});
    total += tensor.data.size();
  }
  LINNET_ASSIGN_OR_RETURN(const auto writer, worker::GgufWriter::Create(path, NewMetadata(source, job, types), plans));
  QuantizeReport report;
  report.file_bytes = writer->file_bytes();
  double squared_error = 0, squares = 0;
  std::vector<uint8_t> chunk;
  for (size_t i = 0; i < types.size(); ++i) {
    const worker::GgufTensor& tensor = source.tensors()[i];
    report.tensor_types[std::string(kernels::Info(types[i]).name)] += static_cast<uint64_t>(tensor.elements());
    const std::vector<float>* importance = nullptr;
    if (job.importances != nullptr) {
      if (const auto it = job.importances->find(tensor.name); it != job.importances->end()) importance = &it->second;
    }
    if (importance != nullptr && static_cast<int64_t>(importance->size()) != tensor.dims[0]) {
      return absl::InternalError(base::StrCat("importances of ", tensor.name, " do not have its columns"));
    }
    if (kernels::IsGroupQuantized(types[i]) && types[i] == tensor.type && !job.format->own) {
      LINNET_RETURN_IF_ERROR(writer->Append(tensor.data));  // nothing to gain, and nothing to lose
    } else {
      TensorJob work(source, tensor, types[i], importance != nullptr ? importance->data() : nullptr,
                     job.format->ColumnsPerScale(types[i]));
      const int64_t rows_at_once = std::max<int64_t>(1, kChunkElements / work.cols());
      for (int64_t begin = 0; begin < work.rows(); begin += rows_at_once) {
        if (job.stop.stop_requested()) return absl::CancelledError("interrupted; nothing was written");
        const int64_t end = std::min(work.rows(), begin + rows_at_once);
        chunk.resize(static_cast<size_t>((end - begin) * work.row_bytes()));
        LINNET_RETURN_IF_ERROR(work.Convert(begin, end, chunk.data(), pool));
        LINNET_RETURN_IF_ERROR(writer->Append(std::as_bytes(std::span(chunk))));
        if (job.progress) {
          job.progress(done + tensor.data.size() / static_cast<uint64_t>(work.rows()) * static_cast<uint64_t>(end),
                       total);
        }
      }
      squared_error += work.squared_error();
      squares += work.squares();
    }
    done += tensor.data.size();
    source.Release(tensor);
  }
  LINNET_RETURN_IF_ERROR(writer->Finish());
  report.relative_error = squares > 0 ? std::sqrt(squared_error / squares) : 0;
  return report;
}

}  // namespace linnet::cli
