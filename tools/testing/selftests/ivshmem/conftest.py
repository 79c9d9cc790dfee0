# SPDX-License-Identifier: GPL-2.0
"""Fixtures that every test file uses, and the closing line."""

import pytest

from harness import BIN
from harness.process import reap, spawn, wait_for


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
        # This file is the last to appear: clients can connect by then
        status = tmp_path / f"{path.name}.status"
        wait_for(lambda: status.exists() or process.poll() is not None,
                 what="sockets of the server")
        assert process.poll() is None, "server did not start"
        path_process[path] = process
        return path

    path_process = start.process = {}
    return start


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    count = {k: len(stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    terminalreporter.write_line("")
    for report in stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")
    terminalreporter.write_line(f"{count['passed']} passed, "
                                f"{count['failed'] + count['error']} failed, "
                                f"{count['skipped']} skipped")
