# SPDX-License-Identifier: GPL-2.0
"""A virtio front end in Python, on the real server's socket: it drives a back
end as the transport in a guest's kernel does, or as none should.

The numbers of include/uapi/linux/virtio_ivshmem.h are literals here on
purpose, so that a change there fails a test.
"""

import mmap
import os
import select
import struct
import time

from . import proto
from .peer import store
from .process import wait_for

# The header
(REVISION, SIZE, TRANSACTION, DEVICE_FEATURES, DEVICE_FEATURES_SEL,
 DRIVER_FEATURES, DRIVER_FEATURES_SEL, QUEUE_SEL) = range(0, 0x20, 4)
QUEUE_SIZE, DEVICE_VECTOR, DRIVER_VECTOR, QUEUE_ENABLE = range(0x20, 0x28, 2)
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x28, 0x30, 0x38
CONFIG_EVENT, QUEUE_EVENT, STATUS, GENERATION, CONFIG = 0x40, 0x41, 0x44, 0x48, 0x4C

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
INDIRECT_DESC, EVENT_IDX, VERSION_1, ACCESS_PLATFORM, RING_PACKED, ORDER_PLATFORM = \
    (1 << n for n in (28, 29, 32, 33, 34, 36))
TRANSPORT = VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15

TABLE_BYTES = 4096
_BUFFERS = 0x40000      # rings below, buffers above


def load_index(memory, offset):
    """A ring's index, in one piece: struct reads byte by byte."""
    return memoryview(memory)[offset:offset + 2].cast("H")[0]


def store_index(memory, offset, value):
    """Likewise: struct writes zeroes first, which the other side can see."""
    memoryview(memory)[offset:offset + 2].cast("H")[0] = value & 0xffff


class Ring:
    """What both kinds of ring share: where a queue lies, and its buffers."""

    def __init__(self, front, index, size, base):
        self.front, self.index, self.size, self.base = front, index, size, base
        self.event_idx = bool(front.features & EVENT_IDX)
        self.pending = {}
        front.fill(base, 0x8000)

    def add(self, *segments, indirect=False):
        """Make a buffer of (address, length, writable) available; its id."""
        descs = [(a, n, WRITE if w else 0) for a, n, w in segments]
        if indirect:
            table = self.front.alloc(16 * len(descs))
            for i, desc in enumerate(descs):
                self.write_indirect(table, i, desc, i + 1 < len(descs))
            descs = [(table, 16 * len(descs), INDIRECT)]
        return self.publish(descs)

    def kick(self):
        self.front.ring_doorbell(self.vector)

    def wait(self, ident, timeout=10):
        """Bytes written to that buffer, once it is used."""
        self.front.wait_irq(lambda: self.collect(ident), timeout,
                            f"buffer {ident} of queue {self.index}")
        return self.pending.pop(ident)

    def collect(self, ident):
        for got, written in self.used():
            self.pending[got] = written
        return ident in self.pending

    def do(self, *segments, **kwargs):
        ident = self.add(*segments, **kwargs)
        self.kick()
        return self.wait(ident)


class SplitRing(Ring):
    def __init__(self, front, index, size, base):
        super().__init__(front, index, size, base)
        self.desc, self.driver, self.device = base, base + 0x4000, base + 0x5000
        self.free = list(range(size))
        self.avail = self.seen = 0
        self.chains = {}

    def write_desc(self, slot, addr, length, flags, following=0):
        self.front.put(self.desc + 16 * slot, "<QIHH", addr, length, flags, following)

    def write_indirect(self, table, i, desc, more):
        addr, length, flags = desc
        self.front.put(table + 16 * i, "<QIHH", addr, length,
                       flags | (NEXT if more else 0), i + 1)

    def offer(self, head, index=None):
        """Put a head into the avail ring, and publish it."""
        self.front.put(self.driver + 4 + 2 * (self.avail % self.size), "<H", head)
        self.avail = self.avail + 1 if index is None else index
        store_index(self.front.map, TABLE_BYTES + self.driver + 2, self.avail)

    def publish(self, descs):
        slots = [self.free.pop(0) for _ in descs]
        for i, (addr, length, flags) in enumerate(descs):
            last = i + 1 == len(descs)
            self.write_desc(slots[i], addr, length, flags | (0 if last else NEXT),
                            0 if last else slots[i + 1])
        self.chains[slots[0]] = slots
        self.offer(slots[0])
        return slots[0]

    def used(self):
        while load_index(self.front.map, TABLE_BYTES + self.device + 2) != \
                self.seen & 0xffff:
            at = self.device + 4 + 8 * (self.seen % self.size)
            ident, written = self.front.get(at, "<II")
            self.seen += 1
            if self.event_idx:
                self.front.put(self.driver + 4 + 2 * self.size, "<H",
                               self.seen & 0xffff)
            self.free += self.chains.pop(ident)
            yield ident, written

    def interrupts(self, wanted):
        self.front.put(self.driver, "<H", 0 if wanted else 1)

    def notifications(self):
        """Does the back end want to be notified of the next buffer?"""
        if not self.event_idx:
            return not self.front.get(self.device, "<H") & 1
        return self.front.get(self.device + 4 + 8 * self.size, "<H") == \
            self.avail & 0xffff


