#!/usr/bin/env python3
"""Makes what the tokenizer tests compare with, next to this script:

    tools/dev peers python3 tests/golden/make_tokenizer.py MODEL.gguf

  tokenizer_smollm2.json                       token ids by llama.cpp on SmolLM2-135M-Instruct, through libllama
  tokenizer_{smollm,qwen2,llama_bpe}.json      vocabularies trained here, with token ids by Hugging Face tokenizers
  tokenizer_sentencepiece.json                 SentencePiece's BPE, trained here, with token ids by llama.cpp and SentencePiece
"""

import ctypes
import io
import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import sentencepiece
import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent

# name -> text; bytes where it is no UTF-8.
TEXTS = {
    "empty": "",
    "letter": "a",
    "hello": "Hello, world!",
    "pangram": "The quick brown fox jumps over the lazy dog.",
    "paragraph": "Small language models run where the network does not reach. They answer from a shelf in a shop, "
    "a box in a vehicle, or a cabinet beside a machine, and they must do so on the processor that is there.",
    "capitals": "THIS IS NOT A DRILL. PLEASE READ THE MANUAL BEFORE YOU START.",
    "mixed case": "iPhone eBay McDonald LaTeX GitHub JavaScript camelCaseIdentifier PascalCase SCREAMING_SNAKE",
    "contractions": "I'm sure they've said we'll go, but it's not what he'd do; don't you're can't 'tis rock'n'roll",
    "capital contractions": "I'M SURE THEY'VE SAID WE'LL GO, IT'S WHAT HE'D DO, DON'T",
    "quotes": "\"Double\" and 'single' and \u201ccurly\u201d and \u2018curly\u2019 and \u00abguillemets\u00bb it\u2019s",
    "hyphens": "state-of-the-art, well-known \u2013 en dash \u2014 em dash -- double --- triple ----------",
    "url": "See https://example.com/path/to/page.html?query=value&other=1#fragment for more.",
    "email": "Write to someone@example.org, or call +1 (555) 010-9999.",
    "digits": "0 1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890",
    "numbers": "Pi is 3.14159265, c is 299,792,458 m/s, and 1e-9 is small; -40\u00b0 is -40\u00b0.",
    "dates": "2024-02-29T23:59:59.999Z, 31/12/1999, Feb 30th, 12:34 p.m.",
    "digits in words": "abc123def456 h264 mp3 utf8 x86_64 1st 2nd 3rd 4x4 R2D2",
    "other digits": "\u0661\u0662\u0663\u0664 \u0967\u0968\u0969 \u00b2\u00b3\u00b9 \u2167 \u2460\u2461 \u00bd \uff11\uff12\uff13",
    "arithmetic": "(1+2)*3-4/5%6^7 = 8 != 9 <= 10 >= 11 == 12",
    "python": "def fib(n: int) -> int:\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n\n\n"
    "print([fib(i) for i in range(10)])\n",
    "cpp": "#include <vector>\n\nint main() {\n\tstd::vector<int> v{1, 2, 3};\n\tfor (auto& x : v) x *= 2;\n\treturn v[0];\n}\n",
    "json": '{"name": "linnet", "sizes": [1, 2.5, -3e10], "nested": {"ok": true, "none": null}}',
    "html": '<!DOCTYPE html><html><body class="a b"><p>Hi &amp; bye</p><!-- note --></body></html>',
    "sql": "SELECT id, COUNT(*) FROM orders WHERE total >= 9.99 GROUP BY id HAVING COUNT(*) > 1 ORDER BY 2 DESC;",
    "shell": "for f in *.txt; do grep -n 'x' \"$f\" | sed 's/a/b/g' >> out.log 2>&1; done",
    "regex": r"^(?:\d{3}-)?\d{3}-\d{4}$|\p{L}+\s*(?!x)[^\r\n]*",
    "markdown": "# Title\n\n- item one\n- item *two*\n  1. sub `code`\n\n> quote\n\n```sh\nls -la\n```\n| a | b |\n|---|---|\n",
    "latex": r"\frac{\partial f}{\partial x} = \sum_{i=0}^{\infty} a_i x^i \quad \forall x \in \mathbb{R}",
    "indent tabs": "\tone\n\t\ttwo\n\t\t\tthree\n\t \tmixed\n \tmixed",
    "one space": " ",
    "two spaces": "  ",
    "leading space": " leading",
    "leading spaces": "     leading",
    "trailing space": "trailing ",
    "trailing spaces": "trailing     ",
    "spaces between": "a  b   c    d     e      f",
    "long spaces": "x" + " " * 200 + "y",
    "only spaces": " " * 300,
    "newline": "\n",
    "newlines": "\n\n\n\n\n",
    "newlines between": "a\nb\n\nc\n\n\nd\n\n\n\n\n\n\n\ne",
    "crlf": "line one\r\nline two\r\n\r\nline four\r",
    "space and newline": "end of line   \n   next line \n \n  \n last",
    "tabs": "a\tb\t\tc\t\t\td",
    "odd spaces": "a\u00a0b\u2003c\u3000d\u200be\u2028f\u2029g\u180eh\u0085i\u1680j\ufeffk",
    "control characters": "nul\x00 bell\x07 esc\x1b[31m del\x7f vt\x0b ff\x0c us\x1f",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "much punctuation": "Wait... what?!?! No!!! (really?) [yes] {maybe} <never> ***stars*** ~~~ ===== ;;;",
    "punctuation newlines": "a.\n\nb!\n\n\nc?\r\n\r\n(d)\n",
    "german": "Falsches \u00dcben von Xylophonmusik qu\u00e4lt jeden gr\u00f6\u00dferen Zwerg. Stra\u00dfenbahnhaltestelle",
    "french": "D\u00e8s No\u00ebl, o\u00f9 un z\u00e9phyr ha\u00ef me v\u00eat de gla\u00e7ons w\u00fcrmiens, je d\u00eene d\u2019exquis r\u00f4tis de b\u0153uf.",
    "vietnamese": "Ti\u1ebfng Vi\u1ec7t c\u00f3 nhi\u1ec1u d\u1ea5u thanh kh\u00e1c nhau.",
    "polish": "Pchn\u0105\u0107 w t\u0119 \u0142\u00f3d\u017a je\u017ca lub o\u015bm skrzy\u0144 fig.",
    "russian": "\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f\u0433\u043a\u0438\u0445 \u0444\u0440\u0430\u043d\u0446\u0443\u0437\u0441\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a.",
    "greek": "\u039e\u03b5\u03c3\u03ba\u03b5\u03c0\u03ac\u03b6\u03c9 \u03c4\u03b7\u03bd \u03c8\u03c5\u03c7\u03bf\u03c6\u03b8\u03cc\u03c1\u03b1 \u03b2\u03b4\u03b5\u03bb\u03c5\u03b3\u03bc\u03af\u03b1.",
    "chinese": "\u5c0f\u8bed\u8a00\u6a21\u578b\u5728\u8fb9\u7f18\u8bbe\u5907\u4e0a\u8fd0\u884c\uff0c\u4e0d\u9700\u8981\u7f51\u7edc\u3002\u4f60\u597d\uff0c\u4e16\u754c\uff01",
    "japanese": "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002\u3072\u3089\u304c\u306a\u3001\u30ab\u30bf\u30ab\u30ca\u3001\u6f22\u5b57\u304c\u6df7\u3056\u308b\u3002",
    "korean": "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc740 \ub744\uc5b4\uc4f0\uae30\uac00 \uc788\uc2b5\ub2c8\ub2e4.",
    "arabic": "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f",
    "hebrew": "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd",
    "hindi": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e, \u0906\u092a \u0915\u0948\u0938\u0947 \u0939\u0948\u0902?",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "mixed scripts": "Hello\u4f60\u597d\u041f\u0440\u0438\u0432\u0435\u0442\u0645\u0631\u062d\u0628\u0627123\u3053\u3093\u306b\u3061\u306fworld",
    "emoji": "Smile \U0001f600\U0001f601, heart \u2764\ufe0f, thumbs \U0001f44d\U0001f3fd!",
    "emoji sequences": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 1\ufe0f\u20e3",
    "symbols": "\u2200x\u2208\u211d: \u221a(x\u00b2) = |x| \u2026 \u2192 \u21d2 \u00a9 \u00ae \u2122 \u20ac \u00a3 \u00a5 \u00a7 \u00b6",
    "combining": "e\u0301 n\u0303 a\u0308\u0323 Z\u0351\u036b\u0343\u036a\u0302a\u0346l\u030d\u0346g\u030do",
    "rare letters": "\U0001d4d7\U0001d4ee\U0001d4f5\U0001d4f5\U0001d4f8 \u13a0\u13a1 \u1681\u1682 \U00010330\U00010331 \U00020000\U0002a6d6",
    "private use": "\ue000\uf8ff\U000f0000\U0010ffff \ufdd0\ufffe\uffff",
    "replacement": "\ufffd\ufffd a\ufffdb",
    "long word": "pneumonoultramicroscopicsilicovolcanoconiosis" * 4,
    "repeated letter": "a" * 500,
    "repeated digit": "7" * 101,
    "repeated dots": "." * 257,
    "alternating": "ab" * 150,
    "base64": "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdA==",
    "hex": "deadbeef 0xCAFEBABE 0b1010 sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "chat": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "special tokens": "<|endoftext|> a<|im_start|><|im_start|>b <|im_end|>\n<repo_name>x/y<file_sep>z",
    "nearly special": "<|im_start| <|im_end|x <im_end> <|IM_END|> < |im_end|> <|im_<|im_end|>end|>",
    "only special": "<|im_end|>",
    "spaces round special": "  <|im_start|>  user  <|im_end|>  ",
    "lone continuation": b"a\x80b",
    "lone bytes": b"\xff\xfe\x80\xbf\xc3",
    "cut two": b"caf\xc3",
    "cut three": b"x\xe2\x82 y\xe2 z",
    "cut four": b"\xf0\x9f\x98 \xf0\x9f \xf0",
    "latin-1": "Stra\u00dfe \u00e4\u00f6\u00fc na\u00efve".encode("latin-1"),
    "overlong": b"\xc0\x80 \xc1\xbf \xe0\x80\xaf \xf0\x80\x80\xaf",
    "surrogates": b"\xed\xa0\x80 \xed\xbf\xbf \xed\xa0\xbd\xed\xb8\x80",
    "utf-16": "Hi \u4f60".encode("utf-16-le"),
    "binary": bytes(range(0x80, 0x100, 3)) + bytes(range(0, 0x80, 7)),
}

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8")


