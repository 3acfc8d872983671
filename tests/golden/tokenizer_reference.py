#!/usr/bin/env python3
"""What others make of many texts, for compare_tokenizers.py; runs where they are installed:

    tools/dev peers python3 tests/golden/tokenizer_reference.py FOLDER LINES NAME ...
    tools/dev peers python3 tests/golden/tokenizer_reference.py --list
    tools/dev peers python3 tests/golden/tokenizer_reference.py --golden

Writes the lines of tokenizer_corpus.py to FOLDER/plain.texts, and every fourth to FOLDER/special.texts. For each NAME it
trains a small tokenizer (tokenizer_families.py), and prints NAME once a folder of that name is whole: the tokenizer as
Linnet reads it (`tokenizer.gguf` or `tokenizer.model`), `plain` and `special` (ids and decoded texts by Hugging Face
tokenizers, SentencePiece or llama.cpp, in the format of tests/tokenizers/main.cc), and `about.json`. --golden writes
what the unit tests compare with, next to this script.
"""

import base64
import json
import pathlib
import struct
import sys

import gguf
import sentencepiece
import tokenizers

import make_tokenizer
import tokenizer_corpus
import tokenizer_families as families

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = ["phi3", "mistral", "gemma", "bloom", "gpt-4o", "behaviours", "words with suffix"]


def pack(rows):
    """Each row: ids and a text, or a text alone."""
    out = bytearray()
    for row in rows:
        ids, text = row if isinstance(row, tuple) else (None, row)
        if ids is not None:
            out += struct.pack(f"<I{len(ids)}i", len(ids), *ids)
        data = text.encode()
        out += struct.pack("<I", len(data)) + data
    return bytes(out)


