"""Small tokenizers in the shapes in which model families publish theirs, trained on the spot."""

import io
import json

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 2500  # tokens to train
ALPHABET = 600     # characters to know, of those that are not spelled byte by byte

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
BEGIN = r"[^\r\n\p{L}\p{N}]?"
GPT4O = (f"{BEGIN}{UPPER}*{LOWER}+{CONTRACTION}|{BEGIN}{UPPER}+{LOWER}*{CONTRACTION}|" r"\p{N}{1,3}|" + TAIL)
TEKKEN = f"{BEGIN}{UPPER}*{LOWER}+|{BEGIN}{UPPER}+{LOWER}*|" r"\p{N}|" + TAIL
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK_CODER = ["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
             " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert)


def byte_level(use_regex=True, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def sequence(*parts):
    return pre_tokenizers.Sequence(list(parts))


def train_bpe(lines, pre_tokenizer, normalizer=None, vocab_size=None, special=(), alphabet=None, train_pre=None, **model):
    """`train_pre`: what cuts the texts for training, where the tokenizer itself does not cut them."""
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = train_pre or pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size or VOCABULARY, show_progress=False, special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet is None else [], limit_alphabet=alphabet or 1000,
        **{key: model[key] for key in ("continuing_subword_prefix", "end_of_word_suffix") if key in model})
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def edited(tokenizer, edit):
    """The tokenizer with its JSON changed: what Python's classes cannot say."""
    content = json.loads(tokenizer.to_str())
    edit(content)
    return Tokenizer.from_str(json.dumps(content))


def byte_level_family(lines, pre, normalizer=None, special=("<|endoftext|>",), post=None, added=(), **model):
    tokenizer = train_bpe(lines, pre, normalizer, special=special, **model)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post or processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens(list(added))
    return tokenizer


BYTES = [f"<0x{b:02X}>" for b in range(256)]
CONTROL = ["<unk>", "<s>", "</s>"]


def sentencepiece_like(lines, normalizer, pre, decoder, post=None, added=(), **model):
    """BPE over U+2581 with bytes for what it does not know, as converted from SentencePiece."""
    # Bytes are tokens of the model, and no added ones.
    tokenizer = train_bpe(lines, None, special=CONTROL + BYTES, alphabet=ALPHABET,
                          train_pre=pre_tokenizers.Metaspace(), unk_token="<unk>", byte_fallback=True, fuse_unk=True)

    def edit(content):
        content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in CONTROL]
        content["model"]["ignore_merges"] = model.get("ignore_merges", False)

    tokenizer = edited(tokenizer, edit)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer = edited(tokenizer, lambda c: c.update(pre_tokenizer=None)) if pre is None else tokenizer
    tokenizer.decoder = decoder
    tokenizer.post_processor = post or around("<s> $A", "<s>", 1)
    tokenizer.add_special_tokens([t for t in added if t.special])
    tokenizer.add_tokens([t for t in added if not t.special])
    return tokenizer


def around(single, *tokens):
    pairs = list(zip(tokens[::2], tokens[1::2]))
    return processors.TemplateProcessing(single=single, special_tokens=pairs)


LLAMA_DECODER = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]


def spm(lines, **options):
    model = io.BytesIO()
    options = {"vocab_size": 6000, "character_coverage": 0.98, "minloglevel": 2, "num_threads": 1, "model_writer": model,
               "hard_vocab_limit": False, "max_sentence_length": 20000, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=(l.replace("\0", "") for l in lines[::3]), **options)
    return model.getvalue()


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(message):
    """(number, value) of a protobuf message's fields that are numbers or bytes."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 2:
            size, at = varint(message, at)
            yield key >> 3, message[at:at + size]
            at += size
        elif key & 7 == 0:
            value, at = varint(message, at)
            yield key >> 3, value
        else:
            at += 4 if key & 7 == 5 else 8


def charsmap(model):
    """The normalizer's rules of a SentencePiece model, and its pieces with their scores."""
    normalizer = dict(fields(dict(fields(model))[3]))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    return normalizer.get(2, b""), pieces


def unigram_family(lines, normalizer, pre, post, byte_fallback=False, added=(), **options):
    rules, pieces = charsmap(spm(lines, model_type="unigram", byte_fallback=byte_fallback, **options))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.normalizer = normalizer(rules)
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]) \
        if byte_fallback else decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = post
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"] + list(added))
    return tokenizer


def whitespace_tokens(most):
    return [AddedToken(" " * n, normalized=True, special=False) for n in range(most, 1, -1)]


def special(text, **flags):
    return AddedToken(text, special=True, normalized=False, **flags)


