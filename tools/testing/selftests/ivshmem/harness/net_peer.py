# SPDX-License-Identifier: GPL-2.0
"""An Ethernet peer of the first generation in Python, on the real server's
socket: plain frames, complete checksums, no extension. It was written from the
description of the protocol and shares no code with the other end.

The numbers of include/uapi/linux/ivshmem_net.h are literals here on purpose,
so that a change there fails a test.
"""

import collections
import os
import select
import struct
import threading

from .peer import Peer, store
from .process import limit

RESET, INIT, READY, RUN = range(4)


def _align(n, to):
    return (n + to - 1) // to * to


def checksum(data):
    """The Internet checksum of all 16-bit words, as it is written."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


class Layout:
    """What an output section of that size is divided into, as offsets."""

    def __init__(self, size):
        qlen = 4096
        while qlen > 32 and self._header(qlen) >= size / 8:
            qlen //= 2
        self.qlen = qlen
        self.avail = 16 * qlen
        self.used = self._used(qlen)
        self.data = self._header(qlen)
        self.end = size
        assert size - self.data >= 4 * 68, "section too small"
        self.used_event = self.avail + 4 + 2 * qlen
        self.avail_event = self.used + 4 + 8 * qlen

    @staticmethod
    def _used(qlen):
        return _align(16 * qlen + 2 * (3 + qlen), 64)

    @classmethod
    def _header(cls, qlen):
        return _align(cls._used(qlen) + 2 * 3 + 8 * qlen, 64)


class _Link(Peer):
    """The peer on the server's socket, with what a driver wants of it."""

    def __init__(self, path):
        super().__init__(path)
        self.other = 1 - self.id
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self):
        super().close()
        os.close(self.wake_fd)

    def wait(self, seconds):
        """Until an interrupt, a message of the server, or wake()."""
        bells = [*self._eventfds[self.id], self.wake_fd]
        ready, _, _ = select.select([*bells, self.client.sock], [], [], seconds)
        for fd in set(ready) & set(bells):
            os.read(fd, 8)
        self.others()

    def wake(self):
        os.write(self.wake_fd, struct.pack("<Q", 1))

    def doorbell(self, vector):
        # For every thread: only wait() reads what the server says
        if len(self._eventfds.get(self.other, ())) == self.vectors:
            self.bell(self.other, vector)

    def change_state(self, value):
        changed = self.state(self.id) != value
        store(self.memory, 4 * self.id, "<I", value)
        if changed:
            self.doorbell(0)