def write_gguf(path, tokenizer):
    """tokenizer.json in a GGUF file, with nothing else."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.huggingface.json", tokenizer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def hugging_face(tokenizer, texts, special):
    """[(ids, decoded text)]. Decoded behind another token: what a decoder does to the first, a stream does not do."""
    tokenizer.encode_special_tokens = True
    before = tokenizer.encode("a", add_special_tokens=False).ids[-1]
    behind = len(tokenizer.decode([before]))
    tokenizer.encode_special_tokens = not special
    rows = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=special)]
    return [(ids, tokenizer.decode([before] + ids, skip_special_tokens=True)[behind:]) for ids in rows]


def control_tokens(tokenizer):
    return sorted(i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special and t.content != "<unk>")


def reference_hf(name, folder, texts, training):
    tokenizer = families.FAMILIES[name](training)
    write_gguf(folder / "tokenizer.gguf", tokenizer.to_str())
    (folder / "plain").write_bytes(pack(hugging_face(tokenizer, texts, False)))
    (folder / "special").write_bytes(pack(hugging_face(tokenizer, texts[::4], True)))
    return {"by": f"Hugging Face tokenizers {tokenizers.__version__}", "control": control_tokens(tokenizer), "decodes": True}


def reference_spm(name, folder, texts, training):
    model = families.spm(training, **families.SENTENCEPIECE[name])
    (folder / "tokenizer.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    (folder / "plain").write_bytes(pack([(ids, "") for ids in processor.encode(texts)]))
    return {"by": f"SentencePiece {sentencepiece.__version__}", "user_defined": "<tool>"}


def vocabulary_gguf(path, tokenizer, pre):
    content = json.loads(tokenizer.to_str())["model"]
    tokens = [t for t, _ in sorted(content["vocab"].items(), key=lambda item: item[1])]

    def add_tokenizer(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in content["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)

    make_tokenizer.write_model(str(path), tokens, add_tokenizer)


def reference_gguf(name, folder, texts, training):
    tokenizer = families.train_bpe(training, families.byte_level(), vocab_size=4000)
    path = folder / "tokenizer.gguf"
    vocabulary_gguf(path, tokenizer, name)
    other = families.GGUF_PRE[name]
    if other == "llama.cpp":
        llama = make_tokenizer.LlamaCpp(str(path))
        rows = [llama.ids(text, False, False) for text in texts]
        llama.free()
    else:
        own = families.Tokenizer.from_str(tokenizer.to_str())
        own.pre_tokenizer = families.sequence(*map(families.split, other), families.byte_level(False))
        if name == "tekken":
            own = families.edited(own, lambda content: content["model"].update(ignore_merges=True))
        rows = [e.ids for e in own.encode_batch(texts, add_special_tokens=False)]
    (folder / "plain").write_bytes(pack([(ids, "") for ids in rows]))
    return {"by": "llama.cpp" if other == "llama.cpp" else f"Hugging Face tokenizers {tokenizers.__version__}"}


KINDS = {"hf": (families.FAMILIES, reference_hf), "spm": (families.SENTENCEPIECE, reference_spm),
         "gguf": (families.GGUF_PRE, reference_gguf)}


def reference(folder, lines, names):
    texts = tokenizer_corpus.corpus(lines)
    training = tokenizer_corpus.training()
    (folder / "plain.texts").write_bytes(pack(texts))
    (folder / "special.texts").write_bytes(pack(texts[::4]))
    for name in names:
        kind, own_name = name.split(":", 1)
        (folder / name).mkdir()
        about = KINDS[kind][1](own_name, folder / name, texts, training)
        (folder / name / "about.json").write_text(json.dumps(about))
        print(name, flush=True)


def golden():
    families.VOCABULARY, families.ALPHABET = 400, 70
    ordinary = (HERE / "text_ordinary.txt").read_text().splitlines(keepends=True)
    texts = [t for name, t in make_tokenizer.TEXTS.items() if isinstance(t, str) and len(t) < 80][::3]
    texts += ["<s>a</s> b<tool>  c<|end|>  d", " DAY DAYS <l>  <r>  x", "e\u0301\u0323 \ufb01 \uff21 \u0130\u0131",
              "\u2581\u2581a \u2581", "\n\n\n", "a  b   c", "'\u017f IT'S", "1234567 \u0661\u0662\u00b2"]
    training = ordinary + 5 * texts
    out = []
    for name in GOLDEN:
        tokenizer = families.FAMILIES[name](training)
        plain, special = (hugging_face(tokenizer, texts, special) for special in (False, True))
        control = set(control_tokens(tokenizer))
        assert not any(control & set(ids) for ids, _ in plain), name
        out.append({"name": name, "tokenizer": json.loads(tokenizer.to_str()), "plain": [ids for ids, _ in plain],
                    "special": [ids for ids, _ in special], "decoded": [text for _, text in plain]})
    make_tokenizer.write("tokenizer_families.json", {"ids_by": f"Hugging Face tokenizers {tokenizers.__version__}",
                                                     "texts": texts, "families": out})
    models = []
    rules = "0041\t0061\nFB01\t0066 0069\n00A0\t0020\n200B\t\n0065 0301\t00E9\n"  # A, fi, spaces, composition
    rules_path = pathlib.Path("/tmp/linnet_golden_rules.tsv")
    rules_path.write_text(rules)
    for name, options in {"bpe": dict(model_type="bpe", byte_fallback=True), "unigram": dict(model_type="unigram")}.items():
        model = families.spm(ordinary * 3, vocab_size=400, character_coverage=0.999, normalization_rule_tsv=str(rules_path),
                             **options)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        models.append({"name": name, "base64": base64.b64encode(model).decode(), "plain": processor.encode(texts)})
    rules_path.unlink()
    make_tokenizer.write("tokenizer_sentencepiece_models.json",
                         {"ids_by": f"SentencePiece {sentencepiece.__version__}", "texts": texts, "models": models})


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(f"{kind}:{name}" for kind, (names, _) in KINDS.items() for name in names))
    elif sys.argv[1:] == ["--golden"]:
        golden()
    elif len(sys.argv) > 3:
        reference(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