NORM = normalizers
# name -> function of the training lines
FAMILIES = {
    "gpt2": lambda t: byte_level_family(t, byte_level()),
    "opt": lambda t: byte_level_family(t, byte_level(), special=("<pad>", "</s>", "<mask>"), post=around("</s> $A", "</s>", 1)),
    "roberta-like": lambda t: byte_level_family(t, byte_level(prefix=True), special=("<s>", "</s>", "<unk>"),
                                                post=processors.RobertaProcessing(("</s>", 1), ("<s>", 0)),
                                                added=[AddedToken("<mask>", lstrip=True, special=True, normalized=False)]),
    "galactica": lambda t: byte_level_family(t, sequence(
        pre_tokenizers.Split("SPL1T-TH1S-Pl3A5E", "removed"), pre_tokenizers.Digits(True), pre_tokenizers.Punctuation(),
        byte_level()), special=("<s>", "<pad>", "</s>", "<unk>")),
    "codegen": lambda t: byte_level_family(t, byte_level(), added=whitespace_tokens(31) + [AddedToken("\t" * n) for n in (9, 4, 2)]),
    "neox": lambda t: byte_level_family(t, byte_level(), NORM.NFC(), ("<|endoftext|>", "<|padding|>"), added=whitespace_tokens(24)),
    "olmo": lambda t: byte_level_family(t, byte_level(), NORM.NFC(), ("|||IP_ADDRESS|||", "<|padding|>"),
                                        post=around("$A <|padding|>", "<|padding|>", 1),
                                        added=whitespace_tokens(24) + [AddedToken("|||EMAIL|||", normalized=True)]),
    "bloom": lambda t: byte_level_family(t, sequence(split(BLOOM), byte_level(False)), special=("<unk>", "<s>", "</s>", "<pad>")),
    "smollm": lambda t: byte_level_family(t, sequence(pre_tokenizers.Digits(True), byte_level())),
    "falcon": lambda t: byte_level_family(t, sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(),
                                                      pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]"))),
    "command-r": lambda t: byte_level_family(t, sequence(pre_tokenizers.Digits(True), byte_level()), NORM.NFC(),
                                             ("<PAD>", "<BOS_TOKEN>"), post=around("<BOS_TOKEN> $A", "<BOS_TOKEN>", 1)),
    "deepseek-coder": lambda t: byte_level_family(t, sequence(
        *map(split, DEEPSEEK_CODER), pre_tokenizers.Digits(True), byte_level(False)),
                                                  added=[special("<|EOT|>"), AddedToken("<pipe>", normalized=True)]),
    "deepseek-v3": lambda t: byte_level_family(t, sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3), byte_level(False))),
    "llama3": lambda t: byte_level_family(t, sequence(split(LLAMA3), byte_level(False)), ignore_merges=True,
                                          special=("<|begin_of_text|>", "<|eot_id|>"),
                                          post=processors.Sequence([processors.ByteLevel(trim_offsets=False), around(
                                              "<|begin_of_text|> $A", "<|begin_of_text|>", 0)])),
    "qwen2": lambda t: byte_level_family(t, sequence(split(QWEN2), byte_level(False)), NORM.NFC(),
                                         added=[special("<|im_start|>"), special("<|im_end|>"), AddedToken("<tool_call>", normalized=False)]),
    "qwen35": lambda t: byte_level_family(t, sequence(split(QWEN35), byte_level(False)), NORM.NFC()),
    "stablelm2": lambda t: byte_level_family(t, sequence(split(QWEN2), byte_level(False)), special=("<|endoftext|>", "<|im_start|>", "<|im_end|>")),
    "gpt-4o": lambda t: byte_level_family(t, sequence(split(GPT4O, "removed", True), byte_level(False)), special=("<|endoftext|>", "<|end|>")),
    "tekken": lambda t: byte_level_family(t, sequence(split(TEKKEN), byte_level(False)), ignore_merges=True,
                                          special=("<unk>", "<s>", "</s>", "[INST]"), post=around("<s> $A", "<s>", 1)),
    "possessive": lambda t: byte_level_family(t, sequence(split(BAILING), byte_level(False))),
    "byte-level normalizer": lambda t: byte_level_family(t, split(r"Ġ?[^Ġ]+"), NORM.ByteLevel()),
    "llama2": lambda t: sentencepiece_like(t, NORM.Sequence([NORM.Prepend("\u2581"), NORM.Replace(" ", "\u2581")]), None,
                                           decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)])),
    "phi3": lambda t: sentencepiece_like(t, NORM.Sequence([NORM.Prepend("\u2581"), NORM.Replace(" ", "\u2581")]), None,
                                         decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)]), around("$A"),
                                         added=[special("<|user|>", rstrip=True), special("<|end|>", rstrip=True),
                                                AddedToken("<tool>", normalized=True), special("<|endoftext|>")]),
    "mistral": lambda t: sentencepiece_like(t, None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                            decoders.Sequence(LLAMA_DECODER + [decoders.Strip(" ", 1, 0)]),
                                            added=[special("[INST]"), special("[/INST]")]),
    "gemma": lambda t: sentencepiece_like(t, NORM.Replace(" ", "\u2581"), pre_tokenizers.Split(" ", "merged_with_previous"),
                                          decoders.Sequence(LLAMA_DECODER), added=[
                                              special("<start_of_turn>"), AddedToken("\n\n", normalized=False),
                                              AddedToken("\u2581\u2581", normalized=False)]),
    "yi": lambda t: sentencepiece_like(t, NORM.Sequence([NORM.Replace(" ", "\u2581")]), None,
                                       decoders.Sequence(LLAMA_DECODER), around("$A")),
    "metaspace": lambda t: sentencepiece_like(t, None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
                                              decoders.Metaspace(prepend_scheme="always")),
    "xlm-r": lambda t: unigram_family(t, lambda r: NORM.Precompiled(r), sequence(
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")), around(
            "<s> $A </s>", "<s>", 1, "</s>", 2), normalization_rule_name="nmt_nfkc"),
    "t5": lambda t: unigram_family(t, lambda r: NORM.Precompiled(r), pre_tokenizers.Metaspace(prepend_scheme="always"),
                                   around("$A </s>", "</s>", 2), normalization_rule_name="nmt_nfkc"),
    "unigram bytes": lambda t: unigram_family(t, lambda r: NORM.Replace(Regex(" {2,}"), " "), pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                              around("$A"), byte_fallback=True, normalization_rule_name="identity"),
    "albert": lambda t: unigram_family(t, lambda r: NORM.Sequence([
        NORM.Replace("``", '"'), NORM.Replace("''", '"'), NORM.NFKD(), NORM.StripAccents(), NORM.Lowercase(),
        NORM.Precompiled(r), NORM.Replace(Regex(" {2,}"), " ")]), sequence(
            pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")),
            around("$A"), normalization_rule_name="nfkc"),
    "words with suffix": lambda t: _words(t, NORM.Sequence([NORM.NFD(), NORM.Lowercase(), NORM.StripAccents()]),
                                          sequence(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()),
                                          end_of_word_suffix="</w>"),
    "words with prefix": lambda t: _words(t, NORM.Sequence([NORM.NFKC(), NORM.Strip()]), pre_tokenizers.Whitespace(),
                                          continuing_subword_prefix="##", fuse_unk=True),
    "behaviours": lambda t: byte_level_family(t, sequence(
        pre_tokenizers.Punctuation("merged_with_next"), split(r"\d+|\w\b", "merged_with_previous"),
        split(r"[A-Z]", "contiguous"), split(r"\s", "merged_with_next"), byte_level(False)), added=[
            AddedToken("DAY", single_word=True), AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True, normalized=True)]),
}


