#!/usr/bin/env python3
"""Makes the golden log-probabilities and greedy continuations of SmolLM2 with Transformers.

    cp MODEL.gguf /tmp/model.gguf; tools/dev peers python3 tests/golden/make_logits.py /tmp/model.gguf

The weights are dequantized exactly from the GGUF file (gguf-py), Q and K put back into Transformers' row order, and run
in f32 with attn_implementation="eager". Token ids come from llama.cpp's tokenizer (llama-tokenize). Writes
logits_smollm2.json: for text_ordinary.txt the ids, the log-probability of each next token and the five best tokens with
theirs; for each prompt 64 greedy tokens and the gap between the two best logits at every step.
"""

import ast
import json
import pathlib
import subprocess
import sys

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
MAX_TOKENS = 2048
GREEDY_TOKENS = 64

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "The three most important things to remember when baking bread are",
    "Water boils at",
    "1, 1, 2, 3, 5, 8,",
    "Dear Sir or Madam,\n\nI am writing to",
    "#include <vector>\n\nint main() {\n",
    "In 1969,",
    "The main difference between a virus and a bacterium is that",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about autumn.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTranslate 'good morning' into Spanish.<|im_end|>\n<|im_start|>assistant\n",
    "SELECT name, COUNT(*) FROM orders WHERE",
    "Q: What is 12 times 12?\nA:",
    "The old man looked at the photograph for a long time before he said",
    "Die Hauptstadt von Deutschland ist",
    "To install the package, run the following command:\n\n```",
    "Photosynthesis is the process by which",
    "There are many reasons why people move to the city. First,",
]

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def load(path):
    reader = gguf.GGUFReader(path)

    def value(key):
        return reader.fields[f"llama.{key}"].contents()

    config = LlamaConfig(
        vocab_size=value("vocab_size"), hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"), num_hidden_layers=value("block_count"),
        num_attention_heads=value("attention.head_count"), num_key_value_heads=value("attention.head_count_kv"),
        max_position_embeddings=value("context_length"), rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_theta=value("rope.freq_base"), tie_word_embeddings=True, attn_implementation="eager")
    # Newer versions of the library take the base from here only.
    config.rope_parameters = {"rope_type": "default", "rope_theta": value("rope.freq_base")}
    model = LlamaForCausalLM(config).float().eval()
    state = {}
    for tensor in reader.tensors:
        data = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, short, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{NAMES[short]}.weight"
            if short in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if short == "attn_q" else config.num_key_value_heads
                rows, cols = data.shape
                data = data.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)
        state[name] = torch.from_numpy(data.copy())
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and missing in ([], ["lm_head.weight"]), (missing, unexpected)
    model.tie_weights()
    inv_freq = model.model.rotary_emb.inv_freq
    assert abs(float(inv_freq[1]) - value("rope.freq_base") ** (-2 / 64)) < 1e-6, inv_freq[:3]
    return model


def tokenize(model_path, text):
    path = pathlib.Path("/tmp/linnet-golden-text.txt")
    path.write_text(text)
    out = subprocess.run(["llama-tokenize", "-m", model_path, "-f", str(path), "--ids", "--no-bos"], check=True,
                         capture_output=True, text=True).stdout
    return ast.literal_eval(out[out.rindex("["):].strip())


@torch.no_grad()
def score(model, ids):
    logits = model(torch.tensor([ids])).logits[0]
    logprobs = logits.double().log_softmax(-1)
    targets = torch.tensor(ids[1:])
    top = logprobs.topk(5, dim=-1)
    return {
        "tokens": ids,
        "logprobs": [round(x, 6) for x in logprobs[:-1].gather(1, targets[:, None])[:, 0].tolist()],
        "top_ids": top.indices.tolist(),
        "top_logprobs": [[round(x, 5) for x in row] for row in top.values.tolist()],
    }


@torch.no_grad()
def greedy(model, ids):
    tokens, gaps, past, step = [], [], None, torch.tensor([ids])
    for _ in range(GREEDY_TOKENS):
        out = model(step, past_key_values=past, use_cache=True)
        past = out.past_key_values
        best = out.logits[0, -1].topk(2)
        tokens.append(int(best.indices[0]))
        gaps.append(round(float(best.values[0] - best.values[1]), 6))
        step = best.indices[:1][None]
    return {"tokens": tokens, "gaps": gaps}


def main():
    path = sys.argv[1]
    model = load(path)
    ids = tokenize(path, (HERE / "text_ordinary.txt").read_text())[:MAX_TOKENS]
    assert len(ids) >= 2000, len(ids)
    result = {"text": score(model, ids), "prompts": []}
    print("tokens", len(ids), "perplexity", np.exp(-np.mean(result["text"]["logprobs"])))
    for prompt in PROMPTS:
        prompt_ids = tokenize(path, prompt)
        result["prompts"].append({"prompt": prompt_ids, **greedy(model, prompt_ids)})
        print(repr(prompt), "smallest gap", min(result["prompts"][-1]["gaps"]), flush=True)
    with open(HERE / "logits_smollm2.json", "w") as f:
        json.dump(result, f, separators=(",", ":"))
        f.write("\n")


main()
