"""The command line against real servers: what it prints where, and its exit codes."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from cluster import (
    CLI, DONE, FAILED, MODEL, MODEL_FILE, NOT_FOUND, REFUSED, SLOWNESS, UNREACHABLE, USAGE, VARIANT, data, environment, linnet, wait_for)


def test_import_describes_the_file(cluster):
    imported = data(cluster.cli("model", "import", MODEL_FILE, "-o", "json"))  # again: nothing changes
    model, variant = imported["model"], imported["variant"]
    assert model["name"] == f"models/{MODEL}"
    assert model["license"] == "apache-2.0"
    architecture = model["architecture"]
    assert architecture["family"] == "llama"
    assert architecture["layers"] == 30
    shape = {key: value for key, value in architecture["layer_shapes"][0].items() if value}
    assert shape == {"query_heads": 9, "kv_heads": 3, "head_dim": 64, "ffn_dim": 1536}
    assert architecture["tied_embeddings"] is True
    assert architecture["parameters"] == 134515008
    assert variant["name"] == VARIANT
    assert variant["quantization"] == "q4_1"
    assert variant["blobs"][0]["digest"] == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert variant["blobs"][0]["size_bytes"] == 98362432
    assert variant["kv_bytes_per_token"] == 30 * 2 * 3 * 64 * 2
    assert set(variant["tensor_types"]) == {"F32", "Q4_1", "Q8_0"}


def test_views_of_the_registry(cluster):
    assert [m["name"] for m in data(cluster.cli("model", "ls", "-o", "json"))["models"]] == [f"models/{MODEL}"]
    shown = data(cluster.cli("model", "show", MODEL, "-o", "json"))
    assert [v["name"] for v in shown["variants"]] == [VARIANT]
    assert data(cluster.cli("variant", "show", f"{MODEL}/q4_1", "-o", "json"))["name"] == VARIANT
    assert len(data(cluster.cli("variant", "ls", MODEL, "-o", "json"))["variants"]) == 1
    workers = data(cluster.cli("worker", "ls", "-o", "json"))["workers"]
    assert [w["name"] for w in workers] == ["workers/test-worker"]
    assert workers[0]["ready_variants"] == [VARIANT]


def test_tables_are_for_people_and_on_standard_output(cluster):
    for args, words in (
        (("model", "ls"), ["MODEL", MODEL, "135 M", "q4_1"]),
        (("model", "show", MODEL), ["9 query heads, 3 key/value heads of 64", "q4_1"]),
        (("variant", "ls"), ["VARIANT", "q4_1", "sha256:b179c9523d0e"]),
        (("worker", "ls"), ["test-worker", "READY", f"{MODEL}/q4_1"]),
    ):
        done = cluster.cli(*args)
        assert done.returncode == DONE
        for word in words:
            assert word in done.stdout, (args, word, done.stdout)
        assert done.stderr == ""


def test_yaml(cluster):
    done = cluster.cli("model", "ls", "-o", "yaml")
    assert f"name: models/{MODEL}" in done.stdout
    assert "      layers: 30\n" in done.stdout


def test_profiles(cluster):
    profile = data(cluster.cli("profile", "detect", "--register", "--name", "this-box", "-o", "json"))
    assert profile["memory_bytes"] > 1 << 28
    assert profile["memory_bandwidth_bytes_per_second"] > 1e8
    assert profile["int8_ops_per_second"] > 1e7
    names = [p["name"] for p in data(cluster.cli("profile", "ls", "-o", "json"))["device_profiles"]]
    assert "deviceProfiles/this-box" in names
    assert data(cluster.cli("profile", "show", "this-box", "-o", "json"))["cpu_arch"] == profile["cpu_arch"]
    assert "GB/s" in cluster.cli("profile", "show", "this-box").stdout


def test_resolve_ranks_and_refuses_with_numbers(cluster):
    resolved = data(cluster.cli("resolve", MODEL, "-o", "json"))
    assert [f["variant"]["name"] for f in resolved["fits"]] == [VARIANT]
    assert resolved["fits"][0]["decode_tokens_per_second"] > 0
    small = data(cluster.cli("resolve", MODEL, "--max-memory", "64MiB", "-o", "json"))
    assert small["fits"] == []
    assert small["refusals"][0]["needed_bytes"] > small["refusals"][0]["available_bytes"]
    assert "MiB" in small["refusals"][0]["reason"]
    assert "no variant fits" in cluster.cli("resolve", MODEL, "--max-memory", "64MiB").stdout


def test_run_answers(cluster):
    args = ("run", MODEL, "--temperature", "0", "--max-tokens", "16")
    done = cluster.cli(*args, "Name three fish.", "--stats")
    assert done.returncode == DONE, done.stderr
    assert len(done.stdout) > 10
    assert "tokens/s" in done.stderr and "first token after" in done.stderr
    piped = cluster.cli(*args, input="Name three fish.\n")
    assert piped.stdout == done.stdout
    answer = data(cluster.cli(*args, "Name three fish.", "-o", "json"))
    assert answer["text"] + "\n" == done.stdout
    assert answer["usage"]["completion_tokens"] <= 16
    assert answer["variant"] == VARIANT
    raw = cluster.cli("run", MODEL, "The capital of France is", "--raw", "--temperature", "0", "--max-tokens", "3")
    assert "Paris" in raw.stdout


def test_exit_codes(cluster):
    assert cluster.cli("model", "show", "no-such-model").returncode == NOT_FOUND
    assert cluster.cli("variant", "show", f"{MODEL}/q9").returncode == NOT_FOUND
    assert cluster.cli("profile", "show", "no-such-profile").returncode == NOT_FOUND
    assert cluster.cli("resolve", "no-such-model").returncode == NOT_FOUND
    unknown = cluster.cli("run", "no-such-model", "hello")
    assert unknown.returncode == NOT_FOUND
    assert "no-such-model" in unknown.stderr and "linnet model ls" in unknown.stderr
    refused = cluster.cli("model", "rm", MODEL)
    assert refused.returncode == REFUSED
    assert "--force" in refused.stderr
    too_long = cluster.cli("run", MODEL, input="fish " * 12000)
    assert too_long.returncode == FAILED
    assert "4096" in too_long.stderr
    wrong = cluster.cli("run", MODEL, "hello", "--temperature", "-3", "--top-p", "4")
    assert wrong.returncode == USAGE
    assert "sampling.temperature" in wrong.stderr and "sampling.top_p" in wrong.stderr
    for done in (cluster.cli("model", "show", "Not A Name"), cluster.cli("variant", "show", MODEL), cluster.cli("model", "shwo")):
        assert done.returncode == USAGE
        assert done.stdout == ""


def test_unreachable_servers():
    for args in (("model", "ls", "--registry=127.0.0.1:1"), ("run", MODEL, "hello", "--gateway=127.0.0.1:1")):
        done = linnet(*args)
        assert done.returncode == UNREACHABLE
        assert "127.0.0.1:1" in done.stderr and "linnet up" in done.stderr


def test_broken_files_are_refused_before_anything_is_sent(registry_only, tmp_path):
    whole = MODEL_FILE.read_bytes()
    for name, content in (
        ("empty.gguf", b""),
        ("short.gguf", whole[: len(whole) // 2]),
        ("magic.gguf", b"GGUX" + whole[4:4096]),
        ("text.gguf", b"This is no model.\n" * 100),
        ("counts.gguf", whole[:8] + b"\xff" * 16 + whole[24:4096]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        done = registry_only.cli("model", "import", path)
        assert done.returncode == FAILED, (name, done.stderr)
        assert name in done.stderr, done.stderr
        assert done.stdout == ""
    assert registry_only.cli("model", "import", tmp_path / "missing.gguf").returncode == NOT_FOUND
    assert registry_only.cli("model", "import", tmp_path).returncode == USAGE
    assert data(registry_only.cli("model", "ls", "-o", "json"))["models"] == []


def test_import_show_remove(registry_only):
    cli = registry_only.cli
    assert "linnet model import" in cli("model", "ls").stderr  # nothing there yet: what to do
    dry = data(cli("model", "import", MODEL_FILE, "--name", "mine", "--dry-run", "-o", "json"))
    assert dry["model"]["name"] == "models/mine"
    assert cli("model", "show", "mine").returncode == NOT_FOUND
    assert cli("model", "import", MODEL_FILE, "--name", "mine").returncode == DONE
    assert cli("model", "import", MODEL_FILE, "--name", "mine", "--variant", "again").returncode == DONE
    assert cli("model", "import", MODEL_FILE, "--name", "Bad Name").returncode == USAGE
    assert len(data(cli("variant", "ls", "mine", "-o", "json"))["variants"]) == 2
    assert cli("model", "rm", "mine/again").returncode == DONE
    assert len(data(cli("variant", "ls", "mine", "-o", "json"))["variants"]) == 1
    assert cli("model", "rm", "mine").returncode == REFUSED
    assert cli("model", "rm", "mine", "--force").returncode == DONE
    assert cli("model", "rm", "mine").returncode == NOT_FOUND


def test_quiet_keeps_notes_away(registry_only):
    assert registry_only.cli("variant", "ls", "-q").stderr == ""


def test_limits_of_the_machine():
    args = ("bench", "limits", "--read-mib", "8", "--samples", "2", "-o", "json")
    limits = data(linnet(*args, "--threads", "2"))
    assert limits["threads"] == 2
    assert limits["read_bytes"] == 8 << 20
    rates = [name for name in limits if name.endswith("_per_s")]
    assert len(rates) == 7
    for name in rates:
        rate = limits[name]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"] < 1e6, (name, rate)
    assert data(linnet(*args, env={"LINNET_ISA": "scalar"}))["isa"] == "scalar"
    for wrong in (("--read-mib", "0"), ("--threads", "none"), ("--no-such-flag",), ("--depth", "3"), ("--samples", "0")):
        done = linnet(*args, *wrong)
        assert done.returncode == USAGE, (wrong, done.stderr)
        assert done.stdout == ""


def test_speed_of_several_sizes_in_one_process():
    sizes = ("--prefill", "3,8", "--decode", "0,8", "--streams", "1,3", "--gen-tokens", "2", "--repetitions", "2")
    measured = data(linnet("bench", "rows", "--model", MODEL_FILE, *sizes, "-o", "json"))
    rows = [(row["row"], row.get("tokens", row.get("streams", row.get("context")))) for row in measured["rows"]]
    assert rows == [("prefill", 3), ("prefill", 8), ("decode", 0), ("decode", 8), ("streams", 1), ("streams", 3)]
    for row in measured["rows"]:
        assert len(row["tokens_per_s"]) == 2
        assert all(0 < rate < 1e6 for rate in row["tokens_per_s"]), row
    assert measured["weight_bytes_per_token"] <= measured["weight_bytes"]
    for wrong in ((), ("--prefill", "0"), ("--decode", "100000"), ("--streams", "one"), ("--streams", "1024")):
        assert linnet("bench", "rows", "--model", MODEL_FILE, *wrong).returncode == USAGE, wrong
    assert linnet("bench", "--model", MODEL_FILE, "rows", "--prefill", "3").returncode == USAGE
    assert linnet("bench").returncode == USAGE


class Terminal:
    """A program on a pseudo-terminal, as a person sees it."""

    def __init__(self, *args):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            args, stdin=slave, stdout=slave, stderr=slave, env=environment(), start_new_session=True, preexec_fn=self._own_terminal
        )
        os.close(slave)
        self.seen = ""

    @staticmethod
    def _own_terminal():
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read_until(self, condition, timeout=60):
        """Reads on until what came since the last call satisfies the condition, and returns that."""
        start = len(self.seen)
        deadline = time.monotonic() + timeout * SLOWNESS
        while not condition(self.seen[start:]):
            assert time.monotonic() < deadline, f"in vain: {self.seen[start:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.seen[start:]

    def type(self, text):
        os.write(self.master, text.encode())

    def close(self):
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()


def test_a_conversation_in_the_terminal(cluster):
    terminal = Terminal(
        CLI, "run", MODEL, "--temperature", "0", "--max-tokens", "300", "--stats", f"--gateway={cluster.gateway.address()}"
    )
    at_prompt = lambda text: text.endswith("> ")  # noqa: E731

    def ask(question):
        terminal.type(question + "\n")
        answer = terminal.read_until(at_prompt)
        return int(re.search(r"(\d+) prompt tokens", answer).group(1))

    try:
        terminal.read_until(at_prompt)
        alone = ask("Name a fish.")
        assert ask("Name a fish.") > alone + 5  # the second time, question and answer of the first stand before it
        terminal.type("/clear\n")
        terminal.read_until(at_prompt)
        assert ask("Name a fish.") == alone
        terminal.type("Write a very long story about a ship, with many chapters.\n")
        terminal.read_until(lambda text: len(text) > 150)
        terminal.type("\x03")  # stops the answer, not the program
        terminal.read_until(at_prompt, 10)
        assert terminal.process.poll() is None
        terminal.type("\x03")  # and now the program
        assert terminal.process.wait(10 * SLOWNESS) == 0
    finally:
        terminal.close()


def test_ctrl_c_ends_a_single_answer(cluster):
    process = subprocess.Popen(
        [CLI, "run", MODEL, "Write a very long story about a ship.", f"--gateway={cluster.gateway.address()}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10 * SLOWNESS)
    assert process.returncode == 130, err


GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
TINY = GOLDEN / "tiny/llama.gguf"  # f32


def test_quantize_the_model(tmp_path):
    made = tmp_path / "q4_0.gguf"
    args = ("variant", "quantize", MODEL_FILE, "--to", "q4_0", "--output-file", made)
    refused = linnet(*args)  # the source is quantized itself
    assert refused.returncode == REFUSED
    assert "--allow-requantize" in refused.stderr and MODEL_FILE.name in refused.stderr
    assert not made.exists()
    report = data(linnet(*args, "--allow-requantize", "-o", "json"))
    assert report["size_bytes"] == made.stat().st_size
    assert 0.05 < report["relative_error"] < 0.09
    assert set(report["tensor_types"]) == {"F32", "Q4_0", "Q8_0"}
    assert [p.name for p in tmp_path.iterdir()] == ["q4_0.gguf"]
    scored = data(linnet("score", "--model", made, "--text-file", GOLDEN / "text_ordinary.txt", "-o", "json"))
    assert 16 < scored["perplexity"] < 21  # 16.8 before


def test_quantize_writes_where_it_is_told(tmp_path):
    made = tmp_path / "made.gguf"
    args = ("variant", "quantize", TINY, "--to", "q8_0", "--output-file", made)
    table = linnet(*args)
    assert table.returncode == DONE and "q8_0" in table.stdout and table.stderr == ""
    before = made.read_bytes()
    exists = linnet(*args)
    assert exists.returncode == REFUSED and "made.gguf exists" in exists.stderr and "--replace" in exists.stderr
    calibration = GOLDEN / "text_ordinary.txt"
    report = data(linnet(*args, "--replace", "--calibration", calibration, "--threads", "1", "-o", "json"))
    assert report["calibration"].startswith("text_ordinary.txt (")
    assert len(before) < made.stat().st_size < len(before) + 400  # the metadata say so too
    again = linnet("variant", "quantize", made, "--to", "f16", "--allow-requantize", "--replace", "--output-file", made)
    assert again.returncode == DONE, again.stderr
    assert linnet("tokenize", "--model", made, "--text-file", calibration).returncode == DONE


def test_quantize_says_what_is_wrong(tmp_path):
    out = ("--output-file", tmp_path / "x.gguf")
    unknown = linnet("variant", "quantize", TINY, "--to", "q3_k_m", *out)
    assert unknown.returncode == USAGE
    for word in ("q3_k_m", "q4_k_m", "q8_0"):
        assert word in unknown.stderr
    nowhere = linnet("variant", "quantize", TINY, "--to", "q8_0")
    assert nowhere.returncode == USAGE and "--output-file" in nowhere.stderr
    missing = linnet("variant", "quantize", tmp_path / "none.gguf", "--to", "q8_0", *out)
    assert missing.returncode == NOT_FOUND and "none.gguf" in missing.stderr
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(TINY.read_bytes()[:1000])
    assert linnet("variant", "quantize", broken, "--to", "q8_0", *out).returncode == FAILED
    short = tmp_path / "short.txt"
    short.write_text("too short")
    few = linnet("variant", "quantize", TINY, "--to", "q8_0", "--calibration", short, *out)
    assert few.returncode == USAGE and "tokens" in few.stderr
    folder = tmp_path / "no" / "folder" / "x.gguf"
    unwritable = linnet("variant", "quantize", TINY, "--to", "q8_0", "--output-file", folder)
    assert unwritable.returncode == NOT_FOUND and str(folder) in unwritable.stderr
    unreachable = linnet("variant", "quantize", f"{MODEL}/q4_1", "--to", "q8_0", "--registry=127.0.0.1:1")
    assert unreachable.returncode == UNREACHABLE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.gguf", "short.txt"]


def test_quantize_a_variant_of_the_registry(registry_only, tmp_path):
    def cli(*args):
        return registry_only.cli(*args, env={"LINNET_HOME": str(tmp_path)})

    try:
        assert cli("model", "import", TINY, "--name", "tiny", "--variant", "f32").returncode == DONE
        calibration = ("--calibration", GOLDEN / "text_ordinary.txt")
        variant = data(cli("variant", "quantize", "tiny/f32", "--to", "q4_0", *calibration, "-o", "json"))["variant"]
        assert variant["name"] == "models/tiny/variants/q4_0"
        assert variant["quantization"] == "q4_0"
        for word in ("variant quantize of models/tiny/variants/f32 to q4_0", "calibrated on text_ordinary.txt"):
            assert word in variant["source"], variant["source"]
        assert variant["tensor_types"]["Q4_0"] > 0
        named = data(cli("variant", "quantize", "tiny/f32", "--to", "q8_0", "--variant", "mine", "-o", "json"))["variant"]
        assert named["name"] == "models/tiny/variants/mine"
        assert cli("variant", "quantize", "tiny/f32", "--to", "q4_0").returncode == REFUSED  # other contents, same name
        assert cli("variant", "quantize", "tiny/f32", "--to", "q4_0", "--replace").returncode == DONE
        assert cli("variant", "quantize", TINY, "--to", "bf16", "--model", "tiny").returncode == DONE
        names = [v["name"].split("/")[-1] for v in data(cli("variant", "ls", "tiny", "-o", "json"))["variants"]]
        assert sorted(names) == ["bf16", "f32", "mine", "q4_0"]
        assert cli("variant", "quantize", "tiny/none", "--to", "q8_0").returncode == NOT_FOUND
        assert list((tmp_path / "tmp").iterdir()) == []
    finally:
        cli("model", "rm", "tiny", "--force")


CHECKPOINTS = GOLDEN / "checkpoints"  # Hugging Face folders


def copy_of(name, tmp_path):
    folder = tmp_path / name
    shutil.copytree(CHECKPOINTS / name, folder)
    return folder


def test_convert_a_hugging_face_folder(tmp_path):
    made = tmp_path / "granite.gguf"
    args = ("model", "convert", CHECKPOINTS / "granite", "--out", made)
    report = data(linnet(*args, "-o", "json"))
    assert report["architecture"] == "granite" and report["name"] == "granite"
    assert report["size_bytes"] == made.stat().st_size
    assert report["notes"] == []
    exists = linnet(*args)
    assert exists.returncode == REFUSED and "granite.gguf exists" in exists.stderr
    table = linnet(*args, "--replace")
    assert table.returncode == DONE and "granite" in table.stdout and table.stderr == ""
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[3, 50, 120, 7, 200, 9]")
    score = ("--reference", "--tokens-file", tokens, "-o", "json")
    mine, committed = (data(linnet("score", "--model", model, *score)) for model in (made, GOLDEN / "tiny/granite.gguf"))
    assert mine["logprobs"] == committed["logprobs"]


def test_the_prompt_of_a_conversation(tmp_path):
    chat, template = tmp_path / "chat.json", tmp_path / "template.jinja"
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{\"zone\": \"UTC\"}"}}
    chat.write_text(json.dumps({
        "messages": [{"role": "user", "content": "What time?"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                     {"role": "tool", "tool_call_id": "1", "content": "12:00"}],
        "tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]}))
    template.write_text("{{ tools[0].function.name }}:{% for m in messages %} {{ m.role }}={{ m.content }}"
                        "{% for c in m.tool_calls %}{{ c.function.arguments.zone }}{% endfor %}{% endfor %}")
    args = ("tokenize", "--model", GOLDEN / "tiny/llama.gguf")
    with_chat = (*args, "--chat-file", chat, "--chat-template-file", template)
    assert linnet(*with_chat, "--show-text").stdout == "now: user=What time? assistant=UTC tool=12:00"
    assert data(linnet(*with_chat, "-o", "json"))["tokens"]
    for bad, said in (({"messages": [{"content": "x"}]}, "messages[0].role: is missing"), ([], "must be a JSON object with messages"),
                      ({"messages": 3}, "messages: must be a list"),
                      ({"messages": [], "tools": [{}]}, "tools[0].function: must be an object")):
        chat.write_text(json.dumps(bad))
        refused = linnet(*with_chat)
        assert refused.returncode == USAGE and said in refused.stderr, refused.stderr
    assert "needs --text-file or --chat-file" in linnet(*args).stderr


def test_a_hugging_face_folder_is_converted_once(tmp_path):
    env = {"LINNET_HOME": str(tmp_path / "home")}
    folder = copy_of("gptneox", tmp_path)  # its weights in two files
    text = tmp_path / "text.txt"
    text.write_text("The ring at the sea")
    args = ("tokenize", "--model", folder, "--text-file", text, "-o", "json")
    first = linnet(*args, env=env)
    assert "converted" in first.stderr and str(tmp_path / "home/converted/gptneox-") in first.stderr
    again = linnet(*args, env=env)
    assert again.stderr == "" and data(again) == data(first)
    assert len(data(linnet("generate", "--model", folder, "--prompt", "The", "--max-tokens", "3", "--raw", "-o", "json", env=env))["tokens"]) == 3
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_parallel_residual": False}))
    assert "converted" in linnet(*args, env=env).stderr  # another model now
    assert len(list((tmp_path / "home/converted").iterdir())) == 2
    for _ in range(8):
        os.utime(folder / "config.json")
        assert linnet(*args, env=env).returncode == DONE
    assert len(list((tmp_path / "home/converted").iterdir())) == 8


def test_import_a_hugging_face_folder(registry_only, tmp_path):
    env = {"LINNET_HOME": str(tmp_path / "home")}
    try:
        imported = data(registry_only.cli("model", "import", CHECKPOINTS / "granite", "-o", "json", env=env))
        assert imported["model"]["name"] == "models/granite"
        assert imported["variant"]["name"] == "models/granite/variants/f16"
        assert imported["variant"]["blobs"][0]["file_name"] == "granite.gguf"
        assert "Hugging Face folder granite" in imported["variant"]["source"]
        assert list((tmp_path / "home/tmp").iterdir()) == []
    finally:
        registry_only.cli("model", "rm", "granite", "--force")


def test_folders_that_cannot_be_converted(tmp_path):
    out = ("--out", tmp_path / "x.gguf")
    assert linnet("model", "convert", tmp_path, *out).returncode == USAGE
    empty = linnet("score", "--model", tmp_path, "--text-file", MODEL_FILE)
    assert empty.returncode == FAILED and "without a config.json" in empty.stderr and "safetensors" in empty.stderr
    broken = copy_of("gptneox", tmp_path)
    second = broken / "model-00002-of-00002.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    short = linnet("model", "convert", broken, *out)
    assert short.returncode == FAILED and second.name in short.stderr and "fetch the file again" in short.stderr
    second.unlink()
    missing = linnet("model", "convert", broken, *out)
    assert missing.returncode == FAILED and second.name in missing.stderr and "download" in missing.stderr
    second.write_bytes(whole)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "architectures": ["GPTNeoxForCausalLM"]}))
    unknown = linnet("model", "convert", broken, *out)
    assert unknown.returncode == FAILED and "GPTNeoXForCausalLM" in unknown.stderr
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4, "intermediate_size": 80}))
    shapes = linnet("model", "convert", broken, *out)
    assert "layers.3.attention.dense.weight is missing" in shapes.stderr
    assert "has shape [72, 48], and config.json makes it [80, 48]" in shapes.stderr
    pickled = copy_of("granite", tmp_path)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused = linnet("model", "convert", pickled, *out)
    assert refused.returncode == FAILED and "pickled" in refused.stderr and "save_pretrained" in refused.stderr
    assert not (tmp_path / "x.gguf").exists()


def threads_of(pid):
    return b" ".join(path.read_bytes() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/comm"))


def test_quantize_stops_on_ctrl_c(tmp_path):
    command = [CLI, "variant", "quantize", MODEL_FILE, "--to", "q5_k_m", "--allow-requantize", "--threads", "1"]
    process = subprocess.Popen(
        [*command, "--output-file", tmp_path / "x.gguf"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    wait_for(lambda: b"interrupts" in threads_of(process.pid), 20, "the program to take Ctrl-C over")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20 * SLOWNESS)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
