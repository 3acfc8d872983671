// One HTTP connection: requests one after the other until it ends, each within its time and size.
#pragma once

#include "gateway/http_types.h"

namespace linnet::gateway {

// What the server needs to know of a connection in order to stop it. Belongs to the connection's thread.
struct HttpConnection {
  explicit HttpConnection(tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  bool busy = false;  // a request is being read or answered
};

// Serves the connection to its end; its socket is closed when it returns.
net::awaitable<void> ServeConnection(HttpContext& context, HttpConnection& connection);

}  // namespace linnet::gateway
