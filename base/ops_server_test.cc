#include "base/ops_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/strings.h"
#include "prometheus/counter.h"

namespace linnet::base {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A plain TCP client: what it sends need not be HTTP.
class Client {
 public:
  explicit Client(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval timeout = {10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool Send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Until the text contains `until`, or (where that is empty) the server closes.
  std::string Receive(std::string_view until = "") const {
    std::string text;
    char buffer[4096];
    while (until.empty() || text.find(until) == std::string::npos) {
      const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  const int fd_;
};

class OpsServerTest : public testing::Test {
 protected:
  OpsServerTest() {
    prometheus::BuildCounter().Name("linnet_test_total").Help("h").Register(*registry_).Add({}).Increment(3);
  }

  void Start(absl::Duration request_timeout = absl::Seconds(5)) {
    auto server = OpsServer::Create({.address = "127.0.0.1:0",
                                     .registry = registry_,
                                     .ready = [this]() -> absl::Status {
                                       return ready_ ? absl::OkStatus() : absl::UnavailableError("model is loading");
                                     },
                                     .request_timeout = request_timeout});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_GT(server_->port(), 0);
  }
  std::string Ask(std::string_view method, std::string_view target) const {
    const Client client(server_->port());
    client.Send(base::StrCat(method, " ", target, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    return client.Receive();
  }

  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  std::atomic<bool> ready_{true};
  std::unique_ptr<OpsServer> server_;
};

TEST_F(OpsServerTest, Metrics) {
  Start();
  const std::string answer = Ask("GET", "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("linnet_test_total 3"));
}

TEST_F(OpsServerTest, HealthAndReadiness) {
  Start();
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Ask("GET", "/readyz?verbose"), StartsWith("HTTP/1.1 200 "));
  ready_ = false;
  const std::string answer = Ask("GET", "/readyz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, HasSubstr("model is loading"));
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(OpsServerTest, HeadHasNoBody) {
  Start();
  const std::string answer = Ask("HEAD", "/healthz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_EQ(answer.substr(answer.size() - 4), "\r\n\r\n");
}

TEST_F(OpsServerTest, OtherPathsAndMethodsAreRefused) {
  Start();
  EXPECT_THAT(Ask("GET", "/"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask("GET", "/metrics/../etc/passwd"), StartsWith("HTTP/1.1 404 "));
  for (const char* method : {"POST", "DELETE", "OPTIONS", "BREW"}) {
    const std::string answer = Ask(method, "/metrics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD")) << method;
  }
}

TEST_F(OpsServerTest, KeepsTheConnectionForMore) {
  Start();
  const Client client(server_->port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT_THAT(client.Receive("ok\n"), StartsWith("HTTP/1.1 200 ")) << i;
  }
}

TEST_F(OpsServerTest, BodyIsNotTakenForTheNextRequest) {
  Start();
  const Client client(server_->port());
  client.Send(
      "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\nxxxx");
  const std::string answer = client.Receive();
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 405 "));
  EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1 200 ")));
}

TEST_F(OpsServerTest, HostileInputEndsOnlyItsOwnConnection) {
  Start();
  for (const std::string& bytes :
       {std::string("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11) + std::string(500, '\xff') + "\r\n\r\n",
        std::string("GET /healthz HTTP/9.9\r\n\r\n"), "GET /" + std::string(1 << 20, 'a'),
        "GET /healthz HTTP/1.1\r\n" + std::string(1 << 20, 'h') + ": x\r\n\r\n",
        std::string("GET /healthz HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        std::string("GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
        std::string(1 << 16, '\0'), std::string("\r\n\r\n\r\n\r\n")}) {
    const Client client(server_->port());
    client.Send(bytes);
    if (bytes.size() < 1000) client.Send("\r\n\r\n");
    EXPECT_THAT(client.Receive("\r\n\r\n"), Not(StartsWith("HTTP/1.1 5")));
    EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  }
}

TEST_F(OpsServerTest, SlowRequestsAreCutOff) {
  Start(absl::Milliseconds(100));
  const Client client(server_->port());
  client.Send("GET /healthz HTT");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client.Receive(), "");  // closed, without an answer
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(8));
}

TEST_F(OpsServerTest, HeldConnectionsDoNotKeepProbesOut) {
  Start(absl::Hours(1));
  std::vector<std::unique_ptr<Client>> held;
  for (int i = 0; i < 300; ++i) {
    held.push_back(std::make_unique<Client>(server_->port()));
    held.back()->Send("GET /metr");
  }
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(held.front()->Receive(), "");  // the oldest had to go
}

TEST_F(OpsServerTest, StopsWithConnectionsOpen) {
  Start(absl::Hours(1));
  const Client idle(server_->port());
  const Client half(server_->port());
  half.Send("GET /metr");
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  const auto begin = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(idle.Receive(), "");
}

TEST_F(OpsServerTest, PortIsFreeAfterItStopped) {
  Start();
  const std::string address = base::StrCat("127.0.0.1:", server_->port());
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));
  server_.reset();
  EXPECT_TRUE(OpsServer::Create({.address = address, .registry = registry_}).ok());
}

TEST_F(OpsServerTest, TakenPortNamesAddressAndRemedy) {
  Start();
  const std::string address = base::StrCat("127.0.0.1:", server_->port());
  const absl::Status status = OpsServer::Create({.address = address, .registry = registry_}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
  EXPECT_THAT(std::string(status.message()), HasSubstr("set another address"));
}

TEST_F(OpsServerTest, BadAddressesAreErrors) {
  for (const char* address : {"", "9464", "127.0.0.1:99999", "no.such.host.invalid:1"}) {
    EXPECT_FALSE(OpsServer::Create({.address = address, .registry = registry_}).ok()) << address;
  }
}

TEST_F(OpsServerTest, ItsThreadIsNamed) {
  Start();
  EXPECT_THAT(Ask("GET", "/healthz"), StartsWith("HTTP/1.1 200 "));  // so that it runs
  std::string names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    names += ReadFile((task.path() / "comm").string()).value_or("");
  }
  EXPECT_THAT(names, HasSubstr("ops\n"));
}

}  // namespace
}  // namespace linnet::base
