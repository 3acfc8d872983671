#!/usr/bin/env python3
"""Hugging Face folders of all families, converted by Linnet and by llama.cpp. checkpoints.sh runs these parts in order:

    make OUT      saves each tiny model in f32, f16 and bf16, and what Transformers computes from it
    convert OUT   `linnet model convert` and `linnet score` on each folder
    compare OUT   with Transformers, with the committed GGUF files, with llama.cpp's converter and its programs
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
CONVERTER = pathlib.Path("/usr/share/doc/llama.cpp-tools/scripts/convert_hf_to_gguf.py")
CONVERTER_MODULES = pathlib.Path("/usr/share/llama.cpp/llama.cpp-tools")
TYPES = ("f32", "f16", "bf16")
LENGTHS = (7, 64, 200, 264)  # of what is scored: so many of the first tokens
TOLERANCE = 2e-3  # of log-probabilities, with the same weights in f32
TOLERANCE_FAST = 6e-2  # f16 keys and values, where attention is far from uniform
TEXT = "The ring at the sea: 1234 is not thaw, isn't it?"

# Models that a folder cannot describe with the numbers that the committed ones have.
OTHERWISE = {"mobillama": {"num_key_value_heads": 4},  # as many as query heads, whatever the folder says
             "openlm": {"intermediate_size": 256},  # the least that the family's rule gives
             "qwen_long": {"logn_beyond": 60}}      # one length for both
# Keys of committed models that a folder's states otherwise: longer contexts are what such scaling is for.
DIFFERS = {"llama_dynamic": ("llama.context_length",)}
# Architectures that llama.cpp does not have, and models whose RoPE it does not.
UNKNOWN_TO_LLAMA_CPP = ("mobilellm", "mobillama", "openlm", "opt", "pangu_pi", "recurrentgemma", "llama_dynamic", "qwen_long")
# Keys that llama.cpp's converter writes whatever the folder says, since published models of the family have them.
ELSEWHERE = {
    "gemma": ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.add_space_prefix"),
    "gemma2": ("tokenizer.ggml.add_space_prefix",),
    "nemotron": ("nemotron.attention.layer_norm_rms_epsilon",  # it has no RMS norm
                 "nemotron.rope.scaling.type",                 # none, which is what no key says
                 "tokenizer.ggml.unknown_token_id"),
    "phi2": ("phi2.feed_forward_length",),         # four times the width
    "qwen": ("qwen.attention.layer_norm_epsilon",)}  # it has no LayerNorm


def families(only, seed):
    """(name, model, seed) of each; those of seed 1 are the committed ones."""
    sys.path.insert(0, str(GOLDEN))
    import make_tiny_models as tiny_models
    for i, family in enumerate(tiny_models.FAMILIES + tiny_models.MORE):
        name = family.__name__
        if not only or name in only:
            yield name, lambda: family(**OTHERWISE.get(name, {})), 1000 * seed + i


def make(out, only, seed):
    import numpy as np
    import torch
    sys.path.insert(0, str(GOLDEN))
    import make_tiny_models as tiny_models
    import tiny_checkpoints
    torch.set_num_threads(1)
    casts = {"f32": lambda t: t.float(), "f16": lambda t: t.half(), "bf16": lambda t: t.bfloat16()}
    for name, model, model_seed in families(only, seed):
        for i, kind in enumerate(TYPES):
            tiny = model()
            ids = tiny_models.fill(tiny, model_seed)
            folder = out / name / kind
            tiny_checkpoints.save(tiny, folder, casts[kind], shards=1 + i, old=kind == "f16")
            with torch.no_grad():
                for p in tiny.model.parameters():
                    p.copy_(casts[kind](p).float())
            for n in LENGTHS:
                scores = tiny_models.logits_of(tiny.model, ids[:, :n]).log_softmax(-1)
                logprobs = scores[torch.arange(n - 1), ids[0, 1:n]]
                (folder.parent / f"{kind}.{n}.tokens.json").write_text(json.dumps(ids[0, :n].tolist()))
                np.save(folder.parent / f"{kind}.{n}.npy", logprobs.numpy())
        print(f"{name}: saved", flush=True)


def run(command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def convert(out, only, _seed):
    binary = pathlib.Path(os.environ.get("LINNET_BIN", "build/release/bin")) / "linnet"
    (out / "text.txt").write_text(TEXT)
    for folder in sorted(p for p in out.glob("*/*") if p.is_dir() and (not only or p.parent.name in only)):
        made = folder.with_suffix(".gguf")
        report = json.loads(run([binary, "model", "convert", folder, "--out", made, "--replace", "-o", "json"]))
        folder.with_suffix(".report.json").write_text(json.dumps(report))
        for n in LENGTHS:
            tokens = ("--tokens-file", folder.with_suffix(f".{n}.tokens.json"), "-o", "json")
            for name, flags in (("reference", ["--reference"]), ("fast", [])):
                folder.with_suffix(f".{n}.{name}.json").write_text(run([binary, "score", "--model", made, *flags, *tokens]))
        folder.with_suffix(".ids.json").write_text(
            run([binary, "tokenize", "--model", made, "--text-file", out / "text.txt", "-o", "json"]))


def gguf_content(path):
    import gguf
    import numpy as np
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    tensors = {}
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        tensors[tensor.name] = (tensor.tensor_type.name, np.asarray(data, dtype=np.float32).reshape(tensor.shape.tolist()[::-1]))
    return keys, tensors


def be_llama_cpps_converter(folder, made, pre):
    """As its own script does, but for the tokenizer: its name comes from a table of published models, and the families
    whose models have SentencePiece's get the byte-level one that all of these have."""
    from conversion.base import ModelBase, TextModel
    from conversion.phi import Phi3MiniModel
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    TextModel._set_vocab_sentencepiece = TextModel._set_vocab_qwen = Phi3MiniModel.set_vocab = TextModel._set_vocab_gpt2
    # Transformers' newest release renames what the converter asks for.
    load = ModelBase.load_hparams
    ModelBase.load_hparams = staticmethod(lambda folder, *more, **named: {
        **load(folder, *more, **named), **json.loads((pathlib.Path(folder) / "config.json").read_text())})
    sys.argv = ["convert", str(folder), "--outfile", str(made), "--outtype", folder.name]
    exec(compile(CONVERTER.read_text(), CONVERTER.name, "exec"), {"__name__": "__main__", "__file__": str(CONVERTER)})


