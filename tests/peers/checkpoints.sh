#!/bin/bash
# Converts a tiny Hugging Face folder of every family and variant, in f32, f16 and bf16, and compares what comes out with
# Transformers, with the committed GGUF files, and with llama.cpp's converter and programs. Needs a built linnet
# (LINNET_BIN, by default build/release/bin). tests/peers/checkpoints.sh [--only NAME ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
tools/dev peers python3 tests/peers/checkpoints.py make "$out" "$@"
tools/dev shell env LINNET_BIN="${LINNET_BIN:-build/release/bin}" python3 tests/peers/checkpoints.py convert "$out" "$@"
tools/dev peers python3 tests/peers/checkpoints.py compare "$out" "$@"
