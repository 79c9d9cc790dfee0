# SPDX-License-Identifier: GPL-2.0
"""Fixtures that every test file uses, and the closing line."""

import signal

import pytest

from harness import BIN, KVERS, checks
from harness.guest import Guest, boot_all
from harness.peer import Peer
from harness.process import limit, listens, reap, spawn, wait_for
from harness.virtio_guest import Link

# Tests of the checks that other kernels do not have
collect_ignore = [f"test_{name}.py" for name in ("debug", "kcsan")
                  if name not in map(checks, KVERS)]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Shells start what is in their background with it ignored, and so would all
    # that tests interrupt be
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.option.timeout = limit(config.option.timeout or
                                  float(config.getini("timeout")))


@pytest.fixture
def processes():
    """spawn() for one test: whatever it starts is reaped at its end."""
    started = []

    def start(argv, **kwargs):
        process = spawn(argv, **kwargs)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        reap(process)


@pytest.fixture
def server(processes, tmp_path):
    """Start the real ivshmem2-server: server(*options) -> its socket."""
    count = 0

    def start(*options):
        nonlocal count
        path = tmp_path / f"server{count}.sock"
        count += 1
        process = processes([BIN / "ivshmem2-server", "-F", "-S", path, *options])
        wait_for(lambda: listens(path) or process.poll() is not None,
                 what="socket of the server")
        assert process.poll() is None, "server did not start"
        path_process[path] = process
        return path

    path_process = start.process = {}
    return start


# Guests. A test file with guests says `pytestmark = pytest.mark.guest` and in
# GUEST what is in them (arguments of Guest). They are booted once a file and
# kernel; what a debug kernel finds at the end counts as an error of the last test.


@pytest.fixture(scope="module", params=KVERS)
def kver(request):
    return request.param


def _boot(request, kver, names):
    test = request.module.__name__
    guests = [Guest(f"{test}-{name}", kver, **request.module.GUEST) for name in names]
    boot_all(*guests)
    yield guests
    try:
        for guest in guests:
            if checks(kver) == "debug" and guest.alive():
                guest.assert_no_leaks()
    finally:
        for guest in guests:
            guest.stop()


def _lend(guests):
    for guest in guests:
        if not guest.alive():
            guest.restart()
    yield guests
    try:
        for guest in guests:
            guest.assert_clean()
    except AssertionError:
        # What stands in the log is not the next test's
        for guest in guests:
            guest.stop()
        raise
    finally:
        for guest in guests:
            guest.clear()


@pytest.fixture(scope="module")
def booted_pair(request, kver):
    yield from _boot(request, kver, "ab")


@pytest.fixture(scope="module")
def booted_guest(request, kver):
    yield from _boot(request, kver, "a")


@pytest.fixture
def pair(booted_pair):
    """Two guests without ivshmem devices; the test plugs what it needs."""
    yield from _lend(booted_pair)


@pytest.fixture
def guest(booted_guest):
    """One guest of that kind."""
    for guests in _lend(booted_guest):
        yield guests[0]


@pytest.fixture
def peer():
    """Connect peers of the host: peer(socket) -> Peer."""
    peers = []

    def connect(path):
        peers.append(Peer(path))
        return peers[-1]

    yield connect
    for each in peers:
        each.close()


@pytest.fixture
def link(server, tmp_path):
    """Links for virtio devices: link(kind, size=, vectors=) -> Link."""
    links = []

    def make(kind, **kwargs):
        links.append(Link(server, kind, tmp_path, **kwargs))
        return links[-1]

    yield make
    for each in links:
        each.close()


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")


def pytest_unconfigure(config):
    """The last line of all."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not reporter or not reporter.stats:
        return
    count = {k: len(reporter.stats.get(k, []))
             for k in ("passed", "failed", "error", "skipped")}
    print(f"{count['passed']} passed, {count['failed'] + count['error']} failed, "
          f"{count['skipped']} skipped", flush=True)