class PackedRing(Ring):
    def __init__(self, front, index, size, base):
        super().__init__(front, index, size, base)
        self.desc, self.driver, self.device = base, base + 0x4000, base + 0x5000
        self.slot, self.wrap = 0, True
        self.used_slot, self.used_wrap = 0, True
        self.ids = list(range(size))
        self.chains = {}
        if self.event_idx:
            self.front.put(self.driver, "<HH", 0x8000, 2)

    def flags(self, extra):
        return extra | (AVAIL if self.wrap else USED)

    def write_desc(self, slot, addr, length, flags, ident):
        """The flags last; they make it available."""
        self.front.put(self.desc + 16 * slot, "<QIH", addr, length, ident)
        self.front.put(self.desc + 16 * slot + 14, "<H", flags)

    def write_indirect(self, table, i, desc, more):
        addr, length, flags = desc
        self.front.put(table + 16 * i, "<QIHH", addr, length, 0, flags)

    def step(self):
        self.slot += 1
        if self.slot == self.size:
            self.slot, self.wrap = 0, not self.wrap

    def publish(self, descs):
        ident = self.ids.pop(0)
        todo = []
        for i, (addr, length, flags) in enumerate(descs):
            more = NEXT if i + 1 < len(descs) else 0
            todo.append((self.slot, addr, length, self.flags(flags | more), ident))
            self.step()
        for desc in reversed(todo):
            self.write_desc(*desc)
        self.chains[ident] = len(descs)
        return ident

    def used(self):
        while True:
            written, ident, flags = self.front.get(self.desc + 16 * self.used_slot + 8,
                                                   "<IHH")
            if not bool(flags & AVAIL) == bool(flags & USED) == self.used_wrap:
                return
            self.used_slot += self.chains.pop(ident)
            if self.used_slot >= self.size:
                self.used_slot -= self.size
                self.used_wrap = not self.used_wrap
            if self.event_idx:
                self.front.put(self.driver, "<HH",
                               self.used_slot | self.used_wrap << 15, 2)
            self.ids.append(ident)
            yield ident, written

    def interrupts(self, wanted):
        self.front.put(self.driver + 2, "<H", 0 if wanted else 1)

    def notifications(self):
        off_wrap, flags = self.front.get(self.device, "<HH")
        if flags == 2:
            return off_wrap == self.slot | self.wrap << 15
        return flags == 0


