# SPDX-License-Identifier: GPL-2.0
"""The virtio back ends on the host: the real server, the real programs, and a
front end that the test scripts (harness/virtio.py).
"""

import contextlib
import hashlib
import itertools
import os
import pty
import random
import re
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest

from harness import BIN
from harness.backend import BackEnd
from harness.process import run, wait_for
from harness.virtio import (ACCESS_PLATFORM, ACKNOWLEDGE, CONFIG, CONFIG_EVENT,
                            DEVICE_VECTOR, DRIVER, DRIVER_FEATURES,
                            DRIVER_FEATURES_SEL, DRIVER_OK, EVENT_IDX, FEATURES_OK,
                            GENERATION, INDIRECT, INDIRECT_DESC, NEXT, ORDER_PLATFORM,
                            QUEUE_EVENT, QUEUE_SEL, QUEUE_SIZE, REVISION,
                            RING_PACKED, SIZE, STATUS, TRANSACTION, VERSION_1, WRITE, FrontEnd)

SECTOR = 512
IMAGE_BYTES = 1 << 20
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
BLK_RO, BLK_FLUSH, BLK_WCE, BLK_MQ, BLK_DISCARD, BLK_WRITE_ZEROES = \
    (1 << n for n in (5, 9, 11, 12, 13, 14))
RX, TX = 0, 1
EMERG_WR = 8

RINGS = {
    "packed": ~0,
    "packed-no-event-idx": ~EVENT_IDX,
    "split": ~RING_PACKED,
    "split-no-event-idx": ~(RING_PACKED | EVENT_IDX),
    "split-direct": ~(RING_PACKED | INDIRECT_DESC),
}
by_ring = pytest.mark.parametrize("mask", RINGS.values(), ids=RINGS.keys())


class Link:
    """A server, and what the test connects to it."""

    def __init__(self, stack, path, tmp_path):
        self.stack, self.path, self.tmp_path = stack, path, tmp_path
        self.count = itertools.count()
        self.back_ends = []

    def back(self, name, *args, **kwargs):
        log = self.tmp_path / f"backend{next(self.count)}.log"
        back = BackEnd(name, self.path, log, *args, **kwargs)
        self.stack.callback(back.close)
        self.back_ends.append(back)
        return back

    def front(self):
        front = FrontEnd(self.path)
        self.stack.callback(front.close)
        return front

    def block(self, *args, **kwargs):
        """A block back end that waits for its front end."""
        back = self.back("block", *args, **kwargs)
        back.said("ready, waiting")
        return back

    def console(self, *args, **kwargs):
        back = self.back("console", *args, **kwargs)
        back.said("ready, waiting")
        return back


@pytest.fixture
def link(server, tmp_path):
    with contextlib.ExitStack() as stack:
        def start(protocol, *options):
            path = server("-P", f"{protocol:#x}", "-n", "2", "-l", "4M", *options)
            return Link(stack, path, tmp_path)
        yield start


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(os.urandom(IMAGE_BYTES))
    return path


@pytest.fixture
def disk(link, image):
    """disk(*args) -> (back end, front end at State 1)."""
    def start(*args, server=("-V", "4"), **kwargs):
        lk = link(0x8002, *server)
        back = lk.block(*args, image, **kwargs)
        front = lk.front()
        front.connect()
        return back, front
    return start


def request(queue, kind, sector=0, out=b"", in_bytes=0, indirect=False, segments=1):
    """A block request: (status, data read)."""
    front = queue.front
    parts = [front.out(struct.pack("<IIQ", kind, 0, sector))]
    step = max(len(out), in_bytes) // segments
    data = front.alloc(in_bytes, b"\xee" * in_bytes)
    for i in range(segments):
        if out:
            parts.append(front.out(out[i * step:(i + 1) * step]))
        if in_bytes:
            parts.append((data + i * step, step, True))
    status = front.alloc(1, b"\xff")
    parts.append((status, 1, True))
    queue.do(*parts, indirect=indirect)
    return front.read(status, 1)[0], front.read(data, in_bytes)


def read(queue, sector, size, **kwargs):
    status, data = request(queue, IN, sector, in_bytes=size, **kwargs)
    assert status == OK
    return data


# The link

@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_header_is_filled_when_state_is_ready(disk, vectors):
    _, front = disk("--queues=2", server=("-V", str(vectors)))
    assert front.get(REVISION, "<I") == 1
    assert front.get(SIZE, "<I") == 0x4C + 60
    assert front.device_features() & (VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM) \
        == VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM
    seen = []
    for index in range(3):
        front.transact(QUEUE_SEL, "<I", index)
        seen.append((front.get(QUEUE_SIZE, "<H"), front.get(DEVICE_VECTOR, "<H")))
    shared = {1: (0, 0), 2: (1, 1), 4: (1, 2)}[vectors]
    assert seen == [(256, shared[0]), (256, shared[1]), (0, 0)]


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_used_buffers_are_told_on_the_vector_of_the_queue(disk, vectors):
    _, front = disk("--queues=2", server=("-V", str(vectors)))
    queues = front.start(2)
    for queue in queues:
        while any(front.interrupted(v) for v in range(vectors)):
            pass
        front.put(QUEUE_EVENT, "<B", 0)
        ident = queue.add(front.out(struct.pack("<IIQ", FLUSH, 0, 0)),
                          (front.alloc(1), 1, True))
        queue.kick()
        assert front.interrupted(queue.driver_vector, 10)
        assert front.get(QUEUE_EVENT, "<B") == 1
        assert queue.wait(ident) == 1


def test_front_end_may_wait_for_the_back_end(link, image):
    lk = link(0x8002)
    first = lk.block(image)         # takes the id of the back end
    front = lk.front()
    first.kill()
    wait_for(lambda: front.state(0) == 0, what="State 0 of the dead back end")
    back = lk.back("block", image)
    front.connect()
    queue, = front.start()
    assert read(queue, 0, SECTOR) == image.read_bytes()[:SECTOR]
    assert back.stop() == 0


def test_back_end_waits_until_the_front_end_is_reset(link, image):
    lk = link(0x8002)
    first = lk.block(image)
    front = lk.front()
    front.connect()
    first.kill()
    back = lk.back("block", image)
    back.said("waiting for the front end to reset")
    assert front.state(0) == 0
    front.leave(back)
    back.said("ready, waiting")
    front.connect()
    queue, = front.start()
    assert read(queue, 1, SECTOR) == image.read_bytes()[SECTOR:2 * SECTOR]


@pytest.mark.parametrize("offset", [REVISION, SIZE, TRANSACTION, GENERATION, CONFIG])
def test_header_that_a_front_end_damaged_is_filled_for_the_next(link, image, offset):
    """It may do so at 0, and then the next one, which waits for another back end,
    would say nothing that the back end hears."""
    lk = link(0x8002)
    back = lk.block(image)
    with contextlib.closing(lk.front()) as front:
        front.put(offset, "<I", 0xbad)
    front = lk.front()
    wait_for(lambda: back.starts() == 2 and front.state(0) == 1, what="another header")
    front.connect()
    queue, = front.start()
    assert read(queue, 0, SECTOR) == image.read_bytes()[:SECTOR]
    assert back.starts() == 2


def test_front_end_comes_and_goes_any_number_of_times(disk, image):
    back, front = disk()
    content = image.read_bytes()
    for i in range(30):
        queue, = front.start(mask=list(RINGS.values())[i % len(RINGS)])
        assert read(queue, i, SECTOR) == content[SECTOR * i:SECTOR * (i + 1)]
        front.leave(back)
        front.connect()
    assert back.stop() == 0


