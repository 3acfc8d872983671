#include "base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/escaping.h"
#include "base/file.h"
#include "base/strings.h"

namespace linnet::base {

struct Sha256::Context {
  Context() : md(EVP_MD_CTX_new()) {
    CHECK(md != nullptr);
    CHECK_EQ(EVP_DigestInit_ex(md, EVP_sha256(), nullptr), 1);
  }
  ~Context() { EVP_MD_CTX_free(md); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  EVP_MD_CTX* const md;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(std::span<const std::byte> data) {
  CHECK_EQ(EVP_DigestUpdate(context_->md, data.data(), data.size()), 1);
}

void Sha256::Update(std::string_view data) { Update(std::as_bytes(std::span(data.data(), data.size()))); }

std::string Sha256::Digest() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  CHECK_EQ(EVP_DigestFinal_ex(context_->md, digest.data(), &size), 1);
  return base::StrCat("sha256:",
                      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size)));
}

std::string Sha256Of(std::string_view data) {
  Sha256 sha;
  sha.Update(data);
  return sha.Digest();
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  Sha256 sha;
  std::vector<std::byte> buffer(1 << 20);
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      close(fd);
      return ErrnoStatus(error, "read", path);
    }
    if (got == 0) break;
    sha.Update(std::span(buffer).first(static_cast<size_t>(got)));
  }
  close(fd);
  return sha.Digest();
}

bool IsSha256Digest(std::string_view digest) {
  constexpr std::string_view kPrefix = "sha256:";
  if (digest.size() != kPrefix.size() + 64 || !digest.starts_with(kPrefix)) return false;
  digest.remove_prefix(kPrefix.size());
  return std::ranges::all_of(digest, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace linnet::base
