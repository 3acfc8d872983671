#!/usr/bin/env python3
"""Makes a tiny random model of each family as a GGUF file, and what Transformers computes from it.

    tools/dev peers python3 tests/golden/make_tiny_models.py [--only NAME ...] [--seed N] [--out FOLDER]

Writes tests/golden/tiny/NAME.gguf, NAME.json (token ids, shapes, and which columns of the logits are kept) and
NAME.f32 (those logits: little-endian f32 [tokens, columns]), and NAME.short.f32 with the logits of the first SHORT
tokens alone where positions go by the sequence's length. Everything that sets a family apart is in force: unequal head counts, windows shorter than the text, scalings, soft caps. The weights are scaled so that every parameter shows:
activations small enough for the norms' eps to matter, attention far from uniform, logits of standard deviation above 1.
Where Transformers has no class, a module of reference_models.py follows the published code's mathematics.
"""

import argparse
import dataclasses
import json
import pathlib

import gguf
import numpy as np
import torch
import transformers as tf

from reference_models import Block, Gain, LatentBlock, OpenElm, Reference, Rms

HERE = pathlib.Path(__file__).parent
TOKENS = 264
SHORT = 50  # within the original context of every model that has one
VOCAB = 288
COLUMNS = list(range(0, VOCAB, 6))
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
COMMON = dict(vocab_size=VOCAB, attn_implementation="eager", bos_token_id=1, eos_token_id=2, pad_token_id=0)
CONTEXT = 512


# --- the tokenizer, the same in each ---------------------------------------------------------------------------------

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


# --- weights ---------------------------------------------------------------------------------------------------------

QUERY_KEY = ("q_proj", "q_b_proj", "kv_b_proj", "k_proj", "c_attn", "query_key_value", "qkv_proj")
OUT = ("o_proj", "linear_out", "out_proj", "shortcut_up", "down_proj", "proj_2", "c_proj", "dense", "dense_4h_to_h", "fc2")
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "token_embeddings")
HEADS = ("lm_head", "embed_out")
# Norms whose output is added to x: small, as x is.
INTO_X = ("word_embeddings_layernorm", "post_feedforward_layernorm")


def module_of(name):
    return name.rsplit(".", 1)[0].rsplit(".", 1)[-1]


def is_norm(name):
    return "norm" in name or module_of(name) in ("ln_1", "ln_2", "ln_f")


def randomize(model, generator, zero_based_norms, post_norms):
    """Fills every parameter; see the module's comment for the scales."""
    def normal(shape, std):
        return torch.randn(shape, generator=generator) * std

    with torch.no_grad():
        for name, p in model.named_parameters():
            module = module_of(name)
            if name.endswith("bias"):
                p.copy_(normal(p.shape, 0.1 if is_norm(name) else 0.02 if module in OUT else 0.3))
            elif is_norm(name):
                p.copy_(1 + normal(p.shape, 0.2))
            elif module in EMBEDDINGS + HEADS:
                p.copy_(normal(p.shape, 0.03))
            elif module in ("wpe", "embed_positions"):
                p.copy_(normal(p.shape, 0.03))
            elif module == "conv_1d":
                p.copy_(normal(p.shape, 0.5))
            elif name.endswith("recurrent_param"):
                p.copy_(normal(p.shape, 1.0) - 2)
            elif name.endswith("gate_weight"):
                p.copy_(normal(p.shape, 1.6 / p.shape[1] ** 0.5))
            elif name.endswith("series_scale"):
                p.copy_(1 + normal(p.shape, 0.5))
            else:
                fan_in = p.shape[0] if isinstance(model.get_submodule(name.rsplit(".", 1)[0]), tf.pytorch_utils.Conv1D) else p.shape[1]
                scale = 1.6 if module in QUERY_KEY else 0.1 if module in OUT else 1.0
                p.copy_(normal(p.shape, scale / fan_in ** 0.5))
            if module in INTO_X or (post_norms and module == "post_attention_layernorm"):
                p.mul_(0.05)
            if zero_based_norms and is_norm(name) and name.endswith("weight"):
                p.sub_(1)


