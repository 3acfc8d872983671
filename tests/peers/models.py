"""The model files that the suite measures: shapes of real models with random weights, made on demand and kept in
$LINNET_CACHE/bench, and files that are there already."""
import os
import subprocess
import sys
import time

import make_gguf

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
DEV = os.path.join(CHECKOUT, "tools", "dev")
SMOLLM2 = "smollm2-135m"
# As llama-quantize calls them.
FORMATS = ("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_0", "q5_1", "q4_k_m", "q4_0", "q4_1")
DEFAULT = ["smollm2-135m", "qwen2-0.5b:q4_0", "llama3.2-1b:q4_0", "qwen2-1.5b:q4_0,q8_0,q4_k_m"]
# What generated files may take together; those not used for longest go first.
CACHE_BYTES = 14 << 30


class Model:
    def __init__(self, name, fmt, path):
        self.name, self.format, self.path = name, fmt, path

    @property
    def title(self):
        return f"{self.name} {self.format.upper()}" if self.format else self.name


def cache_folder():
    cache = os.environ.get("LINNET_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "linnet")
    return os.path.join(cache, "bench")


def parse(spec, smollm2_path, folder):
    """The models that SPEC names: smollm2-135m, SHAPE:FORMAT,FORMAT... or FILE.gguf. ValueError says what is wrong."""
    if spec == SMOLLM2:
        return [Model(SMOLLM2, "q4_1", smollm2_path)]
    if spec.endswith(".gguf"):
        if not os.path.exists(spec):
            raise ValueError(f"there is no file {spec}")
        return [Model(os.path.basename(spec)[:-len(".gguf")], "", os.path.abspath(spec))]
    name, _, formats = spec.partition(":")
    if name not in make_gguf.SHAPES:
        raise ValueError(f"no model '{name}': there are {SMOLLM2}, {', '.join(make_gguf.SHAPES)} and GGUF files")
    models = []
    for fmt in (formats or "q4_0").lower().split(","):
        if fmt not in FORMATS:
            raise ValueError(f"no format '{fmt}': there are {', '.join(FORMATS)}")
        models.append(Model(name, fmt, os.path.join(folder, f"{name}-{fmt}.gguf")))
    return models


def _run(command, what):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {what} failed:\n{done.stdout[-2000:]}")


def _drop_unused(folder, keep, limit):
    """Removes the generated files that were not used for longest until the rest takes at most `limit` bytes, and what was
    left half made an hour ago or more."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.endswith(".tmp") and os.path.getmtime(path) < time.time() - 3600:
            os.remove(path)
    files = [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".gguf")]
    total = sum(os.path.getsize(f) for f in files)
    for path in sorted((f for f in files if f not in keep), key=os.path.getmtime):
        if total <= limit:
            break
        total -= os.path.getsize(path)
        os.remove(path)


def ensure(models, say, folder=None, limit=CACHE_BYTES):
    """Makes what is missing of `models`."""
    folder = folder or cache_folder()
    os.makedirs(folder, exist_ok=True)
    generated = [m for m in models if os.path.dirname(m.path) == folder]
    for model in generated:
        if os.path.exists(model.path):
            os.utime(model.path)
    missing = [m for m in generated if not os.path.exists(m.path)]
    threads = str(len(os.sched_getaffinity(0)))
    for name in dict.fromkeys(m.name for m in missing):
        formats = [m for m in missing if m.name == name]
        base = os.path.join(folder, f"{name}-f16.gguf")
        temporary = f"{base}.{os.getpid()}.tmp"
        try:
            source = base
            if not os.path.exists(base):
                say(f"making {name} with random weights (kept in the cache, bench/)")
                _run([DEV, "peers", "python3", os.path.join(HERE, "make_gguf.py"), name, temporary], f"making {name}")
                source = temporary
            for model in formats:
                if model.format == "f16":
                    continue
                say(f"quantizing {model.title}")
                part = f"{model.path}.{os.getpid()}.tmp"
                try:
                    _run([DEV, "peers", "llama-quantize", source, part, model.format.upper(), threads],
                         f"quantizing {model.title}")
                    os.rename(part, model.path)
                finally:
                    if os.path.exists(part):
                        os.remove(part)
            if source == temporary and any(m.format == "f16" for m in formats):
                os.rename(temporary, base)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    _drop_unused(folder, {m.path for m in models}, limit)
