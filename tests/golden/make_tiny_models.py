#!/usr/bin/env python3
"""Makes tiny random Llama and Qwen2 models as GGUF files, and Transformers' logits for them.

    tools/dev peers python3 tests/golden/make_tiny_models.py

Writes tests/golden/tiny_{llama,qwen2}.gguf, their logits_tiny_*.f32 (little-endian f32 [TOKENS, vocab]) and
logits_tiny_*.json (token ids and shapes). The weights are scaled so that every parameter shows: activations small enough
for the norms' eps to matter, attention far from uniform, logits of standard deviation above 1.
"""

import json
import pathlib

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = pathlib.Path(__file__).parent
TOKENS = 264
VOCAB = 288
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_letters():
    """GPT-2's printable stand-ins for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 0
    for b in range(256):
        if b in printable:
            letters[b] = chr(b)
        else:
            letters[b] = chr(256 + extra)
            extra += 1
    return [letters[b] for b in range(256)]


def add_tokenizer(writer, pre):
    merges = ["t h", "e r", "i n", "o n", "a n", "r e", "e n", "a t", "e s", "o r", "t i", "a l", "Ġ t", "Ġ a", "Ġ s",
              "th e", "in g", "an d", "er s", "Ġ i", "Ġ o", "l l", "o u", "Ġ the", "i s", "i t", "e d", "a r", "s t"]
    tokens = CONTROL + byte_letters() + [m.replace(" ", "") for m in merges]
    assert len(tokens) == VOCAB and len(set(tokens)) == VOCAB, len(tokens)
    types = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.NORMAL] * (VOCAB - len(CONTROL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def randomize(model, generator):
    """Fills every parameter; see the module's comment for the scales."""
    def normal(shape, std):
        return torch.randn(shape, generator=generator) * std

    with torch.no_grad():
        for name, p in model.named_parameters():
            if name == "model.norm.weight":
                p.copy_(8 + normal(p.shape, 1.0))
            elif "norm" in name:
                p.copy_(1 + normal(p.shape, 0.2))
            elif name.endswith("bias"):
                p.copy_(normal(p.shape, 0.5))
            elif name == "model.embed_tokens.weight":
                p.copy_(normal(p.shape, 0.03))
            elif name == "lm_head.weight":
                p.copy_(normal(p.shape, 0.03))
            elif "o_proj" in name or "down_proj" in name:
                p.copy_(normal(p.shape, 0.1 / p.shape[1] ** 0.5))
            elif "q_proj" in name or "k_proj" in name:
                p.copy_(normal(p.shape, 1.6 / p.shape[1] ** 0.5))
            else:
                p.copy_(normal(p.shape, 1.0 / p.shape[1] ** 0.5))


def permute(weight, heads):
    """Rows of a Q or K projection from halves to neighbouring pairs, as GGUF's llama architecture stores them."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


BLOCK_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{BLOCK_NAMES[rest]}.{kind}"


def llama3_factors(config):
    """The divisors that llama.cpp's converter writes as rope_freqs.weight."""
    scaling = getattr(config, "rope_parameters", None) or config.rope_scaling
    theta = scaling.get("rope_theta") or config.rope_theta
    base = theta ** (np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    factors = []
    for wavelength in 2 * np.pi * base.astype(np.float64):
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(scaling["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1.0 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def make(arch, model, pre, dtype, seed, rope_factors=None):
    generator = torch.Generator().manual_seed(seed)
    randomize(model, generator)
    model = model.float().eval()
    config = model.config
    if dtype == np.float16:  # what the file holds is what the logits are computed from
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() == 2:
                    p.copy_(p.half().float())

    writer = gguf.GGUFWriter(HERE / f"tiny_{arch}.gguf", arch)
    writer.add_name(f"tiny-{arch}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    parameters = getattr(config, "rope_parameters", None) or {}
    writer.add_rope_freq_base(parameters.get("rope_theta") or config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCAB)
    add_tokenizer(writer, pre)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors)
    for name, p in model.named_parameters():
        data = p.detach().numpy()
        if arch == "llama" and name.endswith("q_proj.weight"):
            data = permute(data, config.num_attention_heads)
        if arch == "llama" and name.endswith("k_proj.weight"):
            data = permute(data, config.num_key_value_heads)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(data, dtype=dtype if p.dim() == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ids = torch.randint(len(CONTROL), VOCAB, (1, TOKENS), generator=generator)
    with torch.no_grad():
        logits = model(ids).logits[0].float().numpy()
    print(arch, "logits std", logits.std(), "largest", np.abs(logits).max(), "entropy of the mean", end=" ")
    print(float(-(torch.tensor(logits).log_softmax(-1).exp() * torch.tensor(logits).log_softmax(-1)).sum(-1).mean()))
    assert logits.std() >= 1
    logits.astype("<f4").tofile(HERE / f"logits_tiny_{arch}.f32")
    with open(HERE / f"logits_tiny_{arch}.json", "w") as f:
        json.dump({"tokens": ids[0].tolist(), "vocab": VOCAB, "logits": f"logits_tiny_{arch}.f32"}, f)
        f.write("\n")


def main():
    torch.set_num_threads(1)
    common = dict(vocab_size=VOCAB, max_position_embeddings=512, attn_implementation="eager", bos_token_id=1, eos_token_id=2)
    llama = LlamaConfig(
        hidden_size=96, intermediate_size=151, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=False, rope_theta=10000.0,
        rope_scaling={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 128}, **common)
    make("llama", LlamaForCausalLM(llama), "smollm", np.float32, 1, llama3_factors(llama))
    qwen2 = Qwen2Config(
        hidden_size=80, intermediate_size=203, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        rms_norm_eps=1e-6, tie_word_embeddings=True, rope_theta=1000000.0, use_sliding_window=False, **common)
    make("qwen2", Qwen2ForCausalLM(qwen2), "qwen2", np.float16, 2)


main()
