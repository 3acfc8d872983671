"""Saves the tiny models of make_tiny_models.py as Hugging Face publishes such models: config.json, safetensors files, a
tokenizer. For make_tiny_checkpoints.py, and for tests/peers/checkpoints.py."""

import json

import numpy as np
import safetensors.torch
import torch

import make_tiny_models as tiny_models

QWEN2_WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(**more):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, **more}


def steps_of(pre):
    """The pre-tokenizer that GGUF calls `pre`."""
    if pre == "smollm":
        return [{"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)]
    assert pre == "qwen2", pre
    split = {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": False}
    return [split, byte_level(use_regex=False)]


class Recorder:
    """Takes the place of a GGUF writer: what add_tokenizer tells it."""

    def __init__(self):
        self.told = {}

    def __getattr__(self, name):
        return lambda value: self.told.__setitem__(name, value)


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_tokenizer(folder, pre):
    recorder = Recorder()
    tiny_models.add_tokenizer(recorder, pre)
    tokens, merges = recorder.told["add_token_list"], recorder.told["add_token_merges"]
    control = tiny_models.CONTROL
    special = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, **special} for i, text in enumerate(control)],
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps_of(pre)},
        "post_processor": byte_level(use_regex=False), "decoder": byte_level(use_regex=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {text: i for i, text in enumerate(tokens)}, "merges": [merge.split(" ") for merge in merges]}})
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "bos_token": control[1],
        "eos_token": {"__type": "AddedToken", "content": control[2], **special}, "pad_token": control[0]})
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 0})


# --- models that Transformers has under another name, as they are published ------------------------------------------

def as_openelm(config, tensors):
    names = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "qkv_proj": "attn.qkv_proj", "q_norm": "attn.q_norm",
             "k_norm": "attn.k_norm", "out_proj": "attn.out_proj", "proj_1": "ffn.proj_1", "proj_2": "ffn.proj_2"}
    out = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        out["transformer." + (f"layers.{parts[1]}.{names[parts[-2]]}.weight" if parts[0] == "layers" else name)] = tensor
    return {
        "architectures": ["OpenELMForCausalLM"], "model_type": "openelm", "model_dim": config.hidden_size,
        "num_transformer_layers": config.num_hidden_layers, "head_dim": config.head_dim, "vocab_size": config.vocab_size,
        "num_query_heads": config.query_heads, "num_kv_heads": config.kv_heads, "ffn_dim_divisor": 8,
        "ffn_multipliers": [round(width / config.hidden_size, 2) for width in config.ffn_widths],
        "rope_freq_constant": 10000, "max_context_length": tiny_models.CONTEXT, "activation_fn_name": "swish",
        "share_input_output_layers": True, "normalize_qk_projections": True}, out


def as_minicpm(config, tensors):
    return {
        "architectures": ["MiniCPMForCausalLM"], "model_type": "minicpm", "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "num_key_value_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size, "rms_norm_eps": config.rms_norm_eps, "hidden_act": "silu", "rope_scaling": None,
        "max_position_embeddings": config.max_position_embeddings, "scale_emb": config.embedding_multiplier,
        "scale_depth": config.residual_multiplier * config.num_hidden_layers ** 0.5,
        "dim_model_base": config.hidden_size / config.logits_scaling}, tensors


def as_qwen(config, tensors):
    names = {"input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "o_proj": "attn.c_proj", "up_proj": "mlp.w1",
             "gate_proj": "mlp.w2", "down_proj": "mlp.c_proj", "embed_tokens": "wte", "norm": "ln_f"}
    out, fused = {}, {}
    for name, tensor in tensors.items():
        stem, kind = name.rsplit(".", 1)
        parts = stem.split(".")
        layer = f"h.{parts[2]}." if "layers" in parts else ""
        if parts[-1] in ("q_proj", "k_proj", "v_proj"):
            fused.setdefault((layer, kind), {})[parts[-1]] = tensor
        else:
            out[name if parts[-1] == "lm_head" else f"transformer.{layer}{names[parts[-1]]}.{kind}"] = tensor
    for (layer, kind), parts in fused.items():
        out[f"transformer.{layer}attn.c_attn.{kind}"] = torch.cat([parts["q_proj"], parts["k_proj"], parts["v_proj"]])
    return {
        "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": config.hidden_size,
        "intermediate_size": 2 * config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "kv_channels": config.hidden_size // config.num_attention_heads,
        "vocab_size": config.vocab_size, "layer_norm_epsilon": config.rms_norm_eps, "rotary_emb_base": 10000,
        "seq_length": tiny_models.CONTEXT, "max_position_embeddings": tiny_models.CONTEXT, "use_logn_attn": False,
        "use_dynamic_ntk": False, "tie_word_embeddings": False}, out


PUBLISHED = {"openelm": as_openelm, "minicpm": as_minicpm, "qwen": as_qwen}


def old_form(config):
    """rope_parameters as models of before 2025 state it."""
    rope = config.pop("rope_parameters", None)
    if not rope:
        return config
    sliding = rope.get("sliding_attention")
    rope = dict(rope.get("full_attention", rope))
    if sliding:
        config["rope_local_base_freq"] = sliding["rope_theta"]
    config["rope_theta"] = rope.pop("rope_theta")
    partial = rope.pop("partial_rotary_factor", None)
    if partial is not None:
        config["rotary_pct" if config.get("model_type") == "gpt_neox" else "partial_rotary_factor"] = partial
    config["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    return config


def save(tiny, folder, cast, shards=1, old=False):
    """`cast`: from a parameter to the tensor that is saved. `old`: with config.json in its older form."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach() for name, p in tiny.model.named_parameters()}
    config = tiny.model.config
    if tiny.arch in PUBLISHED:
        config, tensors = PUBLISHED[tiny.arch](config, tensors)
    else:
        config = json.loads(config.to_json_string(use_diff=False))
        config = {**config, "architectures": [type(tiny.model).__name__]}
        # What Transformers does not write, and published files have.
        if tiny.arch == "bloom":
            config["seq_length"] = tiny_models.CONTEXT
        if tiny.arch == "gpt2":
            config["n_ctx"] = tiny_models.CONTEXT
        if tiny.arch == "gptneox":
            config["rotary_pct"] = config["rope_parameters"]["partial_rotary_factor"]
    config = old_form(config) if old else config
    write_json(folder / "config.json", {k: v for k, v in sorted(config.items()) if v is not None or k == "rope_scaling"})
    write_tokenizer(folder, tiny.pre)
    tensors = {name: cast(tensor).contiguous() for name, tensor in tensors.items()}
    names = list(tensors)
    files = {}
    for i, part in enumerate(np.array_split(np.array(names), shards)):
        file = "model.safetensors" if shards == 1 else f"model-{i + 1:05}-of-{shards:05}.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        files |= {str(name): file for name in part}
    if shards > 1:
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": files})


def as_gguf(tensor):
    """The types that make_tiny_models.py writes into a GGUF file."""
    return tensor.half() if tensor.dim() == 2 else tensor.float()
