#include "base/ops_server.h"

#include <prometheus/text_serializer.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <list>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/log/log.h"
#include "base/config.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "base/thread.h"

namespace linnet::base {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

// Prometheus, the probes and a few curious people. When all are taken the oldest goes, so that connections held open
// by someone hostile cannot keep the probes out.
constexpr size_t kMaxConnections = 64;
constexpr uint32_t kMaxHeaderBytes = 8 << 10;
// For a whole answer.
constexpr std::chrono::seconds kWriteTimeout{10};
constexpr int kMaxRequestsPerConnection = 1000;

using Response = http::response<http::string_body>;

class Session;
using Sessions = std::list<std::shared_ptr<Session>>;

// One connection; lives in the server's list until it is done, and in the handlers that are pending.
class Session : public std::enable_shared_from_this<Session> {
 public:
  using Answer = std::function<Response(const http::request<http::empty_body>&)>;
  using Done = std::function<void(Session*)>;

  Session(tcp::socket socket, std::chrono::nanoseconds read_timeout, const Answer& answer, Done done)
      : stream_(std::move(socket)), read_timeout_(read_timeout), answer_(answer), done_(std::move(done)) {}

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(boost::none);  // no body is ever read
    // Set once for all of the request, so that dripping it in does not prolong it.
    stream_.expires_after(read_timeout_);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, size_t) { self->OnRead(error); });
  }

  // Ends it whatever it was doing. May be called more than once.
  void Close() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.socket().close(ignored);
  }

 private:
  void OnRead(beast::error_code error) {
    if (error) {
      const bool malformed = error.category() == http::make_error_code(http::error::bad_method).category() &&
                             error != http::error::end_of_stream && error != http::error::partial_message;
      if (!malformed) return Finish();
      response_ = Response(http::status::bad_request, 11);
      response_.set(http::field::content_type, "text/plain; charset=utf-8");
      response_.body() = "malformed request\n";
      keep_alive_ = false;
    } else {
      const auto& request = parser_->get();
      response_ = answer_(request);
      // A body is not read, so that nothing can follow it on this connection.
      const bool has_body = parser_->chunked() || parser_->content_length().value_or(0) > 0;
      keep_alive_ = request.keep_alive() && !has_body && ++requests_ < kMaxRequestsPerConnection;
    }
    response_.set(http::field::server, "linnet");
    response_.keep_alive(keep_alive_);
    const bool head = !error && parser_->get().method() == http::verb::head;
    response_.prepare_payload();
    if (head) response_.body().clear();  // Content-Length stays that of the GET
    stream_.expires_after(kWriteTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code e, size_t) { self->OnWrite(e); });
  }

  void OnWrite(beast::error_code error) {
    if (error || !keep_alive_) return Finish();
    Read();
  }

  void Finish() {
    Close();
    done_(this);
  }

  beast::tcp_stream stream_;
  const std::chrono::nanoseconds read_timeout_;
  beast::flat_buffer buffer_{kMaxHeaderBytes + 1024};
  std::optional<http::request_parser<http::empty_body>> parser_;
  Response response_;
  bool keep_alive_ = false;
  int requests_ = 0;
  const Answer& answer_;
  const Done done_;
};

class OpsServerImpl : public OpsServer {
 public:
  explicit OpsServerImpl(Options options) : options_(std::move(options)) {}

  ~OpsServerImpl() override {
    asio::post(io_, [this] {
      stopping_ = true;
      beast::error_code ignored;
      acceptor_.close(ignored);
      for (const auto& session : sessions_) session->Close();
      io_.stop();
    });
    if (thread_.joinable()) thread_.join();
    sessions_.clear();
  }