def _words(lines, normalizer, pre, **model):
    tokenizer = train_bpe(lines, pre, normalizer, special=["<unk>"], alphabet=ALPHABET, unk_token="<unk>", **model)
    tokenizer.decoder = decoders.Replace("</w>", " ")
    return tokenizer


# SentencePiece's own files: name -> options of its trainer.
SENTENCEPIECE = {
    "llama": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                  split_digits=True, user_defined_symbols=["<tool>"]),
    "bpe nmt_nfkc": dict(model_type="bpe", normalization_rule_name="nmt_nfkc"),
    "bpe bytes, no prefix": dict(model_type="bpe", byte_fallback=True, add_dummy_prefix=False, normalization_rule_name="nfkc"),
    "unigram nmt_nfkc": dict(model_type="unigram", normalization_rule_name="nmt_nfkc", pad_id=3),
    "unigram nfkc_cf, bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="nfkc_cf"),
    "unigram identity": dict(model_type="unigram", normalization_rule_name="identity", remove_extra_whitespaces=False,
                             user_defined_symbols=["<tool>"]),
}

# GGUF's pre-tokenizers: name -> what cuts the texts when its vocabulary is trained, and who is compared with.
GGUF_PRE = {name: "llama.cpp" for name in (
    "smollm starcoder refact command-r codeshell exaone minerva-7b qwen2 stablelm2 deepseek-r1-qwen hunyuan megrez qwen35 "
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe glm4 chatglm-bpe gpt-2 phi-2 olmo mpt "
    "jais exaone4 modern-bert bloom gpt3-finnish poro-chat viking falcon deepseek-coder deepseek-v3 hunyuan-dense default").split()}
# Expressions, one after another, where llama.cpp does not do as the model's own tokenizer: it takes white space beyond ASCII
# for another character before it looks for East Asian ones, whose range has U+2000 to U+200A in it (deepseek-coder).
GGUF_PRE |= {"gpt-4o": [GPT4O], "llama4": [GPT4O], "tekken": [TEKKEN], "qwen35": [QWEN35],
             "deepseek-coder": [*DEEPSEEK_CODER, r"\p{N}"]}
