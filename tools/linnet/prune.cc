// linnet variant prune
#include "tools/linnet/prune.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "kernels/thread_pool.h"
#include "tools/linnet/find_source.h"
#include "tools/linnet/interrupts.h"
#include "tools/linnet/observed_run.h"
#include "tools/linnet/output.h"
#include "tools/linnet/progress.h"
#include "tools/linnet/proto_json.h"
#include "tools/linnet/prune_file.h"
#include "tools/linnet/prune_plan.h"
#include "tools/linnet/prune_scores.h"
#include "tools/linnet/publish_file.h"
#include "tools/linnet/score.h"
#include "tools/linnet/work_files.h"
#include "worker/model/family.h"

namespace linnet::cli {
namespace {

namespace v1 = registry::v1;

constexpr size_t kPerplexityTokens = 2048;

struct Options {
  std::string source, output_file, calibration, perplexity_text;
  PruneShares shares;
  Naming naming;
  bool replace = false;
  bool no_perplexity = false;
  uint64_t seed = 1;
  int threads = 0;
};

// The model as it was, pruned, and pruned as much by chance.
struct Perplexities {
  double before = 0, after = 0, random = 0;
  int64_t tokens = 0;
};

absl::Status CheckOptions(const Options& options, const Source& source) {
  if (options.output_file.empty() && options.naming.model.empty()) {
    return UsageError(
        absl::StrCat("say where the result goes: --output-file FILE, or --model MODEL to publish it in the registry",
                     source.model.empty() ? "" : absl::StrCat(" (it has another shape than ", source.model, ")")));
  }
  return options.output_file.empty() ? absl::OkStatus() : CheckMayWrite(options.output_file, options.replace);
}

// One after the other through the steps; what they have in common.
class Pruner {
 public:
  Pruner(const CommandContext& context, const Options& options, const Source& source)
      : context_(context),
        options_(options),
        source_(source),
        pool_(options.threads > 0 ? options.threads : base::DetectCpuBudget().threads) {}

  absl::Status Score() {
    LINNET_ASSIGN_OR_RETURN(file_, worker::GgufFile::Open(source_.path));
    LINNET_ASSIGN_OR_RETURN(model_, worker::DescribeModel(*file_));
    // What can be said against the shares is said before the work.
    LINNET_RETURN_IF_ERROR(PlanPruning(*file_, model_, ScoreByChance(model_, 0), options_.shares).status());
    LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(options_.calibration));
    Progress progress("scoring", context_.quiet, Progress::Unit::kTokens);
    LINNET_ASSIGN_OR_RETURN(
        scores_, ScoreByActivations(*file_, model_,
                                    {.text = text,
                                     .progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); },
                                     .stop = stop_.get_token()},
                                    pool_));
    calibration_ = DescribeText(options_.calibration, text, scores_.tokens);
    return absl::OkStatus();
  }

  absl::StatusOr<PruneReport> Write(const PruneScores& scores, const std::string& method, const std::string& path) {
    LINNET_ASSIGN_OR_RETURN(const std::vector<BlockCut> cuts, PlanPruning(*file_, model_, scores, options_.shares));
    Progress progress("pruning", context_.quiet);
    return PruneFile(*file_, model_, path,
                     {.cuts = cuts,
                      .method = method,
                      .source_name = source_.model.empty() ? source_.name : source_.model,
                      .calibration = scores.tokens > 0 ? calibration_ : "",
                      .progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); },
                      .stop = stop_.get_token()},
                     pool_);
  }

  absl::StatusOr<double> PerplexityOf(const std::string& path, const std::string& text, int64_t* tokens_read) {
    if (stop_.stop_requested()) return absl::CancelledError("interrupted");
    Progress progress("loading", context_.quiet);
    LINNET_ASSIGN_OR_RETURN(
        const auto model,
        worker::Model::Load(path, {.progress = [&](uint64_t done, uint64_t total) { progress.Update(done, total); }},
                            &pool_));
    progress.Finish();
    std::vector<worker::TokenId> tokens =
        model->tokenizer().Encode(text, {.parse_special = false, .add_special = true});
    tokens.resize(
        std::min({tokens.size(), kPerplexityTokens, static_cast<size_t>(model->description().context_tokens)}));
    if (tokens.size() < 2) return UsageError("the text for perplexity has less than two tokens");
    *tokens_read = static_cast<int64_t>(tokens.size());
    LINNET_ASSIGN_OR_RETURN(const std::vector<double> logprobs, LogProbs(*model, tokens));
    return Perplexity(logprobs);
  }

  const PruneScores& scores() const { return scores_; }
  const worker::ModelDescription& model() const { return model_; }
  const worker::GgufFile& file() const { return *file_; }
  std::stop_source stop() const { return stop_; }

 private:
  const CommandContext& context_;
  const Options& options_;
  const Source& source_;
  std::stop_source stop_;
  kernels::ThreadPool pool_;
  std::unique_ptr<worker::GgufFile> file_;
  worker::ModelDescription model_;
  PruneScores scores_;
  std::string calibration_;
};

