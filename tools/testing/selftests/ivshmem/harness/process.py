# SPDX-License-Identifier: GPL-2.0
"""Child processes that cannot outlive the test, and waits that have a limit."""

import ctypes
import signal
import subprocess
import time

from . import KVERS, checks

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

# What a kernel that checks each access takes, under emulation
_DEBUG_FACTOR = 8


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit(seconds):
    """A time limit on what a guest does, or causes, with this run's kernels."""
    return seconds * (_DEBUG_FACTOR if any(map(checks, KVERS)) else 1)


def spawn(argv, **kwargs):
    """subprocess.Popen() whose child is killed when this process ends."""
    return subprocess.Popen([str(a) for a in argv],
                            preexec_fn=_die_with_parent, **kwargs)


def run(argv, timeout=30, **kwargs):
    """Run to the end, capture text output, never longer than timeout."""
    kwargs.setdefault("capture_output", True)
    return subprocess.run([str(a) for a in argv], text=True, timeout=timeout,
                          preexec_fn=_die_with_parent, **kwargs)


def reap(process, timeout=10):
    """End the process politely, then by force; always collect it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    return process.returncode


def listens(path):
    """Whether a process accepts connections on the UNIX socket at path.

    The path alone says no more than that it is bound, and to connect would
    be an event for the one who listens.
    """
    with open("/proc/net/unix") as sockets:
        fields = [line.split() for line in sockets]
    return any(f[-1] == str(path) and f[3] == "00010000" for f in fields)


def wait_for(predicate, timeout=30, interval=0.02, what="condition"):
    """Poll the predicate until it is true; its value, or TimeoutError."""
    timeout = limit(timeout)
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(interval)
