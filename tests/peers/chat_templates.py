#!/usr/bin/env python3
"""Compares what Linnet makes of chat templates with what Transformers made of them (see chat_templates.sh).

  chat_templates.py GOLDEN.json MODEL.gguf      LINNET_BIN: where linnet is
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def linnet_renders(model, folder, template, case):
    folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
    (folder / "chat.json").write_text(json.dumps({key: case[key] for key in ("messages", "tools") if key in case}))
    (folder / "template.jinja").write_text(template)
    run = subprocess.run([os.path.join(os.environ["LINNET_BIN"], "linnet"), "tokenize", "--model", model, "--chat-file",
                          folder / "chat.json", "--chat-template-file", folder / "template.jinja", "--show-text", "-o", "json"],
                         capture_output=True, text=True)
    return json.loads(run.stdout)["text"] if run.returncode == 0 else None, run.stderr.strip()


def main():
    golden = json.loads(pathlib.Path(sys.argv[1]).read_text())
    counts = {"equal": 0, "different": 0, "refused by both": 0, "refused by Linnet": 0, "refused by Transformers": 0}
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [(entry, case, pool.submit(linnet_renders, sys.argv[2], folder, entry["template"], case))
                for entry in golden["templates"] for case in entry["cases"]]
        for entry, case, job in jobs:
            text, error = job.result()
            if text is None:
                outcome = "refused by Linnet" if "text" in case else "refused by both"
            elif "text" in case:
                outcome = "equal" if text == case["text"] else "different"
            else:
                outcome = "refused by Transformers"
            counts[outcome] += 1
            if outcome in ("different", "refused by Linnet"):
                print(f"{entry['name']}, {case['name']}: {outcome}")
                print("   Transformers:", repr(case["text"]))
                print("   Linnet:      ", repr(text) if text is not None else error)
            elif outcome == "refused by Transformers":
                print(f"{entry['name']}, {case['name']}: refused by Transformers alone: {case['error'][:200]}")
    print(f"{len(golden['templates'])} templates, {golden['text_by']}: ", counts)
    sys.exit(counts["different"] + counts["refused by Linnet"] > 0)


if __name__ == "__main__":
    main()