def sharpen(model, ids, zero_based_norms, final_norm):
    """Scales the final norm, or the output matrix where that has no weight, so that logits spread."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        cap = getattr(model.config, "final_logit_softcapping", None)
        model.config.final_logit_softcapping = None
        factor = 2.5 / model(ids).logits.std()
        if cap is not None:
            model.config.final_logit_softcapping = cap
        names = [n for n in parameters if n.rsplit(".", 1)[0] == final_norm]
        if not names:
            parameters["lm_head.weight"].mul_(factor)
        for name in names:
            shift = 1 if zero_based_norms and name.endswith("weight") else 0
            parameters[name].copy_((parameters[name] + shift) * factor - shift)


# --- a family --------------------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Tiny:
    arch: str
    model: object
    name: str = ""             # of its files; "": the architecture
    dtype: type = np.float16  # of matrices
    pre: str = "qwen2"
    permuted: bool = False          # Q and K stored for rotation of neighbouring pairs
    zero_based_norms: bool = False  # the checkpoint keeps w of 1 + w, GGUF keeps 1 + w
    interleaved_qkv: bool = False   # fused per head in the checkpoint, not in GGUF
    fused_qkv: bool = False         # the other way round
    final_norm: str = "model.norm"
    post_norms: bool = False
    keys: object = None  # writes what is this family's own
    tensors: object = dataclasses.field(default_factory=dict)  # what comes besides the parameters; may be f(model)
    renamed: dict = dataclasses.field(default_factory=dict)    # parts of this family's blocks: names in GGUF


TOP = {"embed_tokens": "token_embd", "wte": "token_embd", "embed_in": "token_embd", "word_embeddings": "token_embd",
       "token_embeddings": "token_embd", "wpe": "position_embd", "embed_positions": "position_embd",
       "project_in": "token_embd_proj", "project_out": "output_proj", "word_embeddings_layernorm": "token_embd_norm",
       "norm": "output_norm", "final_norm": "output_norm", "ln_f": "output_norm", "final_layer_norm": "output_norm", "final_layernorm": "output_norm",
       "lm_head": "output", "embed_out": "output"}
BLOCK = {"input_layernorm": "attn_norm", "ln_1": "attn_norm", "attn_norm": "attn_norm",
         "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "out_proj": "attn_output",
         "attn.c_attn": "attn_qkv", "query_key_value": "attn_qkv", "qkv_proj": "attn_qkv", "attn.c_proj": "attn_output",
         "dense": "attn_output", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
         "post_attention_layernorm": "ffn_norm", "ln_2": "ffn_norm", "ffn_norm": "ffn_norm",
         "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
         "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "gate_up_proj": "ffn_up",
         "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "dense_h_to_4h": "ffn_up", "dense_4h_to_h": "ffn_down",
         "q_a_proj": "attn_q_a", "q_a_layernorm": "attn_q_a_norm", "q_b_proj": "attn_q_b",
         "kv_a_proj_with_mqa": "attn_kv_a_mqa", "kv_a_layernorm": "attn_kv_a_norm", "kv_b_proj": "attn_kv_b",
         "fc1": "ffn_up", "fc2": "ffn_down", "proj_2": "ffn_down"}


def gguf_name(name, post_norms, renamed):
    stem, kind = name.rsplit(".", 1)
    parts = stem.split(".")
    layer = next((p for p in parts if p.isdigit()), None)
    if layer is None:
        return f"{TOP[parts[-1]]}.{kind}"
    to = renamed.get(parts[-1]) or BLOCK.get(".".join(parts[-2:])) or BLOCK[parts[-1]]
    if post_norms and parts[-1] == "post_attention_layernorm":
        to = "post_attention_norm"
    return f"blk.{layer}.{to}.{kind}"


def permute(weight, heads):
    """Rows of a Q or K projection from halves to neighbouring pairs."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def by_kind(weight, heads):
    """Rows of a fused projection from [head][q, k, v] to [q, k, v][head]."""
    rows = weight.shape[0]
    return weight.reshape(heads, 3, rows // heads // 3, -1).swapaxes(0, 1).reshape(weight.shape)


def tensors_of(tiny):
    """(name, array) as llama.cpp's converter writes them."""
    config = tiny.model.config
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    fused = {}
    for name, p in tiny.model.named_parameters():
        data = p.detach().numpy()
        module = module_of(name)
        if isinstance(tiny.model.get_submodule(name.rsplit(".", 1)[0]), tf.pytorch_utils.Conv1D) and p.dim() == 2:
            data = data.T
        if tiny.permuted and module in ("q_proj", "k_proj"):
            data = permute(data, heads if module == "q_proj" else kv_heads)
        if tiny.interleaved_qkv and module == "query_key_value":
            data = by_kind(data, heads)
        if tiny.zero_based_norms and is_norm(name) and name.endswith("weight"):
            data = data + 1
        if module == "proj_1":
            layer = next(p for p in name.split(".") if p.isdigit())
            gate, up = np.split(data, 2)
            yield f"blk.{layer}.ffn_gate.weight", gate
            yield f"blk.{layer}.ffn_up.weight", up
            continue
        if module == "embed_positions":  # rows of padding
            data = data[2:]
        if tiny.renamed.get(module, "") is None:
            continue
        to = gguf_name(name, tiny.post_norms, tiny.renamed)
        if tiny.fused_qkv and module in ("q_proj", "k_proj", "v_proj"):
            to = to.replace("attn_q.", "attn_qkv.").replace("attn_k.", "attn_qkv.").replace("attn_v.", "attn_qkv.")
            fused.setdefault(to, []).append(data)
            if len(fused[to]) == 3:
                yield to, np.concatenate(fused[to])
            continue
        yield to, data


def write_gguf(tiny, path):
    config = tiny.model.config
    writer = gguf.GGUFWriter(path, tiny.arch)
    writer.add_name(f"tiny-{tiny.arch}".replace("phi3", "phi"))
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(getattr(config, "query_heads", None) or config.num_attention_heads)
    writer.add_head_count_kv(getattr(config, "kv_heads", None) or getattr(config, "num_key_value_heads", None) or
                             config.num_attention_heads)
    writer.add_feed_forward_length(getattr(config, "ffn_widths", None) or getattr(config, "intermediate_size", None) or
                                   getattr(config, "ffn_dim", None) or
                                   4 * config.hidden_size)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim * config.num_attention_heads != config.hidden_size or hasattr(config, "query_heads"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
        writer.add_rope_freq_base(rope["rope_theta"])
    eps = next((getattr(config, k) for k in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps")
                if getattr(config, k, None) is not None), 1e-5)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(eps)
    else:
        writer.add_layer_norm_eps(eps)
    writer.add_vocab_size(VOCAB)
    if tiny.keys is not None:
        tiny.keys(writer, config)
    add_tokenizer(writer, tiny.pre)
    extra = tiny.tensors(tiny.model) if callable(tiny.tensors) else tiny.tensors
    for name, data in [*extra.items(), *tensors_of(tiny)]:
        matrix = data.ndim == 2 and not name.endswith("_norm.weight")
        writer.add_tensor(name, np.ascontiguousarray(data, dtype=tiny.dtype if matrix else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def fill(tiny, seed):
    """Gives the model its weights. Returns token ids to try it on."""
    generator = torch.Generator().manual_seed(seed)
    randomize(tiny.model, generator, tiny.zero_based_norms, tiny.post_norms)
    model = tiny.model.float().eval()
    ids = torch.randint(len(CONTROL), VOCAB, (1, TOKENS), generator=generator)
    sharpen(model, ids, tiny.zero_based_norms, tiny.final_norm)
    if tiny.dtype == np.float16:  # what the file holds is what the logits are computed from
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() == 2 or p.dim() == 3 and p.shape[1] == p.shape[2]:
                    p.copy_(p.half().float())
    return ids


def logits_of(model, ids):
    """[tokens, VOCAB], as a model that has seen nothing before computes them: Transformers keeps dynamic NTK's frequencies of a
    longer sequence for the shorter ones that follow."""
    for module in model.modules():
        if hasattr(module, "original_inv_freq"):
            module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
    with torch.no_grad():
        return model(ids).logits[0].float()


def make(tiny, seed, out):
    ids = fill(tiny, seed)
    name = tiny.name or tiny.arch
    write_gguf(tiny, out / f"{name}.gguf")
    logits = logits_of(tiny.model, ids).numpy()
    print(f"{name}: logits of standard deviation {logits.std():.2f}, largest {np.abs(logits).max():.2f}")
    assert logits.std() >= 1
    logits[:, COLUMNS].astype("<f4").tofile(out / f"{name}.f32")
    short = logits_of(tiny.model, ids[:, :SHORT]).numpy()
    if np.abs(short - logits[:SHORT]).max() > 1e-2:  # positions go by the sequence's length
        short[:, COLUMNS].astype("<f4").tofile(out / f"{name}.short.f32")
    with open(out / f"{name}.json", "w") as f:
        json.dump({"tokens": ids[0].tolist(), "vocab": VOCAB, "columns": COLUMNS}, f)
        f.write("\n")


# --- the families ----------------------------------------------------------------------------------------------------

def reference(arch, name="", keys=None, tensors=(), renamed=(), fused_qkv=False, **options):
    c = argparse.Namespace(**dict(
        vocab_size=VOCAB, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        intermediate_size=48, eps=1e-5, norm=Rms, rope_parameters=rope(), qkv_bias=False, qk_norm=False, tied=True,
        shortcuts=0, shortcut_dim=0, series=0, one_ffn=False, repeat=1, doubling_beyond=0, logn_beyond=0, block=Block,
        embedding_scale=1.0, residual_scale=1.0, output_scale=1.0) | options)
    if c.norm is Rms:
        c.rms_norm_eps = c.eps
    return Tiny(arch, Reference(c), name, final_norm="norm", keys=keys, tensors=tensors or {}, renamed=dict(renamed),
                fused_qkv=fused_qkv)


def llama3_factors(config):
    """The divisors that llama.cpp's converter writes as rope_freqs.weight."""
    scaling = config.rope_parameters
    base = scaling["rope_theta"] ** (np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim)
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


def rope(theta=10000.0, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def small(layers=3, heads=4, kv_heads=2, **more):
    return dict(hidden_size=48, intermediate_size=72, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv_heads, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, **COMMON) | more


def without(config, *names):
    return {k: v for k, v in config.items() if k not in names}


def llama():
    config = tf.LlamaConfig(**small(
        heads=6, hidden_size=96, intermediate_size=151, head_dim=16, tie_word_embeddings=False,
        rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 128}))
    return Tiny("llama", tf.LlamaForCausalLM(config), dtype=np.float32, pre="smollm", permuted=True,
                tensors={"rope_freqs.weight": llama3_factors(config)})


def scaled_rope(name, rope_parameters, keys, **more):
    config = tf.LlamaConfig(**small(head_dim=16, tie_word_embeddings=True, rope_parameters=rope_parameters, **more))
    return Tiny("llama", tf.LlamaForCausalLM(config), name, permuted=True, keys=keys)


def llama_yarn():
    scaling = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 128,
               "beta_fast": 4.0, "beta_slow": 0.5, "attention_factor": 1.3}

    def keys(writer, c):
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_attn_factor(scaling["attention_factor"])
        writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
    return scaled_rope("llama_yarn", scaling, keys)


def llama_dynamic():
    def keys(writer, c):
        writer.add_string("llama.rope.scaling.type", "dynamic")
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(c.max_position_embeddings)
    return scaled_rope("llama_dynamic", {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}, keys,
                       max_position_embeddings=100)


def longrope(name, original):
    short = [1.0 + 0.05 * i for i in range(6)]
    long = [1.0 + 1.5 * i for i in range(6)]
    scaling = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": short, "long_factor": long,
               "original_max_position_embeddings": original, "factor": CONTEXT / original, "partial_rotary_factor": 0.75}
    config = tf.Phi3Config(**small(hidden_size=64, rope_parameters=scaling, partial_rotary_factor=0.75,
                                   original_max_position_embeddings=original, tie_word_embeddings=True))

    def keys(writer, c):
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors((1 + np.log(CONTEXT / original) / np.log(original)) ** 0.5)
    return Tiny("phi3", tf.Phi3ForCausalLM(config), name, keys=keys,
                tensors={"rope_factors_short.weight": np.array(short, np.float32),
                         "rope_factors_long.weight": np.array(long, np.float32)})


def phi3_long():
    return longrope("phi3_long", 100)


def phi3_short():
    return longrope("phi3_short", 300)


def qwen2():
    config = tf.Qwen2Config(**small(
        kv_heads=1, hidden_size=80, intermediate_size=203, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=rope(1e6), use_sliding_window=False))
    return Tiny("qwen2", tf.Qwen2ForCausalLM(config))


def qwen():
    config = tf.Qwen2Config(**small(kv_heads=4, rope_parameters=rope(), tie_word_embeddings=False))
    tiny = Tiny("qwen", tf.Qwen2ForCausalLM(config), fused_qkv=True)

    def keys(writer, c):  # the width of gate and up together
        writer.kv_data[0].pop("qwen.feed_forward_length")
        writer.add_feed_forward_length(2 * c.intermediate_size)
    tiny.keys = keys
    return tiny


def qwen3():
    config = tf.Qwen3Config(**small(head_dim=20, rope_parameters=rope(1e6), tie_word_embeddings=True))
    return Tiny("qwen3", tf.Qwen3ForCausalLM(config))


def gemma():
    config = tf.GemmaConfig(**small(heads=3, kv_heads=1, head_dim=20, rms_norm_eps=1e-4, rope_parameters=rope(),
                                    hidden_activation="gelu_pytorch_tanh"))
    return Tiny("gemma", tf.GemmaForCausalLM(config), zero_based_norms=True)


def gemma2():
    config = tf.Gemma2Config(**small(layers=4, head_dim=20, rms_norm_eps=1e-4, rope_parameters=rope(), sliding_window=24,
                                     query_pre_attn_scalar=20, attn_logit_softcapping=2.0, final_logit_softcapping=6.0,
                                     hidden_activation="gelu_pytorch_tanh"))

    def keys(writer, c):
        writer.add_sliding_window(c.sliding_window)
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    return Tiny("gemma2", tf.Gemma2ForCausalLM(config), zero_based_norms=True, post_norms=True, keys=keys)


def gemma3():
    config = tf.Gemma3TextConfig(**small(
        layers=7, hidden_size=32, intermediate_size=48, head_dim=12, rms_norm_eps=1e-4, sliding_window=24,
        query_pre_attn_scalar=12, hidden_activation="gelu_pytorch_tanh",
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                         "sliding_attention": rope()}))

    def keys(writer, c):
        writer.add_sliding_window(c.sliding_window)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(8.0)
    return Tiny("gemma3", tf.Gemma3ForCausalLM(config), zero_based_norms=True, post_norms=True, keys=keys)


def phi2():
    config = tf.PhiConfig(**without(small(kv_heads=4), "rms_norm_eps"), layer_norm_eps=1e-5, hidden_act="gelu_new",
                          rope_parameters=rope(partial_rotary_factor=0.5), partial_rotary_factor=0.5)
    return Tiny("phi2", tf.PhiForCausalLM(config), final_norm="model.final_layernorm")


def phi3():
    # Widths that group quantization takes, to try that on fused tensors.
    config = tf.Phi3Config(**small(hidden_size=64, intermediate_size=96, rope_parameters=rope(), sliding_window=30))
    return Tiny("phi3", tf.Phi3ForCausalLM(config), keys=lambda w, c: w.add_sliding_window(c.sliding_window))


def gpt2():
    config = tf.GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=CONTEXT, **COMMON)
    return Tiny("gpt2", tf.GPT2LMHeadModel(config), final_norm="transformer.ln_f")


