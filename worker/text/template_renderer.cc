#include "worker/text/template_renderer.h"

#include <exception>
#include <memory>
#include <minja/minja.hpp>
#include <utility>

#include "worker/text/template_builtins.h"
#include "worker/text/template_source.h"

namespace linnet::worker {
namespace {

// minja adds where in the template it happened, once for each level: the first is enough. It wraps every exception.
std::string FirstPlace(const std::string& what) {
  if (what.starts_with("std::bad_alloc")) return "out of memory";
  const size_t place = what.find(" at row ");
  const size_t end = place == std::string::npos ? place : what.find(":\n", place);
  return what.substr(0, end);
}

TemplateReply Failed(std::string text) { return {.ok = false, .text = std::move(text)}; }

}  // namespace

struct TemplateRenderer::State {
  std::shared_ptr<minja::TemplateNode> root;
};

TemplateRenderer::TemplateRenderer() : state_(new State) {}
TemplateRenderer::~TemplateRenderer() { delete state_; }

TemplateReply TemplateRenderer::Parse(const std::string& source) {
  try {
    state_->root = minja::Parser::parse(ApplyWhitespaceControl(source),
                                        {.trim_blocks = false, .lstrip_blocks = false, .keep_trailing_newline = true});
    return {.ok = true};
  } catch (const std::exception& e) {
    return Failed(FirstPlace(e.what()));
  } catch (...) {
    return Failed("unknown exception");
  }
}

TemplateReply TemplateRenderer::Render(const std::string& json, size_t max_output_bytes) {
  try {
    minja::Value values(nlohmann::ordered_json::parse(json));
    values.set("add_generation_prompt", true);
    SetTemplateBuiltins(values);
    std::string text = state_->root->render(minja::Context::make(std::move(values)));
    if (text.size() > max_output_bytes)
      return Failed("the output exceeds " + std::to_string(max_output_bytes) + " bytes");
    return {.ok = true, .text = std::move(text)};
  } catch (const std::bad_alloc&) {
    return Failed("out of memory");
  } catch (const std::exception& e) {
    return Failed(FirstPlace(e.what()));
  } catch (...) {
    return Failed("unknown exception");
  }
}

}  // namespace linnet::worker
