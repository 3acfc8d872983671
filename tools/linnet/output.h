// How results look: tables for people, YAML, and figures with units. Whatever comes from a file or a server may hold
// anything, so terminal control characters are taken out of what people see.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace linnet::cli {

// Columns by their longest cell, two spaces apart, cells left-aligned; lines end without spaces.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  // REQUIRES: as many cells as the header.
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  std::string Render() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// YAML 1.2 of any JSON value, in block style; texts that could be read as something else are quoted.
std::string ToYaml(const nlohmann::ordered_json& value);
// "key: value" lines of an object, nested objects indented: what -o table prints where no table fits.
std::string ToLines(const nlohmann::ordered_json& value);

// "98.4 MB": files and transfers, in powers of ten. (Memory: base::HumanBytes, in powers of two.)
std::string DecimalBytes(uint64_t bytes);
// "135 M", "1.5 B": counts of parameters.
std::string Count(uint64_t count);
// "142.1", or "-" where it is 0: not known.
std::string Rate(double per_second);
// The part of a resource name after its last '/'.
std::string ShortName(std::string_view resource);

// Printable UTF-8: control characters (C0 but for the newline and tab, DEL, C1) left out, broken bytes as U+FFFD.
std::string ForTerminal(std::string_view text);

}  // namespace linnet::cli
