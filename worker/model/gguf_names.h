// How GGUF names the tensors of a model: the same way in every architecture.
#pragma once

#include <string>

#include "worker/model/tensor_role.h"

namespace linnet::worker {

std::string GgufTensorName(TensorRole role, int layer);
// The tensor in which some architectures keep this role's rows together with others', in the order of the roles; "":
// none does.
std::string GgufFusedName(TensorRole role, int layer);

}  // namespace linnet::worker