class NetPeer:
    """One end of the cable. A thread of its own follows the link, takes frames
    and, with an address, answers ARP and ICMP echo; all other frames are for
    recv(). What the other end does against the rules is raised by the next
    call of the test.

    start() and stop() are the driver's life, kill() a crash; set_up() is `ip
    link set up` or down. While it is paused, frames stay where they are.
    """

    def __init__(self, path, address=None, mac="02:00:00:00:00:99"):
        self.path = path
        self.address = bytes(map(int, address.split("."))) if address else None
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.link = self.thread = self.error = None
        self.paused = False
        self._fence_lock = threading.Lock()

    # Life

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self, up=True):
        self.link = _Link(self.path)
        self.layout = Layout(self.link.output_size)
        self.mine = self.link.output(self.link.id)
        self.theirs = self.link.output(self.link.other)
        self.vector = 1 if self.link.vectors > 1 else 0
        self.state, self.carrier, self.up, self.ending = RESET, False, up, False
        self.frames = collections.deque()
        self.moved = threading.Condition()
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _end(self):
        self.ending = True
        self.link.wake()
        self.thread.join(10)
        assert not self.thread.is_alive(), "the peer hangs"
        self.thread = None

    def kill(self):
        """Gone without a word: only the server notices."""
        if self.thread:
            self._end()
            self.link.close()

    def stop(self):
        """Gone in good order; raises what the other end did wrong."""
        if not self.thread:
            return
        self._end()
        self.link.change_state(RESET)
        self.link.close()
        self._check()

    def set_up(self, up):
        with self.moved:
            if self.up and not up:
                self._set_state(RESET)
            self.up = up
        self.link.wake()

    def pause(self, paused):
        self.paused = paused
        self.link.wake()

    def _check(self):
        if self.error:
            raise AssertionError(f"the other end broke a rule: {self.error!r}")

    def wait_for(self, predicate, timeout=30, what="condition"):
        """Until predicate(self) is true; it is asked after each turn."""
        with self.moved:
            ended = self.moved.wait_for(lambda: self.error or predicate(self),
                                        limit(timeout))
        self._check()
        if not ended:
            raise TimeoutError(f"{what}: not within {timeout} s")

    def wait_running(self, timeout=10):
        self.wait_for(lambda p: p.state == RUN and p.other_state() == RUN, timeout,
                      "both ends in RUN")

    def other_state(self):
        state = self.link.state(self.link.other)
        return state if state <= RUN else RESET

    # Memory. A lock taken and released is a full barrier.

    def _fence(self):
        with self._fence_lock:
            pass

    def peek(self, form, offset):
        """Of the other's section."""
        return struct.unpack_from("<" + form, self.link.memory, self.theirs + offset)

    def poke(self, form, offset, *values):
        """Into the own section."""
        store(self.link.memory, self.mine + offset, "<" + form, *values)

    def ring(self):
        self.link.doorbell(self.vector)

    # Link

    def _set_state(self, state):
        self.state = state
        self.carrier = state in (READY, RUN) and self.other_state() in (READY, RUN)
        self.link.change_state(state)

    def _prepare(self):
        start = self.mine
        self.link.memory[start:start + self.layout.data] = bytes(self.layout.data)
        self.sent = self.published = self.returned = 0
        self.taken = 0
        self.head = self.layout.data
        self.flight = collections.deque()

    def _step(self):
        """True if the state changed."""
        mine, other = self.state, self.other_state()
        if mine == RESET and other in (RESET, INIT):
            self._set_state(INIT)
        elif mine == INIT and other != RESET:
            self._prepare()
            self._set_state(READY)
        elif mine in (READY, RUN) and other == RESET or mine == RUN and other == INIT:
            self._set_state(RESET)
        elif mine == READY and other in (READY, RUN):
            self.carrier = True
            if not self.up:
                return False
            self._set_state(RUN)
        else:
            return False
        return True

    def _run(self):
        while not self.ending:
            try:
                with self.moved:
                    while self._step():
                        pass
                    if self.state == RUN and not self.paused:
                        self._reclaim()
                        self._receive()
                    self.moved.notify_all()
                self.link.wait(0.2)
            except (AssertionError, EOFError, OSError) as error:
                with self.moved:
                    self.error = error
                    self.moved.notify_all()
                return

    # Frames from here

    def _reclaim(self):
        idx, = self.peek("H", self.layout.used + 2)
        done = (idx - self.returned) & 0xffff
        assert done <= len(self.flight), f"{done} frames returned of {len(self.flight)}"
        for _ in range(done):
            slot = self.returned % self.layout.qlen
            used = self.peek("II", self.layout.used + 4 + 8 * slot)
            expected, _, _ = self.flight.popleft()
            assert used == (expected, 1), f"returned {used}, not {(expected, 1)}"
            self.returned = (self.returned + 1) & 0xffff
        self.poke("H", self.layout.used_event, self.returned)
        self._fence()
        if self.peek("H", self.layout.used + 2)[0] != self.returned:
            self.link.wake()

    def _find(self, length):
        """Where a frame goes, or None: contiguous, behind the one before it."""
        need = _align(length + 18, 64)
        if len(self.flight) == self.layout.qlen:
            return None
        if not self.flight:
            self.head = self.layout.data
            return self.head if self.head + need <= self.layout.end else None
        tail = self.flight[0][1]
        if self.head > tail:
            if self.head + need <= self.layout.end:
                return self.head
            self.head = self.layout.data
        return self.head if self.head + need <= tail else None

    def _place(self, frame):
        place = self._find(len(frame)) if self.state == RUN else None
        if place is None:
            return False
        ident = self.sent % self.layout.qlen
        start = self.mine + place
        self.link.memory[start:start + len(frame)] = frame
        self.poke("QIHH", 16 * ident, place, len(frame), 0, 0)
        self.poke("H", self.layout.avail + 4 + 2 * ident, ident)
        self.flight.append((ident, place, len(frame)))
        self.head = place + _align(len(frame) + 18, 64)
        self.sent = (self.sent + 1) & 0xffff
        return True

    def _publish(self):
        old, self.published = self.published, self.sent
        self.poke("H", self.layout.avail + 2, self.sent)
        self._fence()
        event, = self.peek("H", self.layout.avail_event)
        if (self.sent - event - 1) & 0xffff < (self.sent - old) & 0xffff:
            self.ring()

    def send(self, frame, timeout=10):
        """A frame; waits for the link and for room."""
        def place(_):
            return self._place(frame)

        with self.moved:
            self.wait_for(place, timeout, "room for a frame")
            self._publish()

    # Frames from there

    def _take(self):
        slot = self.taken % self.layout.qlen
        ident, = self.peek("H", self.layout.avail + 4 + 2 * slot)
        assert ident < self.layout.qlen, f"descriptor {ident}"
        addr, length, flags, _ = self.peek("QIHH", 16 * ident)
        assert flags == 0, f"flags {flags:#x} of a descriptor"
        assert length >= 14 and self.layout.data <= addr <= self.layout.end - length, \
            f"{length} bytes at {addr:#x}"
        start = self.theirs + addr
        frame = self.link.memory[start:start + length]
        self.poke("II", self.layout.used + 4 + 8 * slot, ident, 1)
        self.taken = (self.taken + 1) & 0xffff
        return frame

    def _receive(self):
        idx, = self.peek("H", self.layout.avail + 2)
        new = (idx - self.taken) & 0xffff
        assert new <= self.layout.qlen, f"{new} new frames"
        if new:
            old = self.taken
            frames = [self._take() for _ in range(new)]
            self.poke("H", self.layout.used + 2, self.taken)
            self._fence()
            event, = self.peek("H", self.layout.used_event)
            if (self.taken - event - 1) & 0xffff < (self.taken - old) & 0xffff:
                self.ring()
            for frame in frames:
                self._deliver(frame)
        self.poke("H", self.layout.avail_event, self.taken)
        self._fence()
        if self.peek("H", self.layout.avail + 2)[0] != self.taken:
            self.link.wake()

    def _deliver(self, frame):
        answer = self._answer(frame) if self.address else None
        if not answer:
            self.frames.append(frame)
        elif self._place(answer):
            self._publish()

    def recv(self, timeout=10, wanted=lambda frame: True):
        """The oldest frame that is wanted; those before it are thrown away."""
        def find(_):
            while self.frames:
                frame = self.frames.popleft()
                if wanted(frame):
                    found.append(frame)
                    return True
            return False

        found = []
        self.wait_for(find, timeout, "a frame")
        return found[0]

    # What a network stack would do

    def _answer(self, frame):
        kind, = struct.unpack_from(">H", frame, 12)
        if kind == 0x0806 and frame[20:22] == b"\0\1" and frame[38:42] == self.address:
            return self.arp(2, frame[6:12], frame[28:32])
        if kind == 0x0800 and frame[23] == 1 and frame[30:34] == self.address \
                and frame[34] == 8:
            return self._echo_reply(frame)
        return None

    def arp(self, operation, mac, address):
        """An ARP request (1) or reply (2) to who has that MAC and IP address."""
        head = bytes.fromhex("ffffffffffff") if operation == 1 else mac
        return (head + self.mac + struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation) +
                self.mac + self.address + mac + address).ljust(60, b"\0")

    def _echo_reply(self, frame):
        length, = struct.unpack_from(">H", frame, 16)
        packet = bytearray(frame[14:14 + length])
        start = 4 * (packet[0] & 15)
        assert checksum(bytes(packet[:start])) == 0, "checksum of an IP header"
        assert checksum(bytes(packet[start:])) == 0, "checksum of an ICMP packet"
        packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
        packet[start:start + 4] = bytes(4)
        packet[start + 2:start + 4] = struct.pack(">H", checksum(bytes(packet[start:])))
        return frame[6:12] + self.mac + b"\x08\0" + packet
