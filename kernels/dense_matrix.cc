#include "kernels/dense_matrix.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "kernels/activations.h"
#include "kernels/dense_matmul.h"
#include "kernels/dense_pack.h"
#include "kernels/isa.h"
#include "kernels/packed_tiles.h"

namespace linnet::kernels {
namespace {

// Below so many activations one thread copies them faster than a region starts.
constexpr int64_t kCopyAlone = 32768;

class DenseMatrix : public Matrix {
 public:
  DenseMatrix(const DenseLayout& layout, PackedPlace packed, Isa isa)
      : Matrix(layout.type, layout.rows, layout.cols),
        layout_(layout),
        packed_(std::move(packed)),
        multiply_(DenseMatmulTableFor(isa).For(layout.type)),
        most_panel_rows_(DenseMatmulTableFor(isa).panel_rows) {}

  int64_t bytes() const override { return static_cast<int64_t>(packed_.bytes.size()); }

  void DequantizeRow(int64_t row, float* out) const override {
    UnpackDenseRow(layout_, packed_.bytes.data() + row / kTileRows * layout_.tile_bytes,
                   static_cast<int>(row % kTileRows), out);
  }

 private:
  void PrepareForms(Activations& x, ThreadPool& pool) const override {
    Activations::Forms& forms = x.forms();
    if (forms.paneled) return;
    forms.paneled = true;
    forms.panels = {.rows = x.rows(),
                    .cols = x.cols(),
                    .panel_rows = ActivationPanels::PanelRows(x.rows(), most_panel_rows_),
                    .data = x.data()};
    if (x.rows() == 1) return;  // one row is its own panel
    const auto needed = static_cast<size_t>(x.rows() * ActivationPanels::PaddedInputs(x.cols()));
    if (forms.panel_storage.size() < needed) forms.panel_storage.resize(needed);
    forms.panels.data = forms.panel_storage.data();
    const auto copy = [&](int64_t begin, int64_t end, int) {
      for (int64_t panel = begin; panel < end; ++panel) {
        MakePanel(forms.panels, x.data(), panel, forms.panel_storage.data());
      }
    };
    if (x.rows() * x.cols() <= kCopyAlone) {
      copy(0, forms.panels.panels(), 0);
    } else {
      pool.ParallelFor(forms.panels.panels(), 1, copy);
    }
  }

  void MultiplySlice(const OutputSlice& out, Activations& x, int64_t begin, int64_t end) const override {
    multiply_({.packed = packed_.bytes.data(),
               .layout = &layout_,
               .begin_tile = begin / kTileRows,
               .end_tile = (end + kTileRows - 1) / kTileRows,
               .x = x.forms().panels,
               .out = out});
  }

  int64_t SliceRows(int64_t bytes) const override {
    return std::max<int64_t>(1, bytes / layout_.tile_bytes) * kTileRows;
  }

  const DenseLayout layout_;
  const PackedPlace packed_;
  const DenseMatmulFn multiply_;
  const int64_t most_panel_rows_;
};

}  // namespace

int64_t DenseMatrixBytes(DType type, int64_t rows, int64_t cols) { return DenseLayout::For(type, rows, cols).bytes(); }

absl::StatusOr<std::unique_ptr<Matrix>> CreateDenseMatrix(const Matrix::Source& source, ThreadPool& pool,
                                                          PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const DenseLayout layout = DenseLayout::For(source.type, source.rows, source.cols);
  LINNET_ASSIGN_OR_RETURN(place,
                          PackTiles(source, layout.tile_bytes, std::move(place), pool, [&](int64_t tile, uint8_t* out) {
                            PackDenseTile(layout, reinterpret_cast<const uint8_t*>(source.data), tile, out);
                          }));
  return std::make_unique<DenseMatrix>(layout, std::move(place), isa);
}

absl::StatusOr<std::unique_ptr<Matrix>> PackedDenseMatrix(DType type, int64_t rows, int64_t cols, PackedPlace place) {
  LINNET_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  const DenseLayout layout = DenseLayout::For(type, rows, cols);
  LINNET_RETURN_IF_ERROR(CheckPlace(place, layout.bytes()));
  return std::make_unique<DenseMatrix>(layout, std::move(place), isa);
}

}  // namespace linnet::kernels
