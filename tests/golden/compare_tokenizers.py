#!/usr/bin/env python3
"""Compares Linnet's tokenizers with those that models were trained with, on many texts and in every family's shape:

    tools/dev build release linnet_tokenize_texts
    tools/dev shell python3 tests/golden/compare_tokenizers.py [--lines N] [--only NAME ...]

tokenizer_reference.py trains a small tokenizer and asks Hugging Face tokenizers, SentencePiece or llama.cpp for ids and
decoded texts; Linnet gets the same tokenizer in a GGUF file (tokenizer.json whole, or GGUF's own metadata) or as
SentencePiece's tokenizer.model. Prints what differs and a line for each; exits with 1 if anything differed.
"""

import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
PROGRAM = CHECKOUT / "build/release/bin/linnet_tokenize_texts"
SHOWN = 5


def reference(*arguments):
    command = [CHECKOUT / "tools/dev", "peers", "python3", "-B", HERE / "tokenizer_reference.py", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def unpack(path, with_ids=True):
    data, at, rows = path.read_bytes(), 0, []
    while at < len(data):
        ids = ()
        if with_ids:
            (n,) = struct.unpack_from("<I", data, at)
            ids = struct.unpack_from(f"<{n}i", data, at + 4)
            at += 4 + 4 * n
        (n,) = struct.unpack_from("<I", data, at)
        rows.append((ids, data[at + 4:at + 4 + n].decode()))
        at += 4 + n
    return rows


def as_it_should(about, what, text, ours, theirs):
    """Differences that are meant: plain text never becomes a control token here, the unknown one included; as with
    llama.cpp user-defined tokens are cut out first, so that no space comes before one; and of bytes that are no
    character, only those become U+FFFD, not all bytes around them."""
    (a, a_text), (b, b_text) = ours, theirs
    if a == b:
        return "<0x" in text and a_text.count("\ufffd") < b_text.count("\ufffd")
    if what != "plain":
        return False
    control = set(about.get("control", []))
    return (control & set(b) and not control & set(a)) or "<unk>" in text or about.get("user_defined", text + "x") in text


def compare(name, what, about, texts, ours, theirs):
    """Number of lines that differ."""
    assert len(ours) == len(theirs) == len(texts), (len(ours), len(theirs), len(texts))
    differing = meant = 0
    for (_, text), mine, other in zip(texts, ours, theirs):
        (a, a_text), (b, b_text) = mine, other
        if a == b and (a_text == b_text or not about.get("decodes")):
            continue
        if as_it_should(about, what, text, mine, other):
            meant += 1
            continue
        differing += 1
        if differing <= SHOWN:
            print(f"  {name}, {what}: {text!r}\n    linnet {a if a != b else repr(a_text)}\n    other  {b if a != b else repr(b_text)}")
    print(f"{name}, {what}: {len(texts)} lines, {differing} differ" + (f", {meant} as they should" if meant else ""), flush=True)
    return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", default=None, help="names, as tokenizer_reference.py --list has them")
    args = parser.parse_args()
    names = [n for n in reference("--list").communicate()[0].splitlines() if args.only is None or n in args.only]
    compared = differing = 0
    failed = []
    with tempfile.TemporaryDirectory(dir=CHECKOUT / "build") as made:
        folder = pathlib.Path(made)
        process = reference(folder, str(args.lines), *names)
        for name in map(str.strip, process.stdout):
            about = json.loads((folder / name / "about.json").read_text())
            tokenizer = next((folder / name).glob("tokenizer.*"))
            for what in ("plain", "special"):
                expected, texts = folder / name / what, folder / f"{what}.texts"
                if not expected.exists():
                    continue
                run = subprocess.run([PROGRAM, tokenizer, texts, folder / "out"] + ["--special"] * (what == "special"),
                                     capture_output=True, text=True)
                if run.returncode != 0:
                    print(f"{name}: {run.stderr.strip()}", flush=True)
                    failed.append(name)
                    break
                texts = unpack(texts, with_ids=False)
                compared += len(texts)
                differing += compare(name, what, about, texts, unpack(folder / "out"), unpack(expected))
            shutil.rmtree(folder / name)
        failed += [] if process.wait() == 0 else ["the reference"]
    print(f"{len(names)} tokenizers, {compared} lines compared, {differing} differ" + (f"; failed: {failed}" if failed else ""))
    return 1 if differing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
