# SPDX-License-Identifier: GPL-2.0
"""Virtio over ivshmem with the front end in a guest: the link, what serves it,
and where the guest has the device.
"""

import re

from . import BIN
from .backend import BackEnd
from .peer import Peer
from .process import limit, run, wait_for
from .uio import device_node

DEVICE_IDS = {"net": 1, "block": 2, "console": 3, "rng": 4}

# A task that the driver lets hang is reported after so many seconds
_HUNG_TASK_S = 10


def no_task_hangs(guest):
    """Wait until no task is in uninterruptible sleep; some are for a moment."""
    guest.wait_for("! cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^[^)]*) //' | "
                   "grep '^D'", timeout=10)


class Front:
    """The PCI device in the guest, and the virtio device below it."""

    def __init__(self, guest, device):
        self.guest = guest
        self.id = device.id
        self.pci = device.sysfs
        self.address = device.address
        self.sysfs = f"{device.sysfs}/virtio-ivshmem.{device.address}"

    def wait(self, timeout=20):
        """Wait for a driver that has the device; the name, virtioN."""
        name = self.guest.wait_for(f"cd {self.sysfs} && n=$(echo virtio*) && "
                                   "test -e $n/driver && echo $n", timeout)
        return name

    def wait_gone(self, timeout=10):
        self.guest.wait_for(f"! test -e {self.sysfs}", timeout)

    def disk(self, timeout=20):
        """/dev/vdX, once it is there."""
        return self.guest.wait_for(f"n=$(ls {self.sysfs}/virtio*/block) && "
                                   "test -b /dev/$n && echo /dev/$n", timeout)

    def pool(self, name):
        return int(self.guest.check(f"cat {self.pci}/pool/{name}"))

    def driver(self, what):
        """bind or unbind"""
        self.guest.check(f"echo {self.address} > "
                         f"/sys/bus/pci/drivers/virtio_ivshmem/{what}")

    def interrupts(self):
        """Names of the vectors that are requested for the device."""
        names = re.findall(r"(?m)\S+$", self.guest.check("cat /proc/interrupts"))
        return {n for n in names if n == self.address or n.startswith("virtio")}


class GuestBackEnd:
    """A back end in a guest over /dev/uioN."""

    def __init__(self, guest, device, kind, *args):
        self.guest = guest
        words = " ".join(map(str, args))
        self.job = guest.popen(f"exec virtio-ivshmem-{kind} "
                               f"{device_node(guest, device)} {words}")

    def kill(self):
        self.job.kill()
        self.job.wait()

    def close(self):
        pass        # the guest's end is the end of its jobs


class Link:
    """A server for one virtio device, and its back end."""

    def __init__(self, server, kind, tmp_path, size="4M", vectors=1):
        self.kind, self.tmp_path = kind, tmp_path
        self.socket = server("-P", f"{0x8000 | DEVICE_IDS[kind]:#06x}",
                             "-l", size, "-V", vectors)
        self.back = None
        self.count = 0

    def serve(self, *args, **kwargs):
        """Start the back end on the host, the only one now."""
        self.close()
        self.count += 1
        log = self.tmp_path / f"{self.socket.stem}-back{self.count}.log"
        self.back = BackEnd(self.kind, self.socket, log, *args, **kwargs)
        return self.back

    def serve_in(self, guest, device, *args):
        self.back = GuestBackEnd(guest, device, self.kind, *args)
        return self.back

    def peers(self):
        """How many are connected."""
        status = run([BIN / "ivshmem2-server", "--status", "-S", self.socket])
        return int(re.search(r"^peers +(\d+) of", status.stdout, re.M)[1])

    def plug(self, guest, id=None, **properties):
        """Give the guest the front end: it has id 1 whether anybody has 0."""
        guest.check(f"echo {limit(_HUNG_TASK_S)} > /proc/sys/kernel/hung_task_timeout_secs")
        id = id or self.kind
        if self.back:
            wait_for(lambda: self.peers() == 1, what="connection of the back end")
            return Front(guest, guest.plug(id, self.socket, **properties))
        with Peer(self.socket):
            return Front(guest, guest.plug(id, self.socket, **properties))

    def plug_back(self, guest, id="back", **properties):
        """Give the other guest the back end's device."""
        return guest.plug(id, self.socket, **properties)

    def close(self):
        if self.back:
            self.back.close()
            self.back = None
