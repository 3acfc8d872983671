// Names that the HTTP front's files share. Include it in .cc files and in headers of the HTTP front only.
#pragma once

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>

#include "gateway/gateway.h"
#include "linnet/config/v1/config.pb.h"

namespace linnet::gateway {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = boost::asio::ip::tcp;

// Errors come back as values, never as exceptions.
inline constexpr auto kAsValue = net::as_tuple(net::use_awaitable);

using HttpRequest = http::request<http::string_body>;
using HttpResponse = http::response<http::string_body>;

// What all connections share; outlives them. Constant but for `draining`.
struct HttpContext {
  Gateway& gateway;
  config::v1::HttpLimits limits;  // every field set
  std::atomic<bool> draining{false};
};

inline std::chrono::milliseconds Ms(uint32_t ms) { return std::chrono::milliseconds(ms); }

}  // namespace linnet::gateway
