// POST /v1/chat/completions and /v1/completions on an open connection: one GenerateCall, answered as one JSON object or
// as a stream of server-sent events.
#pragma once

#include <string>

#include "gateway/http_types.h"
#include "gateway/openai_request.h"

namespace linnet::gateway {

// False where the connection must be closed after it. While the answer is made, the connection is watched: a client
// that leaves cancels the worker's computation at once; what it sends early (pipelining) goes into `buffer`, up to a
// bound.
//
// A failure before the first text is an HTTP error; after it, an "error" event instead of "[DONE]".
net::awaitable<bool> AnswerGenerate(HttpContext& context, beast::tcp_stream& stream, beast::flat_buffer& buffer,
                                    OpenAiRequest request, std::string request_id, unsigned http_version,
                                    bool keep_alive);

// A whole answer with the headers that all of ours have.
HttpResponse MakeResponse(unsigned http_version, bool keep_alive, int status, std::string content_type,
                          std::string body);
// {"error": ...} with Retry-After where the error says when.
HttpResponse MakeErrorResponse(unsigned http_version, bool keep_alive, const absl::Status& status);
// Of another HTTP status than the error's own (404, 405, 413, ...).
HttpResponse MakeErrorResponse(unsigned http_version, bool keep_alive, const absl::Status& status, int http_status);

// Writes within the limits' write time-out; false where the client did not take it.
net::awaitable<bool> WriteResponse(HttpContext& context, beast::tcp_stream& stream, HttpResponse response);

}  // namespace linnet::gateway
