#include "base/config.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <memory>

#include "absl/strings/numbers.h"
#include "base/error.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace linnet::base {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr int kMaxErrors = 20;

class ErrorCollector : public google::protobuf::io::ErrorCollector {
 public:
  explicit ErrorCollector(const std::string& path) : path_(path) {}

  // `line` and `column` count from 0; line -1 speaks of the whole file.
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (++count_ > kMaxErrors) return;
    base::StrAppend(&text_, text_.empty() ? "" : "\n", path_, ":");
    if (line >= 0) base::StrAppend(&text_, line + 1, ":", column + 1, ":");
    base::StrAppend(&text_, " ", message);
  }

  const std::string& text() const { return text_; }

 private:
  const std::string& path_;
  std::string text_;
  int count_ = 0;
};

absl::Status BadAddress(std::string_view address) {
  return Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
               base::StrCat("address '", address, "': give host:port, as in 127.0.0.1:8080 or [::1]:8080"),
               {{"field", "address"}});
}

}  // namespace

absl::Status ReadConfig(const std::string& path, google::protobuf::Message* config) {
  if (path.empty()) return absl::OkStatus();
  LINNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  std::unique_ptr<google::protobuf::Message> parsed(config->New());
  parsed->CopyFrom(*config);
  ErrorCollector errors(path);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  if (!parser.Merge(&input, parsed.get())) {
    return Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
                 base::StrCat("configuration is not a valid ", config->GetDescriptor()->full_name(), ":\n",
                              errors.text().empty() ? base::StrCat(path, ": does not parse") : errors.text()),
                 {{"field", path}});
  }
  config->CopyFrom(*parsed);
  return absl::OkStatus();
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return BadAddress(address);
  std::string_view host = address.substr(0, colon);
  const std::string_view digits = address.substr(colon + 1);
  if (host.starts_with('[')) {
    if (host.size() < 4 || !host.ends_with(']')) return BadAddress(address);
    host = host.substr(1, host.size() - 2);
    if (host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string_view::npos) return BadAddress(address);
  } else if (host.empty() || host.find_first_of(":[]/@ \t\r\n") != std::string_view::npos) {
    return BadAddress(address);
  }
  int port = 0;
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos ||
      !absl::SimpleAtoi(ToAbsl(digits), &port) || port > 65535) {
    return BadAddress(address);
  }
  return HostPort{std::string(host), port};
}

absl::Status CheckListenAddress(std::string_view what, std::string_view address, bool insecure) {
  LINNET_ASSIGN_OR_RETURN(const HostPort parsed, ParseHostPort(address));
  const bool ipv4_loopback =
      parsed.host.starts_with("127.") && parsed.host.find_first_not_of("0123456789.") == std::string::npos;
  if (insecure || ipv4_loopback || parsed.host == "localhost" || parsed.host == "::1") return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD",
               base::StrCat(what, " would listen on ", address,
                            ", which other machines reach, without TLS; listen on 127.0.0.1, or give --insecure where "
                            "the network is trusted"),
               {{"field", std::string(what)}});
}

}  // namespace linnet::base