absl::StatusOr<Perplexities> Compare(const CommandContext& context, const Options& options, const Source& source,
                                     const std::string& pruned, Pruner& pruner, WorkFiles& work) {
  const std::string& name = options.perplexity_text.empty() ? options.calibration : options.perplexity_text;
  if (options.perplexity_text.empty()) {
    context.Note("perplexity is that of the calibration text, which it flatters; --perplexity-text takes another");
  }
  LINNET_ASSIGN_OR_RETURN(const std::string text, base::ReadFile(name));
  Perplexities result;
  LINNET_ASSIGN_OR_RETURN(result.before, pruner.PerplexityOf(source.path, text, &result.tokens));
  LINNET_ASSIGN_OR_RETURN(result.after, pruner.PerplexityOf(pruned, text, &result.tokens));
  LINNET_ASSIGN_OR_RETURN(const std::string random, work.Add(absl::StrCat("prune-random-", getpid(), ".gguf")));
  LINNET_RETURN_IF_ERROR(pruner.Write(ScoreByChance(pruner.model(), options.seed), "random", random).status());
  LINNET_ASSIGN_OR_RETURN(result.random, pruner.PerplexityOf(random, text, &result.tokens));
  return result;
}

absl::StatusOr<v1::Variant> Publish(const CommandContext& context, const Options& options, const Source& source,
                                    const std::string& path) {
  return PublishMadeFile(context,
                         {.path = path,
                          .naming = options.naming,
                          .named = !options.output_file.empty(),
                          .how = absl::StrCat("variant prune of ", source.name)},
                         options.replace);
}

uint64_t Parameters(const worker::GgufFile& file) {
  uint64_t parameters = 0;
  for (const worker::GgufTensor& tensor : file.tensors()) parameters += static_cast<uint64_t>(tensor.elements());
  return parameters;
}

