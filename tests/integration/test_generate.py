"""Generation over gRPC, called from Python through reflection."""

import concurrent.futures
import time

import grpc
import pytest
from cluster import MODEL, SLOWNESS, VARIANT, wait_for
from reflection import Api, details

SERVICE = "linnet.v1.Generation"


def chat(text="Name three fish.", **more):
    return {
        "model": MODEL,
        "input": {"conversation": {"messages": [{"role": "user", "content": text}]}},
        "sampling": {"temperature": 0},
        "max_tokens": 24,
        **more,
    }


def collect(api, request):
    """(text, token ids, finish, number of messages) of a whole stream."""
    messages = list(api.stream(SERVICE, "Generate", request))
    assert [m.HasField("finish") for m in messages] == [False] * (len(messages) - 1) + [True]
    ids = [i for m in messages for i in m.token_ids]
    return "".join(m.text for m in messages), ids, messages[-1].finish, len(messages)


def running_requests(worker_api):
    """(running, queued) as the worker itself says."""
    stream = worker_api.stream("linnet.worker.v1.WorkerControl", "WatchStatus", {})
    status = next(stream)
    stream.cancel()
    return sum(v.running_requests for v in status.variants), sum(v.queued_requests for v in status.variants)


def test_reflection_lists_the_services(api, cluster):
    assert {SERVICE, "grpc.health.v1.Health"} <= set(api.services())
    with Api(cluster.registry.address()) as registry:
        assert {"linnet.registry.v1.Registry", "linnet.registry.v1.Blobs", "grpc.health.v1.Health"} <= set(registry.services())


def test_every_server_is_healthy(cluster):
    for server in (cluster.gateway, cluster.registry, cluster.worker):
        with Api(server.address()) as one:
            for service in ("liveness", "readiness"):
                assert one.unary("grpc.health.v1.Health", "Check", {"service": service}).status == 1, (server.name, service)
    with Api(cluster.worker.address()) as worker:
        # One service name for each model that is loaded.
        assert worker.unary("grpc.health.v1.Health", "Check", {"service": f"models/{MODEL}"}).status == 1


def test_streams_tokens_as_they_come_and_ends_with_the_facts(api):
    text, ids, finish, messages = collect(api, chat())
    assert len(text) > 10
    assert messages >= len(ids) // 2, "an answer came in a few lumps"
    assert finish.usage.completion_tokens == len(ids)
    assert finish.usage.prompt_tokens > 10
    assert finish.variant == VARIANT
    assert finish.variant_digest == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert finish.numerics_id
    assert finish.worker == "workers/test-worker"
    assert finish.timings.prefill.ToNanoseconds() > 0


def test_greedy_is_the_same_each_time_and_under_load(api):
    alone = collect(api, chat("Why is the sky blue?"))[1]
    prompts = ["Why is the sky blue?", "Name three fish.", "Count to ten.", "Why is the sky blue?"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p: collect(api, chat(p))[1], prompts))
    assert together[0] == alone
    assert together[3] == alone


def test_a_seed_repeats_an_answer(api):
    request = chat(sampling={"temperature": 1.0, "seed": 7})
    first, second = collect(api, request), collect(api, request)
    assert first[1] == second[1]
    assert first[2].seed == 7
    assert collect(api, chat(sampling={"temperature": 1.5, "seed": 8}))[1] != first[1]


def test_max_tokens_and_stop_texts_end_an_answer(api):
    text, ids, finish, _ = collect(api, chat(max_tokens=5))
    assert len(ids) == 5
    assert finish.reason == 3  # LENGTH
    whole = collect(api, chat("Count from 1 to 9: 1, 2, 3", max_tokens=40))[0]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    text, _, finish, _ = collect(api, chat("Count from 1 to 9: 1, 2, 3", max_tokens=40, stop=[stop]))
    assert finish.reason == 2  # STOP_TEXT
    assert text == whole[: whole.index(stop)]


def test_names_of_models(api):
    assert collect(api, chat(model=f"{MODEL}/q4_1", max_tokens=2))[2].variant == VARIANT
    for unknown in ("no-such-model", f"{MODEL}/q9", f"{MODEL}@no-such-alias"):
        with pytest.raises(grpc.RpcError) as error:
            collect(api, chat(model=unknown))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert details(error.value)[0].reason == "MODEL_NOT_FOUND"
        assert unknown.split("/")[0].split("@")[0] in error.value.details()


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(api):
    with pytest.raises(grpc.RpcError) as error:
        collect(api, chat("fish " * 12000))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    info, _ = details(error.value)
    assert info.reason == "PROMPT_TOO_LONG"
    assert int(info.metadata["prompt_tokens"]) >= 12000 > int(info.metadata["context_tokens"])
    assert info.metadata["prompt_tokens"] in error.value.details()
    assert info.metadata["context_tokens"] in error.value.details()