def write(name, content):
    path = HERE / name
    path.write_text(json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace('},{"name"', '},\n{"name"') + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


class LlamaCpp:
    """llama.cpp's tokenizer of a model file."""

    class _Params(ctypes.Structure):  # passed by value; larger than any version's, of which only defaults are used
        _fields_ = [("opaque", ctypes.c_byte * 1024)]

    _QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)

    def __init__(self, path):
        self.lib = lib = ctypes.CDLL("libllama.so.0")
        lib.llama_model_default_params.restype = self._Params
        lib.llama_model_load_from_file.restype = ctypes.c_void_p
        lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, self._Params]
        lib.llama_model_get_vocab.restype = ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32,
                                       ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
        lib.llama_log_set(self._QUIET, None)
        lib.llama_backend_init()
        lib.llama_model_free.argtypes = [ctypes.c_void_p]
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self.model:
            raise ValueError(f"llama.cpp does not load {path}")
        self.vocab = lib.llama_model_get_vocab(self.model)

    def free(self):
        self.lib.llama_model_free(self.model)

    def ids(self, text, add_special, parse_special):
        data = as_bytes(text)
        room = len(data) * 2 + 16
        out = (ctypes.c_int32 * room)()
        n = self.lib.llama_tokenize(self.vocab, data, len(data), out, room, add_special, parse_special)
        assert n >= 0, n
        return list(out[:n])