def gpt2_gelu():
    config = tf.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=CONTEXT, activation_function="gelu", **COMMON)
    return Tiny("gpt2", tf.GPT2LMHeadModel(config), "gpt2_gelu", final_norm="transformer.ln_f",
                keys=lambda w, c: w.add_string("gpt2.hidden_activation", "gelu"))


OPT_NORMS = {"self_attn_layer_norm": "attn_norm", "final_layer_norm": "ffn_norm"}


def opt_config(**more):
    return tf.OPTConfig(**COMMON | dict(hidden_size=32, ffn_dim=80, num_hidden_layers=3, num_attention_heads=4,
                                        max_position_embeddings=CONTEXT, word_embed_proj_dim=32) | more)


def opt():
    return Tiny("opt", tf.OPTForCausalLM(opt_config()), renamed=OPT_NORMS, final_norm="model.decoder.final_layer_norm")


def opt_gelu():
    config = opt_config(activation_function="gelu")
    return Tiny("opt", tf.OPTForCausalLM(config), "opt_gelu", renamed=OPT_NORMS,
                final_norm="model.decoder.final_layer_norm",
                keys=lambda w, c: w.add_string("opt.hidden_activation", "gelu"))


def opt_350m():
    config = opt_config(word_embed_proj_dim=24, do_layer_norm_before=False)

    def keys(writer, c):
        writer.add_bool("opt.norm_after_residual", True)
        writer.add_uint32("opt.token_embedding_length", c.word_embed_proj_dim)
    return Tiny("opt", tf.OPTForCausalLM(config), "opt_350m", keys=keys, final_norm="model.decoder.project_out",
                renamed={"self_attn_layer_norm": "attn_output_norm", "final_layer_norm": "layer_output_norm"})


