# SPDX-License-Identifier: GPL-2.0
"""Back ends that break the rules, one in each test: the guest goes on, says no
more than a line or two, and an honest back end then has its device back
without anybody touching the guest.
"""

import os
import struct

import pytest

from harness import virtio as v
from harness.process import wait_for
from harness.virtio_guest import no_task_hangs
from harness.virtio_backend import Disk

pytestmark = pytest.mark.guest
GUEST = {"modules": ["virtio_ivshmem", "virtio_blk"]}

MOST_LINES = 60         # virtio_blk and the block layer have their say too
MOST_COMPLAINTS = 3     # of the transport

BLK_SIZE_MAX, BLK_SEG_MAX, BLK_GEOMETRY, BLK_BLK_SIZE, BLK_TOPOLOGY, BLK_MQ, \
    BLK_DISCARD, BLK_ZEROES, BLK_ERASE = (1 << n for n in (1, 2, 4, 6, 10, 12, 13, 14, 16))

VIOLATIONS = {}


def violation(name, base=Disk, **attributes):
    """Register a back end that differs in these attributes."""
    VIOLATIONS[name] = type(name, (base,), attributes)


# Lies in the header

for number in 0, 2, 0xffffffff:
    violation(f"revision-{number:#x}", revision=number, refused=True)
for number in 0, 0x4b, 0x104d, 0x10000000, 0xffffffff:
    violation(f"header-size-{number:#x}", header_size=number, refused=True)
violation("no-config-space", config=b"")
violation("config-space-cut", config=Disk.config[:9])


class Rewrites(Disk):
    """The header changes under the driver's eyes."""

    def act(self, offset):
        super().act(offset)
        self.put(v.REVISION, "<I", 77)
        self.put(v.SIZE, "<I", 0xffffffff)


violation("header-changes-later", base=Rewrites)


# Transactions

class Silent(Disk):
    """Never answers a transaction for this field."""

    def transaction(self, offset):
        if offset == self.at:
            self.acts += 1
            self._stop.wait(0.05)
        else:
            super().transaction(offset)


STEPS = {"status": v.STATUS, "features-sel": v.DEVICE_FEATURES_SEL,
         "driver-features": v.DRIVER_FEATURES, "queue-sel": v.QUEUE_SEL,
         "queue-size": v.QUEUE_SIZE, "queue-desc": v.QUEUE_DESC,
         "queue-enable": v.QUEUE_ENABLE}

for step in "status", "queue-sel", "queue-enable":
    violation(f"silent-at-{step}", base=Silent, at=STEPS[step], refused=True)


class Garbles(Disk):
    """Answers with something that is not 0."""

    def transaction(self, offset):
        self.acts += 1
        self.put(v.TRANSACTION, "<I", 0xdeadbeef)
        self._stop.wait(0.05)


violation("answer-is-not-0", base=Garbles, refused=True)


class Leaves(Disk):
    """Leaves READY instead of an answer, and does not come back."""

    def transaction(self, offset):
        if offset == self.at:
            self.acts += 1
            self.announce(0)
            self._stop.wait()
        else:
            super().transaction(offset)
            self.acts = 0


for step, at in STEPS.items():
    violation(f"leaves-at-{step}", base=Leaves, at=at, wanted_acts=1)


class Flaps(Disk):
    """READY, RESET, READY, ... without waiting for anybody."""

    def turn(self):
        self.fill_header()
        for state in self.states:
            self.announce(state)
            self.acts += 1
            self._stop.wait(0.002)


violation("state-flaps", base=Flaps, states=[1, 0])
violation("state-is-no-state", base=Flaps, states=[2, 0xffffffff, 0x80000001])
violation("state-1-or-nonsense", base=Flaps, states=[1, 3, 1, 0x101])


# Features and queues

class Features(Disk):
    """Offers exactly these, the transport's included or not."""

    def act(self, offset):
        super().act(offset)
        if offset == v.DEVICE_FEATURES_SEL:
            half = self.get(v.DEVICE_FEATURES_SEL, "<I")
            self.put(v.DEVICE_FEATURES, "<I", self.exactly >> 32 * half & 0xffffffff)


