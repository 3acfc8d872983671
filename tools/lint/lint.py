#!/usr/bin/env python3
"""Checks of this repository that no compiler makes. Run from the checkout: python3 tools/lint/lint.py

Prints `path:line: message` for each finding and exits with 1 if there was one. Every rule is a function
`check_*(file) -> iterator of (line, message)` or, where it looks at the whole tree, `(tree) -> iterator of (path, line,
message)`; tools/lint/lint_test.py holds a small tree for each.
"""

import pathlib
import re
import subprocess
import sys

MAX_LINES = 600
SOURCES = (".cc", ".h", ".proto", ".py", ".sh", ".cmake", ".yaml", ".yml", ".md", ".json", ".txt")
CXX = (".cc", ".h")
SIZED = (".cc", ".h", ".py", ".sh")

# --- what may include what -------------------------------------------------------------------------------------------

OUR_FOLDERS = ("proto", "base", "kernels", "worker", "registry", "gateway", "tools", "tests", "k8s", "linnet")  # linnet: protos

# The first prefix that a file's path has decides; the value lists the prefixes of ours that it may include.
MAY_INCLUDE = (
    ("proto/", ("base/", "linnet/", "proto/")),
    ("base/", ("base/",)),
    ("kernels/", ("base/", "kernels/")),
    ("worker/", ("base/", "kernels/", "registry/client/", "linnet/", "proto/", "worker/")),
    ("registry/import/", ("base/", "kernels/", "linnet/", "registry/")),
    ("registry/", ("base/", "linnet/", "registry/")),
    ("gateway/", ("base/", "registry/client/", "linnet/", "proto/", "gateway/")),
)

# Headers of libraries and intrinsics that only some folders may use: (headers, where, what to say).
RESERVED_HEADERS = (
    (r"rocksdb/", "registry/store/", "only registry/store includes RocksDB"),
    (r"hwy/", "kernels/", "only kernels includes Highway"),
    (r"(oneapi/)?dnnl", "kernels/onednn", "only kernels/onednn* includes oneDNN"),
    (r"([a-z]+intrin|arm_neon|arm_sve|arm_acle|riscv_vector)\.h$", "kernels/", "no intrinsics outside kernels"),
    (r"absl/synchronization/", None, "use base/mutex.h: Abseil's locks are not built for ThreadSanitizer"),
)

FORBIDDEN_CODE = (
    (r"\babsl::(Mutex|MutexLock|ReaderMutexLock|WriterMutexLock|CondVar|Notification|BlockingCounter|Barrier)\b",
     "use base::Mutex, base::MutexLock and base::CondVar", ()),
    (r"\bstd::(mutex|recursive_mutex|shared_mutex|timed_mutex|condition_variable|condition_variable_any)\b",
     "use base::Mutex and base::CondVar, which carry thread-safety annotations", ("base/mutex.h",)),
    (r"\busing\s+namespace\s+std\b", "no `using namespace std`", ()),
)

# Paths of somebody's machine. In two parts, so that this file does not find itself.
FORBIDDEN_TEXT = (
    (re.compile(r"(?<![\w./})*>~-])/(?:wor" + r"k|roo" + r"t)/"), "absolute path of one machine"),
    (re.compile(r"^(?:<{7}|>{7}) "), "conflict marker"),
)


class File:
    """One file of the tree: `path` is relative and uses '/'."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.name = path.rsplit("/", 1)[-1]
        dot = self.name.rfind(".")
        self.ext = self.name[dot:] if dot > 0 else ""
        self.is_script = text.startswith("#!")
        self._code = None

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    @property
    def code(self):
        """C++ with comments blanked (same length and lines); string literals stay."""
        if self._code is None:
            self._code = blank(self.text, strings=False)
        return self._code


TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<d>[^()\s]{0,16})\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'""",
    re.DOTALL)


def blank(text, strings):
    """`text` with comments (and the insides of string and character literals, where `strings`) as spaces."""
    def repl(match):
        token = match.group(0)
        if token.startswith(("//", "/*")) or strings:
            return re.sub(r"[^\n]", " ", token)
        return token
    return TOKENS.sub(repl, text)


# --- rules for one file ----------------------------------------------------------------------------------------------


def check_size(file):
    count = file.text.count("\n")
    if (file.ext in SIZED or (file.is_script and not file.ext)) and count > MAX_LINES:
        yield MAX_LINES + 1, f"{count} lines; the limit is {MAX_LINES}: look for the second noun in it"


def check_whitespace(file):
    if file.ext not in SOURCES and not file.is_script:
        return
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield number, "trailing whitespace"
        if "\t" in line:
            yield number, "tab"
    if file.text and not file.text.endswith("\n"):
        yield len(file.lines), "no newline at the end of the file"


def check_forbidden_text(file):
    for number, line in enumerate(file.lines, 1):
        for pattern, message in FORBIDDEN_TEXT:
            if pattern.search(line):
                yield number, message


