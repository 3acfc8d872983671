#!/usr/bin/python3
"""Linnet beside llama.cpp on the same GGUF file: runs by turns, in an order that changes; medians, spread and ratios.

    tools/dev bench [--runs N] [--prompt-tokens N] [--gen-tokens N] [--threads N] [--model FILE] [--json FILE]
    tools/dev bench --suite ...    more models, formats, lengths and streams, beside the machine's limits (--suite --help)

Both load the file, warm up, and measure prefill of a prompt and decode after an empty one. Absolute figures of a shared
machine say little; the ratio of runs that took turns says more.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True  # nothing is left in the checkout
import suite  # noqa: E402

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def linnet(args):
    out = run_json([args.linnet, "bench", "--model", args.model, "--prompt-tokens", str(args.prompt_tokens), "--gen-tokens",
                    str(args.gen_tokens), "--threads", str(args.threads), "-o", "json"])
    return {"prefill": out["prefill_tokens_per_s"], "decode": out["decode_tokens_per_s"], "raw": out}


def llama_cpp(args):
    out = run_json([os.path.join(CHECKOUT, "tools", "dev"), "peers", "llama-bench", "-m", args.model, "-p", str(args.prompt_tokens),
                    "-n", str(args.gen_tokens), "-t", str(args.threads), "-r", "3", "-fa", "1", "-o", "json"])
    prefill = next(r["avg_ts"] for r in out if r["n_prompt"] and not r["n_gen"])
    decode = next(r["avg_ts"] for r in out if r["n_gen"] and not r["n_prompt"])
    return {"prefill": prefill, "decode": decode, "raw": out}


def by_turns(programs, count, say=lambda line: print(line, file=sys.stderr)):
    """{name: [run, ...]} of programs {name: run}, each of which goes first in every other round."""
    runs = {name: [] for name in programs}
    for i in range(count):
        for name in (list, reversed)[i % 2](programs):
            runs[name].append(programs[name]())
        say(f"run {i + 1} of {count}: "
            + ", ".join(f"{name} prefill {r[-1]['prefill']:.0f} decode {r[-1]['decode']:.0f}" for name, r in runs.items()))
    return runs


def spread(values):
    return f"{statistics.median(values):9.1f}  ({min(values):.1f} to {max(values):.1f})"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linnet", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--model", required=True, help="GGUF file (default: the demo's model)")
    parser.add_argument("--runs", type=int, default=7, help="alternations (default 7; fewer are a check, not a result)")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="write every run's figures to this file")
    args = parser.parse_args(argv)
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    args.model = os.path.abspath(args.model)
    return args


def main(argv):
    args = parse(argv)
    runs = by_turns({"linnet": lambda: linnet(args), "llama.cpp": lambda: llama_cpp(args)}, args.runs)

    print(f"{os.path.basename(args.model)}, {args.threads} threads, medians of {args.runs} alternating runs, tokens per second")
    for what, tokens in (("prefill", args.prompt_tokens), ("decode", args.gen_tokens)):
        ours = [r[what] for r in runs["linnet"]]
        theirs = [r[what] for r in runs["llama.cpp"]]
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"  {what:8}{tokens:5}   Linnet {spread(ours)}   llama.cpp {spread(theirs)}   ratio {ratio:.2f}")
    raw = runs["linnet"][-1]["raw"]
    print("  " + ", ".join(f"{k} {raw[k]}" for k in raw if k not in ("prefill_tokens_per_s", "decode_tokens_per_s")))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(runs, f, indent=1)


if __name__ == "__main__":
    if "--suite" in sys.argv:
        sys.exit(suite.main([a for a in sys.argv[1:] if a != "--suite"]))
    main(sys.argv[1:])
