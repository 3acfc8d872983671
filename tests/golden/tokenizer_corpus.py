"""Texts to compare tokenizers on: deterministic, of every script, category and kind of trouble that is known."""

import pathlib
import random
import unicodedata

# What the golden texts cover by name (make_tokenizer.py), here by ranges.
SCRIPTS = {
    "latin": (0x41, 0x5A, 0x61, 0x7A), "latin-1": (0xC0, 0xFF), "latin extended": (0x100, 0x24F), "ipa": (0x250, 0x2AF),
    "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x4FF), "armenian": (0x531, 0x587), "hebrew": (0x590, 0x5F4),
    "arabic": (0x600, 0x6FF), "syriac": (0x700, 0x74F), "thaana": (0x780, 0x7B1), "nko": (0x7C0, 0x7FA),
    "devanagari": (0x900, 0x97F), "bengali": (0x980, 0x9FE), "gurmukhi": (0xA01, 0xA76), "gujarati": (0xA81, 0xAFF),
    "tamil": (0xB82, 0xBFA), "telugu": (0xC00, 0xC7F), "kannada": (0xC80, 0xCF3), "malayalam": (0xD00, 0xD7F),
    "sinhala": (0xD81, 0xDF4), "thai": (0xE01, 0xE5B), "lao": (0xE81, 0xEDF), "tibetan": (0xF00, 0xFDA),
    "myanmar": (0x1000, 0x109F), "georgian": (0x10A0, 0x10FF), "hangul jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x139F), "cherokee": (0x13A0, 0x13FD), "ogham": (0x1680, 0x169C), "khmer": (0x1780, 0x17F9),
    "mongolian": (0x1800, 0x18AA), "vietnamese": (0x1E00, 0x1EFF), "greek extended": (0x1F00, 0x1FFE),
    "punctuation": (0x2000, 0x206F), "super- and subscripts": (0x2070, 0x209C), "currency": (0x20A0, 0x20C0),
    "letterlike": (0x2100, 0x218B), "arrows and mathematics": (0x2190, 0x23FF), "enclosed": (0x2460, 0x24FF),
    "boxes and dingbats": (0x2500, 0x27BF), "kangxi": (0x2E80, 0x2FD5), "cjk punctuation": (0x3000, 0x303F),
    "kana": (0x3041, 0x30FF), "bopomofo": (0x3105, 0x312F), "han": (0x4E00, 0x9FFF), "han extension a": (0x3400, 0x4DBF),
    "yi": (0xA000, 0xA4C6), "hangul": (0xAC00, 0xD7A3), "compatibility": (0xF900, 0xFAD9), "forms": (0xFB00, 0xFDFF),
    "fullwidth": (0xFF01, 0xFFEE), "gothic": (0x10330, 0x1034A), "mathematical letters": (0x1D400, 0x1D7FF),
    "han extension b": (0x20000, 0x20FFF), "adlam": (0x1E900, 0x1E95F), "brahmi": (0x11000, 0x1106F),
}
SPACES = list("    \t\n\r\f\v\u0085\u00a0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\u2060")
PUNCTUATION = list(".,;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`") + list("。，、！？「」…—–“”‘’«»·।۔،؟")
EMOJI = ["\U0001F600", "\U0001F44D\U0001F3FD", "\u2764\ufe0f", "\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466",
         "\U0001F1E9\U0001F1EA", "1\ufe0f\u20e3", "\U0001F3F4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
         "\U0001F469\u200d\U0001F52C", "\U0001F3F3\ufe0f\u200d\U0001F308", "\u00a9\ufe0f", "\U0001FAE0", "\U0001F1FA"]
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<mask>",
           "<bos>", "<start_of_turn>", "<|user|>", "[CLS]", "[INST]", "<tool>", "<0x41>", "<0xE2>", "\u2581", "\u2581\u2581",
           "\u0120", "\u010a", "</w>", "##", "[DAY]"]
CODE = ["if (x == {0}) {{", "    return {0};", "\tfor i in range({0}):", "def f{0}(self, *args, **kwargs) -> None:",
        "#include <{0}.h>", "SELECT a{0}, COUNT(*) FROM t WHERE x >= {0}.5;", "  }} else {{  // {0}", "x{0} += y[{0}] << 2;",
        "<div class=\"c{0}\" id='d'>&nbsp;</div>", "std::vector<int> v{0}{{1, 2, 3}};", "\\frac{{{0}}}{{\\partial x}}",
        "{{\"key{0}\": [1, null, true, -3.5e{0}]}}", "    \t  # TODO({0}): fix", "https://example.org/a/{0}?b=c&d=%20#e",
        "print(f'{0} is {{x:>10.3f}}')", "0x{0}FF 0b1010 1_000_000 {0}e-10", "a.b.c[{0}]->d::e!", "!@#$%^&*()_+{0}|~`-=\\"]
WORDS = ("the of and to in is that it's don't we'll they've I'm you're he'd WE'LL IT'S can't rock'n'roll state-of-the-art "
         "Straße café naïve Ελλάδα Привет мир 你好 世界 こんにちは 안녕하세요 مرحبا שלום नमस्ते สวัสดี tiếng Việt ĲSSEL ŉ ﬁne ﬀ "
         "ǅ İstanbul ısı ΣΑΣ ſtreet K Å e\u0301 a\u0308\u0323 camelCase PascalCase SNAKE_CASE x86_64 h264 3D 1st").split()


