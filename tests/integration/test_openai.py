"""The HTTP front, used by the official OpenAI client and by curl."""

import concurrent.futures
import json
import subprocess

import openai
import pytest
from cluster import MODEL, SLOWNESS

QUESTION = [{"role": "user", "content": "Name three fish."}]


@pytest.fixture(scope="module")
def client(cluster):
    with openai.OpenAI(
        base_url=f"http://{cluster.gateway.address('http')}/v1", api_key="unused", max_retries=0, timeout=60 * SLOWNESS
    ) as one:
        yield one


def test_models(client):
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0)
    assert answer.object == "chat.completion"
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert len(choice.message.content) > 5
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens <= 16
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streams_the_same_text(client):
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=16, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) >= 6, "an answer came in a few lumps"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_has_usage_only_when_asked_for(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4, stream=True))
    assert all(c.usage is None for c in chunks)


def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0)
    assert "Paris" in answer.choices[0].text
    chunks = client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == answer.choices[0].text


def test_system_messages_and_conversations(client):
    conversation = [
        {"role": "system", "content": "You answer briefly."},
        {"role": "user", "content": [{"type": "text", "text": "My name is "}, {"type": "text", "text": "Ada."}]},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    prompt_tokens = []
    for messages in (conversation[1:2], conversation[:2], conversation):
        answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)
        assert answer.choices[0].message.content
        prompt_tokens.append(answer.usage.prompt_tokens)
    # Without a system message the template puts its own, longer one.
    assert prompt_tokens[1] != prompt_tokens[0]
    assert prompt_tokens[2] > prompt_tokens[1] + 8


def test_errors(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert "no-such-model" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=-2, top_p=7)
    assert "temperature" in error.value.message and "top_p" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "fish " * 12000}])
    assert "12" in error.value.message and "4096" in error.value.message
    # Also where a stream was asked for: an error that comes before the first token is a status, not an event.
    with pytest.raises(openai.NotFoundError):
        list(client.chat.completions.create(model="no-such-model", messages=QUESTION, stream=True))


def test_a_client_that_hangs_up_leaves_the_others_alone(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Tell me a long story."}], max_tokens=2000, stream=True
    )
    next(iter(stream))
    stream.close()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        ask = lambda _: client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8)  # noqa: E731
        assert all(a.usage.completion_tokens > 0 for a in pool.map(ask, range(3)))


def curl(cluster, path, *args):
    url = f"http://{cluster.gateway.address('http')}{path}"
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *args, url], capture_output=True, text=True, timeout=60 * SLOWNESS
    )
    assert done.returncode == 0, done.stderr
    body, _, code = done.stdout.rpartition("\n")
    return int(code), body


def test_curl(cluster):
    assert curl(cluster, "/healthz")[0] == 200
    assert curl(cluster, "/readyz")[0] == 200
    code, body = curl(cluster, "/v1/models")
    assert (code, json.loads(body)["data"][0]["id"]) == (200, MODEL)
    request = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 4, "stream": True})
    code, body = curl(cluster, "/v1/chat/completions", "-N", "-H", "Content-Type: application/json", "-d", request)
    events = [line for line in body.splitlines() if line]
    assert code == 200
    assert all(e.startswith("data: ") for e in events)
    assert events[-1] == "data: [DONE]"
    assert curl(cluster, "/no/such/page")[0] == 404
    assert curl(cluster, "/v1/chat/completions")[0] == 405
    code, body = curl(cluster, "/v1/chat/completions", "-H", "Content-Type: application/json", "-d", "{broken")
    assert code == 400
    assert json.loads(body)["error"]["message"]
