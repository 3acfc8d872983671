// A Jinja template's whitespace control, done on its source: minja lets lstrip_blocks take the spaces before {{ too,
// and a block that follows an expression keep its newline. Internal to worker/text.
#pragma once

#include <string>
#include <string_view>

namespace linnet::worker {

// The template as one that needs no whitespace control: trim_blocks, lstrip_blocks, keep_trailing_newline = false (as
// Transformers sets Jinja up), and the signs in {%- -%} {%+ {{- and so on are applied, comments are gone, line ends are
// \n, and tests that minja lacks are written with those that it has ("is undefined"). What is no template stays what it
// is: minja says so.
std::string ApplyWhitespaceControl(std::string_view source);

}  // namespace linnet::worker
