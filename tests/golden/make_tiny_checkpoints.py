#!/usr/bin/env python3
"""Makes two of the tiny models of make_tiny_models.py as Hugging Face folders, with the same weights as tests/golden/tiny.

    tools/dev peers python3 tests/golden/make_tiny_checkpoints.py

Writes tests/golden/checkpoints/ARCH: granite in one file, gptneox in two with an index, and with config.json in its older
form. All the other families are converted and compared by tests/peers/checkpoints.sh.
"""

import pathlib

import make_tiny_models as tiny_models
import tiny_checkpoints

OUT = pathlib.Path(__file__).parent / "checkpoints"
CHAT = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def main():
    for family, shards, old in ((tiny_models.granite, 1, False), (tiny_models.gptneox, 2, True)):
        tiny = family()
        tiny_models.fill(tiny, 1000 + tiny_models.FAMILIES.index(family))
        folder = OUT / tiny.arch
        tiny_checkpoints.save(tiny, folder, tiny_checkpoints.as_gguf, shards, old)
        (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")


main()
