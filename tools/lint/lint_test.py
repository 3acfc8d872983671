#!/usr/bin/env python3
"""Each rule of lint.py fires on the small tree that breaks it, and not on the one that does not."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lint  # noqa: E402

MACHINE = "/" + "work/thing"  # in two parts, so that the linter does not find it here

CLEAN = {
    "README.md": "See `docs/guide.md`, [the guide](docs/guide.md#top), `worker/engine/*.h`, `tools/dev test`.\n",
    "docs/guide.md": "Code is in `worker/engine/engine.h:12`, `base/{error,file}.h` and [here](../base/file.h).\n"
                     "Corpora: `tests/fuzz/corpus/NAME`; `n/a` and `models/x` are no paths.\n"
                     "```\n`base/not_there.h`\n```\n",
    "proto/linnet/v1/errors.proto": "enum ErrorReason {\n  QUEUE_FULL = 1;\n}\n",
    "base/error.h": "// Says no.\n#pragma once\n#include <string>\n#include \"absl/status/status.h\"\n",
    "base/file.h": "#pragma once\n",
    "base/mutex.h": "#pragma once\n#include <mutex>\nstd::mutex mu;\n",
    "kernels/onednn_matmul.cc": "#include <dnnl.hpp>\n#include \"base/error.h\"\n",
    "kernels/rows.cc": "#include <immintrin.h>\n#include \"hwy/highway.h\"\n",
    "registry/store/store.cc": "#include <rocksdb/db.h>\n",
    "registry/client/client.h": "#pragma once\n",
    "worker/engine/engine.h": "#pragma once\n#include \"kernels/rows.h\"\n#include \"registry/client/client.h\"\n"
                              "// absl::Mutex is only spoken of here, std::mutex too\n",
    "worker/engine/engine.cc": "#include \"worker/engine/engine.h\"\n"
                               "absl::Status F() {\n  return base::Error(absl::StatusCode::kInternal, \"QUEUE_FULL\", "
                               "absl::StrCat(\"a, (b\", G(1, 2)), {{\"key\", \"v\"}});\n}\n",
    "worker/engine/engine_test.cc": "void Helper() { EXPECT_EQ(1, 1); }\nvoid Outer(int n) { Helper(); }\n"
                                    "TEST(Engine, Counts) { if (true) { ASSERT_TRUE(x); } }\n"
                                    "TEST_F(Engine, Helps) { Outer(3); }\n",
    "tools/dev": "#!/bin/bash\n",
    "tests/fuzz/corpus/gguf/1": "anything \n\t",
}


class LintTest(unittest.TestCase):
    def findings(self, changes, remove=()):
        files = {**CLEAN, **changes}
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                if path in remove:
                    continue
                full = pathlib.Path(folder, path)
                full.parent.mkdir(parents=True, exist_ok=True)
                full.write_text(text)
            return lint.lint(folder)

    def assert_finds(self, path, text, message, line=None):
        found = self.findings({path: text})
        matching = [f for f in found if f[0] == path and message in f[2] and line in (None, f[1])]
        self.assertTrue(matching, f"no '{message}' for {path}:{line} in {found}")
        self.assertEqual(len(found), len(matching), f"more than expected: {found}")

    def test_clean_tree_passes(self):
        self.assertEqual(self.findings({}), [])

    def test_include_directions(self):
        for path, header in (
                ("base/x.cc", "kernels/rows.h"), ("base/x.cc", "linnet/v1/errors.pb.h"),
                ("kernels/x.cc", "worker/engine/engine.h"), ("kernels/x.cc", "linnet/v1/errors.pb.h"),
                ("worker/model/x.cc", "gateway/routing.h"), ("worker/model/x.cc", "registry/store/store.h"),
                ("registry/store/x.cc", "kernels/quant_block.h"), ("registry/server/x.cc", "worker/gguf/gguf_file.h"),
                ("gateway/x.cc", "worker/engine/engine.h"), ("gateway/x.cc", "registry/store/store.h"),
                ("worker/engine/engine_test.cc", "gateway/routing.h")):
            with self.subTest(path=path, header=header):
                test = "TEST(A, B) { EXPECT_TRUE(c); }\n" if path.endswith("_test.cc") else ""
                self.assert_finds(path, f'// a\n#include "{header}"\n{test}', "may include only", line=2)

    def test_import_may_include_kernels_and_tools_anything(self):
        self.assertEqual(self.findings({"registry/import/x.cc": '#include "kernels/quant_block.h"\n'}), [])
        self.assertEqual(self.findings({"tools/linnet/x.cc": '#include "gateway/a.h"\n#include "worker/b.h"\n'}), [])

    def test_reserved_headers(self):
        for path, header, message in (
                ("registry/server/x.cc", "rocksdb/db.h", "RocksDB"), ("worker/x.cc", "hwy/highway.h", "Highway"),
                ("kernels/rows.cc", "dnnl.hpp", "oneDNN"), ("kernels/rows.cc", "oneapi/dnnl/dnnl.hpp", "oneDNN"),
                ("worker/x.cc", "immintrin.h", "intrinsics"), ("worker/x.cc", "arm_neon.h", "intrinsics"),
                ("gateway/x.cc", "absl/synchronization/mutex.h", "base/mutex.h"),
                ("gateway/x.cc", "absl/synchronization/notification.h", "base/mutex.h")):
            with self.subTest(path=path, header=header):
                self.assert_finds(path, f"#include <{header}>\n", message, line=1)

    def test_include_in_a_comment_is_none(self):
        self.assertEqual(self.findings({"base/x.cc": '// #include "worker/a.h"\n/*\n#include "worker/a.h"\n*/\n'}), [])

    def test_include_forms(self):
        self.assert_finds("base/x.cc", "#include <base/error.h>\n", "with quotes", line=1)
        self.assert_finds("base/x.cc", '#include "error.h"\n', "root of the checkout", line=1)

    def test_forbidden_code(self):
        self.assert_finds("base/x.cc", "int a;\nabsl::Mutex mu;\n", "base::Mutex", line=2)
        self.assert_finds("base/x.cc", "absl::Notification done;\n", "base::Mutex")
        self.assert_finds("base/x.cc", "std::mutex mu;\n", "base::Mutex")
        self.assert_finds("base/x.cc", "using namespace std;\n", "using namespace")
        self.assertEqual(self.findings({"base/x.cc": 'const char* a = "absl::Mutex";\nstd::once_flag b;\n'}), [])

    def test_size(self):
        for path in ("base/x.cc", "tools/x.py", "tools/x.sh"):
            with self.subTest(path=path):
                self.assert_finds(path, "a\n" * 601, "601 lines")
        self.assertEqual(self.findings({"base/x.cc": "a\n" * 600, "docs/x.md": "a\n" * 700}), [])

    def test_whitespace(self):
        self.assert_finds("base/x.cc", "int a;\nint b; \n", "trailing whitespace", line=2)
        self.assert_finds("base/x.cc", "\tint a;\n", "tab", line=1)
        self.assert_finds("tools/run", "#!/bin/bash\n\techo\n", "tab", line=2)
        self.assert_finds("base/x.cc", "int a;", "no newline", line=1)

    def test_forbidden_text(self):
        self.assert_finds("docs/x.md", f"a\nSee {MACHINE}.\n", "absolute path", line=2)
        self.assert_finds("base/x.cc", "<" * 7 + " HEAD\n", "conflict marker", line=1)
        self.assertEqual(self.findings({"docs/x.md": f"$HOME{MACHINE} net{MACHINE} a/b{MACHINE}\n"}), [])

    def test_pragma_once(self):
        self.assert_finds("base/x.h", "// What it is.\nint a;\n", "#pragma once", line=1)
        self.assert_finds("base/x.h", "#include <a>\n#pragma once\n", "#pragma once")
        self.assertEqual(self.findings({"kernels/x.h": "#ifndef HWY_TARGET_TOGGLE\n#endif\n"}), [])

    def test_tests_assert(self):
        path = "base/x_test.cc"
        self.assert_finds(path, "int main() {}\n", "at least one TEST", line=1)
        self.assert_finds(path, "TEST(A, B) { EXPECT_TRUE(c); }\n\nTEST(A, Empty) {\n  Run();\n}\n",
                          "test A.Empty asserts nothing", line=3)
        self.assert_finds(path, 'TEST_P(A, B) { f("EXPECT_EQ(1)"); /* ASSERT_TRUE(a) */ }\n', "asserts nothing")
        self.assert_finds(path, "void F() { G(); }\nTEST(A, B) { F(); }\n", "asserts nothing")

    def test_reasons(self):
        call = "auto a = base::Error(absl::StatusCode::kInternal, {}, \"text, more\");\n"
        self.assert_finds("gateway/x.cc", "\n" + call.format('"NOT_A_REASON"'), '"NOT_A_REASON" is not in', line=2)
        self.assert_finds("gateway/x.cc", call.format('b ? "QUEUE_FULL" : "OTHER"'), '"OTHER"')
        self.assert_finds("gateway/x.cc", 'return {absl::StatusCode::kInternal, "OTHER", "x"};\n', '"OTHER"')
        self.assertEqual(self.findings({"gateway/x.cc": "// " + call.format('"NOT_A_REASON"')}), [])

    def test_document_paths(self):
        for text, name in (("`base/gone.h`", "base/gone.h"), ("[x](guide2.md)", "guide2.md"),
                           ("`worker/engine/*.py`", "worker/engine/*.py"), ("`base/{gone,away}.h`", "base/{gone,away}.h"),
                           ("`MISSING.md`", "MISSING.md"), ("run `tools/gone --flag`", "tools/gone")):
            with self.subTest(text=text):
                found = self.findings({"docs/x.md": f"a\n{text}\n"})
                self.assertEqual(found, [("docs/x.md", 2, f"{name} does not exist")])

    def test_removed_file_is_noticed_in_the_documents(self):
        found = self.findings({}, remove=("docs/guide.md",))
        self.assertEqual({f[:2] for f in found}, {("README.md", 1)})
        self.assertEqual(len(found), 1)

    def test_exit_status_and_form(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a.py").write_text("x = 1 \n")
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), \
                    mock.patch.object(sys, "argv", ["lint.py", folder]):
                self.assertEqual(lint.main(), 1)
            self.assertEqual(out.getvalue(), "a.py:1: trailing whitespace\n")
            pathlib.Path(folder, "a.py").write_text("x = 1\n")
            with mock.patch.object(sys, "argv", ["lint.py", folder]):
                self.assertEqual(lint.main(), 0)


if __name__ == "__main__":
    unittest.main()
