#include "tests/accuracy/golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/log/check.h"
#include "base/file.h"

namespace linnet::accuracy {

// Tests run in the checkout's top folder.
std::string GoldenPath(const std::string& name) { return "tests/golden/" + name; }

nlohmann::json ReadGoldenJson(const std::string& name) {
  const auto content = base::ReadFile(GoldenPath(name));
  CHECK_OK(content.status());
  return nlohmann::json::parse(*content);
}

std::vector<float> ReadGoldenFloats(const std::string& name) {
  const auto content = base::ReadFile(GoldenPath(name));
  CHECK_OK(content.status());
  CHECK_EQ(content->size() % sizeof(float), 0u);
  std::vector<float> values(content->size() / sizeof(float));
  std::memcpy(values.data(), content->data(), content->size());
  return values;
}

std::string SmolLm2Path() {
  if (const char* path = std::getenv("LINNET_TEST_MODEL"); path != nullptr) return path;
  const char* home = std::getenv("HOME");
  const char* cache = std::getenv("LINNET_CACHE");
  const std::string folder = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/linnet";
  return folder + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::vector<double> LogSoftmax(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float l : logits) sum += std::exp(l - largest);
  const double normalizer = largest + std::log(sum);
  std::vector<double> logprobs;
  logprobs.reserve(logits.size());
  for (float l : logits) logprobs.push_back(l - normalizer);
  return logprobs;
}

int64_t ArgMax(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace linnet::accuracy
