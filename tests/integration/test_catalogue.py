"""`linnet plan`, where models come from, and pruning: the command line against files and a registry."""

import pathlib

import pytest
from cluster import DONE, MODEL_FILE, NOT_FOUND, REFUSED, SANITIZE, UNREACHABLE, USAGE, data, linnet

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
TINY = GOLDEN / "tiny" / "llama.gguf"
NO_REGISTRY = "--registry=127.0.0.1:1"


def test_plan_needs_no_server_for_a_model_of_the_catalogue():
    planned = data(linnet("plan", "Qwen/Qwen2-1.5B", "--context", "2048", NO_REGISTRY, "-o", "json"))
    assert planned["model"] == "qwen2-1.5b" and planned["source"] == "catalogue"
    assert planned["parameters"] == 1543714304
    plans = {plan["variant"]: plan for plan in planned["plans"]}
    assert {"f16", "q8_0", "q4_k_m", "q4_0"} <= plans.keys()
    assert plans["q4_0"]["kv_bytes"] == 56 << 20
    assert plans["q4_0"]["weights_bytes"] < plans["q8_0"]["weights_bytes"] < plans["f16"]["weights_bytes"]
    parts = ("weights_bytes", "kv_bytes", "scratch_bytes", "loading_bytes", "process_bytes")
    assert all(plan["total_bytes"] == sum(plan[part] for part in parts) for plan in plans.values())
    half = data(linnet("plan", "qwen2-1.5b", "--variant", "q4_0", "--kv-cache-type", "q8_0", "--context", "2048", "-o", "json"))
    assert half["plans"][0]["kv_bytes"] == (28 << 20) * 34 // 32
    table = linnet("plan", "qwen2-1.5b", "--profile", "raspberry-pi-5-8gb", NO_REGISTRY)
    assert table.returncode == DONE
    for word in ("FITS", "q4_k_m", "1.5 B parameters", "yes"):
        assert word in table.stdout, table.stdout
    assert "openelm-3b" in linnet("plan").stdout


def test_plan_says_what_is_not_verified():
    done = linnet("plan", "minima-3b", "--variant", "q4_0")
    assert done.returncode == DONE and "Not verified: layers, model_dim" in done.stderr


def test_plan_says_what_is_wrong(registry_only):
    unknown = linnet("plan", "qwen2-1.5", NO_REGISTRY)
    assert unknown.returncode == NOT_FOUND
    for word in ("qwen2-1.5'", "nearest: qwen2-1.5b", "does not answer", "linnet plan"):
        assert word in unknown.stderr, unknown.stderr
    assert "nor in the registry" in registry_only.cli("plan", "no-such-model-at-all").stderr
    assert linnet("plan", "Not A Model", NO_REGISTRY).returncode == NOT_FOUND
    for args, words in (
        (("qwen2-1.5b", "--variant", "q3_k_m"), ["q3_k_m", "q4_k_m"]),
        (("gpt2", "--context", "2048"), ["--context", "1024 tokens"]),
        (("gpt2", "--kv-cache-type", "int3"), ["f16"]),
    ):
        done = linnet("plan", *args)
        assert done.returncode == USAGE, done.stderr
        for word in words:
            assert word in done.stderr, done.stderr
    assert linnet("plan", "gpt2", "--profile", "no-such-device", NO_REGISTRY).returncode == UNREACHABLE
    assert linnet("plan", "none.gguf").returncode == NOT_FOUND


