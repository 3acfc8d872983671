// linnet variant quantize
#include "tools/linnet/quantize.h"

#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/calibrate.h"
#include "tools/linnet/find_source.h"
#include "tools/linnet/interrupts.h"
#include "tools/linnet/observed_run.h"
#include "tools/linnet/output.h"
#include "tools/linnet/progress.h"
#include "tools/linnet/proto_json.h"
#include "tools/linnet/publish_file.h"
#include "tools/linnet/quantize_file.h"
#include "tools/linnet/work_files.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

struct Options {
  std::string source, format, output_file, calibration;
  Naming naming;
  bool replace = false;
  bool allow_requantize = false;
  int threads = 0;
};

absl::Status CheckOutput(const Options& options) {
  return options.output_file.empty() ? absl::OkStatus() : CheckMayWrite(options.output_file, options.replace);
}

// `calibration`: gets how the weights were calibrated; "" where they were not.
absl::StatusOr<QuantizeReport> Run(const CommandContext& context, const Options& options, const Source& source,
                                   const QuantizeFormat& format, const std::string& path, std::string* calibration) {
  LINNET_ASSIGN_OR_RETURN(const auto file, worker::GgufFile::Open(source.path));
  // Before the threads, so that they leave Ctrl-C to it.
  Interrupts interrupts;
  std::stop_source stop;
  interrupts.OnInterrupt([&stop] { stop.request_stop(); });
  kernels::ThreadPool pool(options.threads > 0 ? options.threads : base::DetectCpuBudget().threads);
  QuantizeJob job;
  Calibration calibrated;
  if (!options.calibration.empty()) {
    LINNET_RETURN_IF_ERROR(CheckQuantizable(*file, options.allow_requantize));  // before the work, not after it
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(options.calibration));
    Progress progress("calibrating", context.quiet, Progress::Unit::kTokens);
    LINNET_ASSIGN_OR_RETURN(
        calibrated, Calibrate(*file,
                              {.text = text,
                               .progress = [&progress](uint64_t done, uint64_t total) { progress.Update(done, total); },
                               .stop = stop.get_token()},
                              pool));
    job.importances = &calibrated.importances;
    job.calibration = *calibration = DescribeText(options.calibration, text, calibrated.tokens);
  }
  Progress progress("quantizing", context.quiet);
  job.format = &format;
  job.allow_requantize = options.allow_requantize;
  job.source_name = source.name;
  job.progress = [&progress](uint64_t done, uint64_t total) { progress.Update(done, total); };
  job.stop = stop.get_token();
  return QuantizeFile(*file, path, job, pool);
}

absl::StatusOr<v1::Variant> Publish(const CommandContext& context, const Options& options, const Source& source,
                                    const QuantizeFormat& format, const std::string& path,
                                    const std::string& calibration) {
  Naming naming = options.naming;
  if (naming.model.empty()) naming.model = source.model;
  return PublishMadeFile(context,
                         {.path = path,
                          .naming = naming,
                          .named = !options.output_file.empty(),
                          .how = absl::StrCat("variant quantize of ", source.name, " to ", std::string(format.name),
                                              calibration.empty() ? "" : ", calibrated on ", calibration)},
                         options.replace);
}

absl::Status Quantize(const CommandContext& context, const Options& options) {
  const QuantizeFormat* format = FindQuantizeFormat(options.format);
  if (format == nullptr) {
    return UsageError(absl::StrCat("--to '", options.format, "' is no format that Linnet writes; these are: ",
                                   absl::StrJoin(QuantizeFormatNames(), ", ")));
  }
  LINNET_RETURN_IF_ERROR(CheckOutput(options));
  WorkFiles work;
  LINNET_ASSIGN_OR_RETURN(const Source source, FindSource(context, options.source, work));
  const bool publish = !source.model.empty() || !options.naming.model.empty();
  if (!publish && options.output_file.empty()) {
    return UsageError("say where the result goes: --output-file FILE, or --model MODEL to publish it in the registry");
  }
  std::string path = options.output_file;
  if (path.empty()) {
    LINNET_ASSIGN_OR_RETURN(path, work.Add(absl::StrCat("quantize-", getpid(), ".gguf")));
  }
  std::string calibration;
  const int64_t start = base::Clock::Real()->MonotonicNs();
  LINNET_ASSIGN_OR_RETURN(const QuantizeReport report, Run(context, options, source, *format, path, &calibration));
  const double seconds = absl::ToDoubleSeconds(base::Clock::Real()->Since(start));

  nlohmann::ordered_json json = {{"format", std::string(format->name)}, {"source", source.name}};
  if (!options.output_file.empty()) json["file"] = options.output_file;
  json["size_bytes"] = report.file_bytes;
  json["relative_error"] = report.relative_error;
  json["tensor_types"] = report.tensor_types;
  if (!calibration.empty()) json["calibration"] = calibration;
  json["seconds"] = seconds;
  std::string where = options.output_file;
  if (publish) {
    LINNET_ASSIGN_OR_RETURN(const v1::Variant variant, Publish(context, options, source, *format, path, calibration));
    json["variant"] = ToJson(variant);
    where = variant.name();
  }
  Table table({"RESULT", "FORMAT", "SIZE", "RELATIVE ERROR", "TIME"});
  table.Add({where, std::string(format->name), DecimalBytes(report.file_bytes),
             absl::StrFormat("%.3f %%", 100 * report.relative_error), absl::StrFormat("%.1f s", seconds)});
  return context.Print(json, table.Render());
}

}  // namespace

void AddQuantizeCommand(CLI::App& noun, CommandContext& context) {
  CLI::App* command =
      context.Add(noun, "quantize", "Make a smaller variant of a model: quantize its weights",
                  {"linnet variant quantize smollm2-135m/f16 --to q4_k_m",
                   "linnet variant quantize model.f16.gguf --to q8_0 --output-file model.q8_0.gguf",
                   "linnet variant quantize model.f16.gguf --to q4_0 --calibration text.txt --model my-model"});
  const auto options = std::make_shared<Options>();
  command->add_option("SOURCE", options->source, "a GGUF file, or MODEL/VARIANT of the registry")->required();
  command->add_option("--to", options->format, absl::StrJoin(QuantizeFormatNames(), ", "))->required();
  command->add_option("--output-file", options->output_file, "write a GGUF file");
  command->add_option("--model", options->naming.model,
                      "publish as a variant of this model (default for a variant of the registry: its model)");
  command->add_option("--variant", options->naming.variant, "name of the new variant (default: the format)");
  command->add_flag("--replace", options->replace, "replace a file or a variant of that name");
  command->add_option("--calibration", options->calibration,
                      "a text: run the model over it, and keep best the weights that count there");
  command->add_flag("--allow-requantize", options->allow_requantize,
                    "also from a source that is quantized already, adding both errors");
  command->add_option("--threads", options->threads, "compute threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024));
  context.OnRun(command, [&context, options] { return Quantize(context, *options); });
}

}  // namespace linnet::cli
