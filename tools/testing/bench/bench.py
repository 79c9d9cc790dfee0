#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make bench: measure one topic, write a table, a plot and JSON.

The topic is a module beside this one, with
    setup(stack, plan, kver) -> (facts, cases)
where facts are lines that say on what the figures hold.
"""

import argparse
import contextlib
import importlib
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "selftests/ivshmem"))

import report  # noqa: E402
import runner  # noqa: E402
from harness import BUILD  # noqa: E402

QUICK_RUNS = 1


def parse(argv):
    topics = sorted(p.stem for p in HERE.glob("*.py")
                    if p.stem not in ("bench", "host", "report", "runner"))
    parser = argparse.ArgumentParser(description="measure one topic")
    parser.add_argument("topic", choices=topics)
    parser.add_argument("--quick", action="store_true", help="one short run: does it work?")
    parser.add_argument("--runs", type=int, default=5, help="runs of each subject (5)")
    parser.add_argument("--kver", default="6.12", help="kernel of the guests (6.12)")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases to run (all)")
    parser.add_argument("--output", type=pathlib.Path, default=BUILD / "bench",
                        help="directory of the results (build/bench)")
    return parser.parse_args(argv)


def write(options, facts, figures):
    options.output.mkdir(parents=True, exist_ok=True)
    base = options.output / options.topic
    text = report.table(facts, figures)
    print(text, end="", flush=True)
    base.with_suffix(".txt").write_text(text)
    report.write_json(base.with_suffix(".json"), figures)
    report.write_plot(base.with_suffix(".svg"), facts, figures)


def measure(options):
    """Whatever happens, the figures of the cases before it are written."""
    figures = []
    plan = runner.Plan(QUICK_RUNS if options.quick else options.runs, options.quick)
    with contextlib.ExitStack() as stack:
        topic = importlib.import_module(options.topic)
        facts, cases = topic.setup(stack, plan, options.kver)
        chosen = [c for c in cases if re.search(options.only, c.name)]
        if not chosen:
            sys.exit(f"no case matches '{options.only}'; there are:\n" +
                     "\n".join(c.name for c in cases))
        try:
            runner.run(chosen, plan, figures)
        finally:
            if figures:
                write(options, facts, figures)


def main(argv):
    measure(parse(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