def test_killed_front_end_is_replaced_by_another(link, image):
    lk = link(0x8002)
    back = lk.block(image)
    for _ in range(5):
        front = FrontEnd(lk.path)
        front.connect()
        queue, = front.start()
        assert read(queue, 0, SECTOR) == image.read_bytes()[:SECTOR]
        before = back.starts()
        front.close()
        wait_for(lambda: back.starts() > before, what="back end starts over")
    assert back.alive()


def test_back_end_killed_twenty_times_comes_back(link, image):
    lk = link(0x8002)
    front, content = None, image.read_bytes()
    for i in range(20):
        back = lk.back("block", image)
        if not front:
            back.said("ready, waiting")
            front = lk.front()
        front.connect()
        queue, = front.start()
        request(queue, OUT, i, content[:SECTOR])
        queue.add(front.out(struct.pack("<IIQ", IN, 0, 0)),
                  (front.alloc(65536), 65536, True), (front.alloc(1), 1, True))
        queue.kick()
        back.kill()
        wait_for(lambda: front.state(0) == 0, what="State 0 of the dead back end")
        front.set_state(0)
    assert image.read_bytes()[:20 * SECTOR] == content[:SECTOR] * 20


def test_reset_starts_the_queues_anew(disk, image):
    _, front = disk()
    for mask in (*RINGS.values(), *RINGS.values()):
        queue, = front.start(mask=mask)
        for sector in range(5):
            assert read(queue, sector, SECTOR) == \
                image.read_bytes()[SECTOR * sector:SECTOR * (sector + 1)]


def test_queue_can_be_stopped_and_started_alone(disk, image):
    _, front = disk("--queues=2")
    first, second = front.start(2)
    front.transact(QUEUE_SEL, "<I", 0)
    front.transact(0x26, "<H", 0)
    assert read(second, 0, SECTOR) == image.read_bytes()[:SECTOR]
    first = front.enable_queue(0)
    assert read(first, 0, SECTOR) == image.read_bytes()[:SECTOR]


def ring_for_nothing(back, front):
    """CPU seconds that it costs."""
    before = back.cpu_seconds()
    for _ in range(5):
        front.ring_doorbell(0)
        assert front.client.quiet(0.1)
    return back.cpu_seconds() - before


def test_waiting_back_end_uses_no_cpu(disk):
    back, front = disk()
    queue, = front.start()
    read(queue, 0, SECTOR)
    assert ring_for_nothing(back, front) < 0.1


def test_back_end_without_front_end_uses_no_cpu(link, image):
    lk = link(0x8002)
    back = lk.block(image)
    assert ring_for_nothing(back, lk.front()) < 0.1


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0(disk, image):
    back, front = disk()
    queue, = front.start()
    statuses, idents = [], []
    for i in range(32):
        statuses.append(front.alloc(1, b"\xff"))
        idents.append(queue.add(front.out(struct.pack("<IIQ", OUT, 0, 2 * i)),
                                front.out(bytes([i]) * 1024), (statuses[-1], 1, True)))
    queue.kick()
    for ident in idents[:1]:
        queue.wait(ident)
    assert back.stop() == 0
    assert front.state(0) == 0
    queue.collect(None)
    done = [i for i in range(32) if idents[i] in queue.pending or i == 0]
    content = image.read_bytes()
    for i in done:
        assert front.read(statuses[i], 1)[0] == OK
        assert content[1024 * i:1024 * (i + 1)] == bytes([i]) * 1024


def test_end_of_the_server_is_told_and_exits_with_1(link, image, server):
    lk = link(0x8002)
    back = lk.block(image)
    process, = server.process.values()
    process.kill()
    assert back.process.wait(10) == 1
    assert "the server is gone" in back.log()


@pytest.mark.parametrize("protocol, words", [
    (0x8003, "protocol of the link is 0xc003, not 0xc002"),
    (0x0001, "protocol of the link is 0x1, not 0xc002"),
])
def test_link_of_another_type_is_refused(link, image, protocol, words):
    back = link(protocol).back("block", image)
    assert back.process.wait(10) == 1
    assert words in back.log()


def test_role_of_the_front_end_is_refused(link, image, tmp_path):
    lk = link(0x8002)
    lk.block(image)
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    back = lk.back("block", other)
    assert back.process.wait(10) == 1
    assert "front end" in back.log() and "0x8002" in back.log()


def test_image_is_served_once_at_a_time(link, image):
    link(0x8002).block(image)
    back = link(0x8002).back("block", image)
    assert back.process.wait(20) == 1
    assert "in use by another process" in back.log()


@pytest.mark.parametrize("name, args", [
    ("block", []), ("block", ["unix:x"]), ("block", ["--queues=0", "unix:x", "y"]),
    ("block", ["--queue-size=100", "unix:x", "y"]), ("block", ["--nonsense"]),
    ("block", ["--serial", "x" * 21, "unix:x", "y"]),
    ("console", []), ("console", ["--listen=tcp:1", "unix:x"]),
    ("console", ["--escape=x", "unix:x"]), ("console", ["--size=80", "unix:x"]),
])
def test_wrong_call_exits_with_2(name, args):
    result = run([BIN / f"virtio-ivshmem-{name}", *args])
    assert result.returncode == 2
    assert "--help" in result.stderr


@pytest.mark.parametrize("name", ["block", "console"])
def test_help_and_version(name):
    program = f"virtio-ivshmem-{name}"
    assert run([BIN / program, "--help"]).stdout.startswith(f"Usage: {program}")
    assert re.fullmatch(program + r" \d+\.\d+\.\d+\n",
                        run([BIN / program, "--version"]).stdout)


def test_front_end_that_is_back_too_early_has_to_leave_again(disk):
    """It may hold the old header for the new one, so it is not to be cleared."""
    back, front = disk()
    front.start()
    front.set_state(2)
    wait_for(lambda: front.state(0) == 0, what="State 0 of the back end")
    front.set_state(1)
    front.put(GENERATION, "<I", 0x1234)
    front.ring_doorbell(0)
    assert front.client.quiet(0.2)
    assert front.state(0) == 0 and front.get(GENERATION, "<I") == 0x1234
    front.leave(back)
    assert front.get(GENERATION, "<I") == 0
    front.connect()
    assert request(*front.start(), FLUSH)[0] == OK


# Rings

@by_ring
def test_requests_go_round_the_ring_many_times(disk, image, mask):
    _, front = disk("--queue-size=16")
    queue, = front.start(mask=mask)
    content = image.read_bytes()
    indirect = bool(front.features & INDIRECT_DESC)
    for i in range(200):
        sector = i * 7 % 2000
        assert read(queue, sector, 2048, segments=(1, 2, 4)[i % 3],
                    indirect=indirect and i % 2 == 0) == \
            content[SECTOR * sector:SECTOR * sector + 2048]


@by_ring
def test_many_requests_in_flight(disk, image, mask):
    _, front = disk()
    queue, = front.start(mask=mask)
    content = image.read_bytes()
    for _ in range(5):
        todo = {}
        for i in range(60):
            data, status = front.alloc(1024), front.alloc(1, b"\xff")
            ident = queue.add(front.out(struct.pack("<IIQ", IN, 0, 2 * i)),
                              (data, 1024, True), (status, 1, True))
            todo[ident] = (i, data, status)
        queue.kick()
        for ident, (i, data, status) in todo.items():
            assert queue.wait(ident) == 1025
            assert front.read(status, 1)[0] == OK
            assert front.read(data, 1024) == content[1024 * i:1024 * (i + 1)]


