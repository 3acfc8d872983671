// The worker's configuration with its defaults filled in, checked as a whole: every error at once.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "linnet/config/v1/config.pb.h"
#include "worker/engine/engine.h"
#include "worker/server/variant_manager.h"

namespace linnet::worker {

// Fills in what is not set. The host's name is the worker's, as an id.
void FillDefaults(config::v1::WorkerConfig* config);

// REQUIRES: FillDefaults. INVALID_ARGUMENT that names every bad field.
absl::Status CheckConfig(const config::v1::WorkerConfig& config);

// "{model}={path}"; INVALID_ARGUMENT otherwise.
absl::StatusOr<LocalModel> ParseLocalModel(const std::string& text);

Engine::Options EngineOptions(const config::v1::WorkerConfig& config);
kernels::DType KvType(const config::v1::WorkerConfig& config);

}  // namespace linnet::worker
