// Activations in the form that products with f16, bf16 and f32 weights take: as they are, the rows that one pass over
// the weights serves side by side, so that a kernel reads them through one pointer.
#pragma once

#include <algorithm>
#include <cstdint>

namespace linnet::kernels {

// So many consecutive inputs of a row lie together.
inline constexpr int64_t kPanelInputs = 4;

// Rows come in panels of `panel_rows`, the last one may have fewer. A panel is [ceil(cols / 4)][its rows][4] f32; the
// last inputs of a row are not there where cols is no multiple of 4.
struct ActivationPanels {
  int64_t rows = 0, cols = 0;
  int64_t panel_rows = 0;
  const float* data = nullptr;

  int64_t panels() const { return (rows + panel_rows - 1) / panel_rows; }
  int64_t RowsOf(int64_t panel) const { return std::min(panel_rows, rows - panel * panel_rows); }
  // Where a panel's input `k` of its first row is. REQUIRES: k a multiple of 4.
  const float* At(int64_t panel, int64_t k) const {
    return data + panel * panel_rows * PaddedInputs(cols) + k * RowsOf(panel);
  }
  static int64_t PaddedInputs(int64_t cols) { return (cols + kPanelInputs - 1) / kPanelInputs * kPanelInputs; }
  // Panels of about equal size with at most `most` rows.
  static int64_t PanelRows(int64_t rows, int64_t most) {
    const int64_t panels = (rows + most - 1) / most;
    return (rows + panels - 1) / panels;
  }
};

// Copies the rows of one panel. x: [rows, cols]; `all`: where the first panel is.
void MakePanel(const ActivationPanels& shape, const float* x, int64_t panel, float* all);

}  // namespace linnet::kernels
