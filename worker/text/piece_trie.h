// Texts found by their beginnings: which of them does this text start with? Internal to worker/text.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/text/tokenizer.h"

namespace linnet::worker {

// Thread-safe (const).
class PieceTrie {
 public:
  struct Found {
    size_t bytes = 0;
    TokenId id = -1;  // -1: none
  };

  PieceTrie() : PieceTrie(std::vector<std::pair<std::string_view, TokenId>>()) {}
  // REQUIRES: no text is empty, none is there twice, no id is negative.
  explicit PieceTrie(std::vector<std::pair<std::string_view, TokenId>> texts);

  // visit(bytes, id) for each text that `text` begins with, the shortest first.
  template <typename Visit>
  void ForEachPrefix(std::string_view text, Visit visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Child(node, text[i]);
      if (node == 0) return;
      if (nodes_[node].id >= 0) visit(i + 1, nodes_[node].id);
    }
  }
  Found Longest(std::string_view text) const {
    Found found;
    ForEachPrefix(text, [&](size_t bytes, TokenId id) { found = {bytes, id}; });
    return found;
  }
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint32_t children = 0;
    TokenId id = -1;
  };

  // 0: none.
  uint32_t Child(uint32_t node, char label) const {
    const Node& n = nodes_[node];
    if (n.children == 0) return 0;
    const void* at = std::memchr(labels_.data() + n.first_child, label, n.children);
    return at == nullptr ? 0 : static_cast<uint32_t>(static_cast<const char*>(at) - labels_.data());
  }

  std::vector<Node> nodes_;   // [0] the root; children of a node are neighbours
  std::vector<char> labels_;  // the byte that leads to each node
};

}  // namespace linnet::worker
