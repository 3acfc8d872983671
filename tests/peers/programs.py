"""The programs that are compared, each behind the same four questions about one model file:

    load()                        -> {"load": [seconds]}
    prefill(lengths)              -> {"prefill 512": [tokens per second, ...], "memory": [bytes]}
    decode(contexts, repetitions) -> {"decode 2048": [tokens per second, ...]}
    streams(counts)               -> {"streams 8": [tokens per second of all streams together, ...]}

Every call is a process of its own that loads the file, warms up and measures. A program that cannot answer raises
Failed, which says why; the rows are then reported as not measured.
"""
import collections
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile

from models import CHECKOUT, DEV, HERE, cache_folder
import timed

STREAM_CONTEXT = 16
# llama.cpp's CPU backend for each instruction set of Linnet's.
LLAMA_BACKENDS = {"avx2": "haswell", "avx2_vnni": "alderlake", "avx512": "skylakex", "avx512_vnni": "icelake",
                  "avx512_amx": "sapphirerapids"}
ONEDNN_ISAS = {"avx2": "AVX2", "avx2_vnni": "AVX2_VNNI", "avx512": "AVX512_CORE", "avx512_vnni": "AVX512_CORE_VNNI",
               "avx512_amx": "AVX512_CORE_AMX"}


class Failed(Exception):
    pass


