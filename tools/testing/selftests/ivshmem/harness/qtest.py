# SPDX-License-Identifier: GPL-2.0
"""A QEMU whose CPU never runs: the test is the guest, through -qtest.

The machine is a pc with TCG, stopped (-S): a distribution's QEMU has no qtest
accelerator, and nobody else may touch the devices. Accesses go through the
machine's memory map, as those of DMA do.
"""

import json
import socket
import struct

from . import BUILD
from .process import reap

QEMU = BUILD / "qemu-system-x86_64-ivshmem"

ROOT_BUS_EJECT, ROOT_BUS_SELECT = 0xae08, 0xae10    # ACPI PCI hot plug of pc


class _Listener:
    """Where QEMU connects to: a channel of lines."""

    def __init__(self, path, timeout):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.settimeout(timeout)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.timeout = timeout
        self.conn = self.file = None

    def accept(self):
        self.conn, _ = self.listener.accept()
        self.conn.settimeout(self.timeout)
        self.file = self.conn.makefile("rw")

    def write(self, line):
        self.file.write(line + "\n")
        self.file.flush()

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError("QEMU closed the channel")
        return line.strip()

    def close(self):
        if self.file:
            self.file.close()
            self.conn.close()
        self.listener.close()


class Machine:
    """QEMU with the given arguments; ready() before anything else."""

    count = 0

    def __init__(self, spawn, tmp_path, *args, timeout=20):
        Machine.count += 1
        base = tmp_path / f"machine{Machine.count}"
        self.qtest = _Listener(base.with_suffix(".qtest"), timeout)
        self.qmp_channel = _Listener(base.with_suffix(".qmp"), timeout)
        self.log_path = base.with_suffix(".log")
        self.irqs, self.events = [], []
        with open(self.log_path, "w") as log:
            # A killed timeout takes QEMU along
            self.process = spawn(
                ["timeout", "60", "setpriv", "--pdeathsig", "KILL", QEMU,
                 "-M", "pc", "-accel", "tcg", "-S", "-m", "64", "-nodefaults",
                 "-display", "none", "-no-user-config",
                 "-qtest", f"unix:{base}.qtest", "-qtest-log", "none",
                 "-qmp", f"unix:{base}.qmp", *args], stdout=log, stderr=log)

    def ready(self):
        self.qtest.accept()
        self.qmp_channel.accept()
        self.qmp_channel.read()             # the greeting
        self.qmp("qmp_capabilities")
        return self

    def log(self):
        return self.log_path.read_text()

    def close(self):
        reap(self.process)
        self.qtest.close()
        self.qmp_channel.close()

    # qtest

    def command(self, text):
        self.qtest.write(text)
        while True:
            words = self.qtest.read().split()
            if words[0] == "IRQ":
                self.irqs.append((words[1], int(words[2])))
                continue
            assert words[0] == "OK", f"{text}: {words}"
            return int(words[1], 0) if len(words) > 1 else None

    def outb(self, port, value):
        self.command(f"outb {port:#x} {value:#x}")

    def outl(self, port, value):
        self.command(f"outl {port:#x} {value:#x}")

    def inl(self, port):
        return self.command(f"inl {port:#x}")

    def read(self, address, size=4):
        return self.command(f"read{'bwlq'[(1, 2, 4, 8).index(size)]} {address:#x}")

    def write(self, address, value, size=4):
        self.command(f"write{'bwlq'[(1, 2, 4, 8).index(size)]} "
                     f"{address:#x} {value:#x}")

    # QMP

    def qmp(self, name, **arguments):
        """The return value; an error of QEMU is an AssertionError."""
        reply = self.qmp_reply(name, **arguments)
        assert "return" in reply, reply
        return reply["return"]

    def qmp_reply(self, name, **arguments):
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.qmp_channel.write(json.dumps({"execute": name, "arguments": arguments}))
        while True:
            reply = json.loads(self.qmp_channel.read())
            if "event" not in reply:
                return reply
            self.events.append(reply)

    def wait_event(self, name):
        while name not in [e["event"] for e in self.events]:
            message = json.loads(self.qmp_channel.read())
            if "event" in message:
                self.events.append(message)
        found = next(e for e in self.events if e["event"] == name)
        self.events.remove(found)
        return found

    def eject(self, slot):
        """What a guest does when it is asked to give a device back."""
        self.outl(ROOT_BUS_SELECT, 0)
        self.outl(ROOT_BUS_EJECT, 1 << slot)


class PciDevice:
    """A device on the root bus, by configuration mechanism 1."""

    def __init__(self, machine, slot):
        self.machine, self.slot = machine, slot

    def cfg_read(self, offset, size=4):
        self.machine.outl(0xcf8, 1 << 31 | self.slot << 11 | offset & ~3)
        value = self.machine.inl(0xcfc) >> 8 * (offset & 3)
        return value & (1 << 8 * size) - 1

    def cfg_write(self, offset, value, size=4):
        suffix = {1: "outb", 2: "outw", 4: "outl"}[size]
        self.machine.outl(0xcf8, 1 << 31 | self.slot << 11 | offset & ~3)
        self.machine.command(f"{suffix} {0xcfc + (offset & 3):#x} {value:#x}")

    def cfg_bytes(self, offset, size):
        words = [self.cfg_read(o) for o in range(offset & ~3, offset + size, 4)]
        data = struct.pack(f"<{len(words)}I", *words)
        return data[offset & 3:][:size]

    def capability(self, wanted):
        """Offset of the capability, or None."""
        offset = self.cfg_read(0x34, 1)
        for _ in range(48):
            if not offset:
                return None
            if self.cfg_read(offset, 1) == wanted:
                return offset
            offset = self.cfg_read(offset + 1, 1)
        raise AssertionError("the list of capabilities is a loop")

    def bar_mask(self, index):
        """What remains of all ones: the size, and the type in the low bits."""
        offset = 0x10 + 4 * index
        old = self.cfg_read(offset)
        self.cfg_write(offset, 0xffffffff)
        mask = self.cfg_read(offset)
        self.cfg_write(offset, old)
        return mask

    def set_bar(self, index, address):
        self.cfg_write(0x10 + 4 * index, address & 0xffffffff)
        if self.cfg_read(0x10 + 4 * index) & 4:
            self.cfg_write(0x14 + 4 * index, address >> 32)