@by_ring
def test_back_end_asks_for_notifications_only_when_idle(disk, mask):
    _, front = disk()
    queue, = front.start(mask=mask)
    wait_for(queue.notifications, what="wish to be notified")
    for _ in range(20):
        assert request(queue, FLUSH)[0] == OK
        wait_for(queue.notifications, what="wish to be notified")


@by_ring
def test_interrupt_comes_for_each_buffer_that_is_waited_for(disk, mask):
    """Lap after lap: an event index of the last lap counts as well."""
    _, front = disk("--queue-size=4")
    queue, = front.start(mask=mask)
    for i in range(50):
        while front.interrupted(queue.driver_vector):
            pass
        ident = queue.add(front.out(struct.pack("<IIQ", FLUSH, 0, 0)),
                          (front.alloc(1), 1, True),
                          indirect=bool(i % 3 and front.features & INDIRECT_DESC))
        queue.kick()
        assert front.interrupted(queue.driver_vector, 10)
        queue.wait(ident)


@by_ring
def test_front_end_that_wants_no_interrupt_gets_none(disk, mask):
    _, front = disk()
    queue, = front.start(mask=mask & ~EVENT_IDX)
    queue.interrupts(False)
    while front.interrupted(queue.driver_vector):
        pass
    ident = queue.add(front.out(struct.pack("<IIQ", FLUSH, 0, 0)),
                      (front.alloc(1), 1, True))
    queue.kick()
    wait_for(lambda: queue.collect(ident), what="used buffer")
    # The interrupt would come after the buffer, and before the next answer
    front.transact(QUEUE_SEL, "<I", 0)
    assert not front.interrupted(queue.driver_vector)
    queue.interrupts(True)
    ident = queue.add(front.out(struct.pack("<IIQ", FLUSH, 0, 0)),
                      (front.alloc(1), 1, True))
    queue.kick()
    assert front.interrupted(queue.driver_vector, 10)


@pytest.mark.parametrize("option, bit", [("--no-packed", RING_PACKED),
                                         ("--no-event-idx", EVENT_IDX),
                                         ("--no-indirect", INDIRECT_DESC)])
def test_features_of_rings_can_be_withheld(link, image, option, bit):
    lk = link(0x8002)
    lk.block(image)
    front = lk.front()
    front.connect()
    assert front.device_features() & bit
    lk.back_ends[-1].kill()
    wait_for(lambda: front.state(0) == 0, what="State 0 of the dead back end")
    front.set_state(0)
    lk.block(option, image)
    front.connect()
    assert not front.device_features() & bit
    assert request(*front.start(), FLUSH)[0] == OK


def test_queue_size_can_be_chosen(disk):
    _, front = disk("--queue-size=1024")
    queue, = front.start()
    assert queue.size == 1024
    assert request(queue, FLUSH)[0] == OK


# What a front end must not do. Each: what is done, what the back end says.

def head(front):
    return front.out(struct.pack("<IIQ", IN, 0, 0))


def enable(**registers):
    def act(front, queue):
        front.transact(QUEUE_SEL, "<I", 0)
        front.transact(0x26, "<H", 0)
        front.enable_queue(0, **registers)
    return act


def desc(addr=0x50000, length=16, flags=0, following=0):
    """One raw descriptor."""
    def act(front, queue):
        if hasattr(queue, "offer"):
            queue.write_desc(0, addr, length, flags, following)
            queue.offer(0)
        else:
            queue.write_desc(queue.slot, addr, length, queue.flags(flags), 0)
        queue.kick()
    return act


def chain(*segments, **kwargs):
    def act(front, queue):
        queue.add(*segments, **kwargs)
        queue.kick()
    return act


def nested(front, queue):
    table = front.alloc(16)
    queue.write_indirect(table, 0, (0x50000, 16, INDIRECT), False)
    desc(table, 16, INDIRECT)(front, queue)


def avail_ahead(front, queue):
    queue.offer(0, queue.avail + queue.size + 1)
    queue.kick()


def head_outside(front, queue):
    queue.offer(queue.size)
    queue.kick()


def next_outside(front, queue):
    desc(flags=NEXT, following=queue.size)(front, queue)


def split_loop(front, queue):
    queue.write_desc(1, 0x50000, 16, NEXT, 0)
    desc(flags=NEXT, following=1)(front, queue)


def packed_loop(front, queue):
    for slot in reversed(range(queue.size)):
        queue.write_desc(slot, 0x50000, 16, queue.flags(NEXT), 0)
    queue.kick()


def packed_indirect_in_chain(front, queue):
    queue.write_desc(1, 0x50000, 16, queue.flags(INDIRECT), 0)
    queue.write_desc(0, 0x50000, 16, queue.flags(NEXT), 0)
    queue.kick()


def table_next_outside(front, queue):
    table = front.alloc(32)
    front.put(table, "<QIHH", 0x50000, 16, NEXT, 2)
    desc(table, 32, INDIRECT)(front, queue)


def table_loop(front, queue):
    table = front.alloc(32)
    front.put(table, "<QIHH", 0x50000, 16, NEXT, 1)
    front.put(table + 16, "<QIHH", 0x50000, 16, NEXT, 0)
    desc(table, 32, INDIRECT)(front, queue)


def same_buffer_again(front, queue):
    """The same chain over and over, before any of it comes back."""
    at = front.out(struct.pack("<IIQ", IN, 0, 0))
    queue.write_desc(0, *at[:2], NEXT, 1)
    queue.write_desc(1, front.alloc(SECTOR), SECTOR, NEXT | WRITE, 2)
    queue.write_desc(2, front.alloc(1), 1, WRITE, 0)
    for i in range(queue.size):
        front.put(queue.driver + 4 + 2 * i, "<H", 0)
    front.put(queue.driver + 2, "<H", queue.avail + queue.size)
    queue.kick()


