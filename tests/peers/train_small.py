#!/usr/bin/env python3
"""Trains a small Llama from nothing, for whatever needs weights that were learned and rows that are multiples of 256:

    tools/dev peers python3 tests/peers/train_small.py FOLDER [--steps N]

Its text is the source of Python's standard library, byte by byte; every fiftieth file is left out of it, and pieces of
those are put into FOLDER/held_out, to be scored. FOLDER also gets the model as Transformers writes it, for
`linnet model convert`. Ten minutes on a core for the steps by default: a perplexity of about 6 for each byte.
"""
import argparse
import pathlib
import sysconfig
import time

import tokenizers
import torch
import transformers

HELD_OUT_EVERY, HELD_OUT_PIECES = 50, 64
SEQUENCE, BATCH = 256, 16
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 256, 6, 4, 2, 768


def texts():
    """(to train on, held out)"""
    train, held_out = [], []
    for i, path in enumerate(sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))):
        (held_out if i % HELD_OUT_EVERY == 0 else train).append(path.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(train), "\n".join(held_out)


def byte_tokenizer():
    """A token for each byte, as byte-level BPE without a merge."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.manual_seed(0)
    args.folder.mkdir(parents=True, exist_ok=True)
    train, held_out = texts()
    pieces = args.folder / "held_out"
    pieces.mkdir(exist_ok=True)
    for i in range(HELD_OUT_PIECES):
        at = len(held_out) * i // HELD_OUT_PIECES
        (pieces / f"{i:02}.txt").write_bytes(held_out[at:at + SEQUENCE].encode()[:SEQUENCE - 1])
    tokenizer = byte_tokenizer()
    ids = torch.tensor(tokenizer(train, verbose=False)["input_ids"])
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, max_position_embeddings=SEQUENCE, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)
    model = transformers.LlamaForCausalLM(config)
    model.set_attn_implementation("eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=args.steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(args.steps):
        starts = torch.randint(len(ids) - SEQUENCE, (BATCH,))
        batch = torch.stack([ids[s:s + SEQUENCE] for s in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step + 1 == args.steps:
            print(f"step {step:5} of {args.steps}  perplexity {loss.exp().item():7.3f}  {time.monotonic() - began:5.0f} s", flush=True)
    model.to(torch.float16).save_pretrained(args.folder)
    tokenizer.save_pretrained(args.folder)


if __name__ == "__main__":
    main()
