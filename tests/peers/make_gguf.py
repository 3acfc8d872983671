#!/usr/bin/python3
"""Writes a model of a real one's shape with random weights: for speed, memory and load, where what it says is no matter.

    tools/dev peers python3 tests/peers/make_gguf.py SHAPE OUT.gguf [--seed N] [--type f16|q8_0|q4_0]

F16, which llama-quantize makes the other formats of; or q8_0 and q4_0 at once, of blocks whose numbers are noise, for
measures of memory. Tensors are made and written one after the other, so that memory holds one at a time. The vocabulary
is a byte-level BPE of the right size: bytes, their pairs, and fillers.
"""
import argparse
import dataclasses
import os
import sys

import catalog


@dataclasses.dataclass(frozen=True)
class Shape:
    architecture: str
    layers: int
    width: int
    ffn: object  # one for all layers, or a tuple with one for each; so are both counts of heads
    heads: object
    kv_heads: object
    head_dim: int
    vocabulary: int
    rope_base: float
    context: int = 32768
    tied: bool = True
    fused: tuple = ()  # of FUSED_QKV, FUSED_GATE_UP: what files of this model keep in one tensor

    def layer(self, index):
        """(ffn, heads, kv_heads) of a layer"""
        return tuple(v[index] if isinstance(v, tuple) else v for v in (self.ffn, self.heads, self.kv_heads))


def from_catalog(name):
    """The shape of a model that Linnet's catalogue knows, if it is one whose tensors are written here."""
    model = catalog.models()[name]

    def each(field):
        return model[field][0] if len(model[field]) == 1 else tuple(model[field])
    return Shape(model["architecture"][0], model["layers"][0], model["model_dim"][0], each("ffn_dim"), each("query_heads"),
                 each("kv_heads"), model["head_dim"][0], model["vocab_size"][0], 1e4, model["context_tokens"][0],
                 "tied_embeddings" in model, tuple(model.get("fused", ())))


