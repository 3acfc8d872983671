// Early return for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LINNET_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status linnet_status_ = (expr); !linnet_status_.ok()) return linnet_status_; \
  } while (false)

// LINNET_ASSIGN_OR_RETURN(auto file, Open(path));
#define LINNET_ASSIGN_OR_RETURN(lhs, expr) LINNET_ASSIGN_OR_RETURN_(LINNET_CONCAT_(linnet_or_, __LINE__), lhs, expr)
#define LINNET_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = std::move(tmp).value()
#define LINNET_CONCAT_(a, b) LINNET_CONCAT2_(a, b)
#define LINNET_CONCAT2_(a, b) a##b