absl::Status Prune(const CommandContext& context, const Options& options) {
  WorkFiles work;
  LINNET_ASSIGN_OR_RETURN(const Source source, FindSource(context, options.source, work));
  LINNET_RETURN_IF_ERROR(CheckOptions(options, source));
  std::string path = options.output_file;
  if (path.empty()) {
    LINNET_ASSIGN_OR_RETURN(path, work.Add(absl::StrCat("prune-", getpid(), ".gguf")));
  }
  const int64_t start = base::Clock::Real()->MonotonicNs();
  // Before the threads, so that they leave Ctrl-C to it.
  Interrupts interrupts;
  Pruner pruner(context, options, source);
  interrupts.OnInterrupt([stop = pruner.stop()]() mutable { stop.request_stop(); });
  LINNET_RETURN_IF_ERROR(pruner.Score());
  LINNET_ASSIGN_OR_RETURN(const PruneReport report, pruner.Write(pruner.scores(), "activations", path));
  Perplexities perplexities;
  if (!options.no_perplexity) {
    LINNET_ASSIGN_OR_RETURN(perplexities, Compare(context, options, source, path, pruner, work));
  }
  const uint64_t before = Parameters(pruner.file());
  nlohmann::ordered_json json = {{"source", source.name},
                                 {"method", "activations"},
                                 {"ffn_keep", options.shares.ffn_keep},
                                 {"heads_keep", options.shares.heads_keep},
                                 {"calibration_tokens", pruner.scores().tokens},
                                 {"parameters_before", before},
                                 {"parameters", report.parameters},
                                 {"size_bytes", report.file_bytes},
                                 {"copied_tensors", report.copied_tensors},
                                 {"requantized_tensors", report.requantized_tensors}};
  if (!options.output_file.empty()) json["file"] = options.output_file;
  std::string cell = "-";
  if (!options.no_perplexity) {
    json["perplexity"] = {{"tokens", perplexities.tokens},
                          {"before", perplexities.before},
                          {"after", perplexities.after},
                          {"random", perplexities.random}};
    cell = absl::StrFormat("%.2f (before %.2f, by chance %.2f)", perplexities.after, perplexities.before,
                           perplexities.random);
  }
  std::string where = options.output_file;
  if (!options.naming.model.empty()) {
    LINNET_ASSIGN_OR_RETURN(const v1::Variant variant, Publish(context, options, source, path));
    json["variant"] = ToJson(variant);
    where = variant.name();
  }
  const double seconds = absl::ToDoubleSeconds(base::Clock::Real()->Since(start));
  json["seconds"] = seconds;
  if (report.requantized_tensors > 0) {
    context.Note(
        absl::StrCat(report.requantized_tensors,
                     " tensors were quantized again, because columns inside of their blocks went; a pruned f16 "
                     "file that is quantized afterwards loses less"));
  }
  Table table({"RESULT", "PARAMETERS", "SIZE", "PERPLEXITY", "TIME"});
  table.Add({where, absl::StrCat(Count(report.parameters), " of ", Count(before)), DecimalBytes(report.file_bytes),
             cell, absl::StrFormat("%.1f s", seconds)});
  return context.Print(json, table.Render());
}

}  // namespace

void AddPruneCommand(CLI::App& noun, CommandContext& context) {
  CLI::App* command = context.Add(
      noun, "prune", "Make a smaller model: leave out the FFN neurons and heads that matter least on a text",
      {"linnet variant prune model.f16.gguf --ffn-keep 0.75 --calibration text.txt --output-file smaller.f16.gguf",
       "linnet variant prune smollm2-135m/f16 --ffn-keep 0.75 --heads-keep 0.5 --calibration text.txt --model "
       "smollm2-90m"});
  const auto options = std::make_shared<Options>();
  command->add_option("SOURCE", options->source, "a GGUF file, or MODEL/VARIANT of the registry")->required();
  command->add_option("--calibration", options->calibration, "a text: the parts that matter on it are kept")
      ->required();
  command->add_option("--ffn-keep", options->shares.ffn_keep, "share of each layer's FFN neurons to keep")
      ->capture_default_str();
  command
      ->add_option("--heads-keep", options->shares.heads_keep,
                   "share of each layer's key/value heads to keep, with their query heads")
      ->capture_default_str();
  command
      ->add_option("--ffn-multiple", options->shares.ffn_multiple,
                   "FFN widths are multiples of it (default: of the blocks that the file is quantized in, at least "
                   "32; 256 suits K-quants)")
      ->check(CLI::Range(1, 1 << 16));
  command->add_option("--output-file", options->output_file, "write a GGUF file");
  command->add_option("--model", options->naming.model, "publish as a variant of this model, a new one");
  command->add_option("--variant", options->naming.variant, "name of the variant (default: its quantization)");
  command->add_flag("--replace", options->replace, "replace a file or a variant of that name");
  command->add_option("--perplexity-text", options->perplexity_text,
                      "the text to compare perplexities on (default: the calibration text)");
  command->add_flag("--no-perplexity", options->no_perplexity, "do not measure what it costs");
  command->add_option("--seed", options->seed, "of the choice by chance that it is compared with")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "compute threads (default: as many as this process may use)")
      ->check(CLI::Range(1, 1024));
  context.OnRun(command, [&context, options] { return Prune(context, *options); });
}

}  // namespace linnet::cli
