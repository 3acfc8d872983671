// OpenAI-style request bodies: whatever the bytes, a request or an error; and a request that parsed can be validated
// and answered about.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/openai_request.h"
#include "gateway/openai_response.h"
#include "gateway/validation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace linnet::gateway;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  for (const auto& request : {ParseChatRequest(json), ParseCompletionRequest(json)}) {
    if (!request.ok()) {
      if (ErrorJson(request.status()).empty() || HttpStatusOf(request.status()) != 400) std::abort();
      continue;
    }
    const absl::Status valid = ValidateGenerate(request->generate, 1 << 20);
    if (!valid.ok() && HttpStatusOf(valid) != 400) std::abort();
    // What goes to a worker must serialize: protobuf refuses strings that are not UTF-8.
    linnet::v1::GenerateRequest copy;
    if (!copy.ParseFromString(request->generate.SerializeAsString())) std::abort();
  }
  return 0;
}
