"""PyTorch models for what Transformers has no class for, written from the papers; make_tiny_models.py uses them.

Attention is over the whole context, whole sequences at a time; weights are random until someone fills them.
"""

import argparse

import numpy as np
import torch


class Rms(torch.nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Gain(torch.nn.LayerNorm):
    def __init__(self, n, eps):
        super().__init__(n, eps, bias=False)


def rotate(x, theta, factors=1.0):
    """RoPE over halves; x: [1, tokens, heads, dim]."""
    n, dim = x.shape[1], x.shape[3]
    inv_freq = 1.0 / (factors * theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    angles = torch.outer(torch.arange(n, dtype=torch.float32), inv_freq)
    cos, sin = (torch.cat([f(angles)] * 2, -1)[None, :, None, :] for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def causal_attention(q, k, v, scale):
    """q: [1, tokens, heads, dim]; k, v: the same of fewer heads. Returns [1, tokens, heads * dim of v]."""
    n, group = q.shape[1], q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(group, 2) for t in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf")).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", scores, v).reshape(1, n, -1)


class GatedFfn(torch.nn.Module):
    """With series activation (PanGu-pi): the sum of several activations, each of its own scale and bias."""
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = (torch.nn.Linear(c.hidden_size, c.intermediate_size, bias=False) for _ in "gu")
        self.down_proj = torch.nn.Linear(c.intermediate_size, c.hidden_size, bias=False)
        if c.series:
            self.series_scale, self.series_bias = (
                torch.nn.Parameter(torch.ones(c.series, c.intermediate_size)) for _ in "sb")

    def forward(self, x):
        gate, silu = self.gate_proj(x), torch.nn.functional.silu
        if hasattr(self, "series_scale"):
            gate = sum(silu(s * gate + b) for s, b in zip(self.series_scale, self.series_bias))
        else:
            gate = silu(gate)
        return self.down_proj(gate * self.up_proj(x))


class Shortcut(torch.nn.Module):
    """An augmented shortcut (Wang et al., arXiv 2312.17276): what goes beside attention through a bottleneck."""
    def __init__(self, c):
        super().__init__()
        self.shortcut_down = torch.nn.Linear(c.hidden_size, c.shortcut_dim, bias=False)
        self.shortcut_up = torch.nn.Linear(c.shortcut_dim, c.hidden_size, bias=False)

    def forward(self, x):
        return self.shortcut_up(torch.nn.functional.gelu(self.shortcut_down(x)))


class Block(torch.nn.Module):
    def __init__(self, c, mlp=None):
        super().__init__()
        self.c, q, kv = c, c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.input_layernorm, self.post_attention_layernorm = (c.norm(c.hidden_size, c.eps) for _ in "ap")
        self.add_attention(c, q, kv)
        self.shortcuts = torch.nn.ModuleList(Shortcut(c) for _ in range(c.shortcuts))
        self.mlp = mlp or GatedFfn(c)

    def add_attention(self, c, q, kv):
        self.q_proj = torch.nn.Linear(c.hidden_size, q, bias=c.qkv_bias)
        self.k_proj, self.v_proj = (torch.nn.Linear(c.hidden_size, kv, bias=c.qkv_bias) for _ in "kv")
        self.o_proj = torch.nn.Linear(q, c.hidden_size, bias=False)
        if c.qk_norm:
            self.q_norm, self.k_norm = c.norm(q, c.eps), c.norm(kv, c.eps)

    def forward(self, x):
        z, scale = self.input_layernorm(x), self.c.residual_scale
        x = x + scale * (self.attention(z) + sum(s(z) for s in self.shortcuts))
        return x + scale * self.mlp(self.post_attention_layernorm(x))

    def attention(self, z):
        c, n = self.c, z.shape[1]
        q, k, v = self.q_proj(z), self.k_proj(z), self.v_proj(z)
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.view(1, n, -1, c.head_dim) for t in (q, k, v))
        theta = c.rope_parameters["rope_theta"]
        if c.doubling_beyond and n > c.doubling_beyond:  # Qwen's dynamic NTK
            stretch = 2 ** np.ceil(np.log2(n / c.doubling_beyond) + 1) - 1
            theta *= stretch ** (c.head_dim / (c.head_dim - 2))
        q, k = rotate(q, theta), rotate(k, theta)
        if c.logn_beyond:  # Qwen's logn attention
            position = torch.arange(1, n + 1, dtype=torch.float32)
            q = q * (position.log() / np.log(c.logn_beyond)).clamp(min=1)[None, :, None, None]
        return self.o_proj(causal_attention(q, k, v, c.head_dim ** -0.5))


class LatentBlock(Block):
    """Multi-head latent attention (DeepSeek-AI, arXiv 2405.04434) as MiniCPM3 has it."""
    def add_attention(self, c, q, kv):
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        heads = c.num_attention_heads
        self.q_a_proj, self.q_b_proj = linear(c.hidden_size, c.q_rank), linear(c.q_rank, heads * c.head_dim)
        self.kv_a_proj_with_mqa = linear(c.hidden_size, c.kv_rank + c.rotary_dim)
        self.kv_b_proj = linear(c.kv_rank, heads * (c.head_dim - c.rotary_dim + c.value_dim))
        self.o_proj = linear(heads * c.value_dim, c.hidden_size)
        self.q_a_layernorm, self.kv_a_layernorm = Rms(c.q_rank, 1e-6), Rms(c.kv_rank, 1e-6)

    def attention(self, z):
        c, n, plain = self.c, z.shape[1], self.c.head_dim - self.c.rotary_dim
        factors = torch.tensor(c.long_factors if n > c.original_context else c.short_factors)
        turn = lambda x: c.magnitude * rotate(x, c.rope_parameters["rope_theta"], factors)
        q, q_rotary = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(z))).view(1, n, -1, c.head_dim).split(
            [plain, c.rotary_dim], -1)
        latent, k_rotary = self.kv_a_proj_with_mqa(z).split([c.kv_rank, c.rotary_dim], -1)
        k, v = self.kv_b_proj(self.kv_a_layernorm(latent)).view(1, n, c.num_attention_heads, -1).split(
            [plain, c.value_dim], -1)
        k_rotary = turn(k_rotary[:, :, None]).expand(-1, -1, c.num_attention_heads, -1)
        q, k = torch.cat([q, turn(q_rotary)], -1), torch.cat([k, k_rotary], -1)
        return self.o_proj(causal_attention(q, k, v, c.head_dim ** -0.5))


