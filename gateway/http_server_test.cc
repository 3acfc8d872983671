// The HTTP front over real sockets: what clients send well, badly, slowly and in pieces.
#include "gateway/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/grpc_status.h"
#include "gateway/gateway_fixture.h"

namespace linnet::gateway {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Writer = FakeWorker::Writer;

// A raw connection; nothing is read or sent but what the test says.
class Client {
 public:
  explicit Client(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { Close(); }
  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      data.remove_prefix(static_cast<size_t>(n));
    }
  }
  // Until `end` has come, or the connection ended. What comes after `end` is kept for the next call.
  std::string ReadUntil(std::string_view end) {
    while (true) {
      if (const size_t at = buffer_.find(end); at != std::string::npos) return Take(at + end.size());
      if (!Fill()) return Take(buffer_.size());
    }
  }
  std::string ReadAll() {
    while (Fill()) {
    }
    return Take(buffer_.size());
  }
  bool timed_out() const { return timed_out_; }

  struct Response {
    int status = 0;
    std::string header, body;
    json parsed() const { return json::parse(body, nullptr, false); }
  };
  // One response with Content-Length.
  Response ReadResponse() {
    Response response;
    response.header = ReadUntil("\r\n\r\n");
    if (response.header.size() > 12) response.status = std::atoi(response.header.c_str() + 9);
    const std::string field = "Content-Length: ";
    if (const size_t at = response.header.find(field); at != std::string::npos) {
      const size_t length = std::strtoul(response.header.c_str() + at + field.size(), nullptr, 10);
      while (buffer_.size() < length && Fill()) {
      }
      response.body = Take(std::min(length, buffer_.size()));
    }
    return response;
  }

 private:
  bool Fill() {
    char data[4096];
    const ssize_t n = recv(fd_, data, sizeof(data), 0);
    if (n < 0) timed_out_ = true;
    if (n <= 0) return false;
    buffer_.append(data, static_cast<size_t>(n));
    return true;
  }
  std::string Take(size_t n) {
    std::string taken = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return taken;
  }

  int fd_;
  bool connected_ = false;
  bool timed_out_ = false;
  std::string buffer_;
};

class HttpServerTest : public GatewayFixture {
 protected:
  int port() const { return http_->port(); }

  static std::string Post(const std::string& target, const std::string& body, const std::string& more_header = "") {
    return base::StrCat("POST ", target,
                        " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ", body.size(),
                        "\r\n", more_header, "\r\n", body);
  }
  static std::string Chat(bool stream = false, const std::string& more = "") {
    return base::StrCat(R"({"model":"smol","messages":[{"role":"user","content":"Hi"}],"stream":)",
                        stream ? "true" : "false", more, "}");
  }
  Client::Response Ask(const std::string& request) {
    Client client(port());
    client.Send(request);
    return client.ReadResponse();
  }
  Client::Response AskChat(const std::string& body) { return Ask(Post("/v1/chat/completions", body)); }

  // The events of a chunked stream: the chunks' sizes taken out, one string per "data:" or "event:" line.
  static std::vector<std::string> Events(const std::string& raw) {
    std::string body;
    size_t at = raw.starts_with("HTTP/") ? raw.find("\r\n\r\n") + 4 : 0;
    while (at < raw.size()) {
      const size_t size = std::strtoul(raw.c_str() + at, nullptr, 16);
      at = raw.find("\r\n", at) + 2;
      body += raw.substr(at, size);
      if (size == 0) break;
      at += size + 2;
    }
    std::vector<std::string> events;
    for (std::string_view line : base::StrSplit(body, '\n')) {
      if (!line.empty()) events.emplace_back(line);
    }
    return events;
  }
};

TEST_F(HttpServerTest, AChatIsAnsweredInOpenAisShape) {
  FakeWorker& worker = AddWorker("a");
  StartGateway();
  const Client::Response r = AskChat(Chat(false, R"(,"temperature":0.5,"max_tokens":9,"stop":"END","seed":3)"));
  ASSERT_EQ(r.status, 200) << r.header << r.body;
  EXPECT_THAT(r.header, HasSubstr("Content-Type: application/json"));
  const json body = r.parsed();
  EXPECT_THAT(body["id"].get<std::string>(), StartsWith("chatcmpl-"));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_GT(body["created"].get<int64_t>(), 0);
  EXPECT_EQ(body["model"], "smol");
  EXPECT_EQ(body["choices"].size(), 1u);
  EXPECT_EQ(body["choices"][0]["index"], 0);
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Hello, world");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(body["usage"]["completion_tokens"], 3);
  EXPECT_EQ(body["usage"]["total_tokens"], 8);
  const v1::GenerateRequest request = worker.last_request().request();
  EXPECT_EQ(request.input().conversation().messages(0).content(), "Hi");
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5f);
  EXPECT_EQ(request.max_tokens(), 9u);
  EXPECT_EQ(request.stop(0), "END");
  EXPECT_EQ(request.sampling().seed(), 3u);
}

