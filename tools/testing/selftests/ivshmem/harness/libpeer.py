# SPDX-License-Identifier: GPL-2.0
"""A peer of libivshmem on a string: tools/testing/lib/peer.c."""

import functools
import os
import select
import subprocess

from . import BUILD, ROOT
from .process import run, spawn

PROGRAMS = BUILD / "test"


@functools.lru_cache(maxsize=None)
def build():
    """Bring the programs of tools/testing/lib up to date; where they are."""
    result = run(["make", "-C", ROOT / "tools/testing/lib"], timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return PROGRAMS


class Peer:
    """One process, one command at a time; it runs under the sanitizers."""

    def __init__(self, wrapper=()):
        # A fault shall end it by its signal, not by a report
        env = dict(os.environ, ASAN_OPTIONS="handle_segv=0")
        self.process = spawn([*wrapper, build() / "lib-peer-asan"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=env)

    def begin(self, *words):
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, timeout=20):
        assert select.select([self.process.stdout], [], [], timeout)[0], "no answer"
        return self.process.stdout.readline().decode().rstrip("\n")

    def __call__(self, *words):
        self.begin(*words)
        return self.answer()

    def open(self, path, timeout_ms=5000):
        return self("open", f"unix:{path}", timeout_ms)

    def events(self):
        """What next_event() returns, up to "none"."""
        found = []
        while not found or found[-1] != "none":
            found.append(self("next"))
            assert len(found) < 10000, "events without end"
        return found[:-1]

    def end(self):
        """Let it return from main(): the leak checker has its say there."""
        self.process.stdin.close()
        status = self.process.wait(20)
        report = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert status == 0, report

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout,
                       self.process.stderr):
            stream.close()
