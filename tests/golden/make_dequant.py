#!/usr/bin/env python3
"""Writes tests/golden/dequant/: blocks of every quantized format, and their values by ggml's Python package.

Run from the repository's root: tools/dev peers python3 tests/golden/make_dequant.py
Deterministic: the same package version gives the same files.
"""

import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

FORMATS = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
ELEMENTS = 1024
# Where a block's 16-bit floats are: random bits there would make infinities.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def main() -> None:
    out = pathlib.Path(__file__).resolve().parent / "dequant"
    out.mkdir(exist_ok=True)
    random = np.random.default_rng(20240229)
    for name in FORMATS:
        kind = GGMLQuantizationType[name]
        block, size = GGML_QUANT_SIZES[kind]
        if name == "F16":
            blocks = random.normal(0, 1, ELEMENTS).astype(np.float16).view(np.uint8)
        elif name == "BF16":
            blocks = (random.normal(0, 1, ELEMENTS).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        else:
            blocks = random.integers(0, 256, (ELEMENTS // block, size), dtype=np.uint8)
            for at in HALVES[name]:
                scales = random.normal(0, 0.02, len(blocks)).astype(np.float16)
                blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
        values = dequantize(blocks.reshape(-1), kind).astype(np.float32).reshape(-1)
        assert values.size == ELEMENTS and np.isfinite(values).all(), name
        (out / f"{name}.blocks").write_bytes(blocks.tobytes())
        (out / f"{name}.f32").write_bytes(values.tobytes())


if __name__ == "__main__":
    main()
