"""What breaks: processes killed at bad moments, ports taken, registry gone."""

import concurrent.futures
import hashlib
import json
import shutil
import socket
import subprocess
import threading

import grpc
import pytest
from cluster import BIN, MODEL, MODEL_FILE, SLOWNESS, VARIANT, Server, environment, wait_for
from reflection import Api, details, retry_delay
from test_generate import SERVICE, chat, collect, running_requests


def long_stream(api, **more):
    return api.stream(SERVICE, "Generate", chat("Tell me a very long story.", max_tokens=1500, ignore_eos=True, **more))


def test_a_killed_worker_ends_its_stream_with_a_clear_error_and_comes_back(own_cluster):
    own_cluster.start()
    with Api(own_cluster.gateway.address()) as api:
        stream = long_stream(api)
        next(stream)
        own_cluster.worker.kill()
        with pytest.raises(grpc.RpcError) as error:
            list(stream)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert details(error.value)[0].reason == "WORKER_LOST"
        assert "test-worker" in error.value.details()
        # Nobody is left to serve; the model is still known.
        with pytest.raises(grpc.RpcError) as error:
            collect(api, chat(max_tokens=2))
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert details(error.value)[0].reason in ("NO_READY_WORKER", "WORKER_LOST")
        done = own_cluster.cli("run", MODEL, "hello")
        assert done.returncode == 5, done.stderr
        own_cluster.worker.start()
        own_cluster.wait_serving()
        assert len(collect(api, chat(max_tokens=4))[1]) > 0


def test_streams_on_another_worker_go_on(own_cluster):
    own_cluster.start()
    flag = f"--registry={own_cluster.registry.address()}"
    second = Server(
        "worker", own_cluster.folder / "second", [flag, f"--cache-dir={own_cluster.folder}/second/cache", "--name=second"]
    ).start()
    try:
        wait_for(lambda: own_cluster.served_models()[0]["ready_workers"] == 2, 60, "both workers to serve")
        with Api(own_cluster.gateway.address()) as api, Api(own_cluster.worker.address()) as first_api, Api(second.address()) as second_api:
            streams = [api.stream(SERVICE, "Generate", chat("Tell me a story.", max_tokens=200, ignore_eos=True)) for _ in range(2)]
            for stream in streams:
                next(stream)
            # The least loaded worker takes the next request, so each has one.
            assert running_requests(first_api)[0] == 1
            assert running_requests(second_api)[0] == 1
            second.kill()

            def outcome(stream):
                try:
                    return list(stream)[-1].finish.worker
                except grpc.RpcError as error:
                    return details(error)[0].reason

            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                assert sorted(pool.map(outcome, streams)) == ["WORKER_LOST", "workers/test-worker"]
            # New requests go to the one that is left, at once.
            assert collect(api, chat(max_tokens=4))[2].worker == "workers/test-worker"
    finally:
        if second.process is not None:
            second.stop()


def test_generation_goes_on_without_the_registry(own_cluster):
    own_cluster.start()
    with Api(own_cluster.gateway.address()) as api:
        own_cluster.registry.kill()
        assert len(collect(api, chat(max_tokens=4))[1]) > 0
        # Also where gateway and worker start anew: they kept what they knew.
        own_cluster.gateway.stop()
        own_cluster.worker.stop()
        own_cluster.worker.start()
        own_cluster.gateway.start()
        own_cluster.wait_serving()
    with Api(own_cluster.gateway.address()) as api:
        assert len(collect(api, chat(max_tokens=4))[1]) > 0
        own_cluster.registry.start()
        assert own_cluster.cli("model", "show", MODEL).returncode == 0


