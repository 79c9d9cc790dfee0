#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines of the drivers the KUnit suites ran: a table, and the rest by name.

Usage: coverage.py OBJECTS ROOT, the directory that the kernel was built and has
written its counts in, and the one with drivers/ and include/. A function in a
header counts as run if it was in any object; one that no object has is not seen.
"""

import collections
import itertools
import json
import pathlib
import subprocess
import sys


def gcov(notes):
    """What one object says of each source file that it was made of."""
    out = subprocess.run(["gcov", "--json-format", "--stdout", notes],
                         capture_output=True, check=True, cwd=notes.parent).stdout
    data = json.loads(out)
    cwd = pathlib.Path(data["current_working_directory"])
    for file in data["files"]:
        yield (cwd / file["file"]).resolve(), file


def name_of(line, functions):
    """The function of a line; gcov tells only some lines'."""
    for function in functions:
        if function["start_line"] <= line <= function["end_line"]:
            return function["name"]
    return "?"


def collect(objects, root):
    """{file: {line: [count, function]}}, of all objects together."""
    files = collections.defaultdict(dict)
    for notes in sorted(objects.rglob("*.gcno")):
        for path, file in gcov(notes):
            if not any(path.is_relative_to(root / part) for part in ("drivers", "include")):
                continue
            for line in file["lines"]:
                number = line["line_number"]
                entry = files[path.relative_to(root)].setdefault(
                    number, [0, name_of(number, file["functions"])])
                entry[0] += line["count"]
    return files


def ranges(numbers):
    """"3-5 9" of 3, 4, 5, 9."""
    spans = []
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        span = [number for _, number in group]
        spans.append(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]))
    return " ".join(spans)


def print_row(name, lines, ran):
    print(f"{name:<44} {lines:>6} {ran:>6} {100 * ran / lines:>7.1f}")


def print_table(files):
    print(f"{'file':<44} {'lines':>6} {'ran':>6} {'%':>7}")
    total = ran_total = 0
    for path, lines in sorted(files.items()):
        ran = sum(count > 0 for count, _ in lines.values())
        print_row(str(path), len(lines), ran)
        total += len(lines)
        ran_total += ran
    print_row("all", total, ran_total)


def print_rest(files):
    print("\nnever run:")
    for path, lines in sorted(files.items()):
        missed = collections.defaultdict(list)
        for number, (count, function) in sorted(lines.items()):
            if not count:
                missed[function].append(number)
        for function, numbers in missed.items():
            print(f"  {path}: {function}: {ranges(numbers)}")


def main():
    objects, root = (pathlib.Path(arg) for arg in sys.argv[1:])
    files = collect(objects, root.resolve())
    if not files:
        sys.exit("coverage: nothing was counted")
    print_table(files)
    print_rest(files)


main()
