#include "gateway/http_generate.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/error.h"
#include "base/strings.h"
#include "gateway/generate_call.h"
#include "gateway/openai_response.h"

namespace linnet::gateway {
namespace {

// Bytes of later requests that a client may send while one is being answered.
constexpr size_t kMaxPipelinedBytes = 16 << 10;

// Brings a call's events from gRPC's threads to the connection's. The call refers to it until its end, so the
// connection waits for that (RunToEnd) before it lets go.
class HttpSink final : public GenerateSink {
 public:
  explicit HttpSink(net::any_io_executor executor) : executor_(executor), timer_(executor) {}

  void OnMessage(const v1::GenerateResponse& message) override {
    net::post(executor_, [this, &message] {
      message_ = &message;
      timer_.cancel();
    });
  }
  void OnFinish(const absl::Status& status) override {
    net::post(executor_, [this, status] {
      finished_ = status;
      timer_.cancel();
    });
  }

  // On the connection's thread: until there is a message or the end.
  net::awaitable<void> Wait() {
    while (message_ == nullptr && !finished_.has_value()) {
      timer_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await timer_.async_wait(kAsValue);
    }
  }
  // Null at the end. Stays until Next().
  const v1::GenerateResponse* message() const { return message_; }
  void Next(GenerateCall& call) {
    message_ = nullptr;
    call.Next();
  }
  const std::optional<absl::Status>& finished() const { return finished_; }

 private:
  const net::any_io_executor executor_;
  net::steady_timer timer_;
  const v1::GenerateResponse* message_ = nullptr;
  std::optional<absl::Status> finished_;
};

// Cancels the call and takes what still comes of it.
net::awaitable<void> RunToEnd(GenerateCall& call, HttpSink& sink) {
  if (!sink.finished().has_value()) call.Cancel();
  while (!sink.finished().has_value()) {
    if (sink.message() != nullptr) sink.Next(call);
    co_await sink.Wait();
  }
}

// Returns when the client has left.
net::awaitable<void> WatchForLeaving(beast::tcp_stream& stream, beast::flat_buffer& buffer) {
  while (buffer.size() < kMaxPipelinedBytes) {
    auto [ec, bytes] = co_await stream.socket().async_read_some(buffer.prepare(2048), kAsValue);
    buffer.commit(bytes);
    if (ec) co_return;
  }
  net::steady_timer never(co_await net::this_coro::executor, std::chrono::steady_clock::time_point::max());
  co_await never.async_wait(kAsValue);
}

void AppendEvent(std::string& out, const std::string& json, std::string_view event = "") {
  if (!event.empty()) base::StrAppend(&out, "event: ", event, "\n");
  base::StrAppend(&out, "data: ", json, "\n\n");
}

// One answer, under way.
class Answer {
 public:
  Answer(HttpContext& context, beast::tcp_stream& stream, GenerateCall& call, HttpSink& sink, OpenAiAnswer answer,
         bool streaming, unsigned http_version, bool keep_alive)
      : context_(context),
        stream_(stream),
        call_(call),
        sink_(sink),
        answer_(std::move(answer)),
        streaming_(streaming),
        http_version_(http_version),
        keep_alive_(keep_alive) {}

  // Relays the call to its end; false where the client did not take it or the connection must close.
  net::awaitable<bool> Run() {
    while (true) {
      co_await sink_.Wait();
      const v1::GenerateResponse* message = sink_.message();
      if (message == nullptr) break;
      bool written = true;
      if (streaming_) {
        written = co_await WriteEvents(*message);
      } else {
        text_ += message->text();
      }
      if (message->has_finish()) finish_ = message->finish();
      sink_.Next(call_);
      if (!written) co_return false;
    }
    const absl::Status status = *sink_.finished();
    if (!started_ && !status.ok()) {
      HttpResponse error = MakeErrorResponse(http_version_, keep_alive_, status);
      error.set("x-request-id", call_.request_id());
      co_return co_await WriteResponse(context_, stream_, std::move(error)) && keep_alive_;
    }
    if (streaming_) co_return co_await WriteStreamEnd(status);
    HttpResponse whole =
        MakeResponse(http_version_, keep_alive_, 200, "application/json", CompletionJson(answer_, text_, finish_));
    whole.set("x-request-id", call_.request_id());
    co_return co_await WriteResponse(context_, stream_, std::move(whole)) && keep_alive_;
  }

 private:
  // HTTP/1.0 knows no chunks: there the end of the connection ends the answer.
  bool chunked() const { return http_version_ >= 11; }

  std::string StreamHeader() const {
    http::response<http::empty_body> header{http::status::ok, http_version_};
    header.set(http::field::content_type, "text/event-stream; charset=utf-8");
    header.set(http::field::cache_control, "no-cache");
    header.set("x-content-type-options", "nosniff");
    header.set("x-request-id", call_.request_id());
    header.chunked(chunked());
    header.keep_alive(keep_alive_ && chunked());
    std::ostringstream text;
    text << header.base();
    return text.str();
  }

