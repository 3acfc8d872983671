#include "worker/text/piece_trie.h"

#include <algorithm>

namespace linnet::worker {

PieceTrie::PieceTrie(std::vector<std::pair<std::string_view, TokenId>> texts) {
  std::sort(texts.begin(), texts.end());
  // Breadth first: nodes are filled in the order in which they were made, and ranges[n] are the texts below node n.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, texts.size(), 0}};
  nodes_.emplace_back();
  labels_.push_back('\0');
  for (size_t n = 0; n < ranges.size(); ++n) {
    auto [begin, end, depth] = ranges[n];
    if (begin < end && texts[begin].first.size() == depth) nodes_[n].id = texts[begin++].second;
    nodes_[n].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = texts[begin].first[depth];
      size_t next = begin;
      while (next < end && texts[next].first[depth] == label) ++next;
      ++nodes_[n].children;
      nodes_.emplace_back();
      labels_.push_back(label);
      ranges.push_back({begin, next, depth + 1});
      begin = next;
    }
  }
}

}  // namespace linnet::worker
