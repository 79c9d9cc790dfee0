# SPDX-License-Identifier: GPL-2.0
"""The checks of the debug kernel, each made to report: a silent one is worth
nothing. lkdtm is the kernel's own module that breaks the rules.
"""

import pytest

from harness.process import wait_for

pytestmark = pytest.mark.guest
GUEST = {"packed": ["lkdtm", "kmemleak_test"]}

REPORTS = {
    "SLAB_LINEAR_OVERFLOW": "KASAN: slab-out-of-bounds",
    "READ_AFTER_FREE": "KASAN: .*use-after-free",
    "ARRAY_BOUNDS": "UBSAN: array-index-out-of-bounds",
    "CORRUPT_LIST_ADD": "at lib/list_debug.c",
    "REFCOUNT_SUB_AND_TEST_NEGATIVE": "refcount_t:",
    "SPINLOCKUP": "BUG: scheduling while atomic",
}


@pytest.fixture
def fresh_guest(booted_guest):
    guest = booted_guest[0]
    if not guest.alive():
        guest.restart()
    yield guest
    guest.stop()


@pytest.mark.parametrize("crime", REPORTS)
def test_broken_rule_ends_the_guest_and_is_reported(fresh_guest, crime):
    fresh_guest.popen(f"modprobe lkdtm && echo {crime} > /sys/kernel/debug/provoke-crash/DIRECT")
    wait_for(lambda: not fresh_guest.alive(), what="end of the guest")
    with pytest.raises(AssertionError, match=REPORTS[crime]):
        fresh_guest.assert_clean()


def test_leak_is_found_after_unload(fresh_guest):
    fresh_guest.check("modprobe kmemleak-test", timeout=60)
    with pytest.raises(AssertionError, match="unreferenced object"):
        fresh_guest.assert_no_leaks()


def test_nothing_is_found_where_nothing_leaks(fresh_guest):
    fresh_guest.assert_no_leaks()
