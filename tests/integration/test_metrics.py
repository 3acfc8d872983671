"""A real Prometheus scrapes the three processes and answers the queries that dashboards ask."""

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest
from cluster import MODEL, SANITIZE, SLOWNESS, wait_for
from test_generate import chat, collect


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus(cluster, tmp_path_factory):
    """query(text): the result of an instant query."""
    assert shutil.which("prometheus"), "there is no prometheus; it is in tools/packages.txt"
    folder = tmp_path_factory.mktemp("prometheus")
    jobs = [
        {"job_name": s.name, "static_configs": [{"targets": [s.address("metrics")]}]}
        for s in (cluster.gateway, cluster.registry, cluster.worker)
    ]
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms" if SLOWNESS == 1 else "400ms"}, "scrape_configs": jobs})
    )
    port = free_port()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )

    def query(text):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": text})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            return []

    try:
        wait_for(lambda: len(query("up == 1")) == 3, 30, "Prometheus to have scraped all three")
        yield query
    finally:
        process.terminate()
        process.wait()


def test_latency_histograms_count_what_was_served(api, prometheus):
    before = {}
    names = [
        "linnet_time_to_first_token_seconds",
        "linnet_inter_token_latency_seconds",
        "linnet_gateway_time_to_first_token_seconds",
        "linnet_gateway_inter_token_latency_seconds",
    ]
    count = lambda name: sum(float(r["value"][1]) for r in prometheus(f"sum({name}_count)"))  # noqa: E731
    collect(api, chat(max_tokens=8))
    for name in names:
        wait_for(lambda n=name: count(n) > 0, 10, f"{name} to be there")
        before[name] = count(name)
    for _ in range(3):
        collect(api, chat(max_tokens=8))
    for name in names:
        wait_for(lambda n=name: count(n) >= before[n] + 3, 10, f"{name} to have counted three more requests")
        for quantile in (0.5, 0.99):
            value = float(prometheus(f"histogram_quantile({quantile}, sum by (le) ({name}_bucket))")[0]["value"][1])
            assert 0 < value < 60, (name, quantile, value)


def test_counters_name_the_model_and_nothing_unbounded(api, prometheus):
    collect(api, chat("a prompt with a very particular word: xylophonist", request_id="very-particular-id", max_tokens=4))
    wait_for(lambda: prometheus("linnet_generation_tokens_total > 0"), 10, "tokens to be counted")
    series = prometheus('{__name__=~"linnet_.*"}')
    assert len(series) < 2000
    text = json.dumps(series)
    assert MODEL in text
    assert "xylophonist" not in text and "very-particular-id" not in text


def test_the_registry_counts_too(prometheus):
    assert float(prometheus("linnet_registry_revision")[0]["value"][1]) > 0
    assert float(prometheus("linnet_registry_workers")[0]["value"][1]) == 1


def test_metric_names_have_base_units(prometheus):
    with_old_units = prometheus('{__name__=~"linnet_.*(_ms|_milliseconds|_kb|_mb)(_.*)?"}')
    assert with_old_units == []


# A sanitizer's own memory counts as the process's; what it costs is not what this is about.
if not SANITIZE:

    def test_the_worker_takes_the_memory_that_it_says(api, prometheus):
        """Peak resident size <= 1.1 x weights + KV cache + 96 MB: nothing is resident twice."""
        collect(api, chat("tell me a long story " * 100, max_tokens=64))
        wait_for(lambda: prometheus('linnet_worker_memory_bytes{kind="kv"} > 0'), 10, "the memory to be itemised")
        memory = {r["metric"]["kind"]: float(r["value"][1]) for r in prometheus("linnet_worker_memory_bytes")}
        assert memory["weights"] > 90e6, memory
        assert memory["resident"] <= memory["peak"] <= 1.1 * memory["weights"] + memory["kv"] + 96e6, memory
        # The KV cache is mostly untouched here, so hold the rest to account without it.
        touched = prometheus('max_over_time(linnet_kv_cache_usage_ratio[1m])')
        assert memory["peak"] <= 1.1 * memory["weights"] + 0.25 * memory["kv"] + 96e6, (memory, touched)
