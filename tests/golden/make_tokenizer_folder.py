#!/usr/bin/env python3
"""Makes tokenizer_folder.json: a folder with SentencePiece's tokenizer.model and no tokenizer.json, as the first Llama models
have it, with the token ids that SentencePiece and Transformers' Python tokenizer make of texts:

    tools/dev peers python3 tests/golden/make_tokenizer_folder.py
"""

import base64
import json
import pathlib
import tempfile

import sentencepiece
import transformers
from tokenizers import AddedToken
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

import make_tokenizer
import tokenizer_families as families

HERE = pathlib.Path(__file__).resolve().parent
VOCABULARY = 400
# What only Python's tokenizer does is left out: a lone U+2581 before a token that is not special and begins a text, and a
# text that begins anew behind a token which did not stand alone.
FLAGS = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=False)
ADDED = [dict(content="<|user|>", special=True), dict(content="<|end|>", special=True, rstrip=True),
         dict(content="<sep>", lstrip=True), dict(content="<one>", single_word=True), dict(content="[X]")]
PLAIN = ["", "a", " a", "  two  spaces ", "The ring at the sea: 1234 is not thaw, isn't it?", "\u00e9t\u00e9 \u4f60\u597d \U0001f600",
         "line\nline\r\n\ttab", "\u2581meta \u2581", "x<tool> y <tool>", "e\u0301 \ufb01 \u00a0"]
SPECIAL = ["<s>a", "a</s> b", "<|user|>Hello<|end|>\n\n world<|end|>", "x  <sep>  y", "a <one> b", "a [X]b[X] c",
           "<|user|><|end|>", " <|user|> a", "a<tool>[X]the", "<|end|>\u00a0\u3000the", "the\u00a0<sep>the"]


# Behind a model's message, which it is merged into: normalizer_spec { add_dummy_prefix: false }
NO_PREFIX = b"\x1a\x02\x18\x00"


class LlamaTokenizer(SentencePieceBackend):
    """As the class of that name was in Transformers 4, where it was written in Python."""

    def tokenize(self, text, **more):
        if self.legacy or not text:
            return super().tokenize(text, **more)
        tokens = super().tokenize("\u2581" + text.replace("\u2581", " "), **more)
        first_is_special = len(tokens) > 1 and tokens[0] == "\u2581" and tokens[1] in self.all_special_tokens
        return tokens[1:] if first_is_special else tokens


def main():
    lines = (HERE / "text_ordinary.txt").read_text().splitlines(keepends=True)
    model = families.spm(3 * lines, model_type="bpe", vocab_size=VOCABULARY, character_coverage=0.999, byte_fallback=True,
                         normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
                         allow_whitespace_only_pieces=True, user_defined_symbols=["<tool>"])
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    decoder = {i: {**FLAGS, "content": text, "special": True} for i, text in enumerate(["<unk>", "<s>", "</s>"])}
    decoder |= {size + i: {**FLAGS, **token} for i, token in enumerate(ADDED)}
    ids = {}
    for legacy in (True, False):
        with tempfile.NamedTemporaryFile(suffix=".model") as file:
            file.write(model if legacy else model + NO_PREFIX)  # which its constructor does with a library that may lack
            file.flush()
            tokenizer = LlamaTokenizer(vocab_file=file.name, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
            tokenizer.legacy = legacy
            for token in list(decoder.values())[3:]:
                tokenizer.add_tokens([AddedToken(**token)], special_tokens=token["special"])
            assert {i: t.content for i, t in tokenizer.added_tokens_decoder.items()} == {i: t["content"] for i, t in decoder.items()}
            ids["legacy" if legacy else "not legacy"] = [
                tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)) for text in PLAIN + SPECIAL]
    make_tokenizer.write("tokenizer_folder.json", {
        "ids_by": f"SentencePiece {sentencepiece.__version__}, Transformers {transformers.__version__}",
        "model_base64": base64.b64encode(model).decode(), "vocabulary": size + len(ADDED),
        "tokenizer_config": {"add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                             "added_tokens_decoder": {str(i): token for i, token in decoder.items()}},
        "plain": PLAIN, "special": SPECIAL, "sentencepiece": [processor.encode(text) for text in PLAIN], "transformers": ids})


if __name__ == "__main__":
    main()
