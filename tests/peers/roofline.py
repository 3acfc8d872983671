"""The roofline picture of one model (Williams, Waterman and Patterson, CACM 52(4), 2009) as SVG: what a row computes for
each byte that it reads, and how many operations per second came of it, under the machine's two roofs."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 820, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 110, 60
COLOURS = ["#0b6e4f", "#c1440e", "#5b5ea6", "#7a7a7a"]  # in the order of the programs
SHAPES = ["circle", "square", "triangle"]


class Axes:
    def __init__(self, x_from, x_to, y_from, y_to):
        self.x = (math.log10(x_from), math.log10(x_to))
        self.y = (math.log10(y_from), math.log10(y_to))

    def at_x(self, value):
        low, high = self.x
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def at_y(self, value):
        low, high = self.y
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def ticks(low, high):
    """1, 2 and 5 of each decade within [low, high]."""
    found = []
    for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        found += [m * 10.0 ** decade for m in (1, 2, 5) if low <= m * 10.0 ** decade <= high]
    return found


def label(value):
    return f"{value:g}"


def text(x, y, content, size=12, anchor="start", colour="#222", extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{extra}>'
            f"{escape(content)}</text>")


def line(x1, y1, x2, y2, colour, width=1.0, dash=""):
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def mark(shape, x, y, colour):
    if shape == "square":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'
    if shape == "triangle":
        return f'<path d="M{x:.1f} {y - 5:.1f} L{x + 5:.1f} {y + 4:.1f} L{x - 5:.1f} {y + 4:.1f} Z" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'


def roofs(result):
    """[(title, GOP/s)] of the horizontal roofs: those of the formats in the file, and f32."""
    names = {"int4_gop_per_s": "4-bit weights", "int5_gop_per_s": "5-bit weights", "int6_gop_per_s": "6-bit weights",
             "int8_gop_per_s": "8-bit weights", "f32_gop_per_s": "f32"}
    used = {f"{kind}_gop_per_s" for kind in result["arithmetic"]} | {"f32_gop_per_s"}
    return sorted(((title, result["limits"][name]["median"]) for name, title in names.items()
                   if name in used and name in result["limits"]), key=lambda r: r[1])


def svg(result, programs):
    rows = [r for r in result["rows"] if "share" in r]
    read = result["limits"]["read_gb_per_s"]["median"]
    flat = roofs(result)
    speeds = [v for r in rows for v in r["gop_per_s"].values()]
    axes = Axes(min(r["intensity"] for r in rows) / 1.6, max(r["intensity"] for r in rows) * 1.6,
                min(speeds) / 2, max([p for _, p in flat] + speeds) * 1.5)
    x_low, x_high = 10 ** axes.x[0], 10 ** axes.x[1]
    y_low, y_high = 10 ** axes.y[0], 10 ** axes.y[1]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
           f'font-family="sans-serif">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           text(LEFT, 26, result["title"], 16)]
    for x in ticks(x_low, x_high):
        out.append(line(axes.at_x(x), TOP, axes.at_x(x), HEIGHT - BOTTOM, "#eee"))
        out.append(text(axes.at_x(x), HEIGHT - BOTTOM + 18, label(x), 11, "middle"))
    for y in ticks(y_low, y_high):
        out.append(line(LEFT, axes.at_y(y), WIDTH - RIGHT, axes.at_y(y), "#eee"))
        out.append(text(LEFT - 6, axes.at_y(y) + 4, label(y), 11, "end"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "operations for each byte read", 12, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(text(20, middle, "GOP/s", 12, "middle", extra=f' transform="rotate(-90 20 {middle:.1f})"'))
    # The slope ends at the highest roof, or at the border.
    top = min(max(p for _, p in flat), y_high)
    x_from, x_to = max(x_low, y_low / read), min(x_high, top / read)
    if x_from < x_to:
        out.append(line(axes.at_x(x_from), axes.at_y(read * x_from), axes.at_x(x_to), axes.at_y(read * x_to), "#222", 1.8))
        middle = math.sqrt(x_from * x_to)
        out.append(text(axes.at_x(middle) - 8, axes.at_y(read * middle) - 8, f"reads: {read:.1f} GB/s", 11, "end"))
    last_y = None
    for title, peak in reversed(flat):
        x_from = max(x_low, peak / read)
        y = axes.at_y(peak)
        if x_from < x_high:
            out.append(line(axes.at_x(x_from), y, WIDTH - RIGHT, y, "#222", 1.8 if peak == top else 1.2,
                            "" if peak == top else "6 4"))
        y_text = y + 4 if last_y is None else max(y + 4, last_y + 13)
        out.append(text(WIDTH - RIGHT + 6, y_text, f"{title}: {peak:.0f} GOP/s", 11))
        last_y = y_text
    for i, program in enumerate(programs):
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]
        if not any(program in r["gop_per_s"] for r in rows):
            continue
        for row in rows:
            if program not in row["gop_per_s"]:
                continue
            x, y = axes.at_x(row["intensity"]), axes.at_y(row["gop_per_s"][program])
            out.append(f"<g><title>{escape(program)}, {escape(row['title'])}: "
                       f"{row['programs'][program]['median']:.1f} tok/s</title>{mark(shape, x, y, colour)}</g>")
        y = HEIGHT - BOTTOM - 14 - 18 * (len(programs) - 1 - i)
        out.append(mark(shape, WIDTH - RIGHT + 14, y, colour))
        out.append(text(WIDTH - RIGHT + 26, y + 4, program))
    # Which row a column of marks is: above the plot, with a thread down to the highest mark.
    last = -1e9
    for row in sorted(rows, key=lambda r: r["intensity"]):
        x = axes.at_x(row["intensity"])
        if x - last < 11:
            continue
        last = x
        out.append(line(x, TOP, x, min(axes.at_y(v) for v in row["gop_per_s"].values()) - 7, "#bbb", 0.8, "1 3"))
        out.append(text(x + 3, TOP - 5, row["row"], 10, extra=f' transform="rotate(-50 {x + 3:.1f} {TOP - 5})"'))
    out.append("</svg>")
    return "\n".join(out) + "\n"
