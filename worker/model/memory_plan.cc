#include "worker/model/memory_plan.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/strings.h"
#include "worker/model/decoder.h"

namespace linnet::worker {

MemoryPlan PlanMemory(const ModelDescription& model, std::span<const TensorBinding> bindings,
                      kernels::Precision precision, int64_t max_step_tokens) {
  MemoryPlan plan;
  for (const TensorBinding& binding : bindings) {
    const uint64_t stored = binding.data.size();
    const uint64_t as_f32 = static_cast<uint64_t>(binding.rows * binding.cols) * sizeof(float);
    const bool widened = precision == kernels::Precision::kReference || binding.is_vector();
    uint64_t packed = 0;
    if (!binding.is_vector() && !binding.is_blocks()) {
      packed =
          static_cast<uint64_t>(kernels::Matrix::PackedBytes(binding.packed_as, binding.rows, binding.cols, precision));
    }
    plan.weights_bytes +=
        binding.is_blocks()
            ? static_cast<uint64_t>(kernels::BlockDiagonal::Bytes(binding.rows * binding.cols, precision))
        : widened    ? as_f32
        : packed > 0 ? packed
                     : stored;
    const uint64_t held = packed > 0 ? std::min(stored, kernels::Matrix::kMostUnreleasedBytes) : stored;
    plan.largest_file_bytes = std::max(plan.largest_file_bytes, held);
  }
  plan.scratch_bytes = static_cast<uint64_t>(Decoder::ScratchBytes(model, max_step_tokens));
  return plan;
}

absl::Status CheckFits(const MemoryPlan& plan, const base::MemoryBudget& budget, std::string_view path) {
  if (plan.total() <= budget.available_bytes) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
      base::StrCat("model file ", path, " needs ", FormatBytes(plan.total()), " (weights ",
                   FormatBytes(plan.weights_bytes), " + scratch ", FormatBytes(plan.scratch_bytes), " + packing ",
                   FormatBytes(plan.largest_file_bytes), "), ", FormatBytes(budget.available_bytes), " of ",
                   FormatBytes(budget.total_bytes),
                   " are available; free memory or choose a variant of a smaller quantization level"),
      {{"needed_bytes", base::StrCat(plan.total())}, {"available_bytes", base::StrCat(budget.available_bytes)}});
}

std::string FormatBytes(uint64_t bytes) {
  constexpr double kMiB = 1 << 20, kGiB = 1 << 30;
  const double b = static_cast<double>(bytes);
  if (b >= kGiB) return absl::StrFormat("%.1f GiB", b / kGiB);
  if (b >= kMiB) return absl::StrFormat("%.0f MiB", b / kMiB);
  return base::StrCat(bytes, " bytes");
}

}  // namespace linnet::worker
