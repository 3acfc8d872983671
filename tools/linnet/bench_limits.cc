// linnet bench limits
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/cpu_budget.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "kernels/isa.h"
#include "kernels/kernel_bench_limits.h"
#include "kernels/machine_limits.h"
#include "tools/linnet/bench.h"

namespace linnet::cli {
namespace {

struct Options {
  int threads = 0;
  int read_mib = 0;
  int samples = 7;
};

nlohmann::ordered_json ToJson(const kernels::Rate& rate) {
  return {{"median", rate.median * 1e-9}, {"min", rate.least * 1e-9}, {"max", rate.most * 1e-9}};
}

std::string Line(std::string_view what, const kernels::Rate& rate, std::string_view unit, std::string_view how) {
  return absl::StrFormat("%-18s%9.1f %s  (%.1f to %.1f)  %s\n", std::string(what), rate.median * 1e-9,
                         std::string(unit), rate.least * 1e-9, rate.most * 1e-9, std::string(how));
}

absl::Status Limits(const Options& options, const CommandContext& context) {
  const int threads = options.threads > 0 ? options.threads : base::DetectCpuBudget().threads;
  kernels::ThreadPool pool(threads);
  LINNET_ASSIGN_OR_RETURN(
      const kernels::MachineLimits limits,
      kernels::MeasureMachineLimits({.read_bytes = int64_t{options.read_mib} << 20, .samples = options.samples}, pool));
  const kernels::LimitsTable& loops = kernels::LimitsTableFor(limits.isa);
  return context.Print(
      {{"isa", kernels::IsaName(limits.isa)},
       {"threads", limits.threads},
       {"cpu_model", kernels::CpuModelName()},
       {"isa_features", kernels::DetectCpuFeatures()},
       {"read_bytes", limits.read_bytes},
       {"read_gb_per_s", ToJson(limits.read)},
       {"read_one_thread_gb_per_s", ToJson(limits.read_one_thread)},
       {"f32_gop_per_s", ToJson(limits.f32)},
       {"int8_gop_per_s", ToJson(limits.int8)},
       {"int6_gop_per_s", ToJson(limits.int6)},
       {"int5_gop_per_s", ToJson(limits.int5)},
       {"int4_gop_per_s", ToJson(limits.int4)},
       {"instructions",
        {{"f32", loops.f32_instructions},
         {"int8", loops.int8_instructions},
         {"int6", loops.int6_instructions},
         {"int5", loops.int5_instructions},
         {"int4", loops.int4_instructions}}}},
      base::StrCat(absl::StrFormat("%s, %d threads, %s\n", kernels::CpuModelName(), threads,
                                   std::string(kernels::IsaName(limits.isa))),
                   Line("read", limits.read, "GB/s ", absl::StrFormat("a buffer of %d MiB", limits.read_bytes >> 20)),
                   Line("read, one thread", limits.read_one_thread, "GB/s ", "the same"),
                   Line("f32", limits.f32, "GOP/s", loops.f32_instructions),
                   Line("8-bit weights", limits.int8, "GOP/s", loops.int8_instructions),
                   Line("6-bit weights", limits.int6, "GOP/s", loops.int6_instructions),
                   Line("5-bit weights", limits.int5, "GOP/s", loops.int5_instructions),
                   Line("4-bit weights", limits.int4, "GOP/s", loops.int4_instructions)));
}

}  // namespace

void AddBenchLimitsCommand(CLI::App& bench, CommandContext& context) {
  CLI::App* command =
      context.Add(bench, "limits", "Measure what this machine can do at most: reads and arithmetic",
                  {"linnet bench limits", "LINNET_ISA=avx2 linnet bench limits --read-mib 256 -o json"});
  const auto options = std::make_shared<Options>();
  command->add_option("--threads", options->threads, "Threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--read-mib", options->read_mib,
                   "MiB to read over and over (default: 1024, or a quarter of the free memory)")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--samples", options->samples, "Samples of each limit")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  context.OnRun(command, [&context, &bench, options]() -> absl::Status {
    LINNET_RETURN_IF_ERROR(RefuseOptionsOf(bench, "limits"));
    return Limits(*options, context);
  });
}

}  // namespace linnet::cli
