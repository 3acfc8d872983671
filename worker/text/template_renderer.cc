#include "worker/text/template_renderer.h"

#include <chrono>
#include <ctime>
#include <exception>
#include <iomanip>
#include <memory>
#include <minja/minja.hpp>
#include <sstream>
#include <utility>

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

minja::Value StrftimeNow() {
  return minja::Value::callable([](const std::shared_ptr<minja::Context>&, minja::ArgumentsValue& args) {
    args.expectArgs("strftime_now", {1, 1}, {0, 0});
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm local{};
    localtime_r(&now, &local);
    std::ostringstream out;
    out << std::put_time(&local, args.args[0].get<std::string>().c_str());
    return minja::Value(out.str());
  });
}

}  // namespace

struct TemplateRenderer::State {
  std::shared_ptr<minja::TemplateNode> root;
};

TemplateRenderer::TemplateRenderer() : state_(new State) {}
TemplateRenderer::~TemplateRenderer() { delete state_; }

TemplateReply TemplateRenderer::Parse(const std::string& source) {
  try {
    // As Transformers sets up Jinja.
    state_->root =
        minja::Parser::parse(source, {.trim_blocks = true, .lstrip_blocks = true, .keep_trailing_newline = false});
    return {.ok = true};
  } catch (const std::exception& e) {
    return Failed(FirstPlace(e.what()));
  } catch (...) {
    return Failed("unknown exception");
  }
}

TemplateReply TemplateRenderer::Render(const std::vector<std::string>& fields, size_t max_output_bytes) {
  try {
    minja::Value messages = minja::Value::array();
    for (size_t i = 2; i + 1 < fields.size(); i += 2) {
      minja::Value message = minja::Value::object();
      message.set("role", fields[i]);
      message.set("content", fields[i + 1]);
      messages.push_back(message);
    }
    minja::Value values = minja::Value::object();
    values.set("messages", messages);
    values.set("bos_token", fields[0]);
    values.set("eos_token", fields[1]);
    values.set("add_generation_prompt", true);
    values.set("strftime_now", StrftimeNow());
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