BIG = 1 << 64
VIOLATIONS = {     # name: (rings, what is done, what is said)
    "queue of no descriptors": ("sp", enable(size=0), "size is not a power of two"),
    "queue of three": ("sp", enable(size=3), "size is not a power of two"),
    "queue larger than offered": ("sp", enable(size=512), "size is not a power of two"),
    "descriptors misaligned": ("sp", enable(desc=0x1008), "misaligned or not in"),
    "descriptors behind the section": ("sp", enable(desc=0x3ff000), "or not in the section"),
    "descriptors far away": ("sp", enable(desc=BIG - 16), "or not in the section"),
    "descriptors over the header": ("sp", enable(desc=0), "or not in the section"),
    "driver area behind the section": ("sp", enable(driver=0x400000), "or not in"),
    "driver area misaligned": ("sp", enable(driver=0x5001), "misaligned or not in"),
    "device area behind the section": ("sp", enable(device=BIG - 4), "or not in"),
    "device area misaligned": ("sp", enable(device=0x6002), "misaligned or not in"),
    "queue_enable of 2": ("sp", enable(enable=2), "neither 0 nor 1"),
    "queue enabled twice": ("sp", lambda f, q: f.enable_queue(0), "enabled twice"),
    "segment of no bytes": ("sp", desc(length=0), "segment of no bytes"),
    "segment behind the section": ("sp", desc(addr=0x3ff000), "not in the section"),
    "segment at the end of all": ("sp", desc(addr=BIG - 1, length=2), "not in the section"),
    "segment larger than the section": ("sp", desc(addr=0, length=0x3ff001), "not in the"),
    "segment of 4 GiB": ("sp", desc(addr=0x50000, length=0xffffffff), "not in the"),
    "readable after writable": ("sp", chain((0x50000, 16, True), (0x50000, 16, False)),
                                "readable segment after a writable one"),
    "the same in a table": ("sp", chain((0x50000, 16, True), (0x50000, 16, False),
                                        indirect=True),
                            "readable segment after a writable one"),
    "indirect with a successor": ("sp", desc(flags=INDIRECT | NEXT), "with a successor"),
    "indirect table of no bytes": ("sp", desc(length=0, flags=INDIRECT), "broken size"),
    "indirect table of 17 bytes": ("sp", desc(length=17, flags=INDIRECT), "broken size"),
    "indirect table behind the section": ("sp", desc(addr=BIG - 16, flags=INDIRECT),
                                          "table is not in the section"),
    "indirect table of 1025": ("sp", desc(length=1025 * 16, flags=INDIRECT), "too long"),
    "indirect in indirect": ("sp", nested, "indirect table in an indirect table"),
    "avail index ahead": ("s", avail_ahead, "avail index is ahead"),
    "head outside the table": ("s", head_outside, "outside the table"),
    "next outside the table": ("s", next_outside, "outside the table"),
    "chain with a loop": ("s", split_loop, "chain has a loop"),
    "next outside the indirect table": ("s", table_next_outside, "outside the indirect"),
    "loop in the indirect table": ("s", table_loop, "indirect table has a loop"),
    "the same buffer again": ("s", same_buffer_again, "more buffers are in flight"),
    "chain as long as the ring and longer": ("p", packed_loop, "chain has a loop"),
    "indirect in a chain": ("p", packed_indirect_in_chain, "indirect descriptor in a chain"),
    "request without status": ("sp", chain((0x50000, 16, False)), "without header or status"),
    "request without header": ("sp", chain((0x50000, 16, True)), "without header or status"),
    "request with half a header": ("sp", chain((0x50000, 8, False), (0x50000, 1, True)),
                                   "without header or status"),
}
CASES = [pytest.param("sp".index(ring), *case[1:], id=f"{name}, {'sp'.index(ring) and 'packed' or 'split'}")
         for name, case in VIOLATIONS.items() for ring in case[0]]


@pytest.mark.parametrize("packed, act, words", CASES)
def test_violation_breaks_its_queue_alone(disk, image, packed, act, words):
    back, front = disk("--queues=2")
    content = image.read_bytes()
    mask = ~0 if packed else ~RING_PACKED
    queue, other = front.start(2, mask)
    assert read(queue, 0, SECTOR) == content[:SECTOR]
    # From the start: the descriptors below are written to the first slots
    queue, other = front.start(2, mask)
    act(front, queue)
    back.said(words)
    queue.kick()
    assert read(other, 3, SECTOR) == content[3 * SECTOR:4 * SECTOR]
    assert back.log().count("queue 0: ") == 1
    assert back.alive()

    queue, other = front.start(2, mask)
    assert read(queue, 5, SECTOR) == content[5 * SECTOR:6 * SECTOR]
    assert read(other, 7, SECTOR) == content[7 * SECTOR:8 * SECTOR]


def test_indirect_without_the_feature_breaks_the_queue(disk):
    back, front = disk()
    queue, = front.start(mask=~INDIRECT_DESC)
    desc(flags=INDIRECT)(front, queue)
    back.said("indirect descriptor without that feature")
    queue, = front.start()
    assert request(queue, FLUSH)[0] == OK