def convert_by_llama_cpp(folder, made, pre):
    """In a process of its own that has its modules already. None, or why it failed."""
    sys.path.insert(1, str(CONVERTER_MODULES))
    import conversion.base  # noqa: F401
    import transformers
    transformers.PreTrainedConfig.max_position_embeddings = 512  # of models whose configuration it does not know
    log = made.with_suffix(".log")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            with open(log, "w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            be_llama_cpps_converter(folder, made, pre)
            ended = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(ended)
    if os.waitpid(child, 0)[1] == 0:
        return None
    return log.read_text().strip().splitlines()[-1]


class Report:
    def __init__(self):
        self.failed = 0

    def check(self, where, good, what):
        if not good:
            self.failed += 1
            print(f"FAILED {where}: {what}", flush=True)


def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= 1e-6 * max(abs(a), abs(b))
    return a == b


def compare_keys(report, where, ours, theirs, known):
    for key, value in theirs.items():
        if key in known or key.startswith("general."):
            continue
        got = ours.get(key, "(missing)")
        report.check(where, key in ours and same(got, value), f"{key} is {str(got)[:60]}, there {str(value)[:60]}")


def compare_tensors(report, where, ours, theirs, types, loose=()):
    import numpy as np
    report.check(where, ours.keys() == theirs.keys(), f"tensors {sorted(ours.keys() ^ theirs.keys())}")
    for name in ours.keys() & theirs.keys():
        (our_type, a), (their_type, b) = ours[name], theirs[name]
        report.check(where, not types or our_type == their_type, f"{name} is {our_type}, there {their_type}")
        # Divisors are computed here and there; 1 + w of f16 norms is rounded to f16 there, and not here.
        tolerance = 1e-6 if name == "rope_freqs.weight" else 1e-3 if name.endswith(loose) else 0
        good = a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=0)
        report.check(where, good, f"{name} has other values")


