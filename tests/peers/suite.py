"""The whole comparison: Linnet and its peers by turns on the same files, beside the limits of the machine.

    tools/dev bench --suite [--models M...] [--rows prefill,decode,streams,load] [--runs N] [--isa avx2] [--out FOLDER]

A model is smollm2-135m, SHAPE:FORMAT,FORMAT... (a real model's shape with random weights, made on demand and kept in the
cache: qwen2-0.5b, qwen2-1.5b, llama3.2-1b) or a GGUF file. For each group of rows, every run is: the machine's limits,
then each program once, in an order that changes from run to run. Interrupted by Ctrl-C it reports what it has.
"""
import argparse
import os
import platform
import shlex
import sys
import time

import gguf_shapes
import models
import programs
import report
import results

GROUPS = ("load", "prefill", "streams", "decode")
DEEP = 4096  # contexts from here on cost minutes to fill


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def numbers(text):
    found = [int(n) for n in text.split(",")]
    if not found or min(found) < 0:
        raise ValueError(text)
    return found


def groups(text):
    found = text.split(",")
    for group in found:
        if group not in GROUPS:
            raise argparse.ArgumentTypeError(f"no rows '{group}': there are {', '.join(GROUPS)}")
    return found


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/dev bench --suite", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linnet", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--model", required=True, help=argparse.SUPPRESS)  # SmolLM2's file
    parser.add_argument("--models", nargs="+", default=models.DEFAULT, metavar="M", help="default: " + " ".join(models.DEFAULT))
    parser.add_argument("--rows", type=groups, default=list(GROUPS), help="default: all of " + ",".join(GROUPS))
    parser.add_argument("--runs", type=int, default=7, help="alternations (default 7; fewer are a check, not a result)")
    parser.add_argument("--deep-runs", type=int, help=f"alternations that decode at contexts of {DEEP} and more (default: --runs)")
    parser.add_argument("--deep-repetitions", type=int, default=1, help="samples of those in each (default 1)")
    parser.add_argument("--prefill", type=numbers, default=[32, 512, 2048], metavar="N,...", help="prompt lengths")
    parser.add_argument("--contexts", type=numbers, default=[0, 2048, 8192], metavar="N,...", help="contexts to decode at")
    parser.add_argument("--streams", type=numbers, default=[1, 2, 4, 8, 16, 32], metavar="N,...", help="streams together")
    parser.add_argument("--gen-tokens", type=int, default=32, help="tokens decoded for each sample (default 32)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every program (default: all)")
    parser.add_argument("--isa", choices=sorted(programs.LLAMA_BACKENDS),
                        help="hold every program to this instruction set (default: what each chooses)")
    parser.add_argument("--flash-attention", choices=("on", "off"), help="llama.cpp's (default: what is faster, measured)")
    parser.add_argument("--openvino", action="store_true", help="OpenVINO GenAI as a second peer")
    parser.add_argument("--no-peers", action="store_true", help="Linnet alone, beside the machine's limits")
    parser.add_argument("--out", metavar="FOLDER", help="write report.md, report.json and roofline-MODEL.svg there")
    args = parser.parse_args(arguments)
    for name in ("runs", "gen_tokens", "threads", "deep_repetitions"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    args.deep_runs = args.runs if args.deep_runs is None else max(0, min(args.deep_runs, args.runs))
    try:
        args.models = [m for spec in args.models for m in models.parse(spec, os.path.abspath(args.model), models.cache_folder())]
    except ValueError as e:
        parser.error(str(e))
    return args


def shown_command(arguments):
    """What to type for the same again: without the paths that tools/dev adds, and of other paths the last part."""
    words, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("--linnet", "--model"):
            skip = True
        else:
            words.append(os.path.basename(word.rstrip("/")) if "/" in word else word)
    return shlex.join(["tools/dev", "bench", "--suite", *words])


def describe_machine(limits):
    with open("/proc/meminfo", encoding="utf-8") as f:
        total_kib = int(next(line for line in f if line.startswith("MemTotal")).split()[1])
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        virtual = any(line.startswith("flags") and " hypervisor" in line for line in f)
    return {"cpu_model": limits["cpu_model"] or platform.machine(), "cpus": len(os.sched_getaffinity(0)), "virtual": virtual,
            "memory_gib": total_kib / (1 << 20), "isa_features": limits["isa_features"]}


class CpuUse:
    """How much of the CPUs others take while the suite measures: a result is only as good as the machine is idle."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        """(seconds of all CPUs, of those busy with anybody's work or taken by the host, our own and our programs')"""
        with open("/proc/stat", encoding="utf-8") as f:
            user, nice, system, idle, iowait, irq, softirq, steal = (int(n) for n in f.readline().split()[1:9])
        tick = os.sysconf("SC_CLK_TCK")
        busy = user + nice + system + irq + softirq + steal
        return (busy + idle + iowait) / tick, busy / tick, sum(os.times()[:4])

    def others(self):
        """The share of all CPU time since the beginning that others took, from 0 to 1."""
        total, busy, own = (now - then for now, then in zip(self.now(), self.start))
        return min(1.0, max(0.0, (busy - own) / total)) if total > 0 else 0.0


class ModelRun:
    """One model: its samples so far, and the result that follows from them."""

    def __init__(self, model, args, notes):
        self.model, self.args = model, args
        self.shapes = gguf_shapes.read(model.path)
        self.plan = results.Plan(args.rows, args.prefill, args.contexts, args.streams, args.gen_tokens, self.shapes.context)
        self.notes = list(notes)
        self.limits, self.samples, self.tokenizer_bytes = [], {}, None
        self.linnet = programs.Linnet(args.linnet, model, args.threads, args.gen_tokens, args.isa)
        self.others = []
        self.cpu = CpuUse()

    def add_peers(self, openvino_python):
        if self.args.no_peers:
            return
        llama = programs.LlamaCpp(self.model, self.args.threads, self.args.gen_tokens, self.args.isa, self.args.flash_attention)
        if not self.args.flash_attention:
            say(f"{self.model.title}: which flash attention llama.cpp is faster with")
            llama.choose_flash_attention(self.plan.contexts if "decode" in self.args.rows else [])
        self.others.append(llama)
        if openvino_python:
            self.others.append(programs.OpenVino(openvino_python, self.model, self.args.threads, self.args.gen_tokens, self.args.isa))

    def ask(self, program, group, run):
        if group == "load":
            return program.load()
        if group == "prefill":
            return program.prefill(self.plan.prefill) if self.plan.prefill else {}
        if group == "streams":
            return program.streams(self.plan.streams) if self.plan.streams else {}
        shallow = [c for c in self.plan.contexts if c < DEEP]
        found = program.decode(shallow, 1) if shallow else {}
        deep = [c for c in self.plan.contexts if c >= DEEP]
        if deep and run < self.args.deep_runs:
            found |= program.decode(deep, self.args.deep_repetitions)
        return found

    def measure(self, group):
        silent = set()  # programs that cannot do these rows
        everyone = [self.linnet, *self.others]
        if group == "load":
            self.linnet.warm()
            with open(self.model.path, "rb") as f:  # into the page cache, for all alike
                while f.read(1 << 24):
                    pass
        for run in range(self.args.runs):
            self.limits.append(self.linnet.limits(self.shapes.weight_bytes))
            turn = run % len(everyone)
            for program in everyone[turn:] + everyone[:turn]:
                if program in silent:
                    continue
                try:
                    found = self.ask(program, group, run)
                except programs.Failed as e:
                    if program is self.linnet:
                        raise
                    silent.add(program)
                    self.notes.append(f"{program.name}, {group}: {e}")
                    continue
                rows = self.samples.setdefault(program.name, {})
                for row, values in found.items():
                    rows.setdefault(row, []).extend(values)
            last = {p.name: {r: v[-1] for r, v in self.ask_names(p, group)} for p in everyone}
            say(f"{self.model.title}: {group}, run {run + 1} of {self.args.runs}: " + "; ".join(
                f"{name} " + " ".join(report.number(v / 1e6 if r == "memory" else v) for r, v in rows.items())
                for name, rows in last.items() if rows))

    def ask_names(self, program, group):
        kinds = ("prefill", "memory") if group == "prefill" else (group,)
        return [(r, v) for r, v in self.samples.get(program.name, {}).items() if r.partition(" ")[0] in kinds]

    def memory(self):
        peaks = self.samples.get(results.OURS, {}).get("memory")
        if not peaks or "weight_bytes" not in self.linnet.facts:
            return None
        if self.tokenizer_bytes is None:
            self.tokenizer_bytes = self.linnet.tokenizer_bytes()
        peak, weights = sorted(peaks)[len(peaks) // 2], self.linnet.facts["weight_bytes"]
        kv = self.plan.prefill[-1] * self.linnet.facts["kv_bytes_per_token"]
        return {"peak": peak, "weights": weights, "kv": kv, "tokenizer": self.tokenizer_bytes,
                "above": peak - weights - kv - self.tokenizer_bytes}

    def result(self):
        if not self.limits:
            return None
        limits, summaries = results.limits_of(self.limits)
        llama = next((p for p in self.others if isinstance(p, programs.LlamaCpp)), None)
        return {"id": f"{self.model.name}-{self.model.format}".rstrip("-"), "title": self.model.title,
                "file_bytes": os.path.getsize(self.model.path), "weight_bytes": self.shapes.weight_bytes,
                "kv_bytes_per_token": self.shapes.kv_bytes_per_token, "limits": summaries,
                "arithmetic": sorted({results.yardsticks.PEAK_OF[m[1]] for m in self.shapes.matrices}),
                "rows": results.rows_of(self.plan, self.samples, self.shapes, limits, programs.STREAM_CONTEXT),
                "memory": self.memory(), "flash_attention": dict(llama.flash) if llama else None, "notes": self.notes,
                "others_cpu": self.cpu.others(), "linnet": self.linnet.facts}


class Suite:
    def __init__(self, args, command):
        self.args = args
        self.run = {"format": 1, "date": time.strftime("%Y-%m-%d"), "command": command, "isa": "", "llama_backend": "",
                    "settings": {"threads": args.threads, "runs": args.runs, "deep_runs": args.deep_runs,
                                 "deep_repetitions": args.deep_repetitions, "gen_tokens": args.gen_tokens},
                    "programs": {}, "order": [results.OURS], "models": [], "notes": []}

    def openvino(self):
        if not self.args.openvino or self.args.no_peers:
            return None
        try:
            return programs.ensure_openvino(os.path.dirname(models.cache_folder()), say)
        except programs.Failed as e:
            self.run["notes"].append(str(e))
            return None

    def measure(self):
        models.ensure(self.args.models, say)
        openvino_python = self.openvino()
        for model in self.args.models:
            one = ModelRun(model, self.args, [])
            self.run["models"].append(None)
            try:
                one.add_peers(openvino_python)
                self.name_programs(one)
                for group in (g for g in GROUPS if g in self.args.rows):
                    one.measure(group)
                    self.update(one)
            finally:
                self.update(one)
            print(report.model_section(self.run["models"][-1], self.run["order"]), flush=True)

    def name_programs(self, one):
        for program in (one.linnet, *one.others):
            if program.name not in self.run["programs"]:
                self.run["programs"][program.name] = program.version()
        self.run["order"] = list(self.run["programs"])

    def update(self, one):
        """What is known by now, into the run and its files."""
        result = one.result()
        if result is None:
            return
        self.run["models"][-1] = result
        self.run["machine"] = describe_machine(one.limits[0])
        self.run["isa"] = one.limits[0]["isa"]
        for program in one.others:
            if isinstance(program, programs.LlamaCpp):
                self.run["llama_backend"] = program.loaded_backend
        if self.args.out:
            report.write(self.finished(), self.args.out)

    def finished(self):
        return self.run | {"models": [m for m in self.run["models"] if m]}


def main(arguments):
    args = parse(arguments)
    suite = Suite(args, shown_command(arguments))
    status = 0
    try:
        suite.measure()
    except KeyboardInterrupt:
        say("interrupted")
        suite.run["interrupted"] = True
        status = 130
    except programs.Failed as e:
        say(f"bench: {e}")
        suite.run["interrupted"] = True
        status = 1
    run = suite.finished()
    if args.out and run["models"]:
        report.write(run, args.out)
        say(f"the report is in {args.out}")
    return status
