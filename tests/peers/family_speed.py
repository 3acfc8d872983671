#!/usr/bin/env python3
"""Whether every family is on the fast path: decode and prefill of the families' published shapes in q4_0 with random
weights, as a share of what the Llama shape of the nearest size reaches in the same run.

    tests/peers/family_speed.py [--bin build/release/bin] [--rounds N] [--folder DIR] [MODEL ...]

Decode is bytes of weights per second (every weight is read once for each token), prefill multiplications and additions
of weights per second; both are divided by the Llama shape's, which runs next to it in every round. A line for each model:
medians of the ratios. Exit code 1 where one is below 0.9.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
DEV = os.path.join(CHECKOUT, "tools", "dev")
YARDSTICKS = ["llama-3.2-1b", "llama-3.2-3b", "h2o-danube3-500m"]
# PanGu-pi was never published: the shape of llama-3.2-1b with its shortcuts and series.
PANGU_PI = os.path.join("tests", "peers", "pangu_pi.txtpb")
MODELS = [
    "qwen2-1.5b", "qwen3-1.7b", "phi-1.5", "phi-3-mini-4k-instruct", "openelm-1.1b", "openelm-3b", "gemma-2b",
    "gemma-2-2b", "gemma-3-1b", "recurrentgemma-2b", "stablelm-2-zephyr-1.6b", "gpt2-xl", "cerebras-gpt-1.3b",
    "pythia-1.4b", "opt-1.3b", "opt-350m", "galactica-1.3b", "bloom-1b1", "olmo-1b", "olmo-2-1b", "dclm-1b",
    "minicpm-1b", "minicpm3-4b", "mobilellm-1b", "mobilellm-ls-350m", "mobillama-0.5b", "minitron-4b",
    "granite-3.3-2b", "smollm3-3b", "qwen-1.8b", PANGU_PI]
LEAST = 0.9
PROMPT, CONTEXT, GENERATED = 512, 16, 32


def run(*command):
    return subprocess.run([DEV, "shell", *command], check=True, stdout=subprocess.PIPE, cwd=CHECKOUT).stdout


class Model:
    def __init__(self, name, args, folder):
        self.name = name
        self.linnet = os.path.join(args.bin, "linnet")
        self.path = os.path.join(folder, f"{os.path.basename(name)}.gguf")
        made = run(os.path.join(args.bin, "random_model"), name, "q4_0", self.path)
        self.layer_weights = json.loads(made)["layer_weights"]

    def measure(self):
        """(bytes of weights per second of decode, weights of layers per second of prefill)"""
        out = json.loads(run(self.linnet, "bench", "rows", "--model", self.path, "--prefill", str(PROMPT), "--decode", str(CONTEXT),
                             "--gen-tokens", str(GENERATED), "-o", "json", "-q"))
        speed = {row["row"]: statistics.median(row["tokens_per_s"]) for row in out["rows"]}
        return speed["decode"] * out["weight_bytes_per_token"], speed["prefill"] * self.layer_weights

    def remove(self):
        os.remove(self.path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--bin", default=os.path.join(CHECKOUT, "build", "release", "bin"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=CHECKOUT + "/build")
    args = parser.parse_args()
    slow = False
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        yardsticks = [Model(name, args, folder) for name in YARDSTICKS]
        for name in args.models:
            model = Model(name, args, folder)
            yardstick = min(yardsticks, key=lambda y: abs(math.log(y.layer_weights / model.layer_weights)))
            ratios = []
            for _ in range(args.rounds):
                theirs, mine = yardstick.measure(), model.measure()
                ratios.append([m / t for m, t in zip(mine, theirs)])
            model.remove()
            decode, prefill = (statistics.median(r) for r in zip(*ratios))
            slow = slow or min(decode, prefill) < LEAST
            print(f"{name:24} beside {yardstick.name:16} decode {decode:5.2f} ({mine[0] / 1e9:5.1f} GB/s)  prefill "
                  f"{prefill:5.2f} ({2 * mine[1] / 1e9:6.1f} GOP/s){'   *' if min(decode, prefill) < LEAST else ''}", flush=True)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
