// Where foreign code runs: a model's Jinja template, parsed and rendered by minja, inside a child process (see
// template_process.h). Internal to worker/text.
#pragma once

#include <string>

namespace linnet::worker {

// What a child answers: the text, or what went wrong.
struct TemplateReply {
  bool ok = false;
  std::string text;
};

// Not thread-safe. A template can crash the process, exhaust its memory and run for ever.
class TemplateRenderer {
 public:
  TemplateRenderer();
  ~TemplateRenderer();
  TemplateRenderer(const TemplateRenderer&) = delete;
  TemplateRenderer& operator=(const TemplateRenderer&) = delete;

  // Once, before Render. ok with an empty text, or why it does not parse.
  TemplateReply Parse(const std::string& source);
  // `values`: what the template sees beside add_generation_prompt and strftime_now, a JSON object in UTF-8.
  TemplateReply Render(const std::string& values, size_t max_output_bytes);

 private:
  struct State;
  State* state_ = nullptr;
};

}  // namespace linnet::worker