def features(value, words=""):
    def act(front):
        front.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER)
        front.set_features(value)
        front.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER | FEATURES_OK)
        assert not front.get(STATUS, "<I") & FEATURES_OK
        front.transact(STATUS, "<I", ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
    return act


def write_bad_queue(front):
    front.transact(QUEUE_SEL, "<I", 77)
    assert front.get(QUEUE_SIZE, "<H") == 0
    front.transact(QUEUE_SIZE, "<H", 16)


HEADER_VIOLATIONS = {
    "feature that is not offered": (features(VERSION_1 | 1 << 40), "not offered"),
    "no VERSION_1": (features(ACCESS_PLATFORM), "does not take VIRTIO_F_VERSION_1"),
    "start without features": (lambda f: f.transact(STATUS, "<I", 7), "without having agreed"),
    "third half of the features": (lambda f: [f.transact(DRIVER_FEATURES_SEL, "<I", 2),
                                              f.transact(DRIVER_FEATURES, "<I", 1)],
                                   "wrong moment or place"),
    "write to the size": (lambda f: f.transact(SIZE, "<I", 0), "write to offset 0x4 "),
    "write to the middle of a field": (lambda f: f.transact(0x21, "<B", 0), "offset 0x21 "),
    "write to what is reserved": (lambda f: f.transact(0x42, "<H", 0), "offset 0x42 "),
    "write behind the config space": (lambda f: f.transact(CONFIG + 60, "<I", 0),
                                      "config space at 60"),
    "write to queue 77": (write_bad_queue, "queue 77 is written"),
}


@pytest.mark.parametrize("act, words", HEADER_VIOLATIONS.values(),
                         ids=HEADER_VIOLATIONS.keys())
def test_violation_in_the_header_is_answered_and_told(disk, act, words):
    back, front = disk()
    act(front)
    back.said(words)
    queue, = front.start()
    assert request(queue, FLUSH)[0] == OK


def test_transaction_far_behind_the_section_is_answered(disk):
    back, front = disk()
    front.put(TRANSACTION, "<I", 0xfffffffc)
    front.ring_doorbell(0)
    front.wait_done()
    assert request(*front.start(), FLUSH)[0] == OK


def test_state_that_does_not_exist_is_a_departure(disk):
    back, front = disk()
    front.start()
    front.set_state(7)
    back.said("front end has left")
    wait_for(lambda: front.state(0) == 0, what="State 0 of the back end")
    front.leave(back)
    front.connect()
    assert request(*front.start(), FLUSH)[0] == OK


def test_messages_about_a_front_end_are_limited(disk):
    back, front = disk()
    for _ in range(500):
        front.transact(SIZE, "<I", 0)
    assert 0 < back.log().count("write to offset") <= 40


class Fuzzer:
    """A front end that does anything at all, but half right most of the time."""

    def __init__(self, back, front, seed):
        self.back, self.front, self.rng = back, front, random.Random(seed)

    def number(self):
        rng = self.rng
        return rng.choice((0, 1, 2, 7, 16, 256, 4096, 0x50000, 0x3ff000, 0xffff,
                           (1 << 31) - 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1,
                           rng.getrandbits(8), rng.getrandbits(22), rng.getrandbits(64)))

    def field(self):
        """Some field of the header, with or without a transaction."""
        offset = self.rng.choice((*range(0, 0x90, 2), 0x26, 0x44, 0x1c))
        size = self.rng.choice((2, 4, 8))
        data = self.number().to_bytes(8, "little")[:size]
        if offset not in (0x08, 0x09):
            self.front.write(offset, data)
        self.front.put(TRANSACTION, "<I", self.rng.choice((offset, offset, self.number() & 0xffffffff)))
        self.front.ring_doorbell(0)

    def descriptor(self):
        queue = self.rng.choice(self.front.queues)
        flags = self.rng.choice((0, NEXT, WRITE, INDIRECT, NEXT | WRITE,
                                 self.rng.getrandbits(16)))
        queue.write_desc(self.rng.randrange(16), self.number(),
                         self.number() & 0xffffffff, flags | self.rng.choice((0, 0x80)),
                         self.rng.choice((0, 1, 5, self.number() & 0xffff)))

    def rings(self):
        queue = self.rng.choice(self.front.queues)
        area = self.rng.choice((queue.desc, queue.driver, queue.device))
        self.front.write(area + self.rng.randrange(64), self.rng.randbytes(16))

    def publish(self):
        queue = self.rng.choice(self.front.queues)
        if hasattr(queue, "offer"):
            queue.offer(self.rng.choice((0, 1, 3, self.number() & 0xffff)))
        queue.kick()

    def request(self):
        kind = self.rng.choice((IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 99))
        parts = [self.front.out(struct.pack("<IIQ", kind, 0, self.number()))]
        for _ in range(self.rng.randrange(4)):
            parts.append((0x50000, self.rng.choice((1, 16, 512, 4096)),
                          self.rng.random() < 0.7))
        queue = self.rng.choice(self.front.queues)
        with contextlib.suppress(IndexError, KeyError):
            list(queue.used())
            queue.add(*parts, indirect=self.rng.random() < 0.3)
        queue.kick()

    def restart(self):
        """As a driver does, or the link from the start."""
        if self.rng.random() < 0.2:
            self.front.leave(self.back, self.rng.choice((0, 2, 1 << 31)))
            self.front.connect()
        self.front.put(TRANSACTION, "<I", 0)
        self.front.start(2, self.rng.choice(list(RINGS.values())))

    def step(self):
        self.rng.choice((self.field, self.descriptor, self.descriptor, self.rings,
                         self.publish, self.publish, self.request, self.request))()


@pytest.mark.parametrize("seed", range(6))
def test_nothing_a_front_end_writes_ends_the_back_end(disk, image, seed):
    back, front = disk("--queues=2", "--queue-size=16", *[["--no-uring"], []][seed % 2])
    fuzzer = Fuzzer(back, front, seed)
    for i in range(40):
        fuzzer.restart()
        for _ in range(30):
            fuzzer.step()
        assert back.alive(), back.log()
    front.leave(back)
    front.connect()
    queue, _ = front.start(2)
    assert read(queue, 3, SECTOR) == image.read_bytes()[3 * SECTOR:4 * SECTOR]
    assert back.stop() == 0


# The block device

def test_reads_and_writes_of_many_segments(disk, image):
    _, front = disk()
    queue, = front.start()
    data = os.urandom(128 * 1024)
    assert request(queue, OUT, 100, data, segments=128, indirect=True)[0] == OK
    assert request(queue, OUT, 500, data, segments=32)[0] == OK
    assert read(queue, 100, len(data), segments=128, indirect=True) == data
    assert read(queue, 500, len(data), segments=64) == data
    content = image.read_bytes()
    assert content[100 * SECTOR:100 * SECTOR + len(data)] == data
    assert content[500 * SECTOR:500 * SECTOR + len(data)] == data


def test_header_and_status_may_be_anywhere_in_the_segments(disk, image):
    _, front = disk()
    queue, = front.start()
    header = struct.pack("<IIQ", IN, 0, 4)
    at = front.alloc(1024, b"\xff" * 1024)
    queue.do(front.out(header[:3]), front.out(header[3:]), (at, 100, True),
             (at + 100, 413, True))
    assert front.read(at, 513) == image.read_bytes()[4 * SECTOR:5 * SECTOR] + b"\0"


@pytest.mark.parametrize("args", [[], ["--no-uring"], ["--direct"],
                                  ["--direct", "--no-uring"]], ids=" ".join)
def test_every_way_of_io_moves_the_same_bytes(disk, image, args):
    _, front = disk(*args)
    queue, = front.start()
    data = os.urandom(64 * 1024)
    for offset in 0, 3:         # misaligned buffers as well
        front.top += offset
        assert request(queue, OUT, 8, data)[0] == OK
        front.top += offset
        assert read(queue, 8, len(data)) == data
        assert image.read_bytes()[8 * SECTOR:8 * SECTOR + len(data)] == data
    assert request(queue, FLUSH)[0] == OK


def test_direct_io_buffers_no_more_than_the_section(disk):
    """Requests that are all about the same memory, and misaligned."""
    back, front = disk("--direct")
    queue, = front.start()
    todo = []
    for _ in range(8):
        status = front.alloc(1, b"\xff")
        parts = [front.out(struct.pack("<IIQ", IN, 0, 0))] + \
            [(0x50001, 65536, True)] * 16 + [(status, 1, True)]
        todo.append((queue.add(*parts), status))
    queue.kick()
    statuses = []
    for ident, status in todo:
        queue.wait(ident)
        statuses.append(front.read(status, 1)[0])
    assert statuses == [OK] * 3 + [IOERR] * 5
    assert request(queue, IN, in_bytes=SECTOR)[0] == OK


def test_every_queue_serves(disk, image):
    _, front = disk("--queues=3")
    assert front.device_features() & BLK_MQ
    assert front.config(34, "<H") == 3
    content = image.read_bytes()
    for i, queue in enumerate(front.start(3)):
        assert read(queue, i, SECTOR) == content[i * SECTOR:(i + 1) * SECTOR]


def test_get_id_is_the_serial_number(disk):
    _, front = disk("--serial=disk-1234")
    queue, = front.start()
    assert request(queue, GET_ID, in_bytes=20) == (OK, b"disk-1234".ljust(20, b"\0"))


def ranges(*entries):
    return b"".join(struct.pack("<QII", *entry) for entry in entries)


@pytest.mark.parametrize("kind, flags", [(DISCARD, 0), (WRITE_ZEROES, 0),
                                         (WRITE_ZEROES, 1)])
@pytest.mark.parametrize("args", [[], ["--no-uring"]], ids=" ".join)
def test_discard_and_write_zeroes(disk, image, kind, flags, args):
    _, front = disk(*args)
    queue, = front.start()
    before = image.read_bytes()
    assert request(queue, kind, out=ranges((8, 16, flags), (64, 200, flags)))[0] == OK
    wanted = bytearray(before)
    for first, count in (8, 16), (64, 200):
        wanted[first * SECTOR:(first + count) * SECTOR] = bytes(count * SECTOR)
    assert image.read_bytes() == wanted


def test_write_zeroes_where_the_file_system_cannot(disk, image):
    """tmpfs has no FALLOC_FL_ZERO_RANGE: they are written."""
    shm = f"/dev/shm/test-backend-{os.getpid()}"
    try:
        with open(shm, "wb") as file:
            file.write(image.read_bytes() * 4)
        os.unlink(image)
        os.symlink(shm, image)
        _, front = disk()
        queue, = front.start()
        assert request(queue, WRITE_ZEROES, out=ranges((1, 8000, 0)))[0] == OK
        content = image.read_bytes()
        assert content[SECTOR:8001 * SECTOR] == bytes(8000 * SECTOR)
        assert content[8001 * SECTOR:8002 * SECTOR] != bytes(SECTOR)
    finally:
        os.unlink(shm)


@pytest.mark.parametrize("out, status", [
    (ranges((0, 0, 0)), IOERR), (ranges((2047, 2, 0)), IOERR),
    (ranges((1 << 63, 8, 0)), IOERR), (ranges((0, 1 << 31, 0)), IOERR),
    (ranges((0, 8, 2)), UNSUPP), (ranges((0, 8, 0))[:15], IOERR), (b"", IOERR),
    (ranges(*[(0, 8, 0)] * 17), IOERR),
])
def test_ranges_that_make_no_sense(disk, image, out, status):
    _, front = disk()
    queue, = front.start()
    before = image.read_bytes()
    assert request(queue, WRITE_ZEROES, out=out)[0] == status
    assert image.read_bytes() == before


def test_range_is_as_long_as_the_config_space_says(disk, image):
    os.truncate(image, 2 << 30)     # sparse
    _, front = disk()
    queue, = front.start()
    longest = front.config(48, "<I")
    assert longest == 1 << 21
    assert request(queue, WRITE_ZEROES, out=ranges((0, longest, 1)))[0] == OK
    assert request(queue, WRITE_ZEROES, out=ranges((0, longest + 1, 1)))[0] == IOERR


@pytest.mark.parametrize("kind", [IN, OUT])
@pytest.mark.parametrize("sector, size", [
    (2048, 512), (2047, 1024), (1 << 55, 512), ((1 << 64) - 1, 512), (0, 100), (0, 0),
    (0, 2 << 20),
])
def test_request_beyond_the_end_or_misaligned_is_an_error(disk, image, kind, sector, size):
    back, front = disk()
    queue, = front.start()
    before = image.read_bytes()
    kwargs = {"in_bytes": size} if kind == IN else {"out": bytes(size)}
    assert request(queue, kind, sector, **kwargs)[0] == IOERR
    assert read(queue, 2047, SECTOR) == before[2047 * SECTOR:]
    assert image.read_bytes() == before


@pytest.mark.parametrize("kind", [2, 3, 5, 10, 14, 0xffffffff])
def test_unknown_request_is_unsupported(disk, kind):
    _, front = disk()
    queue, = front.start()
    assert request(queue, kind)[0] == UNSUPP


def test_read_only_disk_cannot_be_changed(disk, image):
    image.chmod(0o400)
    _, front = disk("--read-only")
    offered = front.device_features()
    assert offered & BLK_RO and not offered & (BLK_DISCARD | BLK_WRITE_ZEROES)
    queue, = front.start()
    before = image.read_bytes()
    assert request(queue, OUT, 0, bytes(SECTOR))[0] == IOERR
    assert request(queue, DISCARD, out=ranges((0, 8, 0)))[0] == IOERR
    assert read(queue, 0, SECTOR) == before[:SECTOR]
    assert image.read_bytes() == before


def test_geometry_stands_in_the_config_space(disk):
    _, front = disk("--block-size=4096", "--queue-size=64")
    assert front.config(0, "<Q") == IMAGE_BYTES // SECTOR       # capacity
    assert front.config(12, "<I") == 62                         # seg_max
    assert front.config(20, "<I") == 4096                       # blk_size
    assert front.config(24, "<B") == 0                          # physical_block_exp
    assert front.config(26, "<H") == 1                          # min_io_size
    assert front.config(36, "<2I")[1] == 16                     # max_discard_seg


def test_write_cache_can_be_switched_off(disk):
    _, front = disk()
    queue, = front.start()
    assert front.config(32, "<B") == 1
    front.transact(CONFIG + 32, "<B", 0)
    assert front.config(32, "<B") == 0
    assert request(queue, OUT, 0, bytes(SECTOR))[0] == OK
    front.transact(CONFIG + 32, "<B", 1)
    assert front.config(32, "<B") == 1


def test_capacity_cannot_be_written_by_the_front_end(disk):
    _, front = disk()
    front.start()
    front.transact(CONFIG, "<Q", 1 << 40)
    assert front.config(0, "<Q") == IMAGE_BYTES // SECTOR


@pytest.mark.parametrize("size", [2 * IMAGE_BYTES, IMAGE_BYTES // 2])
def test_sighup_tells_a_new_size(disk, image, size):
    back, front = disk()
    queue, = front.start()
    while front.interrupted(0):
        pass
    generation = front.get(GENERATION, "<I")
    os.truncate(image, size)
    back.signal(signal.SIGHUP)
    assert front.interrupted(0, 10)
    assert front.get(CONFIG_EVENT, "<B") == 1
    assert front.config(0, "<Q") == size // SECTOR
    assert front.get(GENERATION, "<I") == generation + 2
    last = size // SECTOR - 1
    assert request(queue, OUT, last, b"x" * SECTOR)[0] == OK
    assert request(queue, OUT, last + 1, b"x" * SECTOR)[0] == IOERR
    assert image.stat().st_size == size


def test_image_that_shrank_behind_our_back_is_an_error(disk, image):
    back, front = disk()
    queue, = front.start()
    os.truncate(image, 4096)
    # the rest is not what somebody else left there: the front end copies it
    there = image.read_bytes()[6 * SECTOR:]
    assert request(queue, IN, 6, in_bytes=4096) == (IOERR, there.ljust(4096, b"\0"))
    back.said("read at byte")
    assert read(queue, 0, SECTOR)


@pytest.mark.parametrize("args", [[], ["--no-uring"]], ids=" ".join)
def test_full_disk_is_an_error_of_that_request(disk, image, args):
    os.truncate(image, 0)
    os.truncate(image, IMAGE_BYTES)
    back, front = disk(*args, before=["prlimit", f"--fsize={IMAGE_BYTES // 2}"])
    queue, = front.start()
    assert request(queue, OUT, 2000, b"x" * SECTOR)[0] == IOERR
    back.said("File too large")
    assert request(queue, OUT, 0, b"x" * SECTOR)[0] == OK
    assert read(queue, 0, SECTOR) == b"x" * SECTOR
    assert back.alive()


def test_no_space_left_is_an_error_of_that_request(disk, image, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small]).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        image.unlink()
        (small / "image").touch()
        os.truncate(small / "image", IMAGE_BYTES)
        image.symlink_to(small / "image")
        back, front = disk()
        queue, = front.start()
        statuses = [request(queue, OUT, 16 * i, b"x" * 8192)[0] for i in range(16)]
        assert statuses[0] == OK and statuses[-1] == IOERR
        back.said("No space left on device")
        assert read(queue, 0, SECTOR) == b"x" * SECTOR
        assert back.stop() == 0
    finally:
        run(["umount", "-l", small])


def test_random_io_keeps_every_byte(disk, image):
    """A model of the disk beside the disk."""
    rng = random.Random(1)
    _, front = disk("--queues=2")
    queues = front.start(2)
    model = bytearray(image.read_bytes())
    for i in range(1500):
        queue = rng.choice(queues)
        first = rng.randrange(2048)
        size = SECTOR * rng.randint(1, min(64, 2048 - first))
        at = first * SECTOR
        kind = rng.choice((IN, OUT, OUT, WRITE_ZEROES))
        if kind == IN:
            assert read(queue, first, size, indirect=i % 2 == 0) == model[at:at + size]
        elif kind == OUT:
            data = rng.randbytes(size)
            assert request(queue, OUT, first, data, indirect=i % 2 == 0)[0] == OK
            model[at:at + size] = data
        else:
            entry = ranges((first, size // SECTOR, i & 1))
            assert request(queue, WRITE_ZEROES, out=entry)[0] == OK
            model[at:at + size] = bytes(size)
    assert image.read_bytes() == model


# The console

class Console:
    """The front end of a console: what a guest's driver does, with big buffers."""

    def __init__(self, front, mask=~0, size=16384):
        self.front, self.size = front, size
        front.start(2, mask)
        self.rx, self.tx = front.queues
        self.posted = [self.post() for _ in range(16)]

    def post(self):
        at = self.front.alloc(self.size)
        return self.rx.add((at, self.size, True)), at

    def write(self, data, timeout=10):
        for i in range(0, len(data), self.size):
            ident = self.tx.add(self.front.out(data[i:i + self.size]))
            self.tx.kick()
            self.tx.wait(ident, timeout)

    def read(self, size, timeout=10):
        """At least one byte, up to about size; buffers come back in order."""
        data = b""
        self.rx.kick()
        while len(data) < size:
            ident, at = self.posted.pop(0)
            data += self.front.read(at, self.rx.wait(ident, timeout))
            self.posted.append(self.post())
            self.rx.kick()
        return data


@pytest.fixture
def console(link):
    """console(*args) -> (back end, front end's Console)."""
    def start(*args, mask=~0, **kwargs):
        lk = link(0x8003, "-V", "3")
        back = lk.console(*args, **kwargs)
        front = lk.front()
        front.connect()
        return back, Console(front, mask)
    return start


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


@by_ring
def test_console_is_notified_of_each_output(console, mask):
    """Else a driver that spins could not see it die: it looks when it notifies."""
    back, con = console(mask=mask, **PIPES)
    for _ in range(20):
        ident = con.tx.add(con.front.out(b"x"))
        con.tx.kick()
        # As soon as the buffer is used, not some time later
        while not con.tx.collect(ident):
            pass
        assert con.tx.notifications()


FLOOD_BYTES = 100 << 20


def blocks(total, size=1 << 20):
    """Bytes that never repeat: (block, digest so far)."""
    digest = hashlib.sha256()
    for i in range(total // size):
        block = os.urandom(4096) + i.to_bytes(8, "little") * (size // 8 - 512)
        digest.update(block)
        yield block, digest


@by_ring
def test_pipe_both_ways(console, mask):
    back, con = console(mask=mask, **PIPES)
    con.write(b"hello\n")
    assert os.read(back.process.stdout.fileno(), 100) == b"hello\n"
    back.process.stdin.write(b"world\n")
    back.process.stdin.flush()
    assert con.read(1) == b"world\n"


def test_100_mb_from_the_guest_arrive_intact(console):
    back, con = console(**PIPES)
    got = hashlib.sha256()

    def drain():
        while data := os.read(back.process.stdout.fileno(), 65536):
            got.update(data)

    reader = threading.Thread(target=drain)
    reader.start()
    for block, digest in blocks(FLOOD_BYTES):
        con.write(block)
    assert back.stop() == 0
    reader.join(20)
    assert got.digest() == digest.digest()
    assert "dropped" not in back.log()


def test_100_mb_to_the_guest_arrive_intact(console):
    back, con = console(**PIPES)
    sent = []

    def feed():
        for block, digest in blocks(FLOOD_BYTES):
            back.process.stdin.write(block)
        back.process.stdin.close()
        sent.append(digest)

    writer = threading.Thread(target=feed)
    writer.start()
    got, left = hashlib.sha256(), FLOOD_BYTES
    while left:
        data = con.read(1)
        got.update(data)
        left -= len(data)
    writer.join(20)
    assert got.digest() == sent[0].digest()
    assert back.stop() == 0


def test_files_both_ways(link, tmp_path):
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(os.urandom(3 << 20))
    lk = link(0x8003)
    with open(source, "rb") as stdin, open(sink, "wb") as stdout:
        back = lk.console(stdin=stdin, stdout=stdout)
    front = lk.front()
    front.connect()
    con = Console(front)
    data = b""
    while len(data) < 3 << 20:
        data += con.read(1)
    assert data == source.read_bytes()
    con.write(data)
    assert back.stop() == 0
    assert sink.read_bytes() == data


def test_slow_reader_loses_nothing(console):
    """More than all buffers on the way hold: the guest's buffer is held back."""
    back, con = console("--wait=4", **PIPES)
    data = os.urandom(2 << 20)
    idents = [con.tx.add(con.front.out(data[i:i + 16384]))
              for i in range(0, len(data), 16384)]
    con.tx.kick()
    wait_for(lambda: con.tx.collect(idents[60]), what="first half")
    assert not con.tx.collect(idents[-1])
    got = b""
    while len(got) < len(data):
        got += os.read(back.process.stdout.fileno(), 65536)
        con.tx.collect(None)
    assert got == data
    wait_for(lambda: con.tx.collect(idents[-1]), what="last buffer")


def test_reset_is_answered_when_nothing_is_in_flight_any_more(console):
    back, con = console("--wait=4", **PIPES)
    data = os.urandom(2 << 20)
    idents = [con.tx.add(con.front.out(data[i:i + 16384]))
              for i in range(0, len(data), 16384)]
    con.tx.kick()
    wait_for(lambda: con.tx.collect(idents[60]), what="first half")
    front = con.front
    front.put(STATUS, "<I", 0)
    front.put(TRANSACTION, "<I", STATUS)
    front.ring_doorbell(0)
    assert front.client.quiet(0.3)
    assert front.get(TRANSACTION, "<I") == STATUS
    got = b""
    while len(got) < 61 * 16384:
        got += os.read(back.process.stdout.fileno(), 65536)
    front.wait_done()
    front.start(2)


def test_output_that_nobody_takes_is_dropped_and_counted(console):
    back, con = console("--wait=0", **PIPES)
    data = bytes(range(256)) * 16384        # 4 MiB
    con.write(data)
    back.said("nobody takes the output")
    got = os.read(back.process.stdout.fileno(), 65536)
    back.said("bytes of output were dropped")
    while len(got) < 1 << 20:
        got += os.read(back.process.stdout.fileno(), 65536)
    assert data.startswith(got[:1 << 20])
    lost = int(re.search(r"(\d+) bytes of output were dropped", back.log())[1])
    assert 2 << 20 < lost < 3 << 20


def test_reader_that_leaves_ends_it_with_1(console):
    back, con = console(**PIPES)
    back.process.stdout.close()
    assert back.process.wait(10) == 1
    assert "Broken pipe" in back.log()


def test_end_of_input_does_not_end_the_output(console):
    back, con = console(**PIPES)
    back.process.stdin.write(b"last words")
    back.process.stdin.close()
    assert con.read(1) == b"last words"
    con.write(b"still here")
    assert os.read(back.process.stdout.fileno(), 100) == b"still here"
    before = back.cpu_seconds()
    assert con.front.client.quiet(0.5)
    assert back.cpu_seconds() - before < 0.1


def test_input_waits_for_the_front_end(link):
    lk = link(0x8003)
    back = lk.console(**PIPES)
    back.process.stdin.write(b"early")
    back.process.stdin.flush()
    front = lk.front()
    front.connect()
    assert Console(front).read(5) == b"early"
    for _ in range(3):
        front.leave(back)
        back.process.stdin.write(b"again")
        back.process.stdin.flush()
        front.connect()
        con = Console(front)
        assert con.read(5) == b"again"
        con.write(b"yes")
        assert os.read(back.process.stdout.fileno(), 100) == b"yes"


def test_emergency_write_needs_no_queues(console):
    back, con = console(**PIPES)
    for char in b"panic":
        con.front.transact(CONFIG + EMERG_WR, "<I", char)
    got = b""
    while len(got) < 5:
        got += os.read(back.process.stdout.fileno(), 100)
    assert got == b"panic"


def test_log_gets_the_output_too(console, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    back, con = console(f"--log={log}", **PIPES)
    con.write(b"logged")
    assert os.read(back.process.stdout.fileno(), 100) == b"logged"
    assert back.stop() == 0
    assert log.read_bytes() == b"before logged"


def test_full_log_is_told_once_and_the_console_goes_on(console):
    back, con = console("--log=/dev/full", **PIPES)
    for _ in range(3):
        con.write(b"x")
    assert os.read(back.process.stdout.fileno(), 100)
    assert back.log().count("no more is logged") == 1
    assert back.stop() == 0


def test_output_in_flight_is_written_before_the_end(console):
    back, con = console("--wait=4", **PIPES)
    data = os.urandom(1 << 20)
    con.write(data)
    back.signal(signal.SIGTERM)
    got = b""
    while part := os.read(back.process.stdout.fileno(), 65536):
        got += part
    assert got == data
    assert back.process.wait(10) == 0


def test_buffer_that_is_held_back_is_used_before_the_end(console):
    back, con = console("--wait=4", **PIPES)
    size = 10000        # no divisor of what fits into pipes and buffers
    data = os.urandom(200 * size)
    idents = [con.tx.add(con.front.out(data[i:i + size]))
              for i in range(0, len(data), size)]
    con.tx.kick()
    wait_for(lambda: con.tx.collect(idents[100]), what="first half")
    # Until it can take no more: the pipe and the buffer are full
    wait_for(lambda: not con.tx.collect(None) and con.front.client.quiet(0.2),
             what="standstill")
    back.signal(signal.SIGTERM)
    assert con.front.client.quiet(0.3) and back.alive()
    got = b""
    while part := os.read(back.process.stdout.fileno(), 65536):
        got += part
    assert back.process.wait(10) == 0
    con.tx.collect(None)
    used = [i for i in idents if i in con.tx.pending]
    assert len(used) < 200 and got == data[:len(used) * size]


# A terminal

@pytest.fixture
def terminal(link):
    """A console on a terminal of 100x40: (back end, Console, master)."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 100))

    def start(*args):
        lk = link(0x8003, "-V", "3")
        back = lk.console(*args, stdin=slave, stdout=slave)
        front = lk.front()
        front.connect()
        return back, Console(front), master
    yield start
    os.close(master)
    os.close(slave)


def test_terminal_is_raw_and_restored(terminal):
    back, con, master = terminal()
    os.write(master, b"\x03\x04\r\x1a\xff")
    assert con.read(5) == b"\x03\x04\r\x1a\xff"
    con.write(b"a\nb")
    assert os.read(master, 100) == b"a\nb"
    assert not termios.tcgetattr(master)[3] & termios.ICANON
    assert back.stop() == 0
    assert termios.tcgetattr(master)[3] & termios.ICANON


def test_escape_key_then_dot_ends(terminal):
    back, con, master = terminal()
    os.write(master, b"a\x1d\x1db\x1dc.")
    assert con.read(5) == b"a\x1dbc."
    os.write(master, b"\x1d.")
    assert back.process.wait(10) == 0


def test_escape_key_can_be_another_or_none(terminal):
    back, con, master = terminal("--escape=^A")
    os.write(master, b"\x1d.")
    assert con.read(2) == b"\x1d."
    os.write(master, b"\x01.")
    assert back.process.wait(10) == 0


def test_window_size_and_its_changes(terminal):
    back, con, master = terminal()
    assert con.front.features & 1
    assert con.front.config(0, "<HH") == (100, 40)
    while con.front.interrupted(0):
        pass
    con.front.put(CONFIG_EVENT, "<B", 0)
    termios.tcsetwinsize(master, (50, 132))
    back.signal(signal.SIGWINCH)
    assert con.front.interrupted(0, 10)
    assert con.front.get(CONFIG_EVENT, "<B") == 1
    assert con.front.config(0, "<HH") == (132, 50)


def test_window_size_can_be_given(console):
    _, con = console("--size=80x25", **PIPES)
    assert con.front.features & 1
    assert con.front.config(0, "<HH") == (80, 25)


def test_window_size_is_told_once_to_each_driver(console):
    """Linux 6.1 looks at it only when told of a change."""
    _, con = console("--size=80x25", **PIPES)
    for _ in range(2):
        assert con.front.get(CONFIG_EVENT, "<B") == 1
        con.front.put(CONFIG_EVENT, "<B", 0)
        con.write(b"x")
        assert con.front.get(CONFIG_EVENT, "<B") == 0
        con.front.transact(STATUS, "<I", 0)
        con = Console(con.front)


def test_no_window_is_no_size(console):
    _, con = console(**PIPES)
    assert not con.front.features & 1
    assert con.front.get(CONFIG_EVENT, "<B") == 0


def test_pty_and_its_link(console, tmp_path):
    path = tmp_path / "console"
    back, con = console(f"--pty={path}", stdout=subprocess.PIPE)
    name = back.process.stdout.readline().decode().strip()
    assert os.readlink(path) == name
    con.write(b"before anybody looks\n")
    for i in range(3):
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        if not i:
            assert os.read(fd, 100) == b"before anybody looks\n"
        con.write(b"out\n")
        assert os.read(fd, 100) == b"out\n"
        os.write(fd, b"in\r")
        assert con.read(3) == b"in\r"
        os.close(fd)
    assert back.stop() == 0
    assert not os.path.lexists(path)


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:
        def start(path):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(10)
            sock.connect(str(path))
            return sock
        yield start


def test_clients_of_the_socket_one_after_the_other(console, connect, tmp_path):
    path = tmp_path / "console.sock"
    back, con = console(f"--listen=unix:{path}", "--wait=4")
    assert path.stat().st_mode & 0o777 == 0o700
    con.write(b"nobody hears this")
    for i in range(5):
        sock = connect(path)
        wait_for(lambda: back.log().count("client has connected") == i + 1,
                 what="client is taken")
        con.write(b"out")
        assert sock.recv(100) == b"out"
        sock.sendall(b"in")
        assert con.read(2) == b"in"
        sock.close()
        wait_for(lambda: back.log().count("client has left") == i + 1,
                 what="client has left")
    assert back.stop() == 0
    assert not path.exists()


def test_client_that_sends_and_leaves_is_heard_in_full(console, connect, tmp_path):
    path = tmp_path / "console.sock"
    back, con = console(f"--listen=unix:{path}")
    data = os.urandom(1 << 20)
    sock = connect(path)
    sender = threading.Thread(target=lambda: (sock.sendall(data), sock.close()))
    sender.start()
    got = b""
    while len(got) < len(data):
        got += con.read(1)
    sender.join(10)
    assert got == data
    back.said("client has left")


def test_client_that_half_closes_still_gets_output(console, connect, tmp_path):
    path = tmp_path / "console.sock"
    back, con = console(f"--listen=unix:{path}")
    sock = connect(path)
    sock.sendall(b"question")
    sock.shutdown(socket.SHUT_WR)
    assert con.read(8) == b"question"
    con.write(b"answer")
    assert sock.recv(100) == b"answer"


def test_socket_of_a_dead_back_end_is_replaced(link, tmp_path, connect):
    path = tmp_path / "console.sock"
    link(0x8003).console(f"--listen=unix:{path}").kill()
    assert path.exists()
    link(0x8003).console(f"--listen=unix:{path}")
    connect(path)
    other = link(0x8003).back("console", f"--listen=unix:{path}")
    assert other.process.wait(10) == 1
    assert "Address already in use" in other.log()
