#!/usr/bin/env python3
"""Makes the seed inputs of safetensors_fuzz, hf_config_fuzz and sentencepiece_model_fuzz in tests/fuzz/corpus: the same files
each time.

    python3 tests/fuzz/make_checkpoint_corpus.py
"""

import base64
import json
import pathlib
import random
import struct

TESTS = pathlib.Path(__file__).resolve().parent.parent
CORPUS = TESTS / "fuzz/corpus"


def write(folder, name, content):
    (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    (CORPUS / folder / name).write_bytes(content)


def safetensors(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    good = safetensors({"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 2], 0, 16), "b": entry("BF16", [3], 16, 22),
                        "none": entry("F16", [0, 4], 22, 22), "one": entry("BOOL", [], 22, 23)}, bytes(range(23)))
    write("safetensors_fuzz", "valid", good)
    write("safetensors_fuzz", "empty", b"")
    write("safetensors_fuzz", "zip", b"PK\x03\x04" + bytes(64))
    for n in (4, 8, 9, 30, 100, len(good) - 24, len(good) - 1):
        write("safetensors_fuzz", f"cut_{n:03}", good[:n])
    rng = random.Random(1)
    for i in range(8):
        flipped = bytearray(good)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        write("safetensors_fuzz", f"flip_{i}", bytes(flipped))
    data = bytes(16)
    for name, n in (("max", 2**64 - 1), ("half", 2**63), ("large", 2**32), ("some", 65536)):
        write("safetensors_fuzz", f"hostile_header_{name}", safetensors(b"{}", size=n))
        write("safetensors_fuzz", f"hostile_dim_{name}", safetensors({"t": entry("F32", [n, n], 0, 16)}, data))
        write("safetensors_fuzz", f"hostile_begin_{name}", safetensors({"t": entry("F32", [4], n, 16)}, data))
        write("safetensors_fuzz", f"hostile_end_{name}", safetensors({"t": entry("F32", [4], 0, n)}, data))
    write("safetensors_fuzz", "hostile_overlap", safetensors({"a": entry("U8", [9], 0, 9), "b": entry("U8", [8], 8, 16)}, data))
    write("safetensors_fuzz", "hostile_gap", safetensors({"a": entry("U8", [6], 0, 6), "b": entry("U8", [8], 8, 16)}, data))
    write("safetensors_fuzz", "hostile_twice", safetensors(b'{"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},'
                                                           b'"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}', data))
    write("safetensors_fuzz", "hostile_deep", safetensors(b"[" * 5000))
    write("safetensors_fuzz", "hostile_type", safetensors({"t": entry("F4", [32], 0, 16)}, data))


def make_config():
    llama = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 32, "rms_norm_eps": 1e-6,
             "max_position_embeddings": 512, "hidden_act": "silu", "rope_theta": 10000.0,
             "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                              "original_max_position_embeddings": 128}}
    others = {
        "gemma3": {"architectures": ["Gemma3ForConditionalGeneration"], "hidden_act": None, "text_config": {
            "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 64, "head_dim": 16,
            "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 1e6},
                                "sliding_attention": {"rope_theta": 1e4}}}},
        "openelm": {"architectures": ["OpenELMForCausalLM"], "model_dim": 128, "num_transformer_layers": 2, "head_dim": 32,
                    "num_query_heads": [2, 4], "num_kv_heads": [1, 2], "ffn_multipliers": [0.5, 4.0], "hidden_size": None,
                    "num_attention_heads": None, "num_key_value_heads": None, "num_hidden_layers": None},
        "phi3": {"architectures": ["Phi3ForCausalLM"], "original_max_position_embeddings": 256, "sliding_window": 30,
                 "rope_scaling": {"type": "longrope", "short_factor": [1] * 8, "long_factor": [2.5] * 8}},
        "smollm3": {"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 1], "use_sliding_window": True},
        "gpt2": {"architectures": ["GPT2LMHeadModel"], "layer_norm_epsilon": 1e-5, "rope_scaling": None, "hidden_act": None},
        "yarn": {"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 4}},
        "many_layers": {"num_hidden_layers": 1024, "num_attention_heads": [1] * 1024},
        "wrong_types": {"hidden_size": "64", "vocab_size": -1, "rms_norm_eps": "x", "rope_scaling": 3, "architectures": 7},
        "huge": {"hidden_size": 2**70, "head_dim": 1 << 20, "rope_theta": 1e308, "intermediate_size": 1e300},
    }
    write("hf_config_fuzz", "llama", json.dumps(llama).encode())
    for name, more in others.items():
        write("hf_config_fuzz", name, json.dumps({**llama, **more}).encode())
    write("hf_config_fuzz", "deep", b'{"a":' * 5000)
    write("hf_config_fuzz", "list", b"[1, 2]")
    write("hf_config_fuzz", "twice", b'{"a": 1, "a": 2}')
    write("hf_config_fuzz", "broken_text", b'{"architectures": ["\xff\xfe"]}')


def make_sentencepiece():
    models = json.loads((TESTS / "golden/tokenizer_sentencepiece_models.json").read_text())["models"]
    rng = random.Random(2)
    for model in models:
        good = base64.b64decode(model["base64"])
        write("sentencepiece_model_fuzz", model["name"], good)
        write("sentencepiece_model_fuzz", f"{model['name']}_cut", good[:len(good) // 2])
        for i in range(4):
            flipped = bytearray(good)
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            write("sentencepiece_model_fuzz", f"{model['name']}_flip_{i}", bytes(flipped))
    # ModelProto: pieces are field 1 (text 1, score 2, type 3), trainer_spec 2 (model_type 3), normalizer_spec 3 (charsmap 2).
    pieces = b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in (
        b"\x0a\x05<unk>\x18\x02", b"\x0a\x01a\x15\x00\x00\x00\xc0", b"\x0a\x02\xc3\xa9", b"\x0a\x06<0x41>\x18\x06"))
    charsmap = b"\x04\x00\x00\x00\xff\xff\xff\xff\x00"
    write("sentencepiece_model_fuzz", "unigram_small", pieces)
    write("sentencepiece_model_fuzz", "bpe_small", pieces + b"\x12\x02\x18\x02")
    write("sentencepiece_model_fuzz", "hostile_charsmap",
          pieces + b"\x1a" + bytes([len(charsmap) + 2]) + b"\x12" + bytes([len(charsmap)]) + charsmap)
    write("sentencepiece_model_fuzz", "hostile_empty_piece", pieces + b"\x0a\x02\x0a\x00")
    write("sentencepiece_model_fuzz", "hostile_length", b"\x0a\xff\xff\xff\xff\x0f")
    write("sentencepiece_model_fuzz", "hostile_group", b"\x0b" * 2000)
    write("sentencepiece_model_fuzz", "empty", b"")


if __name__ == "__main__":
    make_safetensors()
    make_config()
    make_sentencepiece()
