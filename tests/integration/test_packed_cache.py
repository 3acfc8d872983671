"""Packed weights on disk: a worker's second start reads them, and repairs what it finds damaged."""

import re
import urllib.request

from cluster import SANITIZE, SLOWNESS, wait_for
from reflection import Api
from test_generate import chat, collect


def packed_files(cluster):
    return list((cluster.folder / "worker" / "packed").glob("*.packed"))


def metric(server, name):
    with urllib.request.urlopen(f"http://{server.address('metrics')}/metrics", timeout=10 * SLOWNESS) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def loads(cluster):
    """How each load of the worker so far came by its packed weights."""
    return re.findall(r'"variant loaded".*"packed_cache":"(\w+)"', cluster.worker.log())


def greedy(cluster):
    with Api(cluster.gateway.address()) as api:
        return collect(api, chat(max_tokens=32))[1]


def restart(cluster, end):
    end()
    cluster.worker.start()
    cluster.wait_serving()


def test_a_second_start_reads_what_the_first_packed(own_cluster):
    own_cluster.start()
    tokens = greedy(own_cluster)
    assert loads(own_cluster) == ["miss"]
    # It is written once the variant serves.
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    restart(own_cluster, own_cluster.worker.stop)
    assert loads(own_cluster) == ["miss", "hit"]
    assert greedy(own_cluster) == tokens
    hits = 'linnet_worker_packed_cache_loads_total{result="hit"}'
    wait_for(lambda: metric(own_cluster.worker, hits) == 1, 10, "the metrics to say so")
    (packed,) = packed_files(own_cluster)
    assert metric(own_cluster.worker, "linnet_worker_packed_cache_bytes") == packed.stat().st_size
    if not SANITIZE:
        memory = {k: metric(own_cluster.worker, f'linnet_worker_memory_bytes{{kind="{k}"}}') for k in ("weights", "kv", "peak")}
        assert memory["peak"] <= 1.02 * memory["weights"] + 0.25 * memory["kv"] + 96e6, memory


def test_damaged_packed_weights_are_made_again(own_cluster):
    own_cluster.start()
    tokens = greedy(own_cluster)
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    (packed,) = packed_files(own_cluster)
    own_cluster.worker.stop()
    whole = packed.read_bytes()
    for damaged in (whole[:-1_000_000] + b"damaged" + whole[-999_993:], whole[: len(whole) // 2], b"LINNETPW"):
        packed.write_bytes(damaged)
        own_cluster.worker.start()
        own_cluster.wait_serving()
        assert loads(own_cluster)[-1] == "miss"
        assert greedy(own_cluster) == tokens
        wait_for(lambda: packed.exists() and packed.read_bytes() == whole, 30, "the packed weights to be whole again")
        own_cluster.worker.stop()
    assert own_cluster.worker.log().count("packed weights are not usable") == 3


def test_a_damaged_blob_is_fetched_again_although_its_weights_were_packed(own_cluster):
    own_cluster.start()
    tokens = greedy(own_cluster)
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    own_cluster.worker.stop()
    (blob,) = (own_cluster.folder / "worker" / "blobs").iterdir()
    with open(blob, "r+b") as file:  # in the vocabulary
        file.seek(100_000)
        file.write(b"damaged")
    own_cluster.worker.start()
    own_cluster.wait_serving()
    assert "cached blob is corrupt" in own_cluster.worker.log()
    assert greedy(own_cluster) == tokens
    # What is packed is read from the packed weights alone: damage there is no reason to fetch.
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    own_cluster.worker.stop()
    with open(blob, "r+b") as file:
        file.seek(-1_000_000, 2)
        file.write(b"damaged")
    own_cluster.worker.start()
    own_cluster.wait_serving()
    assert loads(own_cluster)[-1] == "hit"
    assert greedy(own_cluster) == tokens


def test_killed_while_it_writes_the_worker_starts_again(own_cluster):
    own_cluster.start()
    tokens = greedy(own_cluster)
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    folder = own_cluster.folder / "worker" / "packed"
    for _ in range(3):
        own_cluster.worker.kill()
        for packed in packed_files(own_cluster):
            packed.unlink()
        own_cluster.worker.start()
        wait_for(lambda: any(folder.iterdir()), 60, "the worker to write", 0.002)
    own_cluster.worker.kill()
    own_cluster.worker.start()
    own_cluster.wait_serving()
    assert greedy(own_cluster) == tokens
    wait_for(lambda: packed_files(own_cluster), 30, "the packed weights to be on disk")
    assert not [f for f in folder.iterdir() if f.name.startswith(".unfinished-")]
