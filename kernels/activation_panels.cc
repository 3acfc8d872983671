#include "kernels/activation_panels.h"

#include <cstring>

namespace linnet::kernels {

void MakePanel(const ActivationPanels& shape, const float* x, int64_t panel, float* all) {
  const int64_t rows = shape.RowsOf(panel), whole = shape.cols / kPanelInputs * kPanelInputs;
  x += panel * shape.panel_rows * shape.cols;
  float* out = all + panel * shape.panel_rows * ActivationPanels::PaddedInputs(shape.cols);
  for (int64_t k = 0; k < whole; k += kPanelInputs) {
    for (int64_t r = 0; r < rows; ++r, out += kPanelInputs) {
      std::memcpy(out, x + r * shape.cols + k, sizeof(float) * kPanelInputs);
    }
  }
  if (whole == shape.cols) return;
  for (int64_t r = 0; r < rows; ++r, out += kPanelInputs) {
    std::memcpy(out, x + r * shape.cols + whole, sizeof(float) * static_cast<size_t>(shape.cols - whole));
  }
}

}  // namespace linnet::kernels
