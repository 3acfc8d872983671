"""From the samples of a model's rows to what a report says of them: medians, ratios, shares of the machine's limits."""
import stats
import yardsticks

OURS = "Linnet"


class Plan:
    """Which rows are measured of a model."""

    def __init__(self, groups, prefill, contexts, streams, gen_tokens, room=None):
        self.groups, self.gen_tokens = groups, gen_tokens
        self.prefill = sorted({n for n in prefill if room is None or n <= room})
        # What the model's own context does not hold is measured at its end.
        self.contexts = sorted({c if room is None else max(0, min(c, room - gen_tokens)) for c in contexts})
        self.streams = sorted(set(streams))

    def rows(self):
        """Names of rows in the order of the report, with a title, a unit, and whether more is better."""
        if "prefill" in self.groups:
            for n in self.prefill:
                yield f"prefill {n}", f"prefill {n}", "tok/s", True
        if "decode" in self.groups:
            for c in self.contexts:
                yield f"decode {c}", f"decode at context {c}", "tok/s", True
        if "streams" in self.groups:
            for s in self.streams:
                yield f"streams {s}", f"decode of {s} stream{'s' if s > 1 else ''} together", "tok/s", True
        if "load" in self.groups:
            yield "load", "load, to the first token", "s", False
        if "prefill" in self.groups and self.prefill:
            yield "memory", f"peak memory, prompt of {self.prefill[-1]}", "MB", False

    def work(self, row, shapes, stream_context):
        """What a step of the row reads and computes; None for rows that are not tokens per second."""
        kind, _, number = row.partition(" ")
        if kind == "prefill":
            return yardsticks.prefill_work(shapes, int(number))
        if kind == "decode":
            return yardsticks.decode_work(shapes, 1, int(number), self.gen_tokens)
        if kind == "streams":
            return yardsticks.decode_work(shapes, int(number), stream_context, self.gen_tokens)
        return None


def limits_of(measured):
    """(Limits of the medians, {name: summary}) of what several runs of `linnet bench limits` printed."""
    names = [k for k in measured[0] if k.endswith("_per_s")]
    summaries = {name: stats.summary([m[name]["median"] for m in measured]) for name in names}
    arithmetic = {name[:-len("_gop_per_s")]: s["median"] for name, s in summaries.items() if name.endswith("_gop_per_s")}
    return yardsticks.Limits(summaries["read_gb_per_s"]["median"], arithmetic), summaries


def rows_of(plan, samples, shapes, limits, stream_context):
    """`samples`: {program: {row: [values]}}. One dictionary for each row that somebody measured."""
    rows = []
    for name, title, unit, more_is_better in plan.rows():
        scale = 1e-6 if unit == "MB" else 1
        of = {program: stats.summary([v * scale for v in rows_[name]]) for program, rows_ in samples.items()
              if rows_.get(name)}
        if not of:
            continue
        row = {"row": name, "title": title, "unit": unit, "more_is_better": more_is_better, "programs": of, "ratio": {}}
        for program in of:
            if program != OURS and OURS in of:
                row["ratio"][program] = stats.ratio(of[OURS]["samples"], of[program]["samples"])
        work = plan.work(name, shapes, stream_context)
        if work:
            ideal, bound = limits.ideal(work)
            row |= {"bound": bound, "limit": ideal, "intensity": work.intensity, "arithmetic_peak_gop_per_s": limits.peak_of(work)}
            row["share"] = {program: s["median"] / ideal for program, s in of.items()}
            row["gop_per_s"] = {p: s["median"] / work.tokens * work.total_operations / 1e9 for p, s in of.items()}
            row["gb_per_s"] = {p: s["median"] / work.tokens * work.read_bytes / 1e9 for p, s in of.items()}
        rows.append(row)
    return rows
