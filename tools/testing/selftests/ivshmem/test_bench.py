# SPDX-License-Identifier: GPL-2.0
"""make bench: that it measures and reports; how fast is not asked here."""

import json
import sys

import pytest

from harness import ROOT
from harness.process import run

BENCH = ROOT / "tools/testing/bench"
sys.path.insert(0, str(BENCH))

import report  # noqa: E402
import runner  # noqa: E402

CASE = "random read 4 KiB, depth 32"
SUBJECTS = ["virtio-pci", "ivshmem, host", "ivshmem, VM"]


def bench(*args):
    return run([BENCH / "bench.py", *args], timeout=180)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(what it printed, directory of the results) of one case."""
    out = tmp_path_factory.mktemp("bench")
    result = bench("--quick", "--only", CASE, "--output", out, "virtio")
    assert result.returncode == 0, result.stderr
    return result.stdout, out


@pytest.mark.guest
def test_json_has_a_record_for_each_subject(quick):
    records = json.loads((quick[1] / "virtio.json").read_text())
    assert [r["subject"] for r in records] == SUBJECTS
    for r in records:
        assert set(r) == {"case", "unit", "subject", "median", "min", "max", "runs",
                          "better", "versus", "ratio"}
        assert (r["case"], r["unit"], r["runs"], r["better"]) == (CASE, "IOPS", 1, "more")
        assert 0 < r["min"] <= r["median"] <= r["max"]


@pytest.mark.guest
def test_ratio_is_that_of_the_medians(quick):
    base, *others = json.loads((quick[1] / "virtio.json").read_text())
    assert base["versus"] is None and base["ratio"] is None
    for r in others:
        assert r["versus"] == base["subject"]
        assert r["ratio"] == pytest.approx(r["median"] / base["median"])


@pytest.mark.guest
def test_table_has_the_facts_the_figures_and_the_goals(quick):
    text, out = quick
    assert text == (out / "virtio.txt").read_text()
    facts = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for fact in ("TCG", "-cpu max,-erms,-fsrm", "Linux 6.", "cores", "sections of"):
        assert fact in facts
    rows = text.splitlines()[-3:]
    for subject, row in zip(SUBJECTS, rows):
        assert subject in row
    assert ">= 0.8x" in rows[1] and ">= 0.3x" in rows[2]


@pytest.mark.guest
def test_plot_names_what_is_compared(quick):
    assert "<svg" in (quick[1] / "virtio.svg").read_text()


# Runner and report, without guests

def figures_of(*cases, runs=3):
    figures = []
    runner.run(cases, runner.Plan(runs, quick=True), figures)
    return figures


def test_functions_that_cases_share_are_called_once_a_run():
    calls = []

    def measure():
        calls.append(1)
        return len(calls), -len(calls)

    figures = figures_of(
        runner.Case("first", "", "a", {"a": measure}, figure=lambda m: m[0]),
        runner.Case("second", "", "a", {"a": measure}, figure=lambda m: m[1]))
    assert len(calls) == 3
    assert [f.values for f in figures] == [[1, 2, 3], [-1, -2, -3]]


def test_subjects_take_turns():
    calls = []
    figures_of(runner.Case("", "", "a", {"a": lambda: calls.append("a") or 1,
                                         "b": lambda: calls.append("b") or 1}))
    assert "".join(calls) == "abbaab"


@pytest.mark.parametrize("value, less, verdict", [
    (6, False, ">= 0.7x FAIL"), (8, False, ">= 0.7x pass"),
    (6, True, "<= 0.7x pass"), (8, True, "<= 0.7x FAIL")])
def test_verdict_knows_what_is_better(value, less, verdict):
    figures = figures_of(runner.Case("case", "us", "a", {"a": lambda: 10, "b": lambda: value},
                                     {"b": 0.7}, less_is_better=less))
    assert report.table([], figures).splitlines()[-1].endswith(verdict)


def test_unknown_topic_is_a_usage_error():
    result = bench("no-such-topic")
    assert result.returncode == 2 and "virtio" in result.stderr
