#!/usr/bin/python3
"""Runs a program and says how long it took and how much memory it held at most.

    timed.py [--cpu-backend NAME] RESULT.json -- PROGRAM ARGS...

Run inside the peers' root, so that entering the root is not part of the time. --cpu-backend leaves llama.cpp only one of
its CPU backends (haswell: AVX2 without anything newer): a folder with that one covers the folder of all of them, in this
process's own mount namespace.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

BACKENDS = "/usr/lib/*-linux-gnu/ggml/backends*"


def run(command, stdout=None, stderr=None, env=None):
    """(exit status, seconds, most resident bytes of any process of it)"""
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, seconds, usage.ru_maxrss * 1024


def keep_only_backend(name):
    folders = glob.glob(BACKENDS)
    files = [f for folder in folders for f in glob.glob(f"{folder}/libggml-cpu-{name}.so")]
    if len(files) != 1:
        have = sorted(os.path.basename(f)[len("libggml-cpu-"):-len(".so")] for folder in folders
                      for f in glob.glob(f"{folder}/libggml-cpu-*.so"))
        sys.exit(f"timed.py: llama.cpp has no CPU backend '{name}' here; there are {', '.join(have) or 'none'}")
    only = tempfile.mkdtemp(prefix="linnet-backend-")
    shutil.copy(files[0], only)
    subprocess.run(["mount", "--bind", only, os.path.dirname(files[0])], check=True)
    return only


def main():
    parser = argparse.ArgumentParser(usage="timed.py [--cpu-backend NAME] RESULT.json -- PROGRAM ARGS...")
    parser.add_argument("result")
    parser.add_argument("--cpu-backend")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("no program given")
    only = keep_only_backend(args.cpu_backend) if args.cpu_backend else None
    try:
        status, seconds, peak = run(command)
    finally:
        if only:
            shutil.rmtree(only, ignore_errors=True)
    with open(args.result, "w", encoding="utf-8") as f:
        json.dump({"seconds": seconds, "peak_rss_bytes": peak}, f)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
