#!/usr/bin/env python3
"""Makes the seed inputs of gguf_fuzz and tokenizer_fuzz in tests/fuzz/corpus: the same files each time.

    python3 tests/fuzz/make_gguf_corpus.py
"""

import pathlib
import random
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def entry(key, kind, value):
    body = text(value) if kind == STRING else value if kind == ARRAY else struct.pack("<" + PACK[kind], value)
    return text(key) + struct.pack("<I", kind) + body


def array(kind, values):
    body = b"".join(text(v) if kind == STRING else struct.pack("<" + PACK[kind], v) for v in values)
    return struct.pack("<IQ", kind, len(values)) + body


def tensor(name, dims, kind, offset):
    return text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)


def gguf(entries, tensors=(), data=b"", version=3, counts=None):
    n_tensors, n_entries = counts or (len(tensors), len(entries))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_entries) + b"".join(entries) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data if data else head


def tiny(version=3):
    entries = [entry("general.architecture", STRING, "llama"), entry("general.alignment", U32, 32)]
    entries += [entry(f"value.{kind}", kind, 1) for kind in PACK]
    entries += [entry(f"array.{kind}", ARRAY, array(kind, [0, 1, 1])) for kind in PACK]
    entries += [entry("strings", ARRAY, array(STRING, ["a", "", "\u00e9"])), entry("none", ARRAY, array(F32, []))]
    return gguf(entries, [tensor("f32", [4, 2], 0, 0), tensor("q4_1", [32], 3, 32), tensor("q6_k", [256, 1, 1, 1], 14, 64)],
                bytes(64 + 210), version)


def vocabulary(tokens, merges, types=None, pre="smollm", model="gpt2", scores=None, **ids):
    entries = [entry("tokenizer.ggml.model", STRING, model), entry("tokenizer.ggml.pre", STRING, pre),
               entry("tokenizer.ggml.tokens", ARRAY, array(STRING, tokens)),
               entry("tokenizer.ggml.merges", ARRAY, array(STRING, merges))]
    if types:
        entries.append(entry("tokenizer.ggml.token_type", ARRAY, array(I32, types)))
    if scores:
        entries.append(entry("tokenizer.ggml.scores", ARRAY, array(F32, scores)))
    entries += [entry(f"tokenizer.ggml.{key}", U32, value) for key, value in ids.items()]
    return gguf(entries)


def write(folder, name, content):
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    (CORPUS / folder / name).write_bytes(content)


