// Histogram buckets that every binary shares, so that dashboards can add their figures up.
#pragma once

#include "prometheus/histogram.h"

namespace linnet::base {

// Whole requests, queues, time to first token: 1 ms to 120 s.
inline prometheus::Histogram::BucketBoundaries LatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120};
}

// Between two tokens: 1 ms to 5 s, fine where people read.
inline prometheus::Histogram::BucketBoundaries TokenLatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5};
}

}  // namespace linnet::base
