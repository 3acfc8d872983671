// What a checkpoint's folder says of the model as a whole. Internal to worker/checkpoint.
#pragma once

#include <string>

namespace linnet::worker {

// The folder's name; in Hugging Face's cache, whose folders are named by hashes, the repository's.
std::string ModelName(const std::string& dir);

// "apache-2.0": from the head of README.md; "" where that says nothing.
std::string ModelLicense(const std::string& dir);

}  // namespace linnet::worker
