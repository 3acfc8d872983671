// What Jinja's templates may call and minja lacks, or does otherwise. Internal to worker/text.
#pragma once

#include <minja/minja.hpp>

namespace linnet::worker {

// Sets filters and functions of Jinja and Transformers in `values`: tojson as Python's json.dumps, select, reject,
// selectattr and rejectattr with Jinja's tests, capitalize, title, replace, first, reverse, float, abs, strftime_now.
void SetTemplateBuiltins(minja::Value& values);

}  // namespace linnet::worker