SHAPES = {
    "qwen2-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, 1e6),
    "qwen2-1.5b": Shape("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 1e6),
    "llama3.2-1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128256, 5e5),
    "tiny": Shape("llama", 2, 256, 768, 8, 2, 32, 2048, 1e4),  # for trying the benchmark itself
    **{name: from_catalog(name) for name in ("phi-3-mini-4k-instruct", "llama-3.1-8b", "openelm-3b")},
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
    """(name, shape) of every weight matrix; without output.weight, that is the embedding table."""
    yield "token_embd.weight", (shape.vocabulary, shape.width)
    for layer in range(shape.layers):
        ffn, heads, kv_heads = shape.layer(layer)
        q, kv = heads * shape.head_dim, kv_heads * shape.head_dim
        parts = [("attn_q", q, shape.width), ("attn_k", kv, shape.width), ("attn_v", kv, shape.width)]
        if "FUSED_QKV" in shape.fused:
            parts = [("attn_qkv", q + 2 * kv, shape.width)]
        parts.append(("attn_output", shape.width, q))
        if "FUSED_GATE_UP" in shape.fused:
            parts.append(("ffn_up", 2 * ffn, shape.width))
        else:
            parts += [("ffn_gate", ffn, shape.width), ("ffn_up", ffn, shape.width)]
        for name, rows, columns in parts + [("ffn_down", shape.width, ffn)]:
            yield f"blk.{layer}.{name}.weight", (rows, columns)
    if not shape.tied:
        yield "output.weight", (shape.vocabulary, shape.width)


def vectors(shape):
    """(name, size, value)"""
    yield "output_norm.weight", shape.width, 1.0
    for layer in range(shape.layers):
        _, heads, kv_heads = shape.layer(layer)
        yield f"blk.{layer}.attn_norm.weight", shape.width, 1.0
        yield f"blk.{layer}.ffn_norm.weight", shape.width, 1.0
        if shape.architecture == "openelm":
            yield f"blk.{layer}.attn_q_norm.weight", shape.head_dim, 1.0
            yield f"blk.{layer}.attn_k_norm.weight", shape.head_dim, 1.0
        if shape.architecture == "qwen2":
            yield f"blk.{layer}.attn_q.bias", heads * shape.head_dim, 0.01
            yield f"blk.{layer}.attn_k.bias", kv_heads * shape.head_dim, 0.01
            yield f"blk.{layer}.attn_v.bias", kv_heads * shape.head_dim, 0.01


# type: (elements of a block, bytes of it, where in it the 16-bit float that scales it is, bytes of small integers)
BLOCKS = {"q8_0": (32, 34, 0, ()), "q4_0": (32, 18, 0, ()), "q6_k": (256, 210, 208, range(192, 208))}


def type_of(tensor, dims, wanted, shape):
    """What `linnet variant quantize` writes it in: more bits for the output matrix."""
    output = "token_embd.weight" if shape.tied else "output.weight"
    if wanted != "q4_0" or tensor != output:
        return wanted
    return "q6_k" if dims[1] % 256 == 0 else "q8_0"


def noise(random, dims, kind, numpy):
    """Blocks as they lie in a file, of numbers of about the size that weights have."""
    elements, size, scale, scales = BLOCKS[kind]
    blocks = random.integers(0, 256, (dims[0] * dims[1] // elements, size), numpy.uint8)
    blocks[:, scale:scale + 2] = numpy.frombuffer(numpy.float16(2e-4 if kind == "q8_0" else 2e-3).tobytes(), numpy.uint8)
    for i in scales:
        blocks[:, i] = 1
    return blocks.reshape(dims[0], dims[1] // elements * size)


def listed(value):
    return list(value) if isinstance(value, tuple) else value


def add_metadata(writer, name, shape, gguf, kind):
    writer.add_name(name.replace("-", " "))  # by some names llama.cpp looks for tokens that are not there
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(listed(shape.ffn))
    writer.add_head_count(listed(shape.heads))
    writer.add_head_count_kv(listed(shape.kv_heads))
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{kind.upper()}"))
    tokens, merges = vocabulary(shape.vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if shape.architecture == "qwen2" else "llama-bpe")
    writer.add_token_list(tokens)
    normal, control = len(tokens) - len(CONTROL), len(CONTROL)
    writer.add_token_types([gguf.TokenType.NORMAL] * normal + [gguf.TokenType.CONTROL] * control)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(normal)
    writer.add_eos_token_id(normal + 2)


def write(name, path, seed, kind="f16"):
    import gguf  # not where the other functions are tested
    import numpy

    shape = SHAPES[name]
    writer = gguf.GGUFWriter(path, shape.architecture)
    add_metadata(writer, name, shape, gguf, kind)
    for tensor, dims in matrices(shape):
        if kind == "f16":
            writer.add_tensor_info(tensor, dims, numpy.dtype(numpy.float16), dims[0] * dims[1] * 2)
            continue
        block_type = type_of(tensor, dims, kind, shape)
        elements, size = BLOCKS[block_type][:2]
        row = dims[1] // elements * size
        writer.add_tensor_info(tensor, (dims[0], row), numpy.dtype(numpy.uint8), dims[0] * row,
                               raw_dtype=getattr(gguf.GGMLQuantizationType, block_type.upper()))
    for tensor, size, _ in vectors(shape):
        writer.add_tensor_info(tensor, (size,), numpy.dtype(numpy.float32), size * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = numpy.random.default_rng(seed)
    for tensor, dims in matrices(shape):
        if kind != "f16":
            writer.write_tensor_data(noise(random, dims, type_of(tensor, dims, kind, shape), numpy))
            continue
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
    parser.add_argument("--type", default="f16", choices=("f16", "q8_0", "q4_0"))
    args = parser.parse_args()
    try:
        write(args.shape, args.out, args.seed, args.type)
    except BaseException:
        if os.path.exists(args.out):
            os.remove(args.out)
        raise


if __name__ == "__main__":
    sys.exit(main())