def check_pragma_once(file):
    # Highway's foreach_target.h includes some headers once for each instruction set.
    if file.ext != ".h" or re.search(r"\bHWY_(TARGET_TOGGLE|TARGET_INCLUDE)\b|foreach_target", file.text):
        return
    for line in file.code.split("\n"):
        if line.strip():
            if line.strip() != "#pragma once":
                break
            return
    yield 1, "a header's first line of code is `#pragma once`"


def check_includes(file):
    if file.ext not in CXX:
        return
    allowed = next((may for prefix, may in MAY_INCLUDE if file.path.startswith(prefix)), None)
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', file.code, re.MULTILINE):
        quote, header = match.groups()
        line = file.line_of(match.start())
        for pattern, where, message in RESERVED_HEADERS:
            if re.match(pattern, header) and (where is None or not file.path.startswith(where)):
                yield line, f"{header}: {message}"
        ours = header.split("/", 1)[0] in OUR_FOLDERS and "/" in header
        if ours and quote == "<":
            yield line, f"{header}: our own headers are included with quotes"
        reserved = any(re.match(pattern, header) for pattern, _, _ in RESERVED_HEADERS)
        if quote == '"' and "/" not in header and not reserved:
            yield line, f"{header}: include by the path from the root of the checkout"
        if ours and allowed is not None and not header.startswith(allowed):
            folder = file.path.split("/", 1)[0]
            yield line, f"{header}: {folder}/ may include only {', '.join(allowed)}"


def check_forbidden_code(file):
    if file.ext not in CXX:
        return
    code = blank(file.text, strings=True)
    for pattern, message, exempt in FORBIDDEN_CODE:
        if file.path in exempt:
            continue
        for match in re.finditer(pattern, code):
            yield file.line_of(match.start()), f"{match.group(0)}: {message}"