def qwen_long(doubling_beyond=60, logn_beyond=40):
    def keys(writer, c):
        writer.kv_data[0].pop("qwen.feed_forward_length")
        writer.add_feed_forward_length(2 * c.intermediate_size)
        writer.add_string("qwen.rope.scaling.type", "dynamic_doubling")
        writer.add_rope_scaling_orig_ctx_len(c.doubling_beyond)
        writer.add_uint32("qwen.attention.logn_length", c.logn_beyond)
    return reference("qwen", "qwen_long", keys, fused_qkv=True, num_key_value_heads=4, qkv_bias=True, tied=False,
                     doubling_beyond=doubling_beyond, logn_beyond=logn_beyond)


def mobilellm():
    return reference("mobilellm", repeat=2, keys=lambda w, c: w.add_uint32("mobilellm.block_repeat", c.repeat))


def mobillama(num_key_value_heads=2):
    return reference("mobillama", one_ffn=True, tied=True, num_key_value_heads=num_key_value_heads,
                     keys=lambda w, c: w.add_bool("mobillama.feed_forward_shared", True))


def minicpm3():
    # The scales are what readers of such files know without keys.
    short, long, original = [1.0, 1.1, 1.2, 1.3], [1.0, 2.0, 4.0, 8.0], 100
    magnitude = (1 + np.log(CONTEXT / original) / np.log(original)) ** 0.5

    def keys(writer, c):
        for key in ("rope.dimension_count", "attention.value_length"):
            writer.kv_data[0].pop(f"minicpm3.{key}")
        writer.add_rope_dimension_count(c.rotary_dim)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(magnitude)
        writer.add_q_lora_rank(c.q_rank)
        writer.add_kv_lora_rank(c.kv_rank)
    return reference("minicpm3", keys=keys, block=LatentBlock, num_key_value_heads=4, head_dim=20, rotary_dim=8,
                     value_dim=8, q_rank=24, kv_rank=16, eps=1e-3, short_factors=short, long_factors=long,
                     original_context=original, magnitude=magnitude,
                     embedding_scale=12.0, residual_scale=1.4 / 3 ** 0.5, output_scale=256 / 32,
                     tensors={"rope_factors_short.weight": np.array(short, np.float32),
                              "rope_factors_long.weight": np.array(long, np.float32)})


