# SPDX-License-Identifier: GPL-2.0
"""A back end as a process, with its words and its end."""

import os
import signal

from . import BIN
from .process import spawn, wait_for


class BackEnd:
    """virtio-ivshmem-NAME on the server at path."""

    def __init__(self, name, path, log, *args, before=(), **kwargs):
        self.log_path = log
        with open(log, "wb") as stderr:
            self.process = spawn([*before, BIN / f"virtio-ivshmem-{name}", "-v",
                                  f"unix:{path}", *args], stderr=stderr, **kwargs)

    def log(self):
        return self.log_path.read_text()

    def said(self, text, timeout=10):
        wait_for(lambda: text in self.log() or self.process.poll() is not None,
                 timeout, what=f"back end says {text!r}")
        assert text in self.log(), self.log()

    def starts(self):
        """How often it was ready for a front end."""
        return self.log().count("ready, waiting")

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=10):
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def close(self):
        if self.alive():
            self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()

    def cpu_seconds(self):
        """What it used so far: one that waits uses none."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
