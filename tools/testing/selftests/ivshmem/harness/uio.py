# SPDX-License-Identifier: GPL-2.0
"""/dev/uioN in a guest, held open by uio-probe, which is told what to do."""

from .initramfs import STATIC

PROGRAM = STATIC / "uio-probe"

# Registers of the device, and the bit that enables interrupts
ID, MAX_PEERS, INT_CONTROL, DOORBELL, STATE = 0x0, 0x4, 0x8, 0xc, 0x10


def device_node(guest, device):
    """/dev/uioN of a device that plug() returned, when the driver has it."""
    return "/dev/" + guest.wait_for(f"ls {device.sysfs}/uio")


def maps(guest, device):
    """Names of the maps, in their order."""
    out = guest.check(f"cd {device.sysfs}/uio/uio*/maps; "
                      "for m in map0 map1 map2 map3 map4; do "
                      "[ ! -e $m ] || cat $m/name; done")
    return out.split()


class Uio:
    """Steps return uio-probe's answer: a number, "ok", or an errno's name."""

    def __init__(self, guest, node, user="root", groups=()):
        self._job = guest.popen(f"exec uio-probe {node}", user, groups)
        self._lines = 0
        self.opened = self.answer()

    def answer(self, timeout=20):
        lines = self._job.wait_for(
            lambda: (n := self._job.stdout.split(b"\n"))[self._lines + 1:] and n,
            timeout)
        self._lines += 1
        text = lines[self._lines - 1].decode()
        return int(text, 0) if text[0].isdigit() else text

    def begin(self, *words):
        """Give a command; answer() waits for the end of it."""
        self._job.write(" ".join(str(w) for w in words) + "\n")

    def do(self, *words, timeout=20):
        self.begin(*words)
        return self.answer(timeout)

    def map(self, *names, access="rw"):
        for name in names:
            assert self.do("map", name, access) == "ok", name

    def register(self, offset):
        return self.do("get", "registers", offset)

    def set_register(self, offset, value):
        assert self.do("set", "registers", offset, value) == "ok"

    def ring(self, id, vector=0):
        self.set_register(DOORBELL, id << 16 | vector)

    def enable(self, on=1):
        assert self.do("irq", on) == "ok"

    def kill(self):
        """SIGKILL to the process that holds the device."""
        self._job.kill()
        self._job.wait()

    def close(self):
        """End of input, at which the process exits by itself."""
        self._job.close_stdin()
        result = self._job.wait()
        assert result.code == 0, result.err
