#!/usr/bin/env python3
"""The comparison's own arithmetic and reports, without any peer: python3 tests/peers/bench_test.py"""
import contextlib
import io
import json
import os
import stat
import struct
import sys
import tempfile
import textwrap
import unittest
import xml.etree.ElementTree as ElementTree

import bench
import gguf_shapes
import make_gguf
import models
import programs
import publish
import report
import results
import roofline
import stats
import suite
import timed
import yardsticks

Q4_0, Q8_0, F32 = 2, 8, 0


def gguf(tensors, metadata):
    """The header of a GGUF file with these (name, dims, type) and metadata of u32, tuples of them, and strings."""
    def string(text):
        raw = text.encode()
        return struct.pack("<Q", len(raw)) + raw
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata) + 1)
    for key, value in metadata.items():
        out += string(key)
        if isinstance(value, tuple):
            out += struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
        else:
            out += struct.pack("<I", 8) + string(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    # An array of strings as vocabularies are, which a reader has to get past.
    out += string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("bc")
    for name, dims, kind in tensors:
        out += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, 0)
    return out


METADATA = {"general.architecture": "llama", "llama.context_length": 256, "llama.block_count": 2,
            "llama.embedding_length": 64, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}
TIED = [("token_embd.weight", (64, 320), Q8_0), ("blk.0.ffn_up.weight", (64, 128), Q4_0),
        ("output_norm.weight", (64,), F32)]


class WithFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def shapes(self, tensors=None):
        return gguf_shapes.read(self.file("model.gguf", gguf(TIED if tensors is None else tensors, METADATA)))


class FlashAttentionTest(unittest.TestCase):
    """llama.cpp's, whichever is faster for a row."""

    def setUp(self):
        self.asked = []
        self.llama = programs.LlamaCpp(models.Model("m", "q4_0", "m.gguf"), 2, 8, None)
        self.llama._bench = self.bench

    def bench(self, flash, *args):
        self.asked.append((flash, args))
        of = dict(zip(args[::2], args[1::2]))
        rows = [{"flash_attn": way == "on", "n_depth": int(depth), "samples_ts": [1.0], "avg_ts": 1 if way == "on" else int(depth) / 1000}
                for way in flash.split(",") for depth in of.get("-d", "0").split(",")]
        return rows, 1.0, 1

    def test_is_chosen_for_each_context(self):
        self.llama.choose_flash_attention([0, 500, 8192])
        self.assertEqual(dict(self.llama.flash), {
            "prefill": "on", "decode 0": "on", f"decode {programs.STREAM_CONTEXT}": "on", "decode 500": "on", "decode 8192": "off"})
        self.asked.clear()
        self.assertEqual(sorted(self.llama.decode([0, 500, 8192], 3)), ["decode 0", "decode 500", "decode 8192"])
        self.assertEqual([(flash, args[args.index("-d") + 1]) for flash, args in self.asked], [("on", "0,500"), ("off", "8192")])

    def test_is_as_told_without_asking(self):
        llama = programs.LlamaCpp(models.Model("m", "q4_0", "m.gguf"), 2, 8, None, "off")
        llama._bench = self.bench
        llama.decode([0, 8192], 1)
        self.assertEqual([(flash, args[args.index("-d") + 1]) for flash, args in self.asked], [("off", "0,8192")])


class StatsTest(unittest.TestCase):
    def test_summary_of_samples_in_any_order(self):
        s = stats.summary([5, 1, 3, 2, 4])
        self.assertEqual((s["median"], s["min"], s["max"], s["q1"], s["q3"]), (3, 1, 5, 2, 4))
        self.assertEqual(s["samples"], [5, 1, 3, 2, 4])
        self.assertEqual(stats.summary([1, 4])["median"], 2.5)
        self.assertIsNone(stats.summary([]))

    def test_ratio_is_of_medians_and_its_range_of_runs_that_took_turns(self):
        r = stats.ratio([10, 12, 50], [5, 4, 10])
        self.assertEqual(r["median"], 12 / 5)
        self.assertEqual((r["min"], r["max"]), (2, 5))
        self.assertIsNone(stats.ratio([1], []))


