# SPDX-License-Identifier: GPL-2.0
"""What the topics share: processes of the host, and on what figures hold."""

import os
import pathlib
import tempfile

from harness import BIN, BUILD
from harness.process import listens, reap, run, spawn, wait_for

MEMORY_MB = 768     # of each guest
PAGE_BYTES = 4096


class Host:
    """Processes of the host, and a directory in memory; all end with the stack."""

    def __init__(self, stack):
        self.stack = stack
        self.dir = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ivshmem-bench-", dir="/dev/shm")))

    def process(self, name, *argv):
        """Start a process; what it says goes to a log."""
        logs = BUILD / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"bench-{name}.log", "w") as log:
            process = spawn(argv, stdout=log, stderr=log)
        self.stack.callback(reap, process)
        return process

    def server(self, name, *options):
        """Start ivshmem2-server; its socket."""
        path = self.dir / f"{name}.server"
        self.process(f"{name}-server", BIN / "ivshmem2-server", "-F", "-S", path, *options)
        wait_for(lambda: listens(path), what=f"server of {name}")
        return path


def build_tools():
    run(["make", "-s", "-C", pathlib.Path(__file__).parent], check=True)


def facts(guest, plan):
    """(the emulator and its guests, the host, how often)"""
    qemu = run(["qemu-system-x86_64", "--version"]).stdout.splitlines()[0]
    uname, cpus = guest.check("uname -r; nproc").split()
    accel = os.environ.get("ACCEL", "tcg").upper()
    return (f"{qemu}, {accel}, -cpu max,-erms,-fsrm,-cx16; guests: Linux {uname}, "
            f"{cpus} CPU, {MEMORY_MB} MiB",
            f"host: {os.cpu_count()} cores, Linux {os.uname().release}",
            f"subjects take turns, {plan.runs} run(s) each"
            + ("; quick: figures mean nothing" if plan.quick else ""))
