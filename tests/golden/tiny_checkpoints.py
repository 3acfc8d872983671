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


QWEN_NAMES = {"input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "o_proj": "attn.c_proj", "up_proj": "mlp.w1",
              "gate_proj": "mlp.w2", "down_proj": "mlp.c_proj", "embed_tokens": "wte", "norm": "ln_f"}


def fuse_qkv(tensors, name_of):
    """All others as they are, and where q_proj, k_proj and v_proj were, one by the name name_of(layer, kind)."""
    out, fused = {}, {}
    for name, tensor in tensors.items():
        stem, kind = name.rsplit(".", 1)
        parts = stem.split(".")
        if parts[-1] in ("q_proj", "k_proj", "v_proj"):
            fused.setdefault(name_of(parts[parts.index("layers") + 1], kind), {})[parts[-1]] = tensor
        else:
            out[name] = tensor
    return out | {name: torch.cat([qkv["q_proj"], qkv["k_proj"], qkv["v_proj"]]) for name, qkv in fused.items()}


def as_qwen(config, tensors):
    out = {}
    for name, tensor in fuse_qkv(tensors, lambda layer, kind: f"transformer.h.{layer}.attn.c_attn.{kind}").items():
        stem, kind = name.rsplit(".", 1)
        parts = stem.split(".")
        layer = f"h.{parts[parts.index('layers') + 1]}." if "layers" in parts else ""
        kept = name.startswith("transformer.") or parts[-1] == "lm_head"
        out[name if kept else f"transformer.{layer}{QWEN_NAMES[parts[-1]]}.{kind}"] = tensor
    trained = getattr(config, "doubling_beyond", tiny_models.CONTEXT)
    return {
        "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": config.hidden_size,
        "intermediate_size": 2 * config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "kv_channels": config.hidden_size // config.num_attention_heads,
        "vocab_size": config.vocab_size, "layer_norm_epsilon": config.rms_norm_eps, "rotary_emb_base": 10000,
        "seq_length": trained, "max_position_embeddings": tiny_models.CONTEXT,
        "use_logn_attn": trained < tiny_models.CONTEXT, "use_dynamic_ntk": trained < tiny_models.CONTEXT,
        "tie_word_embeddings": False}, out


# --- models of reference_models.py -----------------------------------------------------------------------------------

def as_llama(architecture, config, tensors, **more):
    """As Llama's, with what the model has besides."""
    attention = ("q_", "k_", "v_", "o_", "kv_", "shortcuts")
    out = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] == "layers" and parts[2].startswith(attention):
            parts.insert(2, "self_attn")
        out[".".join(parts if parts[0] == "lm_head" else ["model", *parts])] = tensor
    return {
        "architectures": [architecture], "hidden_size": config.hidden_size, "hidden_act": "silu",
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "num_key_value_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size, "rms_norm_eps": config.eps, "rope_theta": 10000.0,
        "max_position_embeddings": tiny_models.CONTEXT, "tie_word_embeddings": config.tied, **more}, out


def as_mobilellm(config, tensors):
    # Its files say elsewhere than others do that the embeddings serve as output.
    told, tensors = as_llama("MobileLLMForCausalLM", config, tensors, model_type="mobilellm", head_dim=config.head_dim,
                             layer_sharing=config.repeat == 2, share_embedding=config.tied)
    return {**told, "tie_word_embeddings": False}, tensors


def as_mobillama(config, tensors):
    # Every block names the one FFN; and so many key/value heads as the model does not have.
    told, out = as_llama("MobiLlamaForCausalLM", config, tensors, model_type="mobillama", num_key_value_heads=1)
    for name in [n for n in out if ".mlp." in n]:
        for layer in range(1, config.num_hidden_layers):
            out[name.replace("layers.0.", f"layers.{layer}.")] = out[name].clone()
    return told, out


def as_minicpm3(config, tensors):
    return as_llama(
        "MiniCPM3ForCausalLM", config, tensors, model_type="minicpm3", q_lora_rank=config.q_rank,
        kv_lora_rank=config.kv_rank, qk_nope_head_dim=config.head_dim - config.rotary_dim,
        qk_rope_head_dim=config.rotary_dim, v_head_dim=config.value_dim, scale_emb=12, scale_depth=1.4,
        dim_model_base=256, rope_scaling={"type": "longrope", "short_factor": config.short_factors,
                                          "long_factor": config.long_factors,
                                          "original_max_position_embeddings": config.original_context})


def as_pangu_pi(config, tensors):
    told, out = as_llama("PanguPiForCausalLM", config, tensors, model_type="pangu_pi",
                         num_augmented_shortcuts=config.shortcuts, series_activation_n=config.series,
                         shortcut_reduction=config.hidden_size // config.shortcut_dim)
    return told, {name.replace("shortcut_up", "up_proj").replace("shortcut_down", "down_proj")
                  .replace("series_", "series."): tensor for name, tensor in out.items()}


OPENLM_NAMES = {"embed_tokens": "tok_embeddings", "norm": "norm", "lm_head": "output", "input_layernorm": "attention_norm",
                "post_attention_layernorm": "ffn_norm", "q_norm": "attention.q_norm", "k_norm": "attention.k_norm",
                "o_proj": "attention.out_proj", "gate_proj": "feed_forward.w12", "down_proj": "feed_forward.w3"}


def as_openlm(config, tensors):
    out = {}
    for name, tensor in fuse_qkv(tensors, lambda layer, kind: f"model.layers.{layer}.attention.in_proj.{kind}").items():
        parts = name.split(".")
        layer = f"layers.{parts[1]}." if parts[0] == "layers" else ""
        if parts[-2] == "gate_proj":
            tensor = torch.cat([tensor, tensors[name.replace("gate_proj", "up_proj")]])
        if parts[-2] != "up_proj":
            out[name if parts[0] == "model" else f"model.{layer}{OPENLM_NAMES[parts[-2]]}.weight"] = tensor
    for layer in range(config.num_hidden_layers):
        out[f"model.layers.{layer}.attention.pos_embed.inv_freq"] = 1e4 ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
    return {
        "architectures": ["OpenLMModel"], "model_type": "openlm",
        "params_args_dict": {
            "dim": config.hidden_size, "n_layers": config.num_hidden_layers, "n_heads": config.num_attention_heads,
            "vocab_size": config.vocab_size, "seq_len": tiny_models.CONTEXT, "weight_tying": False, "qk_norm": True,
            "post_embed_norm": False, "norm_type": "gain_only_lp_layer_norm", "model_norm": "gain_only_lp_layer_norm",
            "positional_embedding_type": "rotary", "ffn_type": "swiglu_torch", "attn_name": "auto",
            "attn_activation": None}}, out


PUBLISHED = {"openelm": as_openelm, "minicpm": as_minicpm, "qwen": as_qwen, "mobilellm": as_mobilellm,
             "mobillama": as_mobillama, "minicpm3": as_minicpm3, "pangu_pi": as_pangu_pi, "openlm": as_openlm}


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