def compare_with_committed(report, name, keys, tensors):
    committed_keys, committed_tensors = gguf_content(GOLDEN / f"tiny/{name}.gguf")
    where = f"{name} f32, committed"
    compare_keys(report, where, keys, committed_keys, DIFFERS.get(name, ()))
    compare_tensors(report, where, tensors, committed_tensors, types=False)


def compare_with_llama_cpp(report, folder, arch, keys, tensors):
    """Returns what its converter and its program make of the folder, in words."""
    kind = folder.name
    theirs = folder.parent / f"{kind}.llama.gguf"
    error = convert_by_llama_cpp(folder, theirs, keys["tokenizer.ggml.pre"])
    if error is None:
        where = f"{folder.parent.name} {kind}, llama.cpp"
        their_keys, their_tensors = gguf_content(theirs)
        compare_keys(report, where, keys, their_keys, ELSEWHERE.get(arch, ()))
        compare_tensors(report, where, tensors, their_tensors, types=True, loose=("norm.weight",) if kind == "f16" else ())
    answer = run(["llama-completion", "-m", folder.with_suffix(".gguf"), "-p", TEXT, "-n", "8", "--temp", "0", "-no-cnv",
                  "-t", "1", "-c", "256"])
    return f"llama.cpp's converter: {error or 'the same'}; llama.cpp goes on with {answer[len(TEXT):][:40]!r}"


def compare(out, only, seed):
    import numpy as np
    from tokenizers import Tokenizer
    report = Report()
    for folder in sorted(p for p in out.glob("*/*") if p.is_dir() and (not only or p.parent.name in only)):
        name, kind = folder.parent.name, folder.name
        where = f"{name} {kind}"
        keys, tensors = gguf_content(folder.with_suffix(".gguf"))
        deviations = {}
        for precision, tolerance in (("reference", TOLERANCE), ("fast", TOLERANCE_FAST)):
            for n in LENGTHS:
                scored = json.loads(folder.with_suffix(f".{n}.{precision}.json").read_text())["logprobs"]
                deviation = float(np.abs(np.array(scored) - np.load(folder.with_suffix(f".{n}.npy"))).max())
                deviations[precision] = max(deviation, deviations.get(precision, 0.0))
                report.check(where, deviation <= tolerance,
                             f"log-probabilities of {n} tokens differ by {deviation:.2g} ({precision})")
        if kind == "f32" and name not in OTHERWISE and seed == 1:
            compare_with_committed(report, name, keys, tensors)
        ids = json.loads(folder.with_suffix(".ids.json").read_text())["tokens"]
        report.check(where, ids == Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids, f"token ids {ids}")
        arch = keys["general.architecture"]
        unknown = arch in UNKNOWN_TO_LLAMA_CPP or name in UNKNOWN_TO_LLAMA_CPP
        beside = "" if unknown else "; " + compare_with_llama_cpp(report, folder, arch, keys, tensors)
        print(f"{where}: Transformers within {deviations['reference']:.1e} ({deviations['fast']:.1e} fast){beside}", flush=True)
    print(f"{report.failed} differences", flush=True)
    return report.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("make", "convert", "compare"))
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these families instead of all")
    parser.add_argument("--seed", type=int, default=1, help="of weights and tokens, the same for all parts (1: the committed ones)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = {"make": make, "convert": convert, "compare": compare}[options.part](options.out, options.only, options.seed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