def make_llama_cpp(model):
    llama = LlamaCpp(model)
    texts = []
    for name, text in TEXTS.items():
        texts.append({
            "name": name,
            "hex": as_bytes(text).hex(),
            "plain": llama.ids(text, False, False),
            "special": llama.ids(text, True, True),
        })
    write("tokenizer_smollm2.json", {"ids_by": "llama.cpp (libllama 0.7.0), SmolLM2-135M-Instruct.Q4_1.gguf", "texts": texts})


def trained(pre_tokenizer, ignore_merges, corpus):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=1200, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def make_trained():
    valid = {name: text for name, text in TEXTS.items() if isinstance(text, str)}
    corpus = (HERE / "text_ordinary.txt").read_text().splitlines(keepends=True) + 3 * list(valid.values())

    def split(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                                        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    kinds = {
        "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), False),
        "qwen2": (split(QWEN2), False),
        "llama-bpe": (split(LLAMA3), True),
    }
    for pre, (pre_tokenizer, ignore_merges) in kinds.items():
        tokenizer = trained(pre_tokenizer, ignore_merges, corpus)
        if ignore_merges:  # words that no merge makes, which only a lookup of the whole word finds
            state = json.loads(tokenizer.to_str())
            vocab = state["model"]["vocab"]
            for word in ("\u0120processor", "manual", "999"):
                vocab.setdefault(word, len(vocab))
            tokenizer = Tokenizer.from_str(json.dumps(state))
        state = json.loads(tokenizer.to_str())["model"]
        tokens = [token for token, _ in sorted(state["vocab"].items(), key=lambda item: item[1])]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["merges"]]
        texts = [{"name": name, "hex": as_bytes(text).hex(), "plain": tokenizer.encode(text).ids}
                 for name, text in valid.items()]
        write(f"tokenizer_{pre.replace('-', '_')}.json",
              {"ids_by": f"Hugging Face tokenizers {tokenizers.__version__}", "pre": pre, "tokens": tokens, "merges": merges,
               "texts": texts})


