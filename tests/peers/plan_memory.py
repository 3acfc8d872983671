#!/usr/bin/env python3
"""Compares `linnet plan` with what a process takes that runs the model: full-size shapes with random weights, made
here, loaded by `linnet bench`, and deleted.

    tests/peers/plan_memory.py [--linnet build/release/bin/linnet] [--folder DIR] [MODEL:TYPE ...]

A line for each model: planned and measured bytes and their difference; exit code 1 where one is off by more than 3 %, or
where the plan of the catalogue differs from that of the file. Takes disk space of the largest file (8.5 GB with the
defaults), and as much memory.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
DEV = os.path.join(CHECKOUT, "tools", "dev")
DEFAULT = ["qwen2-1.5b:q4_0", "qwen2-1.5b:q8_0", "openelm-3b:q4_0", "openelm-3b:q8_0", "phi-3-mini-4k-instruct:q4_0",
           "phi-3-mini-4k-instruct:q8_0", "llama-3.1-8b:q4_0", "llama-3.1-8b:q8_0"]
MOST_OFF = 0.03
PROMPT, GENERATED = 544, 4  # more than the tokens of a step, so that every buffer is touched


def linnet(program, *args):
    command = [DEV, "shell", program, *args, "-o", "json", "-q"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=CHECKOUT).stdout)


def compare(program, model, kind, folder):
    """The plan of one model and the measured bytes; raises where the catalogue and the file disagree."""
    path = os.path.join(folder, f"{model}-{kind}.gguf")
    context = ["--context", str(PROMPT)]
    try:
        subprocess.run([DEV, "peers", "python3", os.path.join(HERE, "make_gguf.py"), model, path, "--type", kind],
                       check=True, stdin=subprocess.DEVNULL)
        plan = linnet(program, "plan", path, *context)["plans"][0]
        known = linnet(program, "plan", model, "--variant", kind, *context)["plans"][0]
        if plan["weights_bytes"] != known["weights_bytes"] or plan["kv_bytes"] != known["kv_bytes"]:
            raise ValueError(f"{model} {kind}: the catalogue plans {known}, the file {plan}")
        bench = linnet(program, "bench", "--model", path, "--prompt-tokens", str(PROMPT), "--gen-tokens", str(GENERATED),
                       "--repetitions", "1")
        return plan, bench["peak_rss_bytes"]
    finally:
        if os.path.exists(path):
            os.remove(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=DEFAULT)
    parser.add_argument("--linnet", default=os.path.join(CHECKOUT, "build", "release", "bin", "linnet"))
    parser.add_argument("--folder", default=CHECKOUT + "/build")
    args = parser.parse_args()
    off = False
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for spec in args.models:
            model, _, kind = spec.partition(":")
            plan, measured = compare(args.linnet, model, kind or "q4_0", folder)
            share = plan["total_bytes"] / measured - 1
            off = off or abs(share) > MOST_OFF
            print(f"{model:28} {kind:5} planned {plan['total_bytes'] / 2**20:8.1f} MiB, measured "
                  f"{measured / 2**20:8.1f} MiB, {100 * share:+.2f} %", flush=True)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
