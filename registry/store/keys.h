// Keys of the database, as docs/registry-format.md fixes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace linnet::registry {

inline constexpr uint32_t kSchemaVersion = 1;
inline constexpr char kSchemaKey[] = "schema";
inline constexpr char kRevisionKey[] = "revision";
inline constexpr char kLogFloorKey[] = "log_floor";
inline constexpr char kStoreIdKey[] = "store_id";

// 8 bytes, big-endian: byte order is numeric order.
inline std::string EncodeRevision(int64_t revision) {
  std::string key(8, '\0');
  for (int i = 0; i < 8; ++i) key[i] = static_cast<char>(static_cast<uint64_t>(revision) >> (56 - 8 * i));
  return key;
}

inline std::optional<int64_t> DecodeRevision(std::string_view key) {
  if (key.size() != 8) return std::nullopt;
  uint64_t value = 0;
  for (char c : key) value = value << 8 | static_cast<unsigned char>(c);
  if (value > INT64_MAX) return std::nullopt;
  return static_cast<int64_t>(value);
}

}  // namespace linnet::registry
