#!/usr/bin/python3
"""Writes a model of a real one's shape with random weights: for speed, memory and load, where what it says is no matter.

    tools/dev peers python3 tests/peers/make_gguf.py SHAPE OUT.gguf [--seed N]

F16; llama-quantize makes the other formats of it. Tensors are made and written one after the other, so that memory holds
one at a time. The vocabulary is a byte-level BPE of the right size: bytes, their pairs, and fillers.
"""
import argparse
import dataclasses
import os
import sys


@dataclasses.dataclass(frozen=True)
class Shape:
    architecture: str
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    rope_base: float
    context: int = 32768


SHAPES = {
    "qwen2-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, 1e6),
    "qwen2-1.5b": Shape("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 1e6),
    "llama3.2-1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5),
    "tiny": Shape("llama", 2, 256, 768, 8, 2, 32, 2048, 1e4),  # for trying the benchmark itself
}
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_letters():
    """The printable letters that byte-level BPE writes for the 256 bytes, in the order of the bytes."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


def vocabulary(size):
    """(tokens, merges): `size` tokens, the control ones last."""
    letters = byte_letters()
    tokens, merges, known = list(letters), [], set(letters)
    room = size - len(CONTROL)
    for first in letters:
        for second in letters:
            if len(tokens) < room and first + second not in known:
                known.add(first + second)
                tokens.append(first + second)
                merges.append(f"{first} {second}")
    tokens += [f"[unused{i}]" for i in range(room - len(tokens))]
    return tokens + CONTROL, merges


def matrices(shape):
    """(name, shape) of every weight matrix; the output matrix is the embedding table."""
    yield "token_embd.weight", (shape.vocabulary, shape.width)
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    for layer in range(shape.layers):
        for name, rows, columns in (("attn_q", q, shape.width), ("attn_k", kv, shape.width), ("attn_v", kv, shape.width),
                                    ("attn_output", shape.width, q), ("ffn_gate", shape.ffn, shape.width),
                                    ("ffn_up", shape.ffn, shape.width), ("ffn_down", shape.width, shape.ffn)):
            yield f"blk.{layer}.{name}.weight", (rows, columns)


def vectors(shape):
    """(name, size, value)"""
    yield "output_norm.weight", shape.width, 1.0
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight", shape.width, 1.0
        yield f"blk.{layer}.ffn_norm.weight", shape.width, 1.0
        if shape.architecture == "qwen2":
            yield f"blk.{layer}.attn_q.bias", shape.heads * shape.head_dim, 0.01
            yield f"blk.{layer}.attn_k.bias", shape.kv_heads * shape.head_dim, 0.01
            yield f"blk.{layer}.attn_v.bias", shape.kv_heads * shape.head_dim, 0.01


def add_metadata(writer, name, shape, gguf):
    writer.add_name(name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens, merges = vocabulary(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if shape.architecture == "qwen2" else "llama-bpe")
    writer.add_token_list(tokens)
    normal, control = len(tokens) - len(CONTROL), len(CONTROL)
    writer.add_token_types([gguf.TokenType.NORMAL] * normal + [gguf.TokenType.CONTROL] * control)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(normal)
    writer.add_eos_token_id(normal + 2)


def write(name, path, seed):
    import gguf  # not where the other functions are tested
    import numpy

    shape = SHAPES[name]
    writer = gguf.GGUFWriter(path, shape.architecture)
    add_metadata(writer, name, shape, gguf)
    for tensor, dims in matrices(shape):
        writer.add_tensor_info(tensor, dims, numpy.dtype(numpy.float16), dims[0] * dims[1] * 2)
    for tensor, size, _ in vectors(shape):
        writer.add_tensor_info(tensor, (size,), numpy.dtype(numpy.float32), size * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = numpy.random.default_rng(seed)
    for _, dims in matrices(shape):
        # Row by row of some at a time: the f32 intermediate of a vocabulary would be a gigabyte.
        out = numpy.empty(dims, numpy.float16)
        for begin in range(0, dims[0], 4096):
            part = out[begin:begin + 4096]
            part[:] = random.standard_normal(part.shape, dtype=numpy.float32) * 0.02
        writer.write_tensor_data(out)
    for _, size, value in vectors(shape):
        writer.write_tensor_data(numpy.full(size, value, numpy.float32))
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        write(args.shape, args.out, args.seed)
    except BaseException:
        if os.path.exists(args.out):
            os.remove(args.out)
        raise


if __name__ == "__main__":
    sys.exit(main())