TEST_F(HttpServerTest, AChatIsStreamedAsEvents) {
  AddWorker("a");
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/chat/completions", Chat(true, R"(,"stream_options":{"include_usage":true})")));
  const std::string raw = client.ReadUntil("0\r\n\r\n");
  EXPECT_THAT(raw, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(raw, HasSubstr("Content-Type: text/event-stream"));
  const std::vector<std::string> events = Events(raw);
  ASSERT_EQ(events.size(), 7u) << raw;  // role, three texts, finish, usage, [DONE]
  EXPECT_EQ(events[6], "data: [DONE]");
  EXPECT_EQ(json::parse(events[0].substr(6))["choices"][0]["delta"]["role"], "assistant");
  std::string text;
  for (int i = 0; i < 6; ++i) {
    const json chunk = json::parse(events[static_cast<size_t>(i)].substr(6));
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    EXPECT_EQ(chunk["id"], json::parse(events[0].substr(6))["id"]);
    if (i == 5) {
      EXPECT_TRUE(chunk["choices"].empty());
      EXPECT_EQ(chunk["usage"]["total_tokens"], 8);
      continue;
    }
    EXPECT_TRUE(chunk["usage"].is_null());
    const json& choice = chunk["choices"][0];
    if (i == 4) {
      EXPECT_EQ(choice["finish_reason"], "stop");
      EXPECT_EQ(choice["delta"], json::object());
      continue;
    }
    EXPECT_TRUE(choice["finish_reason"].is_null());
    text += choice["delta"].value("content", "");
  }
  EXPECT_EQ(text, "Hello, world");
  // The connection goes on.
  client.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.ReadResponse().body, "ok\n");
}

TEST_F(HttpServerTest, ACompletionIsAnsweredAndStreamed) {
  AddWorker("a");
  StartGateway();
  const Client::Response r = Ask(Post("/v1/completions", R"({"model":"smol","prompt":"Once"})"));
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.parsed()["object"], "text_completion");
  EXPECT_EQ(r.parsed()["choices"][0]["text"], "Hello, world");
  EXPECT_EQ(fakes_[0]->last_request().request().input().text(), "Once");
  EXPECT_EQ(fakes_[0]->last_request().request().max_tokens(), 16u);
  Client client(port());
  client.Send(Post("/v1/completions", R"({"model":"smol","prompt":"Once","stream":true})"));
  const std::vector<std::string> events = Events(client.ReadUntil("0\r\n\r\n"));
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(json::parse(events[0].substr(6))["choices"][0]["text"], "Hello");
}

TEST_F(HttpServerTest, AnHttp10ClientGetsItsStreamWithoutChunks) {
  AddWorker("a");
  StartGateway();
  Client client(port());
  const std::string body = Chat(true);
  client.Send(base::StrCat("POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: ",
                           body.size(), "\r\n\r\n", body));
  const std::string raw = client.ReadAll();
  EXPECT_FALSE(client.timed_out());
  EXPECT_THAT(raw, Not(HasSubstr("chunked")));
  EXPECT_THAT(raw, EndsWith("data: [DONE]\n\n"));
}

TEST_F(HttpServerTest, ModelsAreListedAndFound) {
  AddWorker("a", {"smol/q4_1"});
  StartGateway();
  Client client(port());
  client.Send("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
  const json list = client.ReadResponse().parsed();
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "smol");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["owned_by"], "linnet");
  client.Send("GET /v1/models/smol%2Fq4_1 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.ReadResponse().parsed()["id"], "smol/q4_1");
  client.Send("GET /v1/models/gpt-4 HTTP/1.1\r\nHost: x\r\n\r\n");
  const Client::Response missing = client.ReadResponse();
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.parsed()["error"]["code"], "model_not_found");
}

TEST_F(HttpServerTest, ErrorsHaveOpenAisShape) {
  AddWorker("a");
  StartGateway();
  const Client::Response missing =
      AskChat(R"({"model":"gpt-4","messages":[{"role":"user","content":"Hi"}],"stream":true})");
  EXPECT_EQ(missing.status, 404);
  const json error = missing.parsed()["error"];
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["code"], "model_not_found");
  EXPECT_EQ(error["param"], "model");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("served now: smol"));

  const Client::Response bad = AskChat(Chat(false, R"(,"top_p":3)"));
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.parsed()["error"]["param"], "top_p");
  EXPECT_EQ(AskChat(Chat(false, R"(,"n":2)")).parsed()["error"]["param"], "n");
}

