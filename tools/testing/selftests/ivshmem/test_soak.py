# SPDX-License-Identifier: GPL-2.0
"""make soak, for a moment, and that its judges see what is wrong."""

import re
import signal
import subprocess

import pytest

from harness import ROOT
from harness.process import run, spawn

SOAK = ROOT / "tools/testing/soak"
SECONDS = 20


@pytest.mark.guest
def test_all_devices_come_back_for_a_while():
    result = run([SOAK / "soak.py", "--time", SECONDS, "--seed", 7], timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    seconds, events = re.search(r"^soak: (\d+) s, seed 7, (\d+) events, 0 failures$",
                                result.stdout, re.M).groups()
    assert int(seconds) >= SECONDS
    assert len(re.findall(r"back in +\d+ ms$", result.stdout, re.M)) == int(events) > 0
    moved = dict(re.findall(r"^(send|iperf|disk|fio|console|ping) .* ([\d.]+)$",
                            result.stdout, re.M))
    assert len(moved) == 6 and all(float(kb) for kb in moved.values()), result.stdout


@pytest.mark.guest
def test_interrupt_ends_it_with_a_verdict():
    process = spawn([SOAK / "soak.py", "--seed", 7], stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"soak: seed 7, 600 s")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.decode().splitlines()[-1] == "soak: 0 s, seed 7, 0 events, 0 failures"
    assert process.returncode == 1      # which shows nothing


def steps(seed):
    return run([SOAK / "soak.py", "--seed", seed, "--steps", 90]).stdout.splitlines()


def test_seed_gives_the_same_schedule_again():
    assert steps(1) == steps(1) != steps(2)


def test_each_kind_of_event_has_its_turn():
    kinds = [step.split("; ")[0] for step in steps(3)]
    assert len(set(kinds)) == 9
    assert all(len(set(kinds[i:i + 9])) == 9 for i in range(0, 90, 9))


# The judge of the console

@pytest.fixture(scope="module")
def lines():
    return run([SOAK / "load.sh", "lines"]).stdout


def judged(text):
    return run([SOAK / "load.sh", "check"], input=text).stdout.split("\n")[:-1]


def test_lines_of_the_console_are_counted(lines):
    assert judged(lines * 2) == ["begin", "ok 32000"] * 2


@pytest.mark.parametrize("at", [100, 64 * 77, 64 * 77 + 8])
def test_console_that_was_lost_in_the_middle_is_cut(lines, at):
    assert judged(lines[:at] + lines) == ["begin", "cut", "begin", "ok 32000"]


def test_console_that_loses_a_line_is_wrong(lines):
    assert judged(lines[:1000] + lines[1064:])[1].startswith("wrong console: ")


def test_console_that_changes_a_line_is_wrong(lines):
    assert judged(lines.replace("0000042", "0000043"))[1].startswith("wrong console: ")
