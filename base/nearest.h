// The word that somebody meant who wrote another.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace linnet::base {

// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
size_t EditDistance(std::string_view a, std::string_view b);

// The candidate nearest to `typed`, "" where none is near enough to be what was meant.
std::string Nearest(std::string_view typed, const std::vector<std::string>& candidates);

}  // namespace linnet::base