TEST_F(HttpServerTest, AFullWorkerIsA429WithRetryAfter) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([](auto&, const auto&, Writer&) {
    return base::ToGrpc(base::WithRetryAfter(
        base::Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", "64 requests wait"), absl::Milliseconds(1500)));
  });
  StartGateway();
  const Client::Response r = AskChat(Chat());
  EXPECT_EQ(r.status, 429);
  EXPECT_THAT(r.header, HasSubstr("Retry-After: 2\r\n"));
  EXPECT_EQ(r.parsed()["error"]["type"], "rate_limit_error");
  EXPECT_EQ(r.parsed()["error"]["code"], "queue_full");
}

TEST_F(HttpServerTest, AFailureMidStreamIsAnErrorEventAndTheEnd) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([&](auto&, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hel"));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed");
  });
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/chat/completions", Chat(true)));
  const std::string raw = client.ReadAll();
  EXPECT_FALSE(client.timed_out()) << "the connection must be closed";
  EXPECT_THAT(raw, Not(HasSubstr("[DONE]")));
  const std::vector<std::string> events = Events(raw);
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events[events.size() - 2], "event: error");
  EXPECT_EQ(json::parse(events.back().substr(6))["error"]["code"], "worker_lost");
}

TEST_F(HttpServerTest, AClientThatLeavesMidStreamStopsTheWorker) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hello"));
    return worker.WaitUntilCancelled(context);
  });
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/chat/completions", Chat(true)));
  EXPECT_THAT(client.ReadUntil("Hello"), HasSubstr("Hello"));
  client.Close();
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(HttpServerTest, AClientThatLeavesBeforeAWholeAnswerStopsTheWorkerToo) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate(
      [&](grpc::ServerContext& context, const auto&, Writer&) { return worker.WaitUntilCancelled(context); });
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/chat/completions", Chat(false)));
  ASSERT_TRUE(worker.WaitForCalls(1));
  client.Close();
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(HttpServerTest, AClientThatReadsNothingStopsTheWorkerAfterTheWriteTimeout) {
  FakeWorker& worker = AddWorker("a");
  const std::string big(64 << 10, 'x');
  worker.OnGenerate([&](auto& context, const auto&, Writer& writer) {
    while (worker.Write(writer, FakeWorker::Token(big))) {
    }
    return worker.WaitUntilCancelled(context);  // a write may fail a moment before the call counts as cancelled
  });
  limits_.set_write_timeout_ms(200);
  StartGateway();
  Client client(port(), /*receive_buffer=*/4096);
  client.Send(Post("/v1/chat/completions", Chat(true)));
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(HttpServerTest, MalformedRequestsAreAnsweredAndTheServerGoesOn) {
  AddWorker("a");
  StartGateway();
  EXPECT_EQ(Ask("GARBAGE\r\n\r\n").status, 400);
  EXPECT_EQ(Ask(std::string("\x16\x03\x01\x02\x00\x01\x00", 7) + "\r\n\r\n").status, 400);  // TLS
  EXPECT_EQ(Ask("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n").status, 400);
  EXPECT_EQ(Ask("POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n\r\n").status, 411);
  EXPECT_EQ(Ask("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").status, 415);
  EXPECT_EQ(Ask("GET /v1/chat/completions HTTP/1.1\r\n\r\n").status, 405);
  EXPECT_EQ(Ask(Post("/v1/models", "{}")).status, 405);
  EXPECT_EQ(Ask(Post("/v1/nothing", "{}")).status, 404);
  EXPECT_EQ(Ask("GET / HTTP/1.1\r\nX: " + std::string(20 << 10, 'x') + "\r\n\r\n").status, 431);
  EXPECT_EQ(AskChat("{").status, 400);
  EXPECT_EQ(AskChat("[]").status, 400);
  EXPECT_EQ(AskChat(std::string(100000, '[')).status, 400);
  EXPECT_EQ(AskChat(Chat()).status, 200);
}

TEST_F(HttpServerTest, ABodyThatIsTooLargeIsRefusedBeforeItIsRead) {
  AddWorker("a");
  options_.max_request_bytes = 1000;
  StartGateway();
  Client announced(port());
  announced.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1001\r\n\r\n");
  const Client::Response r = announced.ReadResponse();
  EXPECT_EQ(r.status, 413);
  EXPECT_THAT(r.parsed()["error"]["message"].get<std::string>(), HasSubstr("1000 bytes"));
  Client chunked(port());
  chunked.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  chunked.Send("3e9\r\n" + std::string(1001, ' ') + "\r\n");
  EXPECT_EQ(chunked.ReadResponse().status, 413);
}

TEST_F(HttpServerTest, AChunkedBodyIsPutTogether) {
  AddWorker("a");
  StartGateway();
  const std::string body = Chat();
  Client client(port());
  client.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : body) client.Send(base::StrCat("1\r\n", std::string(1, c), "\r\n"));
  client.Send("0\r\n\r\n");
  EXPECT_EQ(client.ReadResponse().status, 200);
}