TEST = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\s*\(([^)]*)\)\s*\{", re.MULTILINE)
FUNCTION = re.compile(r"\b([A-Za-z_]\w*)\s*\([^;{}]*\)[^;{}()]*\{")
ASSERTS = re.compile(r"\b(?:EXPECT|ASSERT)_\w+|\bADD_FAILURE\w*|\bFAIL\s*\(")
NO_FUNCTION = {"if", "for", "while", "switch", "catch", "TEST", "TEST_F", "TEST_P", "TYPED_TEST"}


def body_at(code, brace):
    """The text between the brace at `brace` and its partner."""
    depth = 0
    for i in range(brace, len(code)):
        if code[i] == "{":
            depth += 1
        elif code[i] == "}":
            depth -= 1
            if depth == 0:
                return code[brace:i + 1]
    return code[brace:]


def check_tests(file):
    if not file.path.endswith("_test.cc"):
        return
    code = blank(file.text, strings=True)
    tests = list(TEST.finditer(code))
    if not tests:
        yield 1, "a *_test.cc holds at least one TEST"
        return
    # A test may leave the assertions to a function of the same file, that to another.
    functions = {}
    for match in FUNCTION.finditer(code):
        if match.group(1) not in NO_FUNCTION:
            functions.setdefault(match.group(1), []).append(body_at(code, match.end() - 1))
    asserting = set()
    while True:
        calls = re.compile(r"\b(?:" + "|".join(sorted(asserting)) + r")\s*[(<]") if asserting else None
        found = {name for name, bodies in functions.items() if name not in asserting and any(
            ASSERTS.search(b) or (calls and calls.search(b)) for b in bodies)}
        if not found:
            break
        asserting |= found
    for match in tests:
        body = body_at(code, match.end() - 1)
        if not ASSERTS.search(body) and not (calls and calls.search(body)):
            name = ".".join(part.strip() for part in match.group(1).split(","))
            yield file.line_of(match.start()), f"test {name} asserts nothing"


# --- rules for the tree ----------------------------------------------------------------------------------------------


def arguments_at(code, start):
    """The top-level arguments of the call whose '(' is at `start`."""
    depth, begin, i = 0, start + 1, start
    arguments = []
    while i < len(code):
        c = code[i]
        if c == '"':
            match = TOKENS.match(code, i)
            i = match.end() if match else i + 1
            continue
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth == 0:
                return arguments + [code[begin:i]]
        elif c == "," and depth == 1:
            arguments.append(code[begin:i])
            begin = i + 1
        elif c == ";":
            break
        i += 1
    return arguments


def check_reasons(tree):
    """Every literal reason of a base::Error call is one of linnet.v1.ErrorReason."""
    proto = tree.get("proto/linnet/v1/errors.proto")
    reasons = set(re.findall(r"^\s*([A-Z][A-Z0-9_]*)\s*=\s*\d+\s*;", proto.text, re.MULTILINE)) if proto else set()
    for file in tree.values():
        if file.ext not in CXX or not proto:
            continue
        seen = []
        for match in re.finditer(r"\bError\s*\(", file.code):
            arguments = arguments_at(file.code, match.end() - 1)
            if len(arguments) >= 3:
                seen += [(match.start(), r) for r in re.findall(r'"([^"]*)"', arguments[1])]
        # Tables of {code, reason}.
        seen += [(m.start(), m.group(1)) for m in
                 re.finditer(r'\{\s*absl::StatusCode::k\w+\s*,\s*"([A-Z][A-Z0-9_]+)"', file.code)]
        for offset, reason in seen:
            if reason not in reasons:
                yield file.path, file.line_of(offset), f'reason "{reason}" is not in proto/linnet/v1/errors.proto'


def is_document(path):
    return path in ("README.md", "CONTRIBUTING.md") or (path.startswith("docs/") and path.endswith(".md"))


def as_pattern(path):
    """Placeholders of a path in prose (NAME, <name>, {name}, *) as a regular expression; {a,b} as alternatives."""
    out = ""
    for part in re.split(r"(<[^>]*>|\{[^}]*\}|\*+|(?:(?<=/)|^)[A-Z]{3,}(?=/|$))", path):
        if part.startswith("{") and "," in part:
            out += "(?:" + "|".join(re.escape(p.strip()) for p in part[1:-1].split(",")) + ")"
        elif part.startswith(("<", "{", "*")) or re.fullmatch(r"[A-Z]{3,}", part):
            out += "[^/]*"
        else:
            out += re.escape(part)
    return re.compile(out + r"(?:/.*)?$")


def check_doc_paths(tree):
    """What the documents name in backquotes or link to exists."""
    tops = {path.split("/", 1)[0] for path in tree if "/" in path}
    paths = set(tree)
    for path in tree:
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            paths.add(path)
    for file in tree.values():
        if not is_document(file.path):
            continue
        text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", lambda m: re.sub(r"[^\n]", " ", m.group(0)), file.text,
                      flags=re.MULTILINE | re.DOTALL)
        folder = file.path.rsplit("/", 1)[0] + "/" if "/" in file.path else ""
        names = []
        for match in re.finditer(r"`([^`\n]+)`", text):
            word = match.group(1).split()[0] if match.group(1).split() else ""
            word = re.sub(r"^\./", "", re.sub(r":\d+.*$|[.,;]$", "", word)).rstrip("/")
            looks_like_path = re.fullmatch(r"[\w.*{},<>-]+(?:/[\w.*{},<>-]+)+", word) and word.split("/", 1)[0] in tops
            looks_like_file = re.fullmatch(r"[A-Z][\w-]*\.(?:md|txt|json)|\.clang-\w+", word)
            if looks_like_path or looks_like_file:
                names.append((match.start(), word, [word, folder + word]))
        for match in re.finditer(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
            target = match.group(1)
            if re.match(r"[a-z]+:|/", target):
                continue
            names.append((match.start(), target, [normalise(folder + target)]))
        for offset, name, candidates in names:
            if any(c in paths for c in candidates):
                continue
            patterns = [as_pattern(c) for c in candidates]
            if not any(p.match(path) for p in patterns for path in paths):
                yield file.path, file.line_of(offset), f"{name} does not exist"


def normalise(path):
    parts = []
    for part in path.rstrip("/").split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


# --- the tree --------------------------------------------------------------------------------------------------------

FILE_CHECKS = (check_size, check_whitespace, check_forbidden_text, check_pragma_once, check_includes,
               check_forbidden_code, check_tests)
TREE_CHECKS = (check_reasons, check_doc_paths)
SKIPPED_FOLDERS = {".git", "build", "__pycache__", "node_modules"}


def list_paths(root):
    """What git tracks or would track; all files where this is no git checkout."""
    if (root / ".git").exists():
        done = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], capture_output=True, check=True)
        return sorted({p for p in done.stdout.decode().split("\0") if p})
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*")
                  if p.is_file() and not SKIPPED_FOLDERS & set(p.relative_to(root).parts))


def load(root):
    tree = {}
    for path in list_paths(root):
        full = root / path
        if full.is_symlink() or not full.is_file():
            continue
        raw = full.read_bytes()
        # Binary files count for the paths that documents name, with nothing in them to check.
        text = "" if b"\0" in raw[:4096] else raw.decode("utf-8", "replace")
        # Corpora and golden data are what they are.
        golden = path.startswith(("tests/fuzz/corpus/", "tests/golden/")) or "/testdata/" in path
        tree[path] = File(path, "" if golden else text)
    return tree


def lint(root):
    """All findings in the tree at `root`, as sorted (path, line, message)."""
    tree = load(pathlib.Path(root).resolve())
    findings = []
    for file in tree.values():
        for check in FILE_CHECKS:
            findings += [(file.path, line, message) for line, message in check(file)]
    for check in TREE_CHECKS:
        findings += check(tree)
    return sorted(set(findings))


def main():
    findings = lint(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path, line, message in findings:
        print(f"{path}:{line}: {message}")
    if findings:
        print(f"lint: {len(findings)} finding{'s' if len(findings) > 1 else ''}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
