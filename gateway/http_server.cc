#include "gateway/http_server.h"

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "base/config.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/thread.h"
#include "gateway/http_session.h"

namespace linnet::gateway {
namespace {

constexpr std::chrono::milliseconds kAcceptPause(50);  // after an error such as "too many open files"
constexpr std::string_view kTooMany =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n";

config::v1::HttpLimits WithDefaults(config::v1::HttpLimits limits) {
  if (limits.max_connections() == 0) limits.set_max_connections(1024);
  if (limits.threads() == 0) limits.set_threads(2);
  if (limits.idle_timeout_ms() == 0) limits.set_idle_timeout_ms(60000);
  if (limits.header_timeout_ms() == 0) limits.set_header_timeout_ms(10000);
  if (limits.body_timeout_ms() == 0) limits.set_body_timeout_ms(60000);
  if (limits.write_timeout_ms() == 0) limits.set_write_timeout_ms(60000);
  return limits;
}

// An event loop with its thread and its connections, which only that thread touches.
struct Loop {
  net::io_context io{1};
  net::executor_work_guard<net::io_context::executor_type> work = net::make_work_guard(io);
  std::list<std::shared_ptr<HttpConnection>> connections;
  std::jthread thread;
};

class HttpServerImpl final : public HttpServer {
 public:
  HttpServerImpl(Options options, config::v1::HttpLimits limits)
      : context_{.gateway = *options.gateway, .limits = std::move(limits)} {
    for (uint32_t i = 0; i < context_.limits.threads(); ++i) loops_.push_back(std::make_unique<Loop>());
    acceptor_.emplace(loops_[0]->io);
  }
  ~HttpServerImpl() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Listen(const std::string& address) {
    absl::StatusOr<base::HostPort> host_port = base::ParseHostPort(address);
    if (!host_port.ok()) return host_port.status();
    boost::system::error_code ec;
    tcp::endpoint endpoint;
    if (auto ip = net::ip::make_address(host_port->host, ec); !ec) {
      endpoint = tcp::endpoint(ip, static_cast<uint16_t>(host_port->port));
    } else {
      tcp::resolver resolver(loops_[0]->io);
      const auto results = resolver.resolve(host_port->host, std::to_string(host_port->port), ec);
      if (ec || results.empty()) {
        return absl::InvalidArgumentError(base::StrCat("cannot listen on ", address, ": ", ec.message()));
      }
      endpoint = results.begin()->endpoint();
    }
    acceptor_->open(endpoint.protocol(), ec);
    if (!ec) acceptor_->set_option(net::socket_base::reuse_address(true), ec);
    if (!ec) acceptor_->bind(endpoint, ec);
    if (!ec) acceptor_->listen(net::socket_base::max_listen_connections, ec);
    if (!ec) port_ = acceptor_->local_endpoint(ec).port();
    if (ec) {
      return absl::FailedPreconditionError(
          base::StrCat("cannot listen for HTTP on ", address, ": ", ec.message(),
                       "; stop what uses the address, or choose another with --http-listen HOST:PORT"));
    }
    return absl::OkStatus();
  }

  void Start() {
    net::co_spawn(loops_[0]->io, Accept(), net::detached);
    for (size_t i = 0; i < loops_.size(); ++i) {
      loops_[i]->thread = base::StartThread(base::StrCat("http/", i), [loop = loops_[i].get()] { loop->io.run(); });
    }
  }

  int port() const override { return port_; }

  void Drain() override {
    if (context_.draining.exchange(true)) return;
    net::post(loops_[0]->io, [this] { CloseAcceptor(); });
    CloseConnections(/*also_busy=*/false);
  }

  void Shutdown(absl::Duration patience) override {
    Drain();
    const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
    WaitForConnections(until);
    CloseConnections(/*also_busy=*/true);
    WaitForConnections(std::nullopt);
    for (auto& loop : loops_) loop->work.reset();
    for (auto& loop : loops_) {
      if (loop->thread.joinable()) loop->thread.join();
    }
  }

 private:
  net::awaitable<void> Accept() {
    net::steady_timer pause(loops_[0]->io);
    for (size_t next = 0; !context_.draining; ++next) {
      Loop& loop = *loops_[next % loops_.size()];
      auto [ec, socket] = co_await acceptor_->async_accept(loop.io, kAsValue);
      if (context_.draining) break;
      if (ec) {
        LOG_EVERY_N_SEC(WARNING, 5) << base::LogFields("accept failed", {{"error", ec.message()}});
        pause.expires_after(kAcceptPause);
        co_await pause.async_wait(kAsValue);
        continue;
      }
      boost::system::error_code ignored;
      if (!Enter()) {
        socket.non_blocking(true, ignored);
        socket.write_some(net::buffer(kTooMany), ignored);
        continue;  // closes it
      }
      socket.set_option(tcp::no_delay(true), ignored);
      net::co_spawn(loop.io, Connection(loop, std::move(socket)), net::detached);
    }
    CloseAcceptor();
  }

  void CloseAcceptor() {
    boost::system::error_code ignored;
    acceptor_->close(ignored);
  }

  net::awaitable<void> Connection(Loop& loop, tcp::socket socket) {
    const auto connection = std::make_shared<HttpConnection>(std::move(socket));
    const auto place = loop.connections.insert(loop.connections.end(), connection);
    try {
      co_await ServeConnection(context_, *connection);
    } catch (const std::exception& e) {  // out of memory, at most
      LOG(ERROR) << base::LogFields("HTTP connection failed", {{"error", e.what()}});
    }
    loop.connections.erase(place);
    Leave();
  }

  // A place among max_connections, or false.
  bool Enter() {
    base::MutexLock lock(&mu_);
    if (open_ >= context_.limits.max_connections()) return false;
    context_.gateway.metrics().http_connections().Set(++open_);
    return true;
  }
  void Leave() {
    base::MutexLock lock(&mu_);
    context_.gateway.metrics().http_connections().Set(--open_);
    if (open_ == 0) none_open_.NotifyAll();
  }
  void WaitForConnections(std::optional<std::chrono::steady_clock::time_point> until) {
    base::MutexLock lock(&mu_);
    while (open_ > 0) {
      if (!until.has_value()) {
        none_open_.Wait(&mu_);
      } else {
        const auto left = *until - std::chrono::steady_clock::now();
        if (left <= left.zero()) return;
        none_open_.WaitFor(&mu_, left);
      }
    }
  }

  // Ends those that wait for a request, or all.
  void CloseConnections(bool also_busy) {
    for (auto& loop : loops_) {
      net::post(loop->io, [also_busy, loop = loop.get()] {
        for (const auto& connection : loop->connections) {
          boost::system::error_code ignored;
          if (also_busy || !connection->busy) connection->stream.socket().close(ignored);
        }
      });
    }
  }

  HttpContext context_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::optional<tcp::acceptor> acceptor_;
  int port_ = 0;
  base::Mutex mu_;
  base::CondVar none_open_;
  uint32_t open_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(Options options) {
  const std::string address = options.address;
  config::v1::HttpLimits limits = WithDefaults(options.limits);
  auto server = std::make_unique<HttpServerImpl>(std::move(options), std::move(limits));
  if (absl::Status listening = server->Listen(address); !listening.ok()) return listening;
  server->Start();
  return server;
}

}  // namespace linnet::gateway
