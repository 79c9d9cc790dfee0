# SPDX-License-Identifier: GPL-2.0
"""The check for data races, made to report: a silent one is worth nothing."""

import shutil

import pytest

from harness.initramfs import SELFTESTS
from harness.process import run, wait_for

pytestmark = pytest.mark.guest


def add_race(fs):
    """Build ivshmem-race.c as our modules are built, and pack it."""
    tree = fs.kernel.ours / "race"
    tree.mkdir(exist_ok=True)
    shutil.copy(SELFTESTS / "ivshmem-race.c", tree / "ivshmem_race.c")
    (tree / "Kbuild").write_text("obj-m := ivshmem_race.o\n")
    made = run(["make", "-C", fs.kernel.dir / "headers", f"M={tree}", "modules"], timeout=120)
    assert made.returncode == 0, made.stdout + made.stderr
    fs.module("ivshmem_race")


GUEST = {"setup": add_race}


def test_race_ends_the_guest_and_is_reported(booted_guest):
    guest = booted_guest[0]
    guest.assert_clean()
    guest.popen("modprobe ivshmem_race")
    wait_for(lambda: not guest.alive(), what="end of the guest")
    with pytest.raises(AssertionError, match=r"KCSAN: data-race in ivshmem_race_run \[ivshmem_race\]"):
        guest.assert_clean()