class Reference(torch.nn.Module):
    """Models of Llama's plan with what Transformers has no class for; see the options where they are used."""
    def __init__(self, c):
        super().__init__()
        self.config = c
        shared = GatedFfn(c) if c.one_ffn else None
        self.embed_tokens = torch.nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = torch.nn.ModuleList(c.block(c, shared) for _ in range(c.num_hidden_layers))
        self.norm = c.norm(c.hidden_size, c.eps)
        if not c.tied:
            self.lm_head = torch.nn.Linear(c.hidden_size, c.vocab_size, bias=False)

    def forward(self, ids):
        x = self.embed_tokens(ids) * self.config.embedding_scale
        for layer in self.layers:
            for _ in range(self.config.repeat):
                x = layer(x)
        head = self.embed_tokens if self.config.tied else self.lm_head
        return argparse.Namespace(logits=self.norm(x) * self.config.output_scale @ head.weight.T)


class OpenElmLayer(torch.nn.Module):
    def __init__(self, c, i):
        super().__init__()
        self.q, self.kv, self.dim, self.theta = c.query_heads[i], c.kv_heads[i], c.head_dim, c.rope_parameters["rope_theta"]
        self.attn_norm, self.ffn_norm = Rms(c.hidden_size, c.rms_norm_eps), Rms(c.hidden_size, c.rms_norm_eps)
        self.qkv_proj = torch.nn.Linear(c.hidden_size, (self.q + 2 * self.kv) * self.dim, bias=False)
        self.q_norm, self.k_norm = Rms(self.dim, c.rms_norm_eps), Rms(self.dim, c.rms_norm_eps)
        self.out_proj = torch.nn.Linear(self.q * self.dim, c.hidden_size, bias=False)
        self.ffn = torch.nn.Module()
        self.ffn.proj_1 = torch.nn.Linear(c.hidden_size, 2 * c.ffn_widths[i], bias=False)
        self.ffn.proj_2 = torch.nn.Linear(c.ffn_widths[i], c.hidden_size, bias=False)

    def rotate(self, x):
        t = torch.arange(x.shape[1], dtype=torch.float32)
        angles = torch.outer(t, self.theta ** (-torch.arange(0, self.dim, 2) / self.dim))
        cos, sin = (torch.cat([f(angles)] * 2, -1)[None, :, None, :] for f in (torch.cos, torch.sin))
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, x):
        n = x.shape[1]
        q, k, v = self.qkv_proj(self.attn_norm(x)).view(1, n, -1, self.dim).split([self.q, self.kv, self.kv], 2)
        q, k = self.rotate(self.q_norm(q)), self.rotate(self.k_norm(k))
        k, v = (t.repeat_interleave(self.q // self.kv, 2) for t in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.dim ** 0.5
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf")).softmax(-1)
        x = x + self.out_proj(torch.einsum("bhqk,bkhd->bqhd", scores, v).reshape(1, n, -1))
        gate, up = self.ffn.proj_1(self.ffn_norm(x)).chunk(2, -1)
        return x + self.ffn.proj_2(torch.nn.functional.silu(gate) * up)


class OpenElm(torch.nn.Module):
    """Mehta et al., arXiv 2404.14619: heads and FFN widths by layer, queries and keys normed per head."""
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embeddings = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = torch.nn.ModuleList(OpenElmLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = Rms(config.hidden_size, config.rms_norm_eps)

    def forward(self, ids):
        x = self.token_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return argparse.Namespace(logits=self.norm(x) @ self.token_embeddings.weight.T)
