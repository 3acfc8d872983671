#!/usr/bin/env python3
"""What quantization costs: Linnet's quantizer beside llama.cpp's, on the same model, formats and texts.

    tools/dev shell python3 tests/peers/quantize_quality.py [--formats q4_0,q4_k_m] [--text FILE ...] [--calibration FILE]

The model's f16 file (made with Linnet's own quantizer where the model is quantized) is the original. Both programs make
each format of it; `linnet score --reference` (dequantized weights, f32 throughout) then gives perplexity and, per token,
how far the log-probability moved from the original's; llama.cpp's own reading of Linnet's file is checked with its
perplexity program. Printed as a Markdown table.
"""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
DEV = str(CHECKOUT / "tools" / "dev")
MODEL = pathlib.Path(os.environ.get("LINNET_TEST_MODEL",
                                    pathlib.Path.home() / ".cache/linnet/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
TEXTS = [CHECKOUT / "tests/golden/text_ordinary.txt"]
FORMATS = ["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]


def run(command):
    command = [str(c) for c in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"quantize_quality: {' '.join(command)} ended with {done.returncode}:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    return done


def score(args, model):
    """Log-probabilities of all texts, one after another."""
    logprobs = []
    for text in args.text:
        command = [args.linnet, "score", "--model", model, "--text-file", text, "-o", "json"]
        logprobs += json.loads(run(command + ([] if args.fast else ["--reference"])).stdout)["logprobs"]
    return logprobs


def perplexity(logprobs):
    return math.exp(-sum(logprobs) / len(logprobs))


def llama_perplexity(args, model):
    """llama.cpp's perplexity of the first text, over its own chunks."""
    done = run([DEV, "peers", "llama-perplexity", "-m", model, "-f", args.text[0], "-c", "512", "-t", args.threads])
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr).group(1))


def make_ours(args, original, out, fmt, calibration):
    command = [args.linnet, "variant", "quantize", original, "--to", fmt, "--output-file", out, "--threads", args.threads, "--replace"]
    return run(command + (["--calibration", calibration] if calibration else []))


def make_theirs(args, original, out, fmt, imatrix):
    command = [DEV, "peers", "llama-quantize"]
    run(command + (["--imatrix", imatrix] if imatrix else []) + [original, out, fmt.upper(), args.threads])


def measure(args, original, base, folder, maker, name, fmt, calibration):
    out = folder / f"{name}.{fmt}.gguf"
    start = time.monotonic()
    maker(args, original, out, fmt, calibration)
    seconds = time.monotonic() - start
    logprobs = score(args, out)
    moved = [a - b for a, b in zip(logprobs, base)]
    row = {
        "quantizer": name, "format": fmt, "bytes": out.stat().st_size, "seconds": seconds, "perplexity": perplexity(logprobs),
        "mean_abs_delta": sum(map(abs, moved)) / len(moved),
        "rms_delta": math.sqrt(sum(m * m for m in moved) / len(moved)),
    }
    if args.llama_perplexity:
        row["llama_perplexity"] = llama_perplexity(args, out)
    if not args.keep:
        out.unlink()
    print(f"{name} {fmt}: {row}", file=sys.stderr)
    return row


def table(rows, base_perplexity):
    lines = ["| format | quantizer | size | perplexity | against f16 | mean abs. Δ log-probability | RMS | seconds |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        change = 100 * (row["perplexity"] / base_perplexity - 1)
        lines.append(f"| {row['format']} | {row['quantizer']} | {row['bytes'] / 1e6:.1f} MB | {row['perplexity']:.4f} | "
                     f"{change:+.2f} % | {row['mean_abs_delta']:.4f} | {row['rms_delta']:.4f} | {row['seconds']:.1f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linnet", default=CHECKOUT / "build/release/bin/linnet", help="the program to measure")
    parser.add_argument("--model", default=MODEL, type=pathlib.Path, help="GGUF file of the original (default: the demo's model)")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--text", action="append", type=pathlib.Path, help="text to score (default: the golden one); may be repeated")
    parser.add_argument("--calibration", type=pathlib.Path, help="also quantize with activations of this text, on both sides")
    parser.add_argument("--only", choices=["linnet", "llama.cpp"], help="one side only")
    parser.add_argument("--fast", action="store_true", help="score with the fast kernels instead of the reference")
    parser.add_argument("--llama-perplexity", action="store_true", help="have llama.cpp read every file too")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--keep", type=pathlib.Path, help="folder to keep the files in")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here")
    args = parser.parse_args()
    args.text = args.text or TEXTS

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        original = folder / "original.f16.gguf"
        if not original.exists():
            run([args.linnet, "variant", "quantize", args.model, "--to", "f16", "--allow-requantize", "--output-file", original])
        base = score(args, original)
        print(f"original: perplexity {perplexity(base):.4f} over {len(base)} tokens", file=sys.stderr)
        imatrix = None
        if args.calibration and args.only != "linnet":
            imatrix = folder / "imatrix.gguf"
            run([DEV, "peers", "llama-imatrix", "-m", original, "-f", args.calibration, "-o", imatrix, "-c", "512", "-t", args.threads])
        rows = []
        for fmt in args.formats.split(","):
            for name, maker, calibration in (("linnet", make_ours, args.calibration), ("llama.cpp", make_theirs, imatrix)):
                if args.only and args.only != name:
                    continue
                rows.append(measure(args, original, base, folder, maker, name, fmt, None))
                if args.calibration:
                    rows.append(measure(args, original, base, folder, maker, name, fmt, calibration))
                    rows[-1]["quantizer"] += ", calibrated"
        print(f"{args.model.name}: f16 perplexity {perplexity(base):.4f} over {len(base)} tokens\n\n{table(rows, perplexity(base))}")
        if args.json:
            args.json.write_text(json.dumps({"model": args.model.name, "perplexity": perplexity(base), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