def test_the_plan_of_a_file_is_what_loading_takes(registry_only):
    plan = data(linnet("plan", MODEL_FILE, "--context", "512", "-o", "json"))["plans"][0]
    bench = data(
        linnet("bench", "--model", MODEL_FILE, "--prompt-tokens", "512", "--gen-tokens", "8", "--repetitions", "1", "-o", "json")
    )
    assert plan["quantization"] == "q4_1"
    assert plan["weights_bytes"] == bench["weight_bytes"]
    assert plan["kv_bytes"] == 512 * bench["kv_bytes_per_token"]
    if not SANITIZE:  # whose own memory counts as the process's
        assert plan["total_bytes"] == pytest.approx(bench["peak_rss_bytes"], rel=0.2)  # a small model: mostly the process
    # As the registry knows it.
    assert registry_only.cli("model", "import", MODEL_FILE, "--name", "planned").returncode == DONE
    known = data(registry_only.cli("plan", "planned", "--context", "512", "-o", "json"))
    assert known["source"] == "registry" and known["plans"][0]["variant"] == "q4_1"
    assert known["plans"][0]["kv_bytes"] == plan["kv_bytes"]
    assert known["plans"][0]["total_bytes"] == pytest.approx(plan["total_bytes"], rel=0.01)
    assert registry_only.cli("plan", "planned/q9").returncode == NOT_FOUND
    assert registry_only.cli("plan", "planned/q4_1").returncode == DONE
    # Without its weights: as the catalogue does.
    shape = data(linnet("plan", "smollm2-135m", "--variant", "q8_0", "--context", "512", "-o", "json"))["plans"][0]
    same = data(linnet("plan", MODEL_FILE, "--variant", "q8_0", "--context", "512", "-o", "json"))["plans"][0]
    assert shape == same


@pytest.mark.parametrize("tiny", ["gemma2", "minicpm3", "mobilellm", "mobillama", "opt_350m", "recurrentgemma"])
def test_the_registry_plans_windows_latents_and_states_as_the_file_does(registry_only, tiny):
    path = GOLDEN / "tiny" / f"{tiny}.gguf"
    assert registry_only.cli("model", "import", path, "--name", f"tiny-{tiny}").returncode == DONE
    for cache in ("f16", "q8_0"):
        args = ("--kv-cache-type", cache, "-o", "json")
        of_file = data(linnet("plan", path, *args))["plans"][0]
        known = data(registry_only.cli("plan", f"tiny-{tiny}", *args))["plans"][0]
        for part in ("context_tokens", "kv_bytes", "scratch_bytes"):
            assert known[part] == of_file[part], part
    fit = data(registry_only.cli("resolve", f"tiny-{tiny}", "--profile", "raspberry-pi-5-8gb", "-o", "json"))["fits"][0]
    assert fit["scratch_bytes"] == known["scratch_bytes"] + known["process_bytes"]
    shape = registry_only.cli("model", "show", f"tiny-{tiny}").stdout
    assert ("recurrent, a state of" in shape) == (tiny == "recurrentgemma"), shape


def test_lineage_is_imported_updated_and_drawn(registry_only, tmp_path):
    card = tmp_path / "README.md"
    card.write_text(
        "---\nlicense: mit\nbase_model: HuggingFaceTB/SmolLM2-135M\ndatasets:\n- HuggingFaceFW/fineweb-edu\n---\n# Tiny\n"
    )
    cli = registry_only.cli
    imported = data(
        cli("model", "import", TINY, "--name", "tiny", "--card", card, "--teacher", "big", "--dataset", "FineWeb Edu",
            "--dataset", "DCLM", "-o", "json")
    )["model"]
    assert imported["license"] == "mit"
    assert {key: value for key, value in imported["lineage"].items() if value} == {
        "base_model": "HuggingFaceTB/SmolLM2-135M", "teacher_model": "big", "datasets": ["fineweb-edu", "dclm"]
    }
    # Again, into the model that is there: only what is said changes.
    again = data(cli("model", "import", TINY, "--name", "tiny", "--license", "apache-2.0", "-o", "json"))["model"]
    assert again["license"] == "apache-2.0" and again["lineage"]["teacher_model"] == "big"
    updated = data(cli("model", "update", "tiny", "--teacher", "", "--display-name", "Tiny", "-o", "json"))
    assert updated["lineage"]["teacher_model"] == "" and updated["display_name"] == "Tiny"
    data(cli("model", "import", GOLDEN / "tiny" / "qwen2.gguf", "--name", "child", "--base-model", "tiny", "-o", "json"))
    drawn = cli("model", "lineage", "tiny").stdout
    assert "└── base model smollm2-135m  (of the catalogue, not in the registry; apache-2.0" in drawn, drawn
    assert "made from it\n└── base model child" in drawn, drawn
    tree = data(cli("model", "lineage", "child", "-o", "json"))
    assert tree["ancestors"][0]["model"] == "tiny"
    assert tree["ancestors"][0]["ancestors"][0]["model"] == "smollm2-135m"
    shown = cli("model", "show", "tiny").stdout
    assert "trained on: fineweb-edu, dclm" in shown and "apache-2.0" in shown
    assert cli("model", "update", "tiny").returncode == USAGE
    assert cli("model", "update", "no-such-model", "--license", "mit").returncode == NOT_FOUND
    assert cli("model", "lineage", "no-such-model").returncode == NOT_FOUND
    card.write_text("---\nlicense: [\n---\n")
    broken = cli("model", "import", TINY, "--name", "other", "--card", card)
    assert broken.returncode == USAGE and "README.md: line" in broken.stderr


