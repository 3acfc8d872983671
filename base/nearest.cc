#include "base/nearest.h"

#include <algorithm>
#include <numeric>

namespace linnet::base {

std::string Nearest(std::string_view typed, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = typed.size() / 3 + 2;  // more than that many typing mistakes are another word
  for (const std::string& candidate : candidates) {
    // Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
    std::vector<std::vector<size_t>> d(typed.size() + 1, std::vector<size_t>(candidate.size() + 1));
    for (size_t i = 0; i <= typed.size(); ++i) d[i][0] = i;
    std::iota(d[0].begin(), d[0].end(), size_t{0});
    for (size_t i = 1; i <= typed.size(); ++i) {
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t change = d[i - 1][j - 1] + (typed[i - 1] == candidate[j - 1] ? 0 : 1);
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, change});
        if (i > 1 && j > 1 && typed[i - 1] == candidate[j - 2] && typed[i - 2] == candidate[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    const size_t distance = d[typed.size()][candidate.size()];
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace linnet::base
