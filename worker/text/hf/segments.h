// A text cut into segments, which pre-tokenizers cut further or spell otherwise. Internal to worker/text/hf.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/text/regex.h"

namespace linnet::worker::hf {

// What becomes of the matches between which a text is cut.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Not thread-safe.
class Segments {
 public:
  struct Segment {
    size_t begin = 0, end = 0;
    bool first = false;  // it stands at the beginning of what the user sent
  };

  // One segment, unless text is empty.
  Segments(std::string text, bool first) : text_(std::move(text)) {
    if (!text_.empty()) segments_.push_back({0, text_.size(), first});
  }

  const std::vector<Segment>& segments() const { return segments_; }
  std::string_view text(const Segment& segment) const {
    return std::string_view(text_).substr(segment.begin, segment.end - segment.begin);
  }

  // find(text, matches) gives the matches in a segment, in order. `invert`: what lies between them counts as matches.
  template <typename Find>
  void Split(SplitBehavior behavior, bool invert, Find find) {
    std::vector<Segment> cut;
    for (const Segment& segment : segments_) {
      matches_.clear();
      find(text(segment), matches_);
      Cut(segment, behavior, invert, cut);
    }
    segments_ = std::move(cut);
  }

  // spell(segment, text, out) appends what a segment is replaced by.
  template <typename Spell>
  void Respell(Spell spell) {
    std::string spelled;
    std::vector<Segment> kept;
    for (const Segment& segment : segments_) {
      const size_t begin = spelled.size();
      spell(segment, text(segment), spelled);
      if (spelled.size() > begin) kept.push_back({begin, spelled.size(), segment.first});
    }
    text_ = std::move(spelled);
    segments_ = std::move(kept);
  }

 private:
  void Cut(const Segment& segment, SplitBehavior behavior, bool invert, std::vector<Segment>& out) const;

  std::string text_;
  std::vector<Segment> segments_;  // none is empty
  std::vector<Regex::Match> matches_;
};

}  // namespace linnet::worker::hf
