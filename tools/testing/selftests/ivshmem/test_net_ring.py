# SPDX-License-Identifier: GPL-2.0
"""The rings and the link of ivshmem-net in user space, under the sanitizers.

TIME=seconds in the environment lets those that go on at random go on for longer.
"""

import os

import pytest

from harness import BUILD, ROOT
from harness.process import run

SECONDS = int(os.environ.get("TIME") or 2)


@pytest.fixture(scope="module")
def programs():
    result = run(["make", "-s", "-C", ROOT / "tools/testing/ring", f"BUILD={BUILD}"],
                 timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return BUILD / "test"


def passes(program):
    """Run it; its output, which says of every case that it is right."""
    result = run([program, SECONDS], timeout=60 + 10 * SECONDS)
    assert result.returncode == 0 and not result.stderr, \
        result.stdout[-4000:] + result.stderr
    assert "WRONG" not in result.stdout
    print(result.stdout.splitlines()[-1])
    return result.stdout


def test_layouts_offers_and_extensions_are_those_of_the_tables(programs):
    assert passes(programs / "ring-layout-asan").count("ok: ") > 60


def test_link_comes_up_whatever_the_order_of_events(programs):
    assert "wrong tables, 0 not found out" in passes(programs / "ring-link-asan")


@pytest.mark.parametrize("mode", ["plain", "asan"])
def test_both_ends_do_what_the_reference_does(programs, mode):
    assert " in one ring" in passes(programs / f"ring-model-{mode}")


@pytest.mark.parametrize("mode", ["plain", "asan", "tsan"])
def test_threads_lose_neither_a_frame_nor_a_wake_up(programs, mode):
    assert "senders slept" in passes(programs / f"ring-threads-{mode}")


@pytest.mark.parametrize("mode", ["plain", "asan"])
def test_hostile_peer_gets_no_further_than_a_refusal(programs, mode):
    assert "at once: " in passes(programs / f"ring-hostile-{mode}")