def make_gguf():
    good = tiny()
    write("gguf_fuzz", "valid_v3", good)
    write("gguf_fuzz", "valid_v2", tiny(2))
    write("gguf_fuzz", "version_1", tiny(1))
    write("gguf_fuzz", "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    write("gguf_fuzz", "empty", b"")
    write("gguf_fuzz", "no_content", gguf([]))
    write("gguf_fuzz", "zip", b"PK\x03\x04" + bytes(64))
    for n in (3, 4, 8, 16, 24, 31, 60, 200, 500, len(good) - 211, len(good) - 1):
        write("gguf_fuzz", f"cut_{n:04}", good[:n])
    rng = random.Random(1)
    for i in range(16):
        flipped = bytearray(good)
        for _ in range(1 + i // 8):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        write("gguf_fuzz", f"flip_{i:02}", bytes(flipped))

    huge = 2**64 - 1
    for name, n in (("max", huge), ("half", 2**63), ("large", 2**32), ("some", 65536)):
        write("gguf_fuzz", f"hostile_tensor_count_{name}", gguf([], counts=(n, 0)))
        write("gguf_fuzz", f"hostile_entry_count_{name}", gguf([], counts=(0, n)))
        write("gguf_fuzz", f"hostile_key_length_{name}", gguf([struct.pack("<Q", n)], counts=(0, 1)))
        write("gguf_fuzz", f"hostile_string_length_{name}", gguf([text("k") + struct.pack("<IQ", STRING, n)], counts=(0, 1)))
        for kind in (U8, BOOL, STRING, U64, ARRAY):
            write("gguf_fuzz", f"hostile_array_{kind}_{name}",
                  gguf([text("k") + struct.pack("<IIQ", ARRAY, kind, n)], counts=(0, 1)))
        write("gguf_fuzz", f"hostile_dim_{name}", gguf([], [tensor("t", [n, n], 0, 0)], bytes(64)))
        write("gguf_fuzz", f"hostile_offset_{name}", gguf([], [tensor("t", [8], 0, n // 32 * 32)], bytes(64)))
    nested = array(ARRAY, []) * 40
    write("gguf_fuzz", "hostile_nested_array", gguf([text("k") + struct.pack("<I", ARRAY) + nested], counts=(0, 1)))
    write("gguf_fuzz", "hostile_alignment", gguf([entry("general.alignment", U32, 0)], [tensor("t", [8], 0, 0)], bytes(64)))
    write("gguf_fuzz", "hostile_overlap", gguf([], [tensor("a", [9], 0, 0), tensor("b", [8], 0, 32)], bytes(96)))
    write("gguf_fuzz", "hostile_same_key", gguf([entry("k", U8, 1), entry("k", U8, 2)]))
    write("gguf_fuzz", "hostile_type", gguf([], [tensor("t", [256], 10, 0)], bytes(128)))
    write("gguf_fuzz", "hostile_dims_count", gguf([], [text("t") + struct.pack("<I", 2**31)]))


def make_tokenizer():
    texts = {
        "english": "The quick brown fox can't jump over the 12 lazy dogs. stop",
        "spaces": "  a   b \n\n\t c  \r\n",
        "scripts": "\u4f60\u597d \u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \U0001f600\u200d\u2764\ufe0f 123\u0661\u00bd",
        "special": "<|end|> <tool><|end<|end|>|> <|im_end|>",
        "repeats": "a" * 300 + "1" * 100 + " " * 100,
        "broken": b"a\x80\xff\xe2\x82 \xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xf0\x9f",
        "stop": "sstostopstop s t o p",
    }
    for name, content in texts.items():
        content = content if isinstance(content, bytes) else content.encode()
        for first in (0, 3, 4, 9, 12):  # which tokenizer; 8 and up: special tokens are parsed
            write("tokenizer_fuzz", f"{name}_{first}", bytes([first]) + content)
    tokens = ["a", "b", "ab", "<|im_end|>", "\u0120"]
    write("tokenizer_fuzz", "vocabulary", vocabulary(tokens, ["a b"], [1, 1, 1, 3, 1], eos_token_id=3, bos_token_id=3))
    write("tokenizer_fuzz", "vocabulary_llama", vocabulary(tokens, ["a b"], pre="llama-bpe"))
    write("tokenizer_fuzz", "vocabulary_duplicate", vocabulary(["a", "a"], []))
    write("tokenizer_fuzz", "vocabulary_merge", vocabulary(tokens, ["a a", "ab", " ", "a "]))
    write("tokenizer_fuzz", "vocabulary_id", vocabulary(tokens, ["a b"], eos_token_id=5))
    write("tokenizer_fuzz", "vocabulary_types", vocabulary(tokens, ["a b"], [1, 2]))
    write("tokenizer_fuzz", "vocabulary_spm", vocabulary(tokens, [], model="llama"))
    pieces = ["<unk>", "<s>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581ab"]
    kinds, scores = [2, 3, 6, 1, 1, 1, 1, 1], [0, 0, 0, -1, -2, -3, -0.5, -4]
    write("tokenizer_fuzz", "vocabulary_pieces", vocabulary(pieces, [], kinds, model="llama", scores=scores, bos_token_id=1))
    write("tokenizer_fuzz", "vocabulary_scores", vocabulary(pieces, [], kinds, model="llama", scores=scores[1:]))
    write("tokenizer_fuzz", "vocabulary_nan", vocabulary(pieces, [], kinds, model="llama", scores=[float("nan")] * 8))
    write("tokenizer_fuzz", "vocabulary_bytes", vocabulary([b"\xff\xfe", b"", b"\xc4"], []))


if __name__ == "__main__":
    make_gguf()
    make_tokenizer()
