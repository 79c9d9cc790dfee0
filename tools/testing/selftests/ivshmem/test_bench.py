# SPDX-License-Identifier: GPL-2.0
"""make bench: that it measures and reports; how fast is not asked here."""

import json
import socket
import sys
from collections import Counter
from subprocess import PIPE

import pytest

from harness import BUILD, ROOT
from harness.process import run

BENCH = ROOT / "tools/testing/bench"
sys.path.insert(0, str(BENCH))

import report  # noqa: E402
import runner  # noqa: E402

CASE = "random read 4 KiB, depth 32"
SUBJECTS = ["virtio-pci", "ivshmem, host", "ivshmem, VM"]


NET_CASES = {"round trip, median": 4, "round trip, p99": 4, "pktgen to XDP_DROP, 64 bytes": 3}


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
    for fact in ("TCG", "-cpu max,-erms,-fsrm,-cx16", "Linux 6.", "cores", "sections of"):
        assert fact in facts
    rows = text.splitlines()[-3:]
    for subject, row in zip(SUBJECTS, rows):
        assert subject in row
    assert ">= 0.8x" in rows[1] and ">= 0.3x" in rows[2]


@pytest.mark.guest
def test_plot_names_what_is_compared(quick):
    assert "<svg" in (quick[1] / "virtio.svg").read_text()


@pytest.fixture(scope="module")
def quick_net(tmp_path_factory):
    """(what it printed, its records) of the cases about single packets."""
    out = tmp_path_factory.mktemp("bench")
    result = bench("--quick", "--only", "|".join(NET_CASES), "--output", out, "net")
    assert result.returncode == 0, result.stderr
    return result.stdout, json.loads((out / "net.json").read_text())


@pytest.mark.guest
def test_net_measures_each_case_with_its_subjects(quick_net):
    records = quick_net[1]
    assert Counter(r["case"] for r in records) == NET_CASES
    assert all(r["median"] > 0 for r in records)
    assert {r["subject"] for r in records if r["versus"] is None} == {"virtio-net, 1500"}


@pytest.mark.guest
def test_net_round_trips_are_better_if_short(quick_net):
    text, records = quick_net
    better = {r["case"]: r["better"] for r in records}
    assert list(better.values()) == ["less", "less", "more"]
    median, p99 = ([r["median"] for r in records if r["case"] == case]
                   for case in list(NET_CASES)[:2])
    assert all(m <= p for m, p in zip(median, p99))
    assert "<= 0.7x" in text


@pytest.mark.guest
def test_net_says_what_virtio_lacks(quick_net):
    assert "no vnet header" in quick_net[0]


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


# The program at both ends

@pytest.fixture(scope="module")
def tool():
    run(["make", "-s", "-C", BENCH], check=True)
    return BUILD / "bench/bench-tool"


def test_tool_counts_the_datagrams_that_arrive(tool, processes):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    receiver = processes([tool, "datagrams-receive", port], stdin=PIPE, stdout=PIPE)
    assert receiver.stdout.readline() == b"ready\n"
    sent, seconds = run([tool, "datagrams-send", "127.0.0.1", port, 64, 0.2],
                        check=True).stdout.split()
    out, _ = receiver.communicate(timeout=10)
    assert receiver.returncode == 0
    assert 0 < int(out) <= int(sent) and float(seconds) >= 0.2


@pytest.mark.parametrize("direction", ["to", "from"])
def test_tool_copies_to_or_from_the_file_alone(tool, tmp_path, direction):
    size, offset = 2 << 20, 4096
    file = tmp_path / "section"
    before = b"\xff" * (offset + size)
    file.write_bytes(before)
    rate = run([tool, "copy", direction, file, offset, size], check=True).stdout
    assert int(rate) > 0
    zeroes = before[:offset] + bytes(size)
    assert file.read_bytes() == (zeroes if direction == "to" else before)


def test_tool_refuses_what_is_no_whole_block(tool, tmp_path):
    file = tmp_path / "section"
    file.write_bytes(bytes(1 << 20))
    result = run([tool, "copy", "to", file, 0, 4096])
    assert result.returncode == 1 and "multiple" in result.stderr


def test_unknown_topic_is_a_usage_error():
    result = bench("no-such-topic")
    assert result.returncode == 2 and "virtio" in result.stderr