def _run(command, env=None, timed_inside=None):
    """(standard output, standard error, seconds, peak bytes). `timed_inside`: a file with what timed.py measured."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        status, seconds, peak = timed.run(command, out, err, {**os.environ, **(env or {})})
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    if status != 0:
        raise Failed(f"{os.path.basename(command[0])} ended with {status}: {' '.join(stderr[-600:].split())}")
    if timed_inside:
        with open(timed_inside, encoding="utf-8") as f:
            inside = json.load(f)
        seconds, peak = inside["seconds"], inside["peak_rss_bytes"]
    return stdout, stderr, seconds, peak


def _joined(numbers):
    return ",".join(str(n) for n in numbers)


class _Rows:
    """A program whose _rows(*args) answers (rows, seconds of the process, peak bytes), as `linnet bench rows` prints them."""

    def load(self):
        return {"load": [self._rows("--prefill", "1")[1]]}

    def prefill(self, lengths):
        rows, _, peak = self._rows("--prefill", _joined(lengths))
        return {**{f"prefill {r['tokens']}": r["tokens_per_s"] for r in rows}, "memory": [peak]}

    def decode(self, contexts, repetitions):
        rows, _, _ = self._rows("--decode", _joined(contexts), "--repetitions", str(repetitions))
        return {f"decode {r['context']}": r["tokens_per_s"] for r in rows}


class Linnet(_Rows):
    name = "Linnet"

    def __init__(self, binary, model, threads, gen_tokens, isa):
        self.binary, self.model, self.threads, self.gen_tokens = binary, model, threads, gen_tokens
        self.env = {"LINNET_ISA": isa} if isa else {}
        self.packed = os.path.join(cache_folder(), "packed")  # as a worker keeps its weights for the next start
        self.facts = {}  # of the last run: isa, numerics_id, bytes

    def _bench(self, *args):
        out, _, seconds, peak = _run([self.binary, "bench", *args, "--threads", str(self.threads), "-o", "json"], self.env)
        return json.loads(out), seconds, peak

    def _rows(self, *args):
        answer, seconds, peak = self._bench("rows", "--model", self.model.path, "--gen-tokens", str(self.gen_tokens),
                                            "--packed-cache", self.packed, *args)
        self.facts = {k: v for k, v in answer.items() if k != "rows"}
        return answer["rows"], seconds, peak

    def warm(self):
        """The packed weights are there afterwards."""
        self._rows("--prefill", "1")

    def limits(self, read_bytes):
        return self._bench("limits", "--read-mib", str(max(1, read_bytes >> 20)), "--samples", "3")[0]

    def streams(self, counts):
        rows, _, _ = self._rows("--streams", _joined(counts), "--stream-context", str(STREAM_CONTEXT))
        return {f"streams {r['streams']}": r["tokens_per_s"] for r in rows}

    def tokenizer_bytes(self):
        """What a process holds that has opened the file and its tokenizer, and no weights."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
            text.write("one\n")
            text.flush()
            command = [self.binary, "tokenize", "--model", self.model.path, "--text-file", text.name, "-o", "json"]
            return _run(command, self.env)[3]

    def version(self):
        done = subprocess.run(["git", "-c", f"safe.directory={CHECKOUT}", "-C", CHECKOUT, "describe", "--always", "--dirty"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        return done.stdout.strip() or "unknown"


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, model, threads, gen_tokens, isa, flash_attention=None):
        self.model, self.threads, self.gen_tokens = model, threads, gen_tokens
        self.backend = LLAMA_BACKENDS.get(isa)
        if isa and not self.backend:
            raise Failed(f"llama.cpp has no CPU backend that is just {isa}")
        # "on" or "off" by the kind of row, which for decode is its context. Filled by choose_flash_attention() where not given.
        self.flash = collections.defaultdict(lambda: flash_attention or "on")
        self.loaded_backend = None

    def _tool(self, *command):
        with tempfile.NamedTemporaryFile(suffix=".json") as result:
            out, err, seconds, peak = _run(
                [DEV, "peers", "python3", "-B", os.path.join(HERE, "timed.py"),
                 *(["--cpu-backend", self.backend] if self.backend else []), result.name, "--", *command],
                timed_inside=result.name)
        found = re.search(r"loaded CPU backend from \S*libggml-cpu-([a-z0-9_]+)\.so", err)
        if found:
            self.loaded_backend = found.group(1)
        if self.backend and self.loaded_backend != self.backend:
            raise Failed(f"llama.cpp ran with the CPU backend {self.loaded_backend}, not with {self.backend}")
        return out, seconds, peak

    def _bench(self, flash, *args):
        out, seconds, peak = self._tool("llama-bench", "-m", self.model.path, "-t", str(self.threads), "-ctk", "f16", "-ctv",
                                        "f16", "-fa", flash, *args, "-o", "json")
        return json.loads(out), seconds, peak

    def choose_flash_attention(self, contexts):
        """Finds out what is faster for prefill, and for decode at each context."""
        rows, _, _ = self._bench("on,off", "-p", "512", "-n", "0", "-r", "2")
        self.flash["prefill"] = self._faster(rows)
        for context in sorted({STREAM_CONTEXT, *contexts}):
            rows, _, _ = self._bench("on,off", "-p", "0", "-n", "16", "-d", str(context), "-r", "2")
            self.flash[f"decode {context}"] = self._faster(rows)

    @staticmethod
    def _faster(rows):
        best = max(rows, key=lambda r: r["avg_ts"])
        return "on" if str(best["flash_attn"]).lower() in ("1", "true", "on") else "off"

    def load(self):
        return {"load": [self._bench(self.flash["prefill"], "-p", "1", "-n", "0", "-r", "1")[1]]}

    def prefill(self, lengths):
        # The first length twice, of which the first warms up: with its own warm-up it would run each prompt twice.
        rows, _, peak = self._bench(self.flash["prefill"], "-p", _joined([lengths[0], *lengths]), "-n", "0", "-r", "1",
                                    "--no-warmup")
        samples = {f"prefill {r['n_prompt']}": r["samples_ts"] for r in rows}
        return {**samples, "memory": [peak]}

    def decode(self, contexts, repetitions):
        found = {}
        for flash in ("on", "off"):
            alike = [c for c in contexts if self.flash[f"decode {c}"] == flash]
            if alike:
                rows, _, _ = self._bench(flash, "-p", "0", "-n", str(self.gen_tokens), "-d", _joined(alike), "-r", str(repetitions))
                found |= {f"decode {r['n_depth']}": r["samples_ts"] for r in rows}
        return found

    def streams(self, counts):
        room = max(counts) * (STREAM_CONTEXT + self.gen_tokens) + 64
        out, _, _ = self._tool("llama-batched-bench", "-m", self.model.path, "-t", str(self.threads), "-c", str(room), "-b",
                               "2048", "-ub", "512", "-ctk", "f16", "-ctv", "f16", "-fa", self.flash[f"decode {STREAM_CONTEXT}"], "-npp",
                               str(STREAM_CONTEXT), "-ntg", str(self.gen_tokens), "-npl", _joined(counts),
                               "--output-format", "jsonl")
        rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return {f"streams {r['pl']}": [r["speed_tg"]] for r in rows}

    def version(self):
        query = [DEV, "peers", "dpkg-query", "-W", "-f", "${Version}"]
        return f"{_run([*query, 'llama.cpp'])[0]} (ggml {_run([*query, 'libggml0'])[0]})"


class OpenVino(_Rows):
    """OpenVINO GenAI, which reads GGUF files of some families and formats."""
    name = "OpenVINO"

    def __init__(self, python, model, threads, gen_tokens, isa):
        self.python, self.model, self.threads, self.gen_tokens = python, model, threads, gen_tokens
        # Its products are oneDNN's; what else it has compiled for wider vectors follows the CPU, as do its choices of bf16
        # and of 8-bit activations, for which oneDNN then has no products: what it does on a CPU without them is said here.
        self.env = {"ONEDNN_MAX_CPU_ISA": ONEDNN_ISAS[isa]} if isa else {}
        self.choices = ["--precision", "f32"] if isa and "amx" not in isa else []
        if isa in ("avx2", "avx512"):
            self.choices.append("--no-dynamic-quantization")

    def _rows(self, *args):
        # Another prompt every time: it keeps what it computed for a prompt's beginning.
        out, _, seconds, peak = _run(
            [self.python, os.path.join(HERE, "openvino_bench.py"), "--model", self.model.path, "--threads",
             str(self.threads), "--gen-tokens", str(self.gen_tokens), "--seed", str(random.randrange(1 << 30)),
             *self.choices, *args], self.env)
        return json.loads(out.splitlines()[-1])["rows"], seconds, peak

    def streams(self, counts):
        raise Failed("not compared: its batches are scheduled by its own server")

    def version(self):
        return _run([self.python, "-c", "import openvino_genai as g; print(g.__version__)"])[0].strip()


def ensure_openvino(cache, say):
    """A Python that has OpenVINO GenAI, installed into the cache the first time. Failed where it cannot be had."""
    requirements = os.path.join(HERE, "openvino-requirements.txt")
    with open(requirements, "rb") as f:
        digest = hashlib.sha256(f.read() + sys.version.encode()).hexdigest()[:12]
    venv = os.path.join(cache, f"venv-openvino-{digest}")
    python = os.path.join(venv, "bin", "python3")
    if not os.path.exists(os.path.join(venv, "ready")):
        say("installing OpenVINO GenAI for the comparison")
        for command in (["rm", "-rf", venv], [sys.executable, "-m", "venv", venv],
                        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"OpenVINO GenAI could not be installed: {' '.join(done.stderr[-400:].split())}")
        with open(os.path.join(venv, "ready"), "w", encoding="utf-8"):
            pass
    return python