def test_a_registry_killed_during_an_upload_goes_on_where_it_was(own_cluster):
    registry = own_cluster.registry
    registry.start()
    # Something acknowledged before.
    assert own_cluster.cli("profile", "detect", "--register", "--name", "before").returncode == 0
    content = MODEL_FILE.read_bytes()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    chunk = 2 << 20
    sent = 20
    killed = threading.Event()
    with Api(registry.address()) as api:
        import base64

        def status():
            return api.unary("linnet.registry.v1.Blobs", "GetBlobStatus", {"digest": digest})

        def chunks():
            for i in range(sent):
                yield {
                    **({"digest": digest, "size_bytes": len(content)} if i == 0 else {}),
                    "data": base64.b64encode(content[i * chunk : (i + 1) * chunk]).decode(),
                }
            # The registry dies while the stream is open, with most of the file still to come.
            wait_for(lambda: uploaded(registry) >= sent * chunk, 30, "the chunks to arrive")
            registry.kill()
            killed.set()

        with pytest.raises(grpc.RpcError) as error:
            api.client_stream("linnet.registry.v1.Blobs", "UploadBlob", chunks())
        assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert killed.wait(30)
    registry.start()
    with Api(registry.address()) as api:
        kept = api.unary("linnet.registry.v1.Blobs", "GetBlobStatus", {"digest": digest})
        assert not kept.complete
        assert 0 <= kept.received_bytes <= sent * chunk
    assert own_cluster.cli("profile", "show", "before").returncode == 0
    assert own_cluster.cli("model", "show", MODEL).returncode == 3  # never visible before it is whole
    assert own_cluster.cli("model", "import", MODEL_FILE).returncode == 0
    assert uploaded(registry) == len(content) - kept.received_bytes
    # And what it has is the file: a worker fetches it, verifies it and answers.
    registry.kill()
    own_cluster.start()
    with Api(own_cluster.gateway.address()) as api:
        assert collect(api, chat(max_tokens=4))[2].variant_digest == digest


def uploaded(registry):
    """Bytes that the registry received since it started, by its own metric."""
    import urllib.request

    with urllib.request.urlopen(f"http://{registry.address('metrics')}/metrics", timeout=10 * SLOWNESS) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("linnet_registry_uploaded_bytes_total"):
                return int(float(line.split()[-1]))
    return 0


def test_bytes_that_are_not_the_blob_are_refused(own_cluster):
    import base64

    own_cluster.registry.start()
    digest = "sha256:" + hashlib.sha256(b"something else").hexdigest()
    with Api(own_cluster.registry.address()) as api:
        with pytest.raises(grpc.RpcError) as error:
            api.client_stream(
                "linnet.registry.v1.Blobs",
                "UploadBlob",
                iter([{"digest": digest, "size_bytes": 14, "data": base64.b64encode(b"something ELSE").decode()}]),
            )
        assert error.value.code() == grpc.StatusCode.DATA_LOSS
        assert details(error.value)[0].reason == "BLOB_CORRUPT"
        assert not api.unary("linnet.registry.v1.Blobs", "GetBlobStatus", {"digest": digest}).complete


def test_a_corrupt_blob_is_not_served(own_cluster):
    """Bytes that rot on the worker's disk: it notices, fetches them anew, and serves what was published."""
    own_cluster.start()
    own_cluster.worker.stop()
    blobs = [p for p in (own_cluster.folder / "worker").rglob("*") if p.is_file() and p.stat().st_size == MODEL_FILE.stat().st_size]
    assert len(blobs) == 1
    with open(blobs[0], "r+b") as blob:
        blob.seek(50 << 20)
        byte = blob.read(1)
        blob.seek(50 << 20)
        blob.write(bytes([byte[0] ^ 0xFF]))
    # Nothing vouches for the blob: what becomes of damage where packed weights do is in test_packed_cache.py.
    shutil.rmtree(own_cluster.folder / "worker" / "packed", ignore_errors=True)
    own_cluster.worker.start()
    own_cluster.wait_serving()
    assert hashlib.sha256(blobs[0].read_bytes()).hexdigest() == hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()