def write_model(path, tokens, add_tokenizer):
    """A model of one layer of zeros with a vocabulary of `tokens`: llama.cpp loads no vocabulary alone."""
    writer = gguf.GGUFWriter(path, "llama")
    width = 32
    for add in (writer.add_embedding_length, writer.add_feed_forward_length, writer.add_context_length):
        add(width)
    for add in (writer.add_block_count, writer.add_head_count, writer.add_head_count_kv):
        add(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width)
    writer.add_token_list(tokens)
    add_tokenizer(writer)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), width), np.float32))
    writer.add_tensor("output_norm.weight", np.zeros(width, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((width, width), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_of_pieces(pieces):
    def add_tokenizer(writer):
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(pieces["scores"])
        writer.add_token_types(pieces["types"])
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)

    path = str(pathlib.Path(tempfile.mkdtemp()) / "pieces.gguf")
    write_model(path, pieces["tokens"], add_tokenizer)
    return path


def make_sentencepiece():
    valid = {name: text for name, text in TEXTS.items() if isinstance(text, str) and "\0" not in text}
    corpus = (HERE / "text_ordinary.txt").read_text().splitlines() + [line for text in valid.values() for line in text.splitlines()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(3 * corpus), model_writer=model, model_type="bpe", vocab_size=900, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        user_defined_symbols=["<tool>"], minloglevel=2, num_threads=1)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [(processor.is_unknown, 2), (processor.is_control, 3), (processor.is_unused, 5), (processor.is_byte, 6)]
    ids = range(processor.get_piece_size())
    types = [next((kind for test, kind in kinds if test(i)), 1) for i in ids]
    types[processor.piece_to_id("<tool>")] = 4
    pieces = {"tokens": [processor.id_to_piece(i) for i in ids], "scores": [processor.get_score(i) for i in ids], "types": types}
    llama = LlamaCpp(gguf_of_pieces(pieces))
    texts = []
    for name, text in TEXTS.items():
        plain = llama.ids(text, False, False)
        assert name not in valid or plain == processor.encode(text), name
        texts.append({"name": name, "hex": as_bytes(text).hex(), "plain": plain, "special": llama.ids(text, True, True)})
    write("tokenizer_sentencepiece.json",
          {"ids_by": f"llama.cpp (libllama 0.7.0), and the same by SentencePiece {sentencepiece.__version__} where the text is UTF-8",
           **pieces, "texts": texts})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make_llama_cpp(sys.argv[1])
    make_trained()
    make_sentencepiece()


if __name__ == "__main__":
    main()
