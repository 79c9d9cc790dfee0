# SPDX-License-Identifier: GPL-2.0
"""make bench: that it measures and reports; how fast is not asked here."""

import json

import pytest

from harness import ROOT
from harness.process import run

BENCH = ROOT / "tools/testing/bench"
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
                          "versus", "ratio"}
        assert (r["case"], r["unit"], r["runs"]) == (CASE, "IOPS", 1)
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


def test_unknown_topic_is_a_usage_error():
    result = bench("no-such-topic")
    assert result.returncode == 2 and "virtio" in result.stderr
