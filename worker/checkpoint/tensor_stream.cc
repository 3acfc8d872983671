#include "worker/checkpoint/tensor_stream.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/dtype.h"
#include "kernels/finite.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

using kernels::DType;

constexpr int64_t kPieceBytes = 4 << 20;

class Stream {
 public:
  // From one source; of several that lie side by side, from all.
  Stream(const PlannedTensor& tensor, const CheckpointTensor& source, GgufWriter& writer,
         const std::function<bool(uint64_t)>& written)
      : tensor_(tensor),
        file_(*source.file),
        source_(*source.tensor),
        type_(*source_.dtype()),
        element_bytes_(kernels::Info(type_).block_bytes),
        writer_(writer),
        written_(written) {
    cols_ = tensor.target.dims[0];
    rows_ = tensor.target.elements() / cols_;
    if (tensor.change == TensorChange::kStacked) rows_ /= static_cast<int64_t>(tensor.sources.size());
    if (tensor.change == TensorChange::kFlatAcross) {
      rows_ = source_.shape.back();
      cols_ = source_.elements() / rows_;
    }
    if (tensor.target.dims.size() == 1 && IsReordered()) std::swap(rows_, cols_);
  }

  absl::Status Run() {
    const int64_t rows_at_once = std::max<int64_t>(1, kPieceBytes / (cols_ * element_bytes_));
    for (int64_t begin = 0; begin < rows_; begin += rows_at_once) {
      const int64_t end = std::min(rows_, begin + rows_at_once);
      LINNET_RETURN_IF_ERROR(Rows(begin, end));
      if (InOrder())
        file_.Release({Source(SourceRow(begin) * cols_), static_cast<size_t>((end - begin) * cols_ * element_bytes_)});
    }
    file_.Release(source_.data);
    return absl::OkStatus();
  }

 private:
  bool IsReordered() const {
    return tensor_.change == TensorChange::kQueries || tensor_.change == TensorChange::kKeys ||
           tensor_.change == TensorChange::kByKind;
  }

  // Every row follows the one before it in the checkpoint too.
  bool InOrder() const {
    return !IsReordered() && tensor_.change != TensorChange::kTransposed &&
           tensor_.change != TensorChange::kFlatAcross && tensor_.change != TensorChange::kSideBySide;
  }

  // Of the checkpoint's rows the one that becomes this row.
  int64_t SourceRow(int64_t row) const {
    switch (tensor_.change) {
      case TensorChange::kQueries:
      case TensorChange::kKeys: {
        // Within a head, dimensions (i, i + half) become (2i, 2i + 1).
        const int64_t head_rows = rows_ / tensor_.heads, at = row % head_rows;
        return row - at + at % 2 * (head_rows / 2) + at / 2;
      }
      case TensorChange::kByKind: {
        const int64_t kind_rows = rows_ / 3, head_rows = kind_rows / tensor_.heads;
        const int64_t kind = row / kind_rows, head = row % kind_rows / head_rows;
        return (head * 3 + kind) * head_rows + row % head_rows;
      }
      case TensorChange::kLowerHalf:
        return rows_ + row;
      case TensorChange::kFromRowTwo:
        return row + 2;
      default:
        return row;
    }
  }

  // Of the checkpoint's data, which need not be aligned.
  const std::byte* Source(int64_t element) const { return source_.data.data() + element * element_bytes_; }

  absl::Status Rows(int64_t begin, int64_t end) {
    const int64_t count = (end - begin) * cols_;
    const std::byte* data = Source(SourceRow(begin) * cols_);
    if (tensor_.change == TensorChange::kTransposed || tensor_.change == TensorChange::kFlatAcross) {
      data = Transposed(begin, end);
    } else if (tensor_.change == TensorChange::kSideBySide) {
      data = SideBySide(begin, end);
    } else if (IsReordered()) {
      piece_.resize(static_cast<size_t>(count * element_bytes_));
      for (int64_t row = begin; row < end; ++row) {
        std::memcpy(piece_.data() + (row - begin) * cols_ * element_bytes_, Source(SourceRow(row) * cols_),
                    static_cast<size_t>(cols_ * element_bytes_));
      }
      data = piece_.data();
    }
    if (!kernels::AllFinite(type_, data, count)) {
      return CheckpointError(file_.path(),
                             {base::StrCat("tensor ", Quoted(source_.name),
                                           " has a weight that is no finite number; fetch the file again, or take "
                                           "another checkpoint")});
    }
    if (tensor_.target.type == type_ && tensor_.change != TensorChange::kNorm) {
      return Append({data, static_cast<size_t>(count * element_bytes_)});
    }
    // What is no matrix is kept in f32, into which both other types go without loss.
    floats_.resize(static_cast<size_t>(count));
    kernels::Dequantize(type_, data, count, floats_.data());
    if (tensor_.change == TensorChange::kNorm) {
      for (float& weight : floats_) weight += 1;
    }
    return Append(std::as_bytes(std::span(floats_)));
  }

  // Rows of the result are columns of the source.
  const std::byte* Transposed(int64_t begin, int64_t end) {
    piece_.resize(static_cast<size_t>((end - begin) * cols_ * element_bytes_));
    for (int64_t col = 0; col < cols_; ++col) {
      const std::byte* from = Source(col * rows_ + begin);
      std::byte* to = piece_.data() + col * element_bytes_;
      for (int64_t row = begin; row < end; ++row) {
        std::memcpy(to, from, static_cast<size_t>(element_bytes_));
        from += element_bytes_;
        to += cols_ * element_bytes_;
      }
    }
    return piece_.data();
  }

  // Rows of the result are rows of all sources, one behind the other.
  const std::byte* SideBySide(int64_t begin, int64_t end) {
    piece_.clear();
    const auto bytes = cols_ * element_bytes_ / static_cast<int64_t>(tensor_.sources.size());
    for (int64_t row = begin; row < end; ++row) {
      for (const CheckpointTensor& source : tensor_.sources) {
        const std::byte* from = source.tensor->data.data() + row * bytes;
        piece_.insert(piece_.end(), from, from + bytes);
      }
    }
    return piece_.data();
  }

  absl::Status Append(std::span<const std::byte> bytes) {
    LINNET_RETURN_IF_ERROR(writer_.Append(bytes));
    return written_(bytes.size()) ? absl::OkStatus() : absl::CancelledError("interrupted; nothing was written");
  }

  const PlannedTensor& tensor_;
  const SafetensorsFile& file_;
  const SafetensorsTensor& source_;
  const DType type_;
  const int64_t element_bytes_;
  GgufWriter& writer_;
  const std::function<bool(uint64_t)>& written_;
  int64_t rows_ = 0, cols_ = 0;  // of the result
  std::vector<std::byte> piece_;
  std::vector<float> floats_;
};

}  // namespace

absl::Status StreamTensor(const PlannedTensor& tensor, GgufWriter& writer,
                          const std::function<bool(uint64_t bytes)>& written) {
  for (const CheckpointTensor& source : tensor.sources) {
    LINNET_RETURN_IF_ERROR(Stream(tensor, source, writer, written).Run());
    if (tensor.change == TensorChange::kSideBySide) break;
  }
  if (!tensor.sources.empty()) return absl::OkStatus();
  const auto bytes = std::as_bytes(std::span(tensor.generated));
  LINNET_RETURN_IF_ERROR(writer.Append(bytes));
  return written(bytes.size()) ? absl::OkStatus() : absl::CancelledError("interrupted; nothing was written");
}

}  // namespace linnet::worker