def test_prune_is_better_than_chance_and_known_to_the_registry(registry_only, tmp_path):
    lines = (GOLDEN / "text_ordinary.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    calibration, other = tmp_path / "calibration.txt", tmp_path / "other.txt"
    calibration.write_text("".join(lines[::2]), encoding="utf-8")
    other.write_text("".join(lines[1::2]), encoding="utf-8")
    made = tmp_path / "made.gguf"
    args = ("variant", "prune", MODEL_FILE, "--ffn-keep", "0.75", "--calibration", calibration, "--perplexity-text", other)
    report = data(registry_only.cli(*args, "--output-file", made, "--model", "pruned", "-o", "json"))
    assert report["size_bytes"] == made.stat().st_size
    assert report["parameters_before"] - report["parameters"] == 30 * 3 * 576 * 384
    assert (report["copied_tensors"], report["requantized_tensors"]) == (60, 30)
    perplexity = report["perplexity"]
    print(perplexity)
    assert perplexity["before"] < perplexity["after"] < perplexity["random"] / 2
    shown = data(registry_only.cli("model", "show", "pruned", "-o", "json"))
    assert shown["architecture"]["layer_shapes"][0]["ffn_dim"] == 1152
    assert shown["lineage"]["pruned_from"] == MODEL_FILE.name
    assert shown["lineage"]["pruning"]["method"] == "activations"
    assert shown["lineage"]["pruning"]["ffn_widths"] == [1152] * 30
    assert f"pruned from {MODEL_FILE.name}" in registry_only.cli("model", "lineage", "pruned").stdout


def test_prune_says_what_is_wrong(tmp_path):
    text = ("--calibration", GOLDEN / "text_ordinary.txt")
    out = ("--output-file", tmp_path / "x.gguf")
    prune = ("variant", "prune", TINY)
    for args, code, words in (
        ((*text, *out), USAGE, ["nothing to leave out"]),
        (("--ffn-keep", "0.5", *text), USAGE, ["--output-file"]),
        (("--ffn-keep", "2", *text, *out), USAGE, ["--ffn-keep"]),
        (("--ffn-keep", "0.5", *out), USAGE, ["--calibration"]),
        (("--ffn-keep", "0.5", "--calibration", tmp_path / "none.txt", *out), NOT_FOUND, ["none.txt"]),
    ):
        done = linnet(*prune, *args)
        assert done.returncode == code, done.stderr
        for word in words:
            assert word in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []
    done = linnet(*prune, "--ffn-keep", "0.5", "--ffn-multiple", "8", *text, *out)
    assert done.returncode == DONE and "by chance" in done.stdout and "flatters" in done.stderr
    exists = linnet(*prune, "--ffn-keep", "0.5", *text, *out)
    assert exists.returncode == REFUSED and "x.gguf exists" in exists.stderr