class FrontEnd:
    """Peer 1 of the link, from State 0 to a driver that is ready."""

    def __init__(self, path, timeout=10):
        self.client = proto.Client(path)
        self.timeout = timeout
        init, fd = self.client.init()
        self.init = init
        self.id = init.id
        self.map = mmap.mmap(fd, os.fstat(fd).st_size)
        self.rw_size = len(self.map) - TABLE_BYTES - 2 * init.output_size
        self.bells, self.irqs = [], []
        self.features = 0
        self.queues = []
        self.top = _BUFFERS
        while len(self.irqs) < init.vectors:
            self.message()

    def message(self):
        msg = self.client.message()
        if msg.type == proto.PEER_GONE:
            self.bells = []
            return
        ident, _ = struct.unpack("<2I", msg.body)
        (self.irqs if ident == self.id else self.bells).extend(msg.fds)

    def news(self):
        """Read what the server said meanwhile: back ends come and go."""
        while not self.client.quiet(0):
            self.message()

    def close(self):
        self.map.close()
        self.client.close()

    # memory: offsets into the R/W section

    def put(self, offset, fmt, *values):
        struct.pack_into(fmt, self.map, TABLE_BYTES + offset, *values)

    def get(self, offset, fmt):
        values = struct.unpack_from(fmt, self.map, TABLE_BYTES + offset)
        return values if len(values) > 1 else values[0]

    def write(self, offset, data):
        self.map[TABLE_BYTES + offset:TABLE_BYTES + offset + len(data)] = data

    def read(self, offset, size):
        return self.map[TABLE_BYTES + offset:TABLE_BYTES + offset + size]

    def fill(self, offset, size, byte=b"\0"):
        self.write(offset, byte * size)

    def alloc(self, size, data=b""):
        """A place for a buffer; places are used again after the last one."""
        size = size + 15 & ~15
        if self.top + size > self.rw_size:
            self.top = _BUFFERS
        at, self.top = self.top, self.top + size
        self.write(at, data)
        return at

    def out(self, data):
        return self.alloc(len(data), data), len(data), False

    # states and doorbells

    def state(self, peer):
        return struct.unpack_from("<I", self.map, 4 * peer)[0]

    def set_state(self, value):
        store(self.map, 4 * self.id, "<I", value)
        self.ring_doorbell(0)

    def ring_doorbell(self, vector):
        self.news()
        if vector < len(self.bells):
            os.eventfd_write(self.bells[vector], 1)

    def wait_irq(self, predicate, timeout=None, what="answer"):
        """Sleep on the interrupts until the predicate is true."""
        end = time.monotonic() + (timeout or self.timeout)
        while not predicate():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(what)
            # The predicate may be about memory that comes without one
            for fd in select.select(self.irqs, [], [], min(left, 0.5))[0]:
                os.eventfd_read(fd)

    def interrupted(self, vector, seconds=0):
        """Did this vector come? Clears it."""
        fd = self.irqs[vector]
        if not select.select([fd], [], [], seconds)[0]:
            return False
        os.eventfd_read(fd)
        return True

    # transactions

    def transact(self, offset, fmt, value, timeout=None):
        self.wait_done(timeout)
        self.put(offset, fmt, value)
        self.put(TRANSACTION, "<I", offset)
        self.ring_doorbell(0)
        self.wait_done(timeout)

    def wait_done(self, timeout=None):
        wait_for(lambda: self.get(TRANSACTION, "<I") == 0, timeout or self.timeout,
                 interval=0.0001, what="write_transaction")

    def device_features(self):
        value = 0
        for half in 0, 1:
            self.transact(DEVICE_FEATURES_SEL, "<I", half)
            value |= self.get(DEVICE_FEATURES, "<I") << 32 * half
        return value

    def set_features(self, features):
        for half in 0, 1:
            self.transact(DRIVER_FEATURES_SEL, "<I", half)
            self.transact(DRIVER_FEATURES, "<I", features >> 32 * half & 0xffffffff)

    # the life of a driver

    def connect(self):
        """Wait for the back end, go to State 1, and know that it has seen it."""
        self.news()
        wait_for(lambda: self.state(1 - self.id) == 1, self.timeout,
                 what="State 1 of the back end")
        self.news()
        self.set_state(1)
        self.transact(QUEUE_SEL, "<I", 0)

    def negotiate(self, mask=~0):
        """Up to FEATURES_OK, with what is both offered and in the mask."""
        self.transact(STATUS, "<I", 0)
        self.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER)
        self.features = self.device_features() & (mask | TRANSPORT)
        self.set_features(self.features)
        self.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER | FEATURES_OK)

    def enable_queue(self, index, size=None, **registers):
        """A queue as a driver sets it up; registers to do it wrongly."""
        self.transact(QUEUE_SEL, "<I", index)
        size = self.get(QUEUE_SIZE, "<H") if size is None else size
        kind = PackedRing if self.features & RING_PACKED else SplitRing
        queue = kind(self, index, size, 0x1000 + 0x8000 * index)
        queue.vector = self.get(DEVICE_VECTOR, "<H")
        queue.driver_vector = min(queue.vector, len(self.irqs) - 1)
        self.transact(QUEUE_SIZE, "<H", size)
        self.transact(DRIVER_VECTOR, "<H", queue.driver_vector)
        self.transact(QUEUE_DESC, "<Q", registers.get("desc", queue.desc))
        self.transact(QUEUE_DRIVER, "<Q", registers.get("driver", queue.driver))
        self.transact(QUEUE_DEVICE, "<Q", registers.get("device", queue.device))
        self.transact(QUEUE_ENABLE, "<H", registers.get("enable", 1))
        return queue

    def start(self, queues=1, mask=~0, size=None):
        """From State 1 to DRIVER_OK."""
        self.top = _BUFFERS
        self.negotiate(mask)
        self.queues = [self.enable_queue(i, size) for i in range(queues)]
        self.ready()
        return self.queues

    def ready(self):
        self.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)

    def leave(self, back, *states):
        """State 0, maybe by way of others, until the back end has started over."""
        before = back.starts()
        for state in (*states, 0):
            self.set_state(state)
        wait_for(lambda: back.starts() > before or not back.alive(),
                 what="back end starts over")

    def config(self, offset, fmt):
        return self.get(CONFIG + offset, fmt)
