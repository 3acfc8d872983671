#include "worker/text/bpe_merges.h"

namespace linnet::worker {

void WordMerger::Append(std::span<const TokenId> word, std::vector<TokenId>& out) {
  symbols_.clear();
  const int n = static_cast<int>(word.size());
  for (int i = 0; i < n; ++i) symbols_.push_back({word[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1});
  for (int i = 0; i + 1 < n; ++i) Offer(i, i + 1);
  while (!heap_.empty()) {
    const Candidate best = heap_.top();
    heap_.pop();
    Symbol& left = symbols_[static_cast<size_t>(best.left)];
    // A candidate is stale once either symbol has changed. A symbol merged away has id -1.
    if (left.id != best.left_id || left.next < 0) continue;
    Symbol& right = symbols_[static_cast<size_t>(left.next)];
    if (right.id != best.right_id) continue;
    left.id = best.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols_[static_cast<size_t>(left.next)].previous = best.left;
    if (left.previous >= 0) Offer(left.previous, best.left);
    if (left.next >= 0) Offer(best.left, left.next);
  }
  for (int i = n == 0 ? -1 : 0; i >= 0; i = symbols_[static_cast<size_t>(i)].next) {
    if (symbols_[static_cast<size_t>(i)].id >= 0) out.push_back(symbols_[static_cast<size_t>(i)].id);
  }
}

void WordMerger::Offer(int left, int right) {
  const TokenId left_id = symbols_[static_cast<size_t>(left)].id, right_id = symbols_[static_cast<size_t>(right)].id;
  if (left_id < 0 || right_id < 0) return;
  if (const BpeMerges::Merge* merge = merges_.Find(left_id, right_id)) {
    heap_.push({merge->rank, left, left_id, right_id, merge->merged});
  }
}

}  // namespace linnet::worker