  net::awaitable<bool> WriteEvents(const v1::GenerateResponse& message) {
    std::string events;
    if (!started_ && answer_.chat) AppendEvent(events, RoleChunkJson(answer_));
    if (!message.text().empty()) AppendEvent(events, TextChunkJson(answer_, message.text()));
    if (message.has_finish()) {
      AppendEvent(events, FinishChunkJson(answer_, message.finish()));
      if (answer_.include_usage) AppendEvent(events, UsageChunkJson(answer_, message.finish()));
    }
    co_return co_await Write(std::move(events), /*last=*/false);
  }

  net::awaitable<bool> WriteStreamEnd(absl::Status status) {
    std::string events;
    if (status.ok()) {
      events = "data: [DONE]\n\n";
    } else {
      AppendEvent(events, ErrorJson(status), "error");
    }
    const bool written = co_await Write(std::move(events), /*last=*/true);
    co_return written&& status.ok() && keep_alive_&& chunked();
  }

  net::awaitable<bool> Write(std::string data, bool last) {
    std::string bytes;
    if (!std::exchange(started_, true)) bytes = StreamHeader();
    if (chunked()) {
      if (!data.empty()) base::StrAppend(&bytes, absl::StrFormat("%x", data.size()), "\r\n", data, "\r\n");
      if (last) bytes += "0\r\n\r\n";
    } else {
      bytes += data;
    }
    if (bytes.empty()) co_return true;
    stream_.expires_after(Ms(context_.limits.write_timeout_ms()));
    auto [ec, written] = co_await net::async_write(stream_, net::buffer(bytes), kAsValue);
    co_return !ec;
  }

  HttpContext& context_;
  beast::tcp_stream& stream_;
  GenerateCall& call_;
  HttpSink& sink_;
  const OpenAiAnswer answer_;
  const bool streaming_;
  const unsigned http_version_;
  const bool keep_alive_;
  bool started_ = false;  // the header of a stream went
  std::string text_;      // of a whole answer
  v1::Finish finish_;
};

}  // namespace

net::awaitable<bool> AnswerGenerate(HttpContext& context, beast::tcp_stream& stream, beast::flat_buffer& buffer,
                                    OpenAiRequest request, std::string request_id, unsigned http_version,
                                    bool keep_alive) {
  using net::experimental::awaitable_operators::operator||;
  OpenAiAnswer answer{.chat = request.chat,
                      .include_usage = request.include_usage,
                      .created_seconds = absl::ToUnixSeconds(context.gateway.clock().WallNow()),
                      .model = request.generate.model()};
  request.generate.set_request_id(std::move(request_id));
  HttpSink sink(co_await net::this_coro::executor);
  const std::shared_ptr<GenerateCall> call =
      GenerateCall::Create(context.gateway, Front::kHttp, std::move(request.generate), absl::InfiniteFuture(), &sink);
  answer.id = base::StrCat(request.chat ? "chatcmpl-" : "cmpl-", call->request_id());
  call->Start();
  Answer relay(context, stream, *call, sink, std::move(answer), request.stream, http_version, keep_alive);
  stream.expires_never();
  const auto ended = co_await (relay.Run() || WatchForLeaving(stream, buffer));
  const bool keep = ended.index() == 0 && std::get<0>(ended);
  // Where the client has left, its side of the connection is closed before the worker's end of the call is awaited.
  boost::system::error_code ignored;
  if (!keep && !sink.finished().has_value()) stream.socket().close(ignored);
  co_await RunToEnd(*call, sink);
  co_return keep;
}

HttpResponse MakeResponse(unsigned http_version, bool keep_alive, int status, std::string content_type,
                          std::string body) {
  HttpResponse response;
  response.version(http_version);
  response.result(static_cast<unsigned>(status));
  response.set(http::field::content_type, content_type);
  response.set("x-content-type-options", "nosniff");
  response.keep_alive(keep_alive);
  response.body() = std::move(body);
  response.prepare_payload();
  return response;
}

HttpResponse MakeErrorResponse(unsigned http_version, bool keep_alive, const absl::Status& status) {
  return MakeErrorResponse(http_version, keep_alive, status, HttpStatusOf(status));
}

HttpResponse MakeErrorResponse(unsigned http_version, bool keep_alive, const absl::Status& status, int http_status) {
  HttpResponse response = MakeResponse(http_version, keep_alive, http_status, "application/json", ErrorJson(status));
  if (http_status == 499) response.reason("Client Closed Request");
  if (const absl::Duration after = base::RetryAfter(status); after > absl::ZeroDuration()) {
    response.set(http::field::retry_after,
                 std::to_string(static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(after)))));
  }
  return response;
}

net::awaitable<bool> WriteResponse(HttpContext& context, beast::tcp_stream& stream, HttpResponse response) {
  stream.expires_after(Ms(context.limits.write_timeout_ms()));
  auto [ec, bytes] = co_await http::async_write(stream, response, kAsValue);
  co_return !ec;
}

}  // namespace linnet::gateway