@pytest.mark.parametrize("program", ["registry", "worker", "gateway"])
def test_a_port_in_use_is_named(program, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        args = {
            "registry": [f"--data-dir={tmp_path}/data"],
            "worker": [f"--cache-dir={tmp_path}/cache", "--registry=127.0.0.1:1"],
            "gateway": ["--registry=127.0.0.1:1", "--http-listen=127.0.0.1:0"],
        }[program]
        for flags in (
            [f"--listen={address}", "--metrics-listen=127.0.0.1:0"],
            ["--listen=127.0.0.1:0", f"--metrics-listen={address}"],
        ):
            done = subprocess.run(
                [BIN / f"linnet-{program}", *args, *flags],
                capture_output=True,
                text=True,
                timeout=30 * SLOWNESS,
                env=environment(),
            )
            assert done.returncode == 1, done.stderr
            assert address in done.stderr, done.stderr


@pytest.mark.parametrize("program", ["registry", "worker", "gateway"])
def test_programs_say_what_is_wrong_with_their_flags(program):
    done = subprocess.run([BIN / f"linnet-{program}", "--no-such-flag"], capture_output=True, text=True, env=environment(), timeout=30 * SLOWNESS)
    assert done.returncode == 2
    assert "no-such-flag" in done.stderr
    done = subprocess.run(
        [BIN / f"linnet-{program}", "--listen=0.0.0.0:0", "--registry=127.0.0.1:1", "--cache-dir=/tmp/x"]
        if program == "worker"
        else [BIN / f"linnet-{program}", "--listen=0.0.0.0:0", *(["--data-dir=/tmp/x"] if program == "registry" else ["--registry=127.0.0.1:1"])],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=30 * SLOWNESS,
    )
    assert done.returncode == 1
    assert "insecure" in done.stderr
    assert subprocess.run([BIN / f"linnet-{program}", "--version"], capture_output=True, env=environment()).returncode == 0


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(own_cluster):
    own_cluster.worker_args = ["--max-memory-bytes=50000000"]
    own_cluster.registry.start()
    assert own_cluster.cli("model", "import", MODEL_FILE).returncode == 0
    own_cluster.start(import_model=False)
    with Api(own_cluster.worker.address()) as worker:

        def failed():
            status = next(worker.stream("linnet.worker.v1.WorkerControl", "WatchStatus", {}))
            return [v for v in status.variants if v.error]

        # Either it says so of the variant, or it does not even take it on; what it logs has the numbers.
        wait_for(lambda: failed() or "needs" in own_cluster.worker.log(), 30, "the worker to refuse the model")
    assert json.dumps(own_cluster.worker.log()).count("MiB") >= 2, own_cluster.worker.log()[-2000:]
    with Api(own_cluster.gateway.address()) as api:
        with pytest.raises(grpc.RpcError) as error:
            collect(api, chat(max_tokens=2))
        assert details(error.value)[0].reason == "NO_READY_WORKER"


def test_many_streams_at_once_all_end(api):
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda i: collect(api, chat(f"Count to {i}.", max_tokens=8))[1], range(24)))
    assert all(len(a) > 0 for a in answers)


def test_a_full_queue_is_refused_at_once_with_a_time_to_come_back(own_cluster):
    own_cluster.worker_args = ["--max-running=1", "--max-queued=1"]
    own_cluster.start()
    with Api(own_cluster.gateway.address()) as api:
        streams = [long_stream(api) for _ in range(4)]
        try:

            def reason(stream):
                try:
                    next(stream)
                    return "served"
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                        return error.code().name
                    assert retry_delay(error) > 0
                    return details(error)[0].reason

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(reason, s) for s in streams]
                wait_for(lambda: sum(f.done() for f in futures) >= 3, 20, "one to be served and two to be refused")
                reasons = sorted(f.result() for f in futures if f.done())
                assert reasons == ["QUEUE_FULL", "QUEUE_FULL", "served"], reasons
                for stream in streams:
                    stream.cancel()
        finally:
            for stream in streams:
                stream.cancel()