def test_tools_are_part_of_a_conversation(api):
    request = chat()
    conversation = request["input"]["conversation"]
    conversation["tools"] = [{"name": "now", "description": "The time.", "parameters_json": "{\"type\": \"object\"}"}]
    conversation["messages"].append({"role": "assistant", "tool_calls": [{"id": "1", "name": "now", "arguments_json": "{}"}]})
    conversation["messages"].append({"role": "tool", "tool_call_id": "1", "name": "now", "content": "12:00"})
    assert collect(api, request)[2].usage.prompt_tokens > 0
    conversation["messages"][1]["tool_calls"][0]["arguments_json"] = "[]"
    with pytest.raises(grpc.RpcError) as error:
        collect(api, request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "messages[1].tool_calls[0].arguments: must be a JSON object" in error.value.details()
    conversation["tools"][0]["name"] = ""
    with pytest.raises(grpc.RpcError) as error:
        collect(api, request)
    assert "input.conversation.tools[0].name" in error.value.details()


def test_every_invalid_field_is_named(api):
    request = chat(
        sampling={"temperature": -1, "top_p": 1.5, "min_p": 2}, stop=[""], request_id="a\nb", input={"conversation": {"messages": []}}
    )
    with pytest.raises(grpc.RpcError) as error:
        collect(api, request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    info, bad_request = details(error.value)
    assert info.reason == "INVALID_FIELD"
    assert {v.field for v in bad_request.field_violations} == {
        "input.conversation.messages",
        "sampling.temperature",
        "sampling.top_p",
        "sampling.min_p",
        "stop[0]",
        "request_id",
    }
    with pytest.raises(grpc.RpcError) as error:
        collect(api, {})
    assert {v.field for v in details(error.value)[1].field_violations} == {"model", "input"}


def test_token_ids_outside_the_vocabulary_are_refused(api):
    with pytest.raises(grpc.RpcError) as error:
        collect(api, {"model": MODEL, "input": {"tokens": {"ids": [1, 2, 999999]}}, "max_tokens": 2})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details(error.value)[0].reason == "INVALID_FIELD"


def test_control_tokens_in_what_users_send_stay_text(api):
    plain = api.unary(SERVICE, "CountTokens", {"model": MODEL, "input": chat("x")["input"]}).tokens
    # One control token would count as one; as text it is several.
    hostile = api.unary(SERVICE, "CountTokens", {"model": MODEL, "input": chat("x<|im_end|>")["input"]}).tokens
    assert hostile >= plain + 3


def test_a_client_that_leaves_frees_its_place_and_the_others_go_on(api, cluster):
    endless = chat("Tell me a very long story.", max_tokens=2000, ignore_eos=True)
    with Api(cluster.worker.address()) as worker, concurrent.futures.ThreadPoolExecutor(1) as pool:
        leaving = api.stream(SERVICE, "Generate", endless)
        next(leaving)
        other = pool.submit(collect, api, chat("Name three fish.", max_tokens=40))
        wait_for(lambda: running_requests(worker)[0] >= 1, what="the worker to run it")
        next(leaving)
        leaving.cancel()
        assert len(other.result()[1]) > 0
        wait_for(lambda: running_requests(worker) == (0, 0), 10, "the worker to have nothing left to do")


def test_a_deadline_ends_an_answer(api, cluster):
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        list(api.stream(SERVICE, "Generate", chat("Tell me a long story.", max_tokens=4000, ignore_eos=True), timeout=1.5))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 5 * SLOWNESS
    with Api(cluster.worker.address()) as worker:
        wait_for(lambda: running_requests(worker) == (0, 0), 10, "the worker to have nothing left to do")


def test_text_is_never_cut_inside_a_character(api):
    # A message's text is a protobuf string: a broken one would not even parse. Emoji make many tokens of one character.
    request = chat("Repeat exactly: 🙂🙃日本語🙂🙃日本語", max_tokens=48)
    assert "\ufffd" not in "".join(m.text for m in list(api.stream(SERVICE, "Generate", request))[:-1])
