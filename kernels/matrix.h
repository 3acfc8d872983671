// Matrix products y = x · Wᵀ with weights in any stored format.
//
// A Matrix owns its weights in the layout that its kernel wants: packed for the SIMD kernels of the active ISA, as many
// bytes as stored. In reference precision every format is dequantized to f32 and multiplied by oneDNN in f32 (by plain
// loops under LINNET_ISA=scalar).
//
// In fast precision a row of y depends only on its row of x, not on `rows`, nor on the number of threads: everything is
// added in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "kernels/packed_type.h"
#include "kernels/rows.h"
#include "kernels/thread_pool.h"

namespace linnet::kernels {

enum class Precision {
  kFast,       // activations quantized to 8 bits where the weights are group-quantized
  kReference,  // dequantized weights, f32 throughout
};

// Rows of activations on their way into one or several products. The forms that products need (8-bit groups with scales
// and sums) are made once and shared by all products of the same rows.
class Activations {
 public:
  Activations();
  ~Activations();
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  // x: [rows, cols] f32, borrowed until the next Set. Keeps its buffers from call to call.
  void Set(const float* x, int64_t rows, int64_t cols);
  const float* data() const { return x_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  struct Forms;  // kernels-internal
  Forms& forms() { return *forms_; }

 private:
  const float* x_ = nullptr;
  int64_t rows_ = 0, cols_ = 0;
  const std::unique_ptr<Forms> forms_;
};

// Memory for a matrix's packed weights that the caller gives, so that all of a model's can lie in one block.
struct PackedPlace {
  std::span<uint8_t> bytes;           // Matrix::PackedBytes of them, at a 64-byte border
  std::shared_ptr<const void> owner;  // kept for as long as the matrix lives
};

class Matrix {
 public:
  struct Source {
    DType type = DType::kF32;
    int64_t rows = 0;                 // N: outputs
    int64_t cols = 0;                 // K: inputs, a multiple of the type's block
    const std::byte* data = nullptr;  // [rows, cols] row by row as GGUF stores it; not needed after Create
    // Where it is packed: which of its scales are the same, as somebody said.
    SharedScales shared = SharedScales::kNone;
    // Where they are packed: told of the parts of `data` that are done, in order; may be null.
    std::function<void(std::span<const std::byte> done)> release;
    bool check_finite = false;  // INVALID_ARGUMENT where a weight is infinite or NaN
  };
  // In fast precision Create touches about so many bytes of the source between two releases.
  static constexpr uint64_t kMostUnreleasedBytes = uint64_t{8} << 20;
  // What the packed form takes; 0 in reference precision, where nothing is packed.
  // REQUIRES: a shape that Create takes.
  static int64_t PackedBytes(PackedType type, int64_t rows, int64_t cols, Precision precision);
  // `place`: where to pack to; empty: memory of the matrix's own. INVALID_ARGUMENT: a shape that the format does not
  // allow, or a place of another size. FAILED_PRECONDITION: scales are not shared as the source says; all of it has
  // been released then.
  static absl::StatusOr<std::unique_ptr<Matrix>> Create(const Source& source, Precision precision, ThreadPool& pool,
                                                        PackedPlace place = {});
  // The matrix that Create, in fast precision, packed to these very bytes before, under the same kPackerVersion. They
  // are believed: any bytes give some matrix. INVALID_ARGUMENT as of Create.
  static absl::StatusOr<std::unique_ptr<Matrix>> FromPacked(PackedType type, int64_t rows, int64_t cols,
                                                            PackedPlace place);
  virtual ~Matrix() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType type() const { return type_; }
  // What it keeps resident.
  virtual int64_t bytes() const = 0;

  // out: [cols] f32, row `row` dequantized (embedding lookup).
  virtual void DequantizeRow(int64_t row, float* out) const = 0;

 protected:
  Matrix(DType type, int64_t rows, int64_t cols) : type_(type), rows_(rows), cols_(cols) {}

 private:
  friend void Multiply(std::span<const struct Product> products, Activations& x, ThreadPool& pool);
  friend class BestOutputs;
  // Makes the forms of x that MultiplySlice reads.
  virtual void PrepareForms(Activations& x, ThreadPool& pool) const = 0;
  // Outputs [begin, end) for all rows of x, bias and residual included, on one thread.
  virtual void MultiplySlice(const struct OutputSlice& out, Activations& x, int64_t begin, int64_t end) const = 0;
  // How many outputs a slice of about so many bytes of weights should have.
  virtual int64_t SliceRows(int64_t bytes) const = 0;

  const DType type_;
  const int64_t rows_, cols_;
};

// Where a slice of a product goes. Pointers are to the slice's first output.
struct OutputSlice {
  float* y = nullptr;  // rows of x, `stride` elements from one to the next
  int64_t stride = 0;
  const float* bias = nullptr;
  const float* residual = nullptr;

  // y[row, i] = sum, with what is added to it; in T.
  template <class T>
  void Store(int64_t row, int64_t i, T sum) const {
    if (bias != nullptr) sum += bias[i];
    if (residual != nullptr) sum += residual[row * stride + i];
    y[row * stride + i] = static_cast<float>(sum);
  }
};

// One product of a group that shares its input.
struct Product {
  const Matrix* weights = nullptr;
  float* y = nullptr;               // [x.rows, weights->rows] f32
  int64_t y_stride = 0;             // elements from row to row; 0: weights->rows
  const float* bias = nullptr;      // [weights->rows], added; may be null
  const float* residual = nullptr;  // [x.rows, weights->rows], added, same stride as y; may be null and may be y itself
  // Without a gate: y = activation(x · weightsᵀ + bias). With one, which has `weights`' shape:
  // y = activation(x · gateᵀ + gate_bias) · (x · weightsᵀ + bias) (Shazeer, arXiv 2002.05202). Each slice is put
  // through it while it is in the cache. Then without a residual.
  ActivationKind activation = ActivationKind::kNone;
  const Matrix* gate = nullptr;
  const float* gate_bias = nullptr;
  float softcap = 0;       // y = softcap · tanh(y / softcap), last; 0: none. Without a residual too
  bool reference = false;  // activation and soft cap by plain loops
};
// Bytes of weights in a slice, so that the threads have enough slices of `total` bytes to share.
int64_t SliceBytes(int64_t total, int threads);
// All products of the group in one parallel region.
void Multiply(std::span<const Product> products, Activations& x, ThreadPool& pool);

}  // namespace linnet::kernels
