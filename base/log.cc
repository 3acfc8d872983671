#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/base/log_severity.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/log/log_entry.h"
#include "absl/log/log_sink.h"
#include "absl/log/log_sink_registry.h"
#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "base/strings.h"
#include "base/utf8.h"

namespace linnet::base {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxLineBytes = 8 << 10;
constexpr size_t kMaxMessageBytes = 4 << 10;
constexpr size_t kMaxValueBytes = 1 << 10;

// LogFields puts its fields between these two (ASCII "record separator" and "group separator") behind the message, as
// a JSON object; the sink takes them out again.
constexpr char kFieldsBegin = '\x1e';
constexpr char kFieldsEnd = '\x1d';

constexpr std::string_view kReservedKeys[] = {"time", "severity", "binary", "message", "source", "stacktrace"};

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// What the escapes of control characters make longer than the line may be is cut from the longest values.
std::string BoundedLine(Json line) {
  std::string text = Dump(line);
  while (text.size() >= kMaxLineBytes) {
    std::string* longest = nullptr;
    for (auto& [key, value] : line.items()) {
      auto* string = value.get_ptr<std::string*>();
      if (string != nullptr && (longest == nullptr || string->size() > longest->size())) longest = string;
    }
    if (longest == nullptr || longest->size() < 64) break;  // many short fields
    *longest = BoundedUtf8(*longest, longest->size() / 2);
    text = Dump(line);
  }
  while (text.size() >= kMaxLineBytes && line.size() > std::size(kReservedKeys)) {
    line.erase(std::prev(line.end()));
    text = Dump(line);
  }
  text += '\n';
  return text;
}

class JsonSink : public absl::LogSink {
 public:
  explicit JsonSink(std::string_view binary) : binary_(binary) {}

  void Send(const absl::LogEntry& entry) override {
    std::string_view message = ToStd(entry.text_message());
    Json fields = Json::object();
    std::string plain;
    const size_t begin = message.find(kFieldsBegin);
    const size_t end = begin == std::string_view::npos ? begin : message.find(kFieldsEnd, begin);
    if (end != std::string_view::npos) {
      Json parsed = Json::parse(message.substr(begin + 1, end - begin - 1), nullptr, /*allow_exceptions=*/false);
      if (parsed.is_object()) fields = std::move(parsed);
      plain = base::StrCat(message.substr(0, begin), message.substr(end + 1));
      message = plain;
    }
    Json line;
    line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", entry.timestamp(), absl::UTCTimeZone());
    line["severity"] = absl::LogSeverityName(entry.log_severity());
    line["binary"] = binary_;
    line["message"] = BoundedUtf8(message, kMaxMessageBytes);
    line["source"] = base::StrCat(entry.source_basename(), ":", entry.source_line());
    if (!entry.stacktrace().empty()) line["stacktrace"] = BoundedUtf8(ToStd(entry.stacktrace()), kMaxMessageBytes);
    for (auto& [key, value] : fields.items()) {
      if (!line.contains(key)) line[key] = std::move(value);
    }
    // One write a line, so that lines of several threads do not mix.
    const std::string text = BoundedLine(std::move(line));
    std::string_view rest = text;
    while (!rest.empty()) {
      const ssize_t written = write(STDERR_FILENO, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;  // there is no other place to complain
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }

 private:
  const std::string binary_;
};

absl::LogSeverityAtLeast LevelOf(std::string_view level) {
  if (absl::EqualsIgnoreCase(ToAbsl(level), "error")) return absl::LogSeverityAtLeast::kError;
  if (absl::EqualsIgnoreCase(ToAbsl(level), "warning")) return absl::LogSeverityAtLeast::kWarning;
  return absl::LogSeverityAtLeast::kInfo;
}

}  // namespace

void InitLogging(std::string_view binary, std::string_view level) {
  absl::SetMinLogLevel(LevelOf(level));
  static std::once_flag once;
  std::call_once(once, [&] {
    absl::InitializeLog();
    absl::SetStderrThreshold(absl::LogSeverityAtLeast::kInfinity);
    absl::AddLogSink(new JsonSink(binary));  // for the life of the process
  });
}

std::string LogFields(std::string_view message,
                      std::initializer_list<std::pair<std::string_view, std::string>> fields) {
  Json json = Json::object();
  for (const auto& [key, value] : fields) {
    const bool reserved = std::ranges::find(kReservedKeys, key) != std::end(kReservedKeys);
    json[base::StrCat(key, reserved ? "_" : "")] = BoundedUtf8(value, kMaxValueBytes);
  }
  std::string text = BoundedUtf8(message, kMaxMessageBytes);
  // Whoever wrote the message cannot add fields by it.
  std::ranges::replace_if(text, [](char c) { return c == kFieldsBegin || c == kFieldsEnd; }, ' ');
  return base::StrCat(text, std::string_view(&kFieldsBegin, 1), Dump(json), std::string_view(&kFieldsEnd, 1));
}

}  // namespace linnet::base
