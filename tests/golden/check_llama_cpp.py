#!/usr/bin/env python3
"""Whether llama.cpp reads the tiny models as the golden logits say, for architectures that it has.

    tools/dev peers python3 tests/golden/check_llama_cpp.py NAME[:CONTEXT] ... [--tiny FOLDER]

Feeds the first tokens of NAME.json to llama-server and compares differences of log-probabilities with differences of the
golden logits. CONTEXT is what llama.cpp chooses RoPE factors by (512 otherwise). llama.cpp multiplies f16 weights with
activations in f16, so agreement is to some parts in a thousand of the largest logit.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np

LETTER_A = 68    # three control tokens, then the bytes
TOLERANCE = 0.02  # of the largest logit


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def log_probabilities(port, tokens, vocab):
    # The letter A is generated, whatever the model says: half a character would come without probabilities. They are
    # those before the bias.
    answer = call(port, "/completion", {"prompt": tokens, "n_predict": 1, "n_probs": vocab, "cache_prompt": False,
                                        "logit_bias": [[LETTER_A, 1000.0]]})
    top = answer["completion_probabilities"][0]["top_logprobs"]
    found = np.full(vocab, np.nan)
    for token in top:
        found[token["id"]] = token["logprob"]
    return found


def deviation(folder, name, context):
    golden = json.loads((folder / f"{name}.json").read_text())
    columns, tokens = golden["columns"], golden["tokens"]
    logits = np.fromfile(folder / f"{name}.f32", "<f4").reshape(len(tokens), len(columns))
    port = free_port()
    server = subprocess.Popen(
        ["llama-server", "-m", folder / f"{name}.gguf", "-c", str(context), "-t", "1", "-np", "1", "--port", str(port),
         "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--no-warmup"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            if server.poll() is not None:
                raise RuntimeError(server.stderr.read().decode()[-600:])
            try:
                call(port, "/health")
                break
            except OSError:
                time.sleep(0.2)
        worst = 0
        for length in (1, 40, 150, len(tokens)):
            if length + 1 > context:
                continue
            got = log_probabilities(port, tokens[:length], golden["vocab"])[columns]
            want = logits[length - 1]
            difference = (got - got.mean()) - (want - want.mean())
            worst = max(worst, np.abs(difference).max())
            assert not np.isnan(worst)
        return worst / np.abs(logits).max()
    finally:
        server.kill()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME[:CONTEXT]")
    parser.add_argument("--tiny", type=pathlib.Path, default=pathlib.Path(__file__).parent / "tiny")
    options = parser.parse_args()
    failed = False
    for model in options.models:
        name, _, context = model.partition(":")
        try:
            off = deviation(options.tiny, name, int(context or 512))
            failed |= off > TOLERANCE
            print(f"{name}: off by {off:.1e} of the largest logit", flush=True)
        except RuntimeError as error:
            failed = True
            print(f"{name}: {error}", flush=True)
    sys.exit(failed)


main()
