#!/usr/bin/env python3
"""Puts the reports of suites into the documents: docs/benchmarks.md between its markers, and one roofline beside it.

    python3 tests/peers/publish.py FOLDER... [--picture MODEL]

FOLDER is what `tools/dev bench --suite --out FOLDER` wrote; several stand one after the other. MODEL is the one whose
picture is shown (default: the first of the first folder).
"""
import argparse
import json
import os
import sys

import report
import roofline
from models import CHECKOUT

PICTURE = """![Roofline](benchmarks-roofline.svg)

The picture's model is named in it. Each mark is a row: what it computes for each byte that it reads, and how many operations
per second came of it; the slope is the read bandwidth, the horizontal lines are the arithmetic peaks.

"""
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def insert(document, text):
    """`document` with `text` between the markers. ValueError where they are not there, once and in order."""
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise ValueError(f"the document has not once {BEGIN} and after it {END}")
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{rest.split(END)[1]}"


def picture(runs, wanted):
    """The roofline of model `wanted`, of the first run that has it."""
    for run in runs:
        for result in run["models"]:
            if wanted in (None, result["id"]) and any("share" in r for r in result["rows"]):
                return roofline.svg(result, run["order"])
    raise ValueError(f"no report has the model {wanted or 'whose picture could be shown'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--picture")
    parser.add_argument("--docs", default=os.path.join(CHECKOUT, "docs"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    runs = []
    for folder in args.folders:
        with open(os.path.join(folder, "report.json"), encoding="utf-8") as f:
            runs.append(json.load(f))
    path = os.path.join(args.docs, "benchmarks.md")
    with open(path, encoding="utf-8") as f:
        document = f.read()
    try:
        document = insert(document, PICTURE + "\n\n".join(report.markdown(run, "###") for run in runs))
        svg = picture(runs, args.picture)
    except ValueError as e:
        sys.exit(f"publish.py: {e}")
    with open(path, "w", encoding="utf-8") as f:
        f.write(document)
    with open(os.path.join(args.docs, "benchmarks-roofline.svg"), "w", encoding="utf-8") as f:
        f.write(svg)


if __name__ == "__main__":
    main()
