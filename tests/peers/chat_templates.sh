#!/bin/bash
# Renders conversations (with system, several turns, tools, calls) with every *.jinja of a folder, by Transformers and by a
# built linnet (LINNET_BIN, by default build/release/bin), and lists where they differ. Published templates are under their
# models' licences, so none are kept here. tests/peers/chat_templates.sh FOLDER MODEL.gguf (any, for its BOS and EOS)
set -euo pipefail
folder=$(realpath "$1")
model=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
tools/dev peers python3 tests/golden/make_chat_templates.py --folder "$folder" "$out/golden.json" "$model"
tools/dev shell env LINNET_BIN="${LINNET_BIN:-build/release/bin}" python3 tests/peers/chat_templates.py "$out/golden.json" "$model"
