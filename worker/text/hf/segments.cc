#include "worker/text/hf/segments.h"

#include <algorithm>

namespace linnet::worker::hf {
namespace {

struct Part {
  size_t begin = 0, end = 0;
  bool match = false;
};

// The matches and what lies between them.
std::vector<Part> PartsOf(size_t size, const std::vector<Regex::Match>& matches, bool invert) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Regex::Match& match : matches) {
    if (match.begin > done) parts.push_back({done, match.begin, invert});
    parts.push_back({match.begin, match.end, !invert});
    done = match.end;
  }
  if (done < size) parts.push_back({done, size, invert});
  return parts;
}

// Makes one of neighbours where joins(part, the one before was a match).
template <typename Joins>
std::vector<Part> Joined(const std::vector<Part>& parts, Joins joins) {
  std::vector<Part> joined;
  bool previous = false;
  for (const Part& part : parts) {
    if (!joined.empty() && joins(part, previous)) {
      joined.back().begin = std::min(joined.back().begin, part.begin);
      joined.back().end = std::max(joined.back().end, part.end);
    } else {
      joined.push_back(part);
    }
    previous = part.match;
  }
  return joined;
}

}  // namespace

void Segments::Cut(const Segment& segment, SplitBehavior behavior, bool invert, std::vector<Segment>& out) const {
  const auto is_new_match = [](const Part& part, bool previous) { return part.match && !previous; };
  std::vector<Part> parts = PartsOf(segment.end - segment.begin, matches_, invert);
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      break;
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kContiguous:
      parts = Joined(parts, [](const Part& part, bool previous) { return part.match == previous; });
      break;
    case SplitBehavior::kMergedWithPrevious:
      parts = Joined(parts, is_new_match);
      break;
    case SplitBehavior::kMergedWithNext:
      std::reverse(parts.begin(), parts.end());
      parts = Joined(parts, is_new_match);
      std::reverse(parts.begin(), parts.end());
      break;
  }
  for (const Part& part : parts) {
    if (part.begin == part.end) continue;
    out.push_back({segment.begin + part.begin, segment.begin + part.end, segment.first && part.begin == 0});
  }
}

}  // namespace linnet::worker::hf