def pick(rng, ranges):
    low = 2 * rng.randrange(len(ranges) // 2)
    return chr(rng.randint(ranges[low], ranges[low + 1]))


def generated(rng):
    """One line of a random kind."""
    kind = rng.randrange(16)
    ranges = rng.choice(list(SCRIPTS.values()))
    letters = lambda most: "".join(pick(rng, ranges) for _ in range(rng.randint(1, most)))
    if kind < 4:  # words of a script
        return rng.choice(("", " ", "  ")) + rng.choice((" ", "  ", " ", "\n")).join(
            letters(10) + rng.choice(("", "", "", ".", ",", "!", "。")) for _ in range(rng.randint(1, 9)))
    if kind == 4:  # scripts mixed
        return "".join(pick(rng, rng.choice(list(SCRIPTS.values()))) for _ in range(rng.randint(1, 24)))
    if kind == 5:
        return "".join(rng.choice(EMOJI) + rng.choice(("", " ", "a", "\u200d")) for _ in range(rng.randint(1, 8)))
    if kind == 6:  # digits
        digits = rng.choice((0x30, 0x30, 0x660, 0x966, 0xFF10, 0x1D7CE))
        return rng.choice((" ", ".", ",", "", "-")).join(
            "".join(chr(digits + rng.randrange(10)) for _ in range(rng.randint(1, 12))) for _ in range(rng.randint(1, 6)))
    if kind == 7:  # white space
        return "".join(rng.choice(SPACES) * rng.choice((1, 1, 2, 3, 7)) + rng.choice(("", "", "a", "B", "1", ".", "é"))
                       for _ in range(rng.randint(1, 12)))
    if kind == 8:  # combining marks
        marks = rng.choice(((0x300, 0x36F), (0x591, 0x5C7), (0x64B, 0x65F), (0x93A, 0x94F), (0x1AB0, 0x1ACE), (0x20D0, 0x20F0)))
        return "".join(letters(3) + "".join(pick(rng, marks) for _ in range(rng.randint(0, 6))) for _ in range(rng.randint(1, 8)))
    if kind == 9:
        return "\n".join(rng.choice(CODE).format(rng.randrange(10 ** rng.randint(1, 6))) for _ in range(rng.randint(1, 3)))
    if kind == 10:  # punctuation
        return "".join(rng.choice(PUNCTUATION) * rng.choice((1, 1, 1, 3)) + rng.choice(("", "", " ", "x", "\n"))
                       for _ in range(rng.randint(1, 16)))
    if kind == 11:  # special tokens' texts within others
        return "".join(rng.choice(SPECIAL) + rng.choice(("", " ", "  ", letters(4), "x", "\n")) for _ in range(rng.randint(1, 5)))
    if kind == 12:  # anything at all, as far as UTF-8 has it
        return "".join(chr(c) for c in (rng.randrange(0x110000) for _ in range(rng.randint(1, 12))) if not 0xD800 <= c < 0xE000)
    if kind == 13:  # control characters
        return "".join(chr(rng.randrange(0xA1)) for _ in range(rng.randint(1, 20)))
    if kind == 14:  # the same again and again
        return letters(2) * rng.choice((2, 3, 5, 17, 64))
    return rng.choice(("", " ")) + rng.choice((" ", "  ", "\t")).join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))


def every_character():
    """Each character of Unicode, 16 to a line, with and without spaces between."""
    ranges = [range(0x0, 0xD800), range(0xE000, 0x33480), range(0xE0000, 0xE0200)]
    characters = [chr(c) for r in ranges for c in r]
    for at in range(0, len(characters), 16):
        yield rng_join(at, characters[at:at + 16])


def rng_join(at, characters):
    return ("", " ", "a", "\u0301")[at // 16 % 4].join(characters)


def of_this_machine(most):
    """Lines of what is installed: documentation and code."""
    lines = []
    patterns = ["/usr/share/doc/*/copyright", "/usr/share/doc/*/*.md", "/usr/share/common-licenses/*",
                "/usr/lib/python3/dist-packages/*/*.py", "/usr/lib/python3*/*.py", "/usr/share/perl5/**/*.p[ml]",
                "/usr/share/i18n/locales/*"]
    for pattern in patterns:
        found = []
        for path in sorted(pathlib.Path("/").glob(pattern[1:])):
            try:
                found += path.read_text(encoding="utf-8").splitlines(keepends=True)
            except (OSError, UnicodeDecodeError):
                continue
            if len(found) > most // 2:
                break
        lines += found[: most // 4]
    return [line for line in lines if line.strip()][:most]


def corpus(lines, seed=1):
    rng = random.Random(seed)
    out = list(every_character()) + of_this_machine(lines // 4)
    while len(out) < lines:
        out.append(generated(rng))
    return out


def training(seed=2):
    """What the tokenizers are trained on: words often enough to merge, and some of everything."""
    rng = random.Random(seed)
    out = of_this_machine(6000)
    for _ in range(6000):
        out.append(" ".join(rng.choice(WORDS) for _ in range(8)))
    out += [generated(rng) for _ in range(3000)]
    return [unicodedata.normalize("NFC", line) if i % 3 else line for i, line in enumerate(out)]
