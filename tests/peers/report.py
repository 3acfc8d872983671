"""The report of a suite's run: Markdown for people, JSON for scripts. `run` is what suite.py collects."""
import json
import os

import roofline
from results import OURS


def number(value):
    """Three significant digits, more where the number has them before its point."""
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"


def spread(summary):
    if summary is None:
        return "not measured"
    return f"{number(summary['median'])} ({number(summary['min'])} to {number(summary['max'])})"


def percent(value):
    return f"{100 * value:.0f} %"


def table(result, programs):
    peers = [p for p in programs if p != OURS and any(p in r["programs"] for r in result["rows"])]
    head = ["", OURS] + [h for p in peers for h in (p, f"{OURS} / {p}")] + ["share of the limit: " + ", ".join([OURS, *peers]),
                                                                        "limit"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in result["rows"]:
        cells = [f"{row['title']}, {row['unit']}", spread(row["programs"].get(OURS))]
        for peer in peers:
            ratio = row["ratio"].get(peer)
            cells.append(spread(row["programs"].get(peer)))
            cells.append("-" if ratio is None else f"**{ratio['median']:.2f}** ({ratio['min']:.2f} to {ratio['max']:.2f})")
        if "share" in row:
            shares = [percent(row["share"][p]) if p in row["share"] else "-" for p in (OURS, *peers)]
            cells += [", ".join(shares), f"{number(row['limit'])}, {row['bound']}"]
        else:
            cells += ["-", "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def limits_line(result):
    limits = result["limits"]
    names = {"read_gb_per_s": "reads {} GB/s", "read_one_thread_gb_per_s": "reads of one thread {} GB/s",
             "int4_gop_per_s": "4-bit weights {} GOP/s", "int5_gop_per_s": "5-bit {}", "int6_gop_per_s": "6-bit {}",
             "int8_gop_per_s": "8-bit {}", "f32_gop_per_s": "f32 {}"}
    return "; ".join(text.format(spread(limits[name])) for name, text in names.items() if name in limits)


def memory_line(result):
    memory = result.get("memory")
    if not memory or memory.get("above") is None:
        return ""
    return (f"\n\nOf Linnet's peak memory, {number(memory['weights'] / 1e6)} MB are weights, {number(memory['kv'] / 1e6)} MB "
            f"keys and values, {number(memory['tokenizer'] / 1e6)} MB a process with nothing but the tokenizer; "
            f"{number(memory['above'] / 1e6)} MB the rest.")


def model_section(result, programs, level="##"):
    text = f"{level} {result['title']}\n\n"
    text += (f"{number(result['weight_bytes'] / 1e6)} MB read for each token and {number(result['kv_bytes_per_token'] / 1e3)} "
             f"kB of keys and values for each token of context. Measured beside it, with a buffer of the weights' size: "
             f"{limits_line(result)}.\n\n{table(result, programs)}{memory_line(result)}\n")
    if result.get("others_cpu") is not None:
        text += f"\nOther processes took {percent(result['others_cpu'])} of the CPUs meanwhile.\n"
    if result.get("flash_attention"):
        flash = ", ".join(f"{way} for {row}" for row, way in result["flash_attention"].items())
        text += f"\nllama.cpp's flash attention: {flash}.\n"
    for note in result.get("notes", []):
        text += f"\nNot measured: {note}.\n"
    return text


def machine_line(machine):
    return (f"{machine['cpu_model']}, {machine['cpus']} CPUs{' of a virtual machine' if machine['virtual'] else ''}, "
            f"{machine['memory_gib']:.0f} GiB of memory; vectors: {' '.join(machine['isa_features'])}")


def markdown(run, level="#"):
    s = run["settings"]
    text = f"{level} Linnet beside its peers\n\n"
    text += f"- machine: {machine_line(run['machine'])}\n- date: {run['date']}\n- command: `{run['command']}`\n"
    text += "- programs: " + "; ".join(f"{name} {version}" for name, version in run["programs"].items()) + "\n"
    text += (f"- Linnet's instruction set: {run['isa']}; llama.cpp's CPU backend: {run['llama_backend'] or 'unknown'}; "
             f"{s['threads']} threads each; keys and values in f16\n")
    deep = "" if s["deep_runs"] == s["runs"] else f" (contexts of 4096 and more: {s['deep_runs']} of {s['deep_repetitions']})"
    text += f"- medians of {s['runs']} alternating runs{deep} (least to most); {s['gen_tokens']} tokens decoded in each\n"
    if s["runs"] < 7:
        text += "- fewer than seven runs: a check that it works, not a result\n"
    if run.get("interrupted"):
        text += "- interrupted: later rows have fewer runs, or none\n"
    text += ("\nThe limit of a row is what no program can pass on this machine: reading what it must read at the measured "
             "bandwidth, or computing its products with the instructions that the format allows, whichever takes longer.\n")
    for note in run.get("notes", []):
        text += f"\nNot measured: {note}.\n"
    for result in run["models"]:
        text += "\n" + model_section(result, run["order"], level + "#")
    return text


def write(run, folder):
    """report.md, report.json and a roofline-MODEL.svg for each model."""
    os.makedirs(folder, exist_ok=True)
    files = {"report.json": json.dumps(run, indent=1) + "\n", "report.md": markdown(run)}
    for result in run["models"]:
        if any("share" in r for r in result["rows"]):
            files[f"roofline-{result['id']}.svg"] = roofline.svg(result, run["order"])
    for name, content in files.items():
        path = os.path.join(folder, name)
        with open(path + ".tmp", "w", encoding="utf-8") as f:
            f.write(content)
        os.replace(path + ".tmp", path)
