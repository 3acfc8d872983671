#include "gateway/http_session.h"

#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/version.h"
#include "gateway/http_generate.h"
#include "gateway/openai_response.h"
#include "proto/generation_rules.h"

namespace linnet::gateway {
namespace {

constexpr uint32_t kMaxHeaderBytes = 16 << 10;
// After an answer that ends the connection: how much of what the client still sends is read, and for how long, so that
// it sees the answer rather than a reset.
constexpr size_t kMaxLingerBytes = 1 << 20;
constexpr std::chrono::seconds kLinger(2);

using Parser = http::request_parser<http::string_body>;

absl::Status BadRequest(std::string_view message) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_FIELD", message);
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

bool IsJson(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  return beast::iequals(beast::string_view(content_type.data(), content_type.size()), "application/json");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "%2F" and the like; what is malformed stays as it is.
std::string PercentDecoded(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      result += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

// Why a request could not be read, as an answer; nothing where the connection ended, or took too long and was closed.
std::optional<HttpResponse> ReadFailure(const boost::system::error_code& ec, uint64_t max_bytes) {
  const auto error = [](int http_status, const std::string& message) {
    return MakeErrorResponse(11, /*keep_alive=*/false, BadRequest(message), http_status);
  };
  if (ec == http::error::body_limit) {
    return error(413, base::StrCat("the request's body may have at most ", max_bytes, " bytes"));
  }
  if (ec == http::error::header_limit) {
    return error(431, base::StrCat("the request's header may have at most ", kMaxHeaderBytes, " bytes"));
  }
  if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
      ec.category() != make_error_code(http::error::bad_method).category()) {
    return std::nullopt;
  }
  return error(400, base::StrCat("malformed HTTP: ", ec.message()));
}

class Session {
 public:
  Session(HttpContext& context, HttpConnection& connection)
      : context_(context), connection_(connection), stream_(connection.stream) {}

  net::awaitable<void> Run() {
    while (!context_.draining) {
      // Not in the loop's condition: g++ 14 would evaluate it there whatever stands before the &&.
      const bool asked = co_await WaitForRequest();
      if (!asked || (context_.draining && buffer_.size() == 0)) break;
      connection_.busy = true;
      const bool keep = co_await ServeOne();
      connection_.busy = false;
      if (!keep) {
        co_await Linger();
        break;
      }
    }
  }

 private:
  // Until the first byte of the next request is there; false where none comes.
  net::awaitable<bool> WaitForRequest() {
    if (buffer_.size() > 0) co_return true;  // pipelined
    stream_.expires_after(Ms(context_.limits.idle_timeout_ms()));
    auto [ec, bytes] = co_await stream_.async_read_some(buffer_.prepare(4096), kAsValue);
    buffer_.commit(bytes);
    co_return !ec;
  }

  // Reads a request and answers it. False where the connection must end.
  net::awaitable<bool> ServeOne() {
    const uint64_t max_bytes = context_.gateway.options().max_request_bytes;
    Parser parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(max_bytes);
    stream_.expires_after(Ms(context_.limits.header_timeout_ms()));
    auto [header_error, header_bytes] = co_await http::async_read_header(stream_, buffer_, parser, kAsValue);
    if (header_error) co_return co_await Refuse(ReadFailure(header_error, max_bytes));
    if (std::optional<HttpResponse> refusal = CheckHeader(parser); refusal.has_value()) {
      co_return co_await Refuse(std::move(refusal));
    }
    stream_.expires_after(Ms(context_.limits.body_timeout_ms()));
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      auto [ec, bytes] = co_await net::async_write(stream_, net::buffer(kContinue), kAsValue);
      if (ec) co_return false;
    }
    auto [body_error, body_bytes] = co_await http::async_read(stream_, buffer_, parser, kAsValue);
    if (body_error) co_return co_await Refuse(ReadFailure(body_error, max_bytes));
    co_return co_await Dispatch(parser.release());
  }

  net::awaitable<bool> Refuse(std::optional<HttpResponse> refusal) {
    if (refusal.has_value()) co_await WriteResponse(context_, stream_, *std::move(refusal));
    co_return false;
  }

  // What a header alone shows to be wrong, before the body is read.
  std::optional<HttpResponse> CheckHeader(const Parser& parser) const {
    const auto& request = parser.get();
    if (request.method() != http::verb::post) return std::nullopt;
    const auto error = [&](int http_status, const char* message) {
      return MakeErrorResponse(request.version(), /*keep_alive=*/false, BadRequest(message), http_status);
    };
    if (!parser.content_length().has_value() && !parser.chunked()) {
      return error(411, "a POST needs a Content-Length, or chunks");
    }
    if (!IsJson(View(request[http::field::content_type]))) {
      return error(415, "the body must be JSON: send the header 'Content-Type: application/json'");
    }
    return std::nullopt;
  }

  net::awaitable<bool> Dispatch(HttpRequest request) {
    const bool keep_alive = request.keep_alive() && !context_.draining;
    const std::string target(request.target().substr(0, request.target().find('?')));
    if (target == "/v1/chat/completions" || target == "/v1/completions") {
      if (request.method() != http::verb::post) co_return co_await Send(request, WrongMethod(request, "POST"));
      co_return co_await Generate(std::move(request), target == "/v1/chat/completions", keep_alive);
    }
    co_return co_await Send(request, Get(request, target, keep_alive));
  }

  net::awaitable<bool> Send(const HttpRequest& request, HttpResponse response) {
    const bool keep_alive = response.keep_alive();
    if (request.method() == http::verb::head) response.body().clear();  // its length stays in the header
    const bool written = co_await WriteResponse(context_, stream_, std::move(response));
    co_return written&& keep_alive;
  }

  net::awaitable<bool> Generate(HttpRequest request, bool chat, bool keep_alive) {
    absl::StatusOr<OpenAiRequest> parsed =
        chat ? ParseChatRequest(request.body()) : ParseCompletionRequest(request.body());
    const std::string_view id = View(request["x-request-id"]);
    if (!parsed.ok()) {
      context_.gateway.metrics().CountRequest(Front::kHttp, "", parsed.status().code());
      co_return co_await Send(request, MakeErrorResponse(request.version(), keep_alive, parsed.status()));
    }
    std::string request_id(IsValidRequestId(id) ? id : std::string_view());
    const unsigned version = request.version();
    request = {};  // the body's memory
    co_return co_await AnswerGenerate(context_, stream_, buffer_, *std::move(parsed), std::move(request_id), version,
                                      keep_alive);
  }

  HttpResponse WrongMethod(const HttpRequest& request, const char* allowed) const {
    HttpResponse response = MakeErrorResponse(
        request.version(), request.keep_alive(),
        BadRequest(base::StrCat("method ", View(request.method_string()), " is not allowed here; use ", allowed)), 405);
    response.set(http::field::allow, allowed);
    return response;
  }

  HttpResponse Get(const HttpRequest& request, const std::string& target, bool keep_alive) const {
    const unsigned version = request.version();
    const auto json = [&](std::string body) {
      return MakeResponse(version, keep_alive, 200, "application/json", std::move(body));
    };
    const auto text = [&](int status, std::string body) {
      return MakeResponse(version, keep_alive, status, "text/plain; charset=utf-8", std::move(body));
    };
    constexpr std::string_view kModels = "/v1/models";
    const bool one_model = target.starts_with("/v1/models/");
    if (target != "/" && target != "/healthz" && target != "/readyz" && target != kModels && !one_model) {
      return MakeErrorResponse(version, keep_alive,
                               base::Error(absl::StatusCode::kNotFound, "RESOURCE_NOT_FOUND",
                                           "there is nothing at this address; try /v1/chat/completions, "
                                           "/v1/completions, /v1/models, /healthz or /readyz"));
    }
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      return WrongMethod(request, "GET, HEAD");
    }
    if (target == kModels) return json(ModelListJson(context_.gateway.ListModels()));
    if (one_model) return GetModel(request, PercentDecoded(target.substr(kModels.size() + 1)), keep_alive);
    if (target == "/healthz") return text(200, "ok\n");
    if (target == "/readyz") {
      const absl::Status ready = context_.gateway.Ready();
      return ready.ok() ? text(200, "ok\n") : text(503, base::StrCat(ready.message(), "\n"));
    }
    return text(200, base::StrCat("Linnet gateway ", base::kVersion,
                                  "\n\nPOST /v1/chat/completions\nPOST /v1/completions\nGET  /v1/models\n"
                                  "GET  /healthz\nGET  /readyz\n"));
  }