def recurrentgemma():
    config = tf.RecurrentGemmaConfig(**without(small(layers=4, kv_heads=1, rms_norm_eps=1e-4, intermediate_size=96),
                                               "attn_implementation"),
                                     lru_width=48, attention_window_size=40, conv1d_width=4, logits_soft_cap=6.0,
                                     rope_parameters=rope(partial_rotary_factor=0.5), partial_rotary_factor=0.5)

    def keys(writer, c):
        for key in ("attention.head_count_kv", "feed_forward_length"):
            writer.kv_data[0].pop(f"recurrentgemma.{key}")
        writer.add_head_count_kv([c.num_key_value_heads if kind == "attention" else 0 for kind in c.layers_block_type])
        writer.add_feed_forward_length(c.intermediate_size // 2)
        writer.add_sliding_window(c.attention_window_size)
        writer.add_final_logit_softcapping(c.logits_soft_cap)
        writer.add_uint32("recurrentgemma.rglru.width", c.lru_width)
        writer.add_uint32("recurrentgemma.rglru.head_count", c.num_attention_heads)
        writer.add_uint32("recurrentgemma.rglru.conv_kernel", c.conv1d_width)

    def tensors(model):
        found = {}
        for i, layer in enumerate(model.model.layers):
            if model.config.layers_block_type[i] == "attention":
                continue
            block, lru = layer.temporal_block, layer.temporal_block.rg_lru
            found |= {f"blk.{i}.rglru_{name}": p.detach().numpy() for name, p in {
                "conv.weight": block.conv_1d.weight[:, 0].T.flatten(), "conv.bias": block.conv_1d.bias,
                "input_gate.weight": lru.input_gate_weight.flatten(0, 1),
                "input_gate.bias": lru.input_gate_bias.flatten(),
                "recurrent_gate.weight": lru.recurrent_gate_weight.flatten(0, 1),
                "recurrent_gate.bias": lru.recurrent_gate_bias.flatten(), "param": lru.recurrent_param}.items()}
        return found
    return Tiny("recurrentgemma", tf.RecurrentGemmaForCausalLM(config), zero_based_norms=True, final_norm="model.final_norm",
                keys=keys, tensors=tensors,
                renamed={"temporal_pre_norm": "attn_norm", "channel_pre_norm": "ffn_norm", "linear_x": "rglru_x",
                         "linear_y": "rglru_y", "linear_out": "rglru_out", "conv_1d": None, "rg_lru": None})


def openlm(intermediate_size=48):
    return reference("openlm", norm=Gain, intermediate_size=intermediate_size, num_key_value_heads=4, qk_norm=True,
                     tied=False, fused_qkv=True)


def pangu_pi():
    def keys(writer, c):
        writer.add_uint32("pangu_pi.shortcut_length", c.shortcuts * c.shortcut_dim)
        writer.add_uint32("pangu_pi.series_activation_count", c.series)

    def tensors(model):
        stacked = {}
        for i, layer in enumerate(model.layers):
            shortcuts, mlp = layer.shortcuts, layer.mlp
            stacked[f"blk.{i}.shortcut_down.weight"] = torch.cat([s.shortcut_down.weight for s in shortcuts]).detach().numpy()
            stacked[f"blk.{i}.shortcut_up.weight"] = torch.cat([s.shortcut_up.weight for s in shortcuts], 1).detach().numpy()
            stacked[f"blk.{i}.ffn_series.scale"] = mlp.series_scale.detach().numpy().flatten()
            stacked[f"blk.{i}.ffn_series.bias"] = mlp.series_bias.detach().numpy().flatten()
        return stacked
    return reference("pangu_pi", keys=keys, tensors=tensors, num_key_value_heads=4, tied=False, shortcuts=2,
                     shortcut_dim=8, series=2, renamed=dict.fromkeys(["shortcut_down", "shortcut_up", "mlp"]))


def gptneox():
    config = tf.GPTNeoXConfig(**without(small(kv_heads=4), "rms_norm_eps", "num_key_value_heads"), layer_norm_eps=1e-5,
                              rope_parameters=rope(partial_rotary_factor=0.5), rotary_pct=0.5, hidden_act="gelu")
    return Tiny("gptneox", tf.GPTNeoXForCausalLM(config), interleaved_qkv=True, final_norm="gpt_neox.final_layer_norm",
                keys=lambda w, c: w.add_parallel_residual(True))


def bloom():
    config = tf.BloomConfig(hidden_size=48, n_layer=3, n_head=6, **COMMON)
    return Tiny("bloom", tf.BloomForCausalLM(config), interleaved_qkv=True, final_norm="transformer.ln_f")


def stablelm():
    config = tf.StableLmConfig(**without(small(), "rms_norm_eps"), layer_norm_eps=1e-5, use_qkv_bias=True,
                               rope_parameters=rope(partial_rotary_factor=0.5), partial_rotary_factor=0.5)
    return Tiny("stablelm", tf.StableLmForCausalLM(config), keys=lambda w, c: w.add_parallel_residual(False))


def stablelm_parallel():
    # One norm for both branches; for queries and keys one of each head.
    config = tf.StableLmConfig(**without(small(), "rms_norm_eps"), layer_norm_eps=1e-5, use_parallel_residual=True,
                               qk_layernorm=True, rope_parameters=rope(partial_rotary_factor=0.5),
                               partial_rotary_factor=0.5)

    def tensors(model):
        return {f"blk.{i}.attn_{kind[0]}_norm.weight":
                torch.stack([norm.weight for norm in getattr(layer.self_attn, kind).norms]).detach().numpy()
                for i, layer in enumerate(model.model.layers) for kind in ("q_layernorm", "k_layernorm")}
    return Tiny("stablelm", tf.StableLmForCausalLM(config), "stablelm_parallel", tensors=tensors,
                renamed=dict.fromkeys(map(str, range(config.num_attention_heads))),
                keys=lambda w, c: w.add_parallel_residual(True))


def mistral():
    config = tf.MistralConfig(**small(rope_parameters=rope(), sliding_window=24))
    return Tiny("llama", tf.MistralForCausalLM(config), "mistral", permuted=True,
                keys=lambda w, c: w.add_sliding_window(c.sliding_window))


def olmo():
    config = tf.OlmoConfig(**without(small(), "rms_norm_eps"), clip_qkv=1.5, rope_parameters=rope(),
                           tie_word_embeddings=False)
    return Tiny("olmo", tf.OlmoForCausalLM(config), permuted=True, keys=lambda w, c: w.add_clamp_kqv(c.clip_qkv))


def olmo2():
    config = tf.Olmo2Config(**small(rope_parameters=rope(), tie_word_embeddings=False))
    return Tiny("olmo2", tf.Olmo2ForCausalLM(config), post_norms=True)


def nemotron():
    config = tf.NemotronConfig(**without(small(), "rms_norm_eps"), norm_eps=1e-5, hidden_act="relu2",
                               rope_parameters=rope(partial_rotary_factor=0.5), partial_rotary_factor=0.5)
    return Tiny("nemotron", tf.NemotronForCausalLM(config), zero_based_norms=True)


def scaled_llama(arch, attention):
    config = tf.GraniteConfig(**small(rope_parameters=rope(), tie_word_embeddings=True), embedding_multiplier=3.0,
                              residual_multiplier=0.4, attention_multiplier=attention, logits_scaling=2.0)

    def keys(writer, c):
        writer.add_embedding_scale(c.embedding_multiplier)
        writer.add_residual_scale(c.residual_multiplier)
        writer.add_logit_scale(c.logits_scaling)
        if arch == "granite":
            writer.add_attention_scale(c.attention_multiplier)
    return Tiny(arch, tf.GraniteForCausalLM(config), permuted=True, keys=keys)


def granite():
    return scaled_llama("granite", 0.2)


def minicpm():
    return scaled_llama("minicpm", 12 ** -0.5)


def smollm3():
    config = tf.SmolLM3Config(**small(layers=5, rope_parameters=rope(), tie_word_embeddings=True),
                              no_rope_layer_interval=4, use_sliding_window=False)
    return Tiny("smollm3", tf.SmolLM3ForCausalLM(config), permuted=True)


def openelm():
    config = argparse.Namespace(
        vocab_size=VOCAB, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, head_dim=16, rms_norm_eps=1e-6,
        query_heads=[2, 4, 6], kv_heads=[1, 2, 3], ffn_widths=[40, 72, 104], rope_parameters=rope())
    return Tiny("openelm", OpenElm(config), final_norm="norm")


FAMILIES = [llama, qwen2, bloom, gemma, gemma2, gemma3, gpt2, gptneox, granite, minicpm, nemotron, olmo, olmo2, openelm,
            phi2, phi3, qwen, qwen3, smollm3, stablelm]
# What came later, variants of the above among them. Their place is their seed.
MORE = [llama_yarn, llama_dynamic, phi3_long, phi3_short, gpt2_gelu, opt, opt_gelu, opt_350m, qwen_long, mobilellm, mobillama,
        openlm, pangu_pi, minicpm3, recurrentgemma, stablelm_parallel, mistral]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these families instead of all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "tiny")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for i, family in enumerate(FAMILIES + MORE):
        if options.only is None or family.__name__ in options.only:
            make(family(), options.seed * 1000 + i, options.out)


if __name__ == "__main__":
    main()
