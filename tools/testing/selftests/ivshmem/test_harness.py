# SPDX-License-Identifier: GPL-2.0
"""The guests' harness itself: a test that cannot fail is worth nothing."""

import re

import pytest

from harness.guest import GuestDied

pytestmark = pytest.mark.guest
GUEST = {}


def test_exit_code_and_both_outputs_come_back(guest):
    result = guest.run("echo one; echo two >&2; exit 7")
    assert (result.code, result.out, result.err) == (7, "one", "two")


def test_end_by_a_signal_is_told_apart(guest):
    assert guest.run("kill -9 $$").code == 128 + 9


def test_failing_check_fails(guest):
    with pytest.raises(AssertionError, match="exit 3"):
        guest.check("exit 3")


def test_files_of_any_bytes_pass_both_ways(guest):
    data = bytes(range(256)) * 150
    guest.put("/tmp/data", data)
    assert guest.get("/tmp/data") == data


def test_jobs_run_side_by_side(guest):
    first, second = guest.popen("cat"), guest.popen("cat")
    second.write("second\n")
    second.wait_output("second")
    first.write("first\n")
    first.wait_output(re.compile("^first$"))
    for job in (first, second):
        job.close_stdin()
        assert job.wait().code == 0


def test_job_that_takes_too_long_is_killed(guest):
    job = guest.popen("sleep 1000; echo not reached")
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.3)
    assert job.wait().code == 128 + 9
    assert guest.run("pidof sleep").code != 0


def test_command_runs_as_the_user(guest):
    out = guest.check("id -u; id -G", user="nobody", groups=["ivshmem"])
    assert out.split() == ["65534", "65534", "970"]


def test_guest_is_usable_after_reset(guest):
    guest.check("touch /tmp/before")
    guest.reset()
    assert guest.run("test -e /tmp/before").code == 1


def test_waiting_ends_when_the_guest_dies(guest):
    job = guest.popen("sleep 1000")
    guest.kill()
    with pytest.raises(GuestDied):
        job.wait()
    with pytest.raises(GuestDied):
        guest.check("true")


def test_panic_ends_the_guest_and_is_reported(booted_guest):
    guest = booted_guest[0]
    guest.restart()
    with pytest.raises(GuestDied, match="sysrq"):
        guest.check("echo c > /proc/sysrq-trigger")
    with pytest.raises(AssertionError, match="panic"):
        guest.assert_clean()


def test_report_in_the_log_of_a_living_guest_is_found(booted_guest):
    guest = booted_guest[0]
    guest.restart()
    guest.assert_clean()
    guest.check("echo 'BUG: a test says so' > /dev/kmsg")
    with pytest.raises(AssertionError, match="a test says so"):
        guest.assert_clean()
    guest.stop()