  HttpResponse GetModel(const HttpRequest& request, const std::string& name, bool keep_alive) const {
    absl::StatusOr<RouteChoice> choice = context_.gateway.RouteFor(name, {}, /*ignore_queue=*/true);
    if (!choice.ok()) return MakeErrorResponse(request.version(), keep_alive, choice.status());
    int64_t created = 0;
    const v1::ListModelsResponse models = context_.gateway.ListModels();
    for (const v1::ServedModel& model : models.models()) {
      if (model.model() == choice->model) created = model.created_seconds();
    }
    return MakeResponse(request.version(), keep_alive, 200, "application/json", ModelJson(name, created));
  }

  // Ends our side, and reads for a while what the client still sends: closing at once would reset the connection, and
  // the answer might be lost with it.
  net::awaitable<void> Linger() {
    boost::system::error_code ec;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ec);
    if (ec) co_return;
    stream_.expires_after(kLinger);
    size_t total = 0;
    while (total < kMaxLingerBytes) {
      buffer_.clear();
      auto [read_error, bytes] = co_await stream_.async_read_some(buffer_.prepare(16 << 10), kAsValue);
      if (read_error) co_return;
      total += bytes;
    }
  }

  HttpContext& context_;
  HttpConnection& connection_;
  beast::tcp_stream& stream_;
  beast::flat_buffer buffer_;
};

}  // namespace

net::awaitable<void> ServeConnection(HttpContext& context, HttpConnection& connection) {
  Session session(context, connection);
  co_await session.Run();
  boost::system::error_code ignored;
  connection.stream.socket().close(ignored);
}

}  // namespace linnet::gateway