TEST_F(HttpServerTest, AClientThatAsksFirstIsToldToContinue) {
  AddWorker("a");
  StartGateway();
  const std::string request = Post("/v1/chat/completions", Chat(), "Expect: 100-continue\r\n");
  const size_t header = request.find("\r\n\r\n") + 4;
  Client client(port());
  client.Send(request.substr(0, header));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue"));
  client.Send(request.substr(header));
  EXPECT_EQ(client.ReadResponse().status, 200);
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  AddWorker("a");
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/completions", R"({"model":"smol","prompt":"1"})") + "GET /healthz HTTP/1.1\r\n\r\n" +
              Post("/v1/chat/completions", Chat()) + "GET /v1/models HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.ReadResponse().parsed()["object"], "text_completion");
  EXPECT_EQ(client.ReadResponse().body, "ok\n");
  EXPECT_EQ(client.ReadResponse().parsed()["object"], "chat.completion");
  EXPECT_EQ(client.ReadResponse().parsed()["object"], "list");
}

TEST_F(HttpServerTest, SlowAndIdleClientsAreCutOff) {
  AddWorker("a");
  limits_.set_idle_timeout_ms(100);
  limits_.set_header_timeout_ms(100);
  limits_.set_body_timeout_ms(100);
  StartGateway();
  Client idle(port());
  Client slow_header(port());
  slow_header.Send("POST /v1/chat/compl");
  Client slow_body(port());
  const std::string request = Post("/v1/chat/completions", Chat());
  slow_body.Send(request.substr(0, request.size() - 1));
  for (Client* client : {&idle, &slow_header, &slow_body}) {
    EXPECT_EQ(client->ReadAll(), "");
    EXPECT_FALSE(client->timed_out());
  }
}

TEST_F(HttpServerTest, ConnectionsBeyondTheBoundAreTurnedAway) {
  AddWorker("a");
  limits_.set_max_connections(2);
  StartGateway();
  Client first(port());
  first.Send("GET /healthz HTTP/1.1\r\n\r\n");
  EXPECT_EQ(first.ReadResponse().status, 200);
  Client second(port());
  second.Send("GET /healthz HTTP/1.1\r\n\r\n");
  EXPECT_EQ(second.ReadResponse().status, 200);
  Client third(port());
  EXPECT_EQ(third.ReadResponse().status, 503);
}

TEST_F(HttpServerTest, NoWebPageOfAnotherOriginIsLetIn) {
  AddWorker("a");
  StartGateway();
  Client client(port());
  client.Send("OPTIONS /v1/chat/completions HTTP/1.1\r\nOrigin: http://evil\r\n\r\n");
  const Client::Response r = client.ReadResponse();
  EXPECT_EQ(r.status, 405);
  EXPECT_THAT(r.header, Not(HasSubstr("Access-Control")));
}

TEST_F(HttpServerTest, DrainingLetsAStreamEndAndTakesNoNewConnection) {
  FakeWorker& worker = AddWorker("a");
  std::atomic<bool> go_on = false;
  worker.OnGenerate([&](auto&, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hel"));
    while (!go_on) std::this_thread::yield();
    worker.Write(writer, FakeWorker::Token("lo"));
    worker.Write(writer, FakeWorker::Finish(2));
    return grpc::Status::OK;
  });
  StartGateway();
  const int port = http_->port();
  Client idle(port);
  Client client(port);
  client.Send(Post("/v1/chat/completions", Chat(true)));
  client.ReadUntil("Hel");
  http_->Drain();
  EXPECT_EQ(idle.ReadAll(), "");
  go_on = true;
  EXPECT_THAT(client.ReadAll(), HasSubstr("[DONE]"));
  EXPECT_FALSE(client.timed_out());
  EXPECT_FALSE(Client(port).connected());
}

TEST_F(HttpServerTest, AStopBeyondPatienceCancelsWhatRuns) {
  FakeWorker& worker = AddWorker("a");
  worker.OnGenerate([&](grpc::ServerContext& context, const auto&, Writer& writer) {
    worker.Write(writer, FakeWorker::Token("Hello"));
    return worker.WaitUntilCancelled(context);
  });
  StartGateway();
  Client client(port());
  client.Send(Post("/v1/chat/completions", Chat(true)));
  client.ReadUntil("Hello");
  http_->Shutdown(absl::Milliseconds(50));
  EXPECT_TRUE(worker.WaitForCancelled(1));
}

TEST_F(HttpServerTest, AnAddressInUseIsNamedWithTheRemedy) {
  AddWorker("a");
  StartGateway();
  const std::string taken = base::StrCat("127.0.0.1:", port());
  const absl::Status status = HttpServer::Create({.address = taken, .gateway = gateway_.get()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--http-listen"));
}

}  // namespace
}  // namespace linnet::gateway
