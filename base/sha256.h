// SHA-256 of a stream of bytes (OpenSSL).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace linnet::base {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void Update(std::span<const std::byte> data);
  void Update(std::string_view data);
  // "sha256:{64 hex digits}". Ends the object's use.
  std::string Digest();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Of `data`, as "sha256:{hex}".
std::string Sha256Of(std::string_view data);
// Of a whole file, as "sha256:{hex}".
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);
// "sha256:" and 64 lower-case hex digits.
bool IsSha256Digest(std::string_view digest);

}  // namespace linnet::base