class ShapesTest(WithFolder):
    def test_a_tied_table_is_read_as_the_output_matrix(self):
        shapes = self.shapes()
        table, up = 64 * 320 // 32 * 34, 64 * 128 // 32 * 18
        self.assertEqual(shapes.weight_bytes, table + up)
        self.assertEqual(shapes.kv_bytes_per_token, 2 * 2 * 2 * 2 * 16)
        self.assertEqual(shapes.operations(1), {"Q8_0": 2 * 64 * 320, "Q4_0": 2 * 64 * 128})
        self.assertEqual(shapes.operations(0)["Q8_0"], 0)

    def test_layers_have_heads_of_their_own(self):
        metadata = {**METADATA, "llama.attention.head_count": (4, 8), "llama.attention.head_count_kv": (1, 4)}
        shapes = gguf_shapes.read(self.file("model.gguf", gguf(TIED, metadata)))
        self.assertEqual(shapes.kv_bytes_per_token, 2 * 2 * (1 + 4) * 16)

    def test_a_table_beside_an_output_matrix_is_not_read(self):
        shapes = self.shapes(TIED + [("output.weight", (64, 320), Q4_0)])
        self.assertEqual(shapes.weight_bytes, 64 * (128 + 320) // 32 * 18)

    def test_what_is_no_model_is_said(self):
        with self.assertRaisesRegex(ValueError, "no GGUF file"):
            gguf_shapes.read(self.file("other.gguf", b"PK\3\4" + b"\0" * 60))
        with self.assertRaisesRegex(ValueError, "type 99"):
            self.shapes([("blk.0.ffn_up.weight", (64, 128), 99)])


class YardsticksTest(WithFolder):
    LIMITS = yardsticks.Limits(10, {"int4": 400, "int5": 300, "int6": 200, "int8": 100, "f32": 50})

    def test_decode_is_bound_by_reading_weights_and_context(self):
        shapes = self.shapes()
        work = yardsticks.decode_work(shapes, 1, 100, 20)
        self.assertEqual(work.read_bytes, shapes.weight_bytes + 110 * shapes.kv_bytes_per_token)
        ideal, bound = self.LIMITS.ideal(work)
        self.assertEqual(bound, "read")
        self.assertAlmostEqual(ideal, 10e9 / work.read_bytes)

    def test_prefill_is_bound_by_each_format_s_own_arithmetic_and_one_row_of_logits(self):
        shapes = self.shapes()
        work = yardsticks.prefill_work(shapes, 1000)
        ideal, bound = self.LIMITS.ideal(work)
        self.assertEqual(bound, "arithmetic")
        seconds = 1000 * 2 * 64 * 128 / 400e9 + 2 * 64 * 320 / 100e9
        self.assertAlmostEqual(ideal, 1000 / seconds)

    def test_every_format_has_a_peak(self):
        self.assertEqual({name for name, _, _ in gguf_shapes.TYPES.values()}, set(yardsticks.PEAK_OF))


class ResultsTest(WithFolder):
    def rows(self):
        plan = results.Plan(["prefill", "decode", "load"], [32, 512], [0, 8192], [1], 16, room=256)
        samples = {"Linnet": {"prefill 32": [200.0, 220.0, 210.0], "decode 0": [50.0], "decode 240": [40.0], "load": [0.5]},
                   "llama.cpp": {"prefill 32": [100.0, 100.0, 105.0], "load": [1.0]}}
        limits, _ = results.limits_of(
            [{f"{n}_per_s": {"median": v} for n, v in (("read_gb", 10), ("int8_gop", 100), ("int4_gop", w))} for w in (300, 400, 500)])
        return plan, results.rows_of(plan, samples, self.shapes(), limits, 16)

    def test_lengths_that_the_model_does_not_hold_are_cut(self):
        plan, rows = self.rows()
        self.assertEqual((plan.prefill, plan.contexts), ([32], [0, 240]))
        self.assertEqual([r["row"] for r in rows], ["prefill 32", "decode 0", "decode 240", "load"])

    def test_shares_are_of_the_limit_that_binds(self):
        _, rows = self.rows()
        for row in rows[:3]:
            self.assertAlmostEqual(row["share"]["Linnet"], row["programs"]["Linnet"]["median"] / row["limit"])
        self.assertEqual(rows[1]["bound"], "read")
        self.assertAlmostEqual(rows[1]["gb_per_s"]["Linnet"], rows[1]["share"]["Linnet"] * 10)

    def test_ratios_only_where_both_measured(self):
        _, rows = self.rows()
        self.assertAlmostEqual(rows[0]["ratio"]["llama.cpp"]["median"], 2.1)
        self.assertEqual(rows[1]["ratio"], {})
        self.assertAlmostEqual(rows[3]["ratio"]["llama.cpp"]["median"], 0.5)

    def test_report_and_picture_show_every_row(self):
        _, rows = self.rows()
        limits = {name: stats.summary([value]) for name, value in (("read_gb_per_s", 10), ("int4_gop_per_s", 400),
                                                                   ("int8_gop_per_s", 100), ("f32_gop_per_s", 50))}
        result = {"id": "m-q4_0", "title": "m Q4_0", "weight_bytes": 1e6, "kv_bytes_per_token": 1e3, "rows": rows,
                  "limits": limits, "arithmetic": ["int4", "int8"], "notes": ["llama.cpp, decode: it broke"]}
        text = report.model_section(result, ["Linnet", "llama.cpp"])
        self.assertIn("| prefill 32, tok/s | 210 (200 to 220) | 100 (100 to 105) | **2.10** (2.00 to 2.20) |", text)
        self.assertIn("| decode at context 240, tok/s | 40.0 (40.0 to 40.0) | not measured | - |", text)
        self.assertIn("Not measured: llama.cpp, decode: it broke.", text)
        picture = ElementTree.fromstring(roofline.svg(result, ["Linnet", "llama.cpp"]))
        titles = [t.text for t in picture.iter("{http://www.w3.org/2000/svg}title")]
        self.assertEqual(len(titles), 4)  # three rows of ours, one of theirs
        self.assertIn("Linnet, decode at context 240: 40.0 tok/s", titles)


class ModelsTest(WithFolder):
    def test_names_and_formats(self):
        found = models.parse("qwen2-1.5b:q4_0,Q8_0", "smol.gguf", self.folder)
        self.assertEqual([m.title for m in found], ["qwen2-1.5b Q4_0", "qwen2-1.5b Q8_0"])
        self.assertEqual(models.parse("smollm2-135m", "smol.gguf", self.folder)[0].path, "smol.gguf")
        for wrong, message in (("qwen9", "no model 'qwen9'"), ("tiny:q3", "no format 'q3'"), ("none.gguf", "no file")):
            with self.assertRaisesRegex(ValueError, message):
                models.parse(wrong, "", self.folder)

    def test_generated_files_are_bounded_least_used_first(self):
        for age, name in enumerate(("new", "middle", "old")):
            os.utime(self.file(f"{name}.gguf", b"x" * 100), (1000 - age, 1000 - age))
        os.utime(self.file("half.gguf.1.tmp", b"x"), (1000, 1000))
        self.file("now.gguf.2.tmp", b"x")
        models._drop_unused(self.folder, {os.path.join(self.folder, "old.gguf")}, 200)
        self.assertEqual(sorted(os.listdir(self.folder)), ["new.gguf", "now.gguf.2.tmp", "old.gguf"])

    def test_shapes_have_the_size_of_the_real_models(self):
        for name, millions in (("qwen2-0.5b", 494), ("qwen2-1.5b", 1544), ("llama3.2-1b", 1236),
                               ("phi-3-mini-4k-instruct", 3821), ("llama-3.1-8b", 8030), ("openelm-3b", 3037)):
            shape = make_gguf.SHAPES[name]
            count = sum(r * c for _, (r, c) in make_gguf.matrices(shape)) + sum(n for _, n, _ in make_gguf.vectors(shape))
            self.assertEqual(round(count / 1e6), millions, name)

    def test_vocabulary_is_of_the_wanted_size_without_repeats(self):
        self.assertEqual(len(set(make_gguf.byte_letters())), 256)
        for size in (2048, 151936):
            tokens, merges = make_gguf.vocabulary(size)
            self.assertEqual((len(tokens), len(set(tokens))), (size, size))
            self.assertEqual(tokens[-3:], make_gguf.CONTROL)
            self.assertTrue(all(m.replace(" ", "") in set(tokens[:size - 3]) for m in merges[:100]))


class TimedTest(unittest.TestCase):
    def test_time_and_memory_of_a_process(self):
        status, seconds, peak = timed.run([sys.executable, "-c", "x = b'1' * (64 << 20); raise SystemExit(3)"])
        self.assertEqual(status, 3)
        self.assertGreater(seconds, 0)
        self.assertGreater(peak, 64 << 20)
        self.assertLess(peak, 1 << 30)


# A program that answers as the command line does, a little faster each time.
FAKE_LINNET = """\
    #!{python}
    import json, os, sys
    args = sys.argv[1:]
    def after(flag):
        return [int(n) for n in args[args.index(flag) + 1].split(",")] if flag in args else []
    rate = {{"median": 20.0, "min": 19.0, "max": 21.0}}
    if args[:2] == ["bench", "limits"]:
        names = ("read_gb", "read_one_thread_gb", "f32_gop", "int8_gop", "int6_gop", "int5_gop", "int4_gop")
        print(json.dumps({{"isa": os.environ.get("LINNET_ISA", "best"), "cpu_model": "A CPU", "isa_features": ["avx2"],
                          **{{n + "_per_s": rate for n in names}}}}))
    elif args[:2] == ["bench", "rows"]:
        rows = [{{"row": "prefill", "tokens": n, "tokens_per_s": [100.0 + n]}} for n in after("--prefill")]
        rows += [{{"row": "decode", "context": n, "tokens_per_s": [50.0]}} for n in after("--decode")]
        rows += [{{"row": "streams", "streams": n, "tokens_per_s": [20.0 * n]}} for n in after("--streams")]
        print(json.dumps({{"rows": rows, "weight_bytes": 1000, "kv_bytes_per_token": 128}}))
    else:
        assert args[0] == "tokenize", args
        print("{{}}")
"""


class BenchTest(unittest.TestCase):
    def test_programs_take_turns_in_changing_order(self):
        order = []

        def program(name):
            return lambda: order.append(name) or {"prefill": len(order), "decode": 1}
        said = []
        runs = bench.by_turns({"ours": program("ours"), "theirs": program("theirs")}, 3, said.append)
        self.assertEqual(order, ["ours", "theirs", "theirs", "ours", "ours", "theirs"])
        self.assertEqual([r["prefill"] for r in runs["ours"]], [1, 4, 5])
        self.assertEqual(said[1], "run 2 of 3: ours prefill 4 decode 1, theirs prefill 3 decode 1")

    def test_a_result_takes_seven_runs(self):
        self.assertEqual(bench.parse(["--linnet", "l", "--model", "m"]).runs, 7)


class SuiteTest(WithFolder):
    def setUp(self):
        super().setUp()
        self.linnet = self.file("linnet", textwrap.dedent(FAKE_LINNET).format(python=sys.executable).encode())
        os.chmod(self.linnet, stat.S_IRWXU)
        self.model = self.file("small.gguf", gguf(TIED, METADATA))

    def run_suite(self, *arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            status = suite.main(["--linnet", self.linnet, "--model", "unused.gguf", "--models", self.model, *arguments])
        return status, out.getvalue()

    def test_a_run_is_reported_in_all_forms(self):
        folder = os.path.join(self.folder, "out")
        status, printed = self.run_suite("--no-peers", "--runs", "2", "--isa", "avx2", "--streams", "1,4", "--out", folder)
        self.assertEqual(status, 0)
        self.assertEqual(sorted(os.listdir(folder)), ["report.json", "report.md", "roofline-small.svg"])
        with open(os.path.join(folder, "report.json"), encoding="utf-8") as f:
            run = json.load(f)
        self.assertEqual(run["isa"], "avx2")
        self.assertNotIn(self.folder, json.dumps(run))  # no path of this machine
        rows = {r["row"]: r for r in run["models"][0]["rows"]}
        self.assertEqual(list(rows), ["prefill 32", "decode 0", "decode 224", "streams 1", "streams 4", "load", "memory"])
        self.assertEqual(rows["streams 4"]["programs"]["Linnet"]["samples"], [80.0, 80.0])
        with open(os.path.join(folder, "report.md"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("fewer than seven runs", text)
        self.assertRegex(text, r"Other processes took \d+ % of the CPUs meanwhile")
        self.assertIn(printed.strip().split("\n")[0], text)

    def test_a_report_goes_into_the_documents(self):
        folder = os.path.join(self.folder, "out")
        self.run_suite("--no-peers", "--runs", "1", "--rows", "decode", "--out", folder)
        with open(os.path.join(folder, "report.json"), encoding="utf-8") as f:
            run = json.load(f)
        document = publish.insert(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n", report.markdown(run, "###"))
        self.assertTrue(document.startswith("before\n") and document.endswith("\nafter\n"))
        self.assertIn("#### small", document)
        self.assertNotIn("old", document)
        self.assertIn("<svg", publish.picture([run], "small"))
        for wrong in (lambda: publish.insert("no markers", ""), lambda: publish.picture([run], "large")):
            with self.assertRaises(ValueError):
                wrong()

    def test_wrong_arguments_are_refused(self):
        for wrong in (["--runs", "0"], ["--rows", "speed"], ["--isa", "mmx"], ["--models", "nothing"], ["--streams", "a"]):
            with self.assertRaises(SystemExit) as refused, contextlib.redirect_stderr(io.StringIO()):
                suite.parse(["--linnet", self.linnet, "--model", self.model, *wrong])
            self.assertEqual(refused.exception.code, 2, wrong)

    def test_a_program_that_fails_says_so(self):
        os.chmod(self.file("linnet", b"#!/bin/sh\necho 'no such file' >&2\nexit 3\n"), stat.S_IRWXU)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = suite.main(["--linnet", self.linnet, "--model", "m", "--models", self.model, "--no-peers"])
        self.assertEqual(status, 1)
        self.assertIn("linnet ended with 3: no such file", said.getvalue())

    def test_a_peer_that_fails_is_not_measured_and_ours_is(self):
        class Broken:
            name = "llama.cpp"

            def load(self):
                raise programs.Failed("it is not here")
        args = suite.parse(["--linnet", self.linnet, "--model", "m", "--models", self.model, "--runs", "3", "--rows", "load"])
        one = suite.ModelRun(args.models[0], args, [])
        one.others.append(Broken())
        with contextlib.redirect_stderr(io.StringIO()):
            one.measure("load")
        result = one.result()
        self.assertEqual(len(result["rows"][0]["programs"]["Linnet"]["samples"]), 3)
        self.assertEqual(result["notes"], ["llama.cpp, load: it is not here"])

    def test_what_our_own_programs_compute_is_not_that_of_others(self):
        use = suite.CpuUse()
        total, busy, own = use.start
        timed.run([sys.executable, "-c", "for _ in range(3000000): pass"])
        use.now = lambda: (total + 10, busy + 4 + 1, own + 4)  # ours was 4 of 10 seconds, 1 was somebody else's
        self.assertAlmostEqual(use.others(), 0.1)
        self.assertGreater(suite.CpuUse.now()[2], own + 0.01)

    def test_programs_take_turns_in_changing_order(self):
        order = []

        class Peer:
            name = "peer"

            def load(self):
                order.append("peer")
                return {"load": [1.0]}
        args = suite.parse(["--linnet", self.linnet, "--model", "m", "--models", self.model, "--runs", "3", "--rows", "load"])
        one = suite.ModelRun(args.models[0], args, [])
        load = one.linnet.load
        one.linnet.load = lambda: order.append("Linnet") or load()
        one.others.append(Peer())
        with contextlib.redirect_stderr(io.StringIO()):
            one.measure("load")
        self.assertEqual(order, ["Linnet", "peer", "peer", "Linnet", "Linnet", "peer"])


if __name__ == "__main__":
    unittest.main()