violation("features-none", base=Features, exactly=0, refused=True)
violation("features-all", base=Features, exactly=2**64 - 1)
violation("features-without-version-1", base=Features,
          exactly=v.TRANSPORT & ~v.VERSION_1, refused=True)

for size in 3, 0x8001, 0xffff:
    violation(f"queue-size-{size}", queue_size=size, refused=True)
violation("queue-size-0", queue_size=0)
violation("queue-size-1", queue_size=1)
violation("queue-size-32768", queue_size=32768)
violation("device-vector-65535", queue_vectors=[0xffff])


class NoisyQueue(Disk):
    """The registers of the queue are others each time."""

    def act(self, offset):
        super().act(offset)
        if offset in STEPS.values():
            self.write(v.QUEUE_SIZE, os.urandom(32))


violation("queue-registers-change", base=NoisyQueue)


# The config space

class Generation(Disk):
    """The generation is never what it was."""

    def serve(self):
        self.put(v.GENERATION, "<I", self.get(v.GENERATION, "<I") + self.step | self.odd)
        super().serve()


violation("generation-is-always-odd", base=Generation, step=0, odd=1)
violation("generation-never-rests", base=Generation, step=2, odd=0)


def config(features=0, **fields):
    """Config space of a disk of 2 MiB, but for these fields."""
    values = {"capacity": 4096, "size_max": 4096, "seg_max": 8, "geometry": 0,
              "blk_size": 512, "topology": 0, "unused": 0, "num_queues": 1,
              "discard": [0, 0, 0], "zeroes": [0, 0], "flags": 0, "erase": [0, 0, 0]}
    values.update(fields)
    data = struct.pack("<QIIIIQHH3I2II3I", *(
        x for value in values.values()
        for x in (value if isinstance(value, list) else [value])))
    return {"config": data, "features": features | BLK_SEG_MAX}


BIG = 0xffffffff
violation("capacity-0", **config(capacity=0))
violation("capacity-2^64-1", **config(capacity=2**64 - 1))
violation("seg-max-0", **config(seg_max=0))
violation("seg-max-huge", **config(seg_max=BIG))
violation("size-max-0", **config(BLK_SIZE_MAX, size_max=0))
violation("size-max-1", **config(BLK_SIZE_MAX, size_max=1))
for size in 0, 1, 3, 1 << 31:
    violation(f"block-size-{size}", **config(BLK_BLK_SIZE, blk_size=size))
violation("topology-of-ones", **config(BLK_TOPOLOGY, topology=2**64 - 1))
violation("no-queues", **config(BLK_MQ, num_queues=0))
violation("65535-queues", **config(BLK_MQ, num_queues=0xffff))
violation("discard-of-zeroes", **config(BLK_DISCARD | BLK_ZEROES | BLK_ERASE))
violation("discard-of-ones", **config(BLK_DISCARD | BLK_ZEROES | BLK_ERASE,
                                      discard=[BIG] * 3, zeroes=[BIG] * 2, erase=[BIG] * 3))


class ConfigStorm(Disk):
    """The disk has another size every moment."""

    def serve(self):
        super().serve()
        if self.status & v.DRIVER_OK:
            self.put(v.GENERATION, "<I", self.get(v.GENERATION, "<I") + 2 & 0xfffffffe)
            self.put(v.CONFIG, "<Q", 4096 + self.get(v.GENERATION, "<I") % 4096)
            self.put(v.CONFIG_EVENT, "<B", 1)
            self.kick(0)


violation("config-changes-all-the-time", base=ConfigStorm, chatty=True)


# Rings