  absl::Status Listen() {
    LINNET_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(options_.address));
    beast::error_code error;
    tcp::resolver resolver(io_);
    const auto endpoints = resolver.resolve(address.host, std::to_string(address.port), error);
    if (error || endpoints.empty()) return ListenError("resolve", error);
    const tcp::endpoint endpoint = endpoints.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), error);
    if (error) return ListenError("open a socket for", error);
    acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    acceptor_.bind(endpoint, error);
    if (error) return ListenError("listen on", error);
    acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return ListenError("listen on", error);
    const tcp::endpoint bound = acceptor_.local_endpoint(error);
    if (error) return ListenError("listen on", error);
    port_ = bound.port();
    Accept();
    thread_ = StartThread("ops", [this] { Run(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  absl::Status ListenError(std::string_view what, const beast::error_code& error) const {
    const bool taken = error == boost::system::errc::address_in_use;
    const bool denied = error == boost::system::errc::permission_denied;
    return Error(taken    ? absl::StatusCode::kFailedPrecondition
                 : denied ? absl::StatusCode::kPermissionDenied
                          : absl::StatusCode::kInvalidArgument,
                 taken    ? "STATE_CONFLICT"
                 : denied ? "ACCESS_DENIED"
                          : "INVALID_FIELD",
                 base::StrCat("metrics port: cannot ", what, " ", options_.address, ": ", error.message(),
                              taken ? "; stop what uses it (ss -ltnp shows it), or set another address"
                                    : "; set another address"),
                 {{"field", "address"}, {"address", options_.address}});
  }

  void Run() {
    while (true) {
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {
        // One request's trouble (no memory for a large answer) is not the port's end.
        LOG(ERROR) << "metrics port " << options_.address << ": " << e.what();
      }
    }
  }

  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (stopping_ || error == asio::error::operation_aborted) return;
      if (error) {
        // Out of file descriptors, say. Waits, because the connection is still there and accept would fail at once.
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](beast::error_code e) {
          if (!e) Accept();
        });
        return;
      }
      if (sessions_.size() >= kMaxConnections) {
        sessions_.front()->Close();
        sessions_.pop_front();
      }
      sessions_.push_back(std::make_shared<Session>(
          std::move(socket), absl::ToChronoNanoseconds(options_.request_timeout), answer_, [this](Session* session) {
            sessions_.remove_if([session](const auto& held) { return held.get() == session; });
          }));
      sessions_.back()->Read();
      Accept();
    });
  }

  Response Handle(const http::request<http::empty_body>& request) const {
    Response response(http::status::ok, request.version());
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.set(http::field::cache_control, "no-store");
    const auto target = std::string_view(request.target().data(), request.target().size());
    const std::string_view path = target.substr(0, target.find('?'));
    if (path != "/metrics" && path != "/healthz" && path != "/readyz") {
      response.result(http::status::not_found);
      response.body() = "not found: this port has /metrics, /healthz and /readyz\n";
    } else if (request.method() != http::verb::get && request.method() != http::verb::head) {
      response.result(http::status::method_not_allowed);
      response.set(http::field::allow, "GET, HEAD");
      response.body() = "only GET and HEAD\n";
    } else if (path == "/metrics") {
      response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
      if (options_.registry != nullptr) {
        response.body() = prometheus::TextSerializer().Serialize(options_.registry->Collect());
      }
    } else if (path == "/healthz") {
      response.body() = "ok\n";
    } else if (const absl::Status ready = options_.ready(); ready.ok()) {
      response.body() = "ok\n";
    } else {
      response.result(http::status::service_unavailable);
      response.body() = base::StrCat(ready.message(), "\n");
    }
    return response;
  }

  const Options options_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer retry_{io_};
  int port_ = 0;
  const Session::Answer answer_ = [this](const http::request<http::empty_body>& request) { return Handle(request); };
  // Of the thread alone, once it runs.
  bool stopping_ = false;
  Sessions sessions_;
  std::jthread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<OpsServer>> OpsServer::Create(Options options) {
  auto server = std::make_unique<OpsServerImpl>(std::move(options));
  LINNET_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace linnet::base