class Used(Disk):
    """Returns buffers wrongly; `wrong` tells how."""

    def push(self, queue, head, written):
        entry = queue.device + 4 + 8 * (queue.used % queue.size)
        index = queue.used + 1
        if self.wrong == "twice":
            super().push(queue, head, written)
            super().push(queue, head, written)
            return
        if self.wrong == "index":
            index += 1000
        elif self.wrong == "index-back":
            index -= 2
        elif self.wrong == "huge":
            head = 0xffffffff
        elif self.wrong == "foreign":
            head = (head + 1) % queue.size
        elif self.wrong == "length":
            written = 0xffffffff
        self.put(entry, "<II", head, written)
        queue.used = index
        self.put(queue.device + 2, "<H", index & 0xffff)
        self.put(v.QUEUE_EVENT, "<B", 1)
        self.kick(queue.driver_vector)


for wrong in "twice", "index", "index-back", "huge", "foreign", "length":
    violation(f"used-{wrong}", base=Used, wrong=wrong, features=BLK_SEG_MAX)
    violation(f"used-{wrong}-indirect", base=Used, wrong=wrong,
              features=BLK_SEG_MAX | v.INDIRECT_DESC)


class Scribbles(Disk):
    """Overwrites the descriptors, before it returns the buffer."""

    def push(self, queue, head, written):
        for i in range(queue.size):
            self.put(queue.desc + 16 * i, "<QIHH", *self.desc(queue, i))
        self.write(queue.avail, os.urandom(4 + 2 * queue.size))
        super().push(queue, head, written)
        self.status = 0         # nothing there makes sense to us any more


violation("descriptors-loop", base=Scribbles,
          desc=lambda self, queue, i: (0x10000, 16, v.NEXT, i))
violation("descriptors-go-nowhere", base=Scribbles,
          desc=lambda self, queue, i: (2**64 - 1, 0xffffffff, v.NEXT, 0xffff))
violation("descriptors-indirect", base=Scribbles,
          desc=lambda self, queue, i: (0, 0xffffffff, v.INDIRECT, 0))
violation("descriptors-change-rings", base=Scribbles, features=BLK_SEG_MAX | v.INDIRECT_DESC,
          desc=lambda self, queue, i: (queue.desc, 4096, v.WRITE, 0))


class Noise(Disk):
    """Fills all of the section with noise, its own header included."""

    def serve_buffer(self, queue, head, segments):
        self.write(0, os.urandom(1 << 20))
        self.kick(queue.driver_vector)
        self.acts += 1
        self._stop.wait(0.05)
        self.status = 0


violation("section-is-noise", base=Noise)
violation("status-of-requests-255", ok=255)


class Storm(Disk):
    """Rings all vectors as often as it can."""

    def serve(self):
        super().serve()
        for vector in range(self.vectors):
            self.kick(vector)


violation("interrupt-storm", base=Storm)


class Ignores(Disk):
    """Takes requests and never returns them."""

    def serve_buffer(self, queue, head, segments):
        self.acts += 1


violation("requests-never-return", base=Ignores)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_hostile_back_end_harms_nobody(guest, link, tmp_path, name):
    disk = link("block", size="2M", vectors=2)
    front = disk.plug(guest)
    guest.check("dmesg -c >/dev/null")
    hostile = VIOLATIONS[name](disk.socket).start()
    try:
        seen(guest, hostile)
        guest.check("true")
    finally:
        hostile.close()
    no_task_hangs(guest)
    front.wait_gone()
    lines = guest.dmesg().splitlines()
    if not hasattr(hostile, "chatty"):
        assert len(lines) < MOST_LINES, "\n".join(lines)
    ours = [line for line in lines if "virtio_ivshmem" in line]
    assert len(ours) <= MOST_COMPLAINTS, "\n".join(ours)
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    disk.serve(image)
    guest.check(f"dd if={front.disk()} of=/dev/null bs=64k")


def seen(guest, hostile):
    """Wait until the guest has met what the back end does."""
    if getattr(hostile, "refused", False):
        guest.wait_for("dmesg | grep -q 'virtio_ivshmem.*: .*back end\\|queue size'")
    else:
        wait_for(lambda: hostile.acts >= getattr(hostile, "wanted_acts", 3) or hostile.error, what="transactions")
        # A device that is there by then may do its worst to the partition scan
        guest.run("usleep 300000")
