# SPDX-License-Identifier: GPL-2.0
"""A virtio back end in Python on the server's socket, as simple as can be: one
thread, split rings, looking instead of sleeping. Tests derive from it to have
devices without a program, and back ends that break one rule each.
"""

import struct
import threading
import time

from .peer import Peer, store
from .virtio import (CONFIG, DEVICE_FEATURES, DEVICE_FEATURES_SEL, DRIVER_FEATURES_SEL,
                     DRIVER_OK, INDIRECT, NEXT, QUEUE_DESC, QUEUE_DEVICE, QUEUE_DRIVER,
                     QUEUE_ENABLE, QUEUE_EVENT, QUEUE_SEL, QUEUE_SIZE, DRIVER_VECTOR,
                     REVISION, SIZE, STATUS, TABLE_BYTES, TRANSACTION, TRANSPORT, WRITE,
                     load_index, store_index)

_BANK = range(QUEUE_SIZE, QUEUE_DEVICE + 8)


class Queue:
    """The registers of a queue, and where its rings were seen last."""

    def __init__(self, index, size, vector):
        self.index = index
        self.max_size = size
        self.vector = vector
        self.reset()

    def reset(self):
        self.bank = bytearray(struct.pack("<HHHHQQQ", self.max_size, self.vector,
                                          0, 0, 0, 0, 0))
        self.seen = self.used = 0

    def register(self, offset, fmt):
        return struct.unpack_from(fmt, self.bank, offset - QUEUE_SIZE)[0]

    def __getattr__(self, name):
        offset, fmt = {"size": (QUEUE_SIZE, "<H"), "enabled": (QUEUE_ENABLE, "<H"),
                       "driver_vector": (DRIVER_VECTOR, "<H"), "desc": (QUEUE_DESC, "<Q"),
                       "avail": (QUEUE_DRIVER, "<Q"), "device": (QUEUE_DEVICE, "<Q")}[name]
        return self.register(offset, fmt)


class BackEnd(Peer):
    """Id 0 of a link. start() lets it live until close()."""

    features = 0
    config = b""
    queues = 1
    queue_size = 64
    queue_vectors = None        # None: one each, as far as there are
    revision = 1
    header_size = None

    def __init__(self, path):
        super().__init__(path)
        assert self.id == 0
        self.sel = {}
        self.queue = []
        self.status = 0
        self.acts = 0           # transactions that were answered
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.error = None

    def start(self):
        self._thread.start()
        return self

    def close(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        super().close()
        if self.error:
            raise self.error

    # Memory: offsets into the R/W section

    def get(self, offset, fmt):
        values = struct.unpack_from(fmt, self.memory, TABLE_BYTES + offset)
        return values if len(values) > 1 else values[0]

    def put(self, offset, fmt, *values):
        struct.pack_into(fmt, self.memory, TABLE_BYTES + offset, *values)

    def read(self, offset, size):
        return self.memory[TABLE_BYTES + offset:TABLE_BYTES + offset + size]

    def write(self, offset, data):
        self.memory[TABLE_BYTES + offset:TABLE_BYTES + offset + len(data)] = data

    # Life

    def _live(self):
        try:
            while not self._stop.is_set():
                self.turn()
        except BaseException as error:      # the test that closes us gets it
            self.error = error

    def _pause(self, predicate):
        """Wait, but for the end; False at the end."""
        while not predicate():
            if self._stop.wait(0.0005):
                return False
        return True

    def kick(self, vector=0):
        """Interrupt the front end, without a look at whether it takes it."""
        if 1 in self.others():
            self.bell(1, vector)

    def announce(self, state):
        store(self.memory, 0, "<I", state)
        self.kick()

    def front_ready(self):
        return self.state(1) == 1

    def turn(self):
        """From one RESET of the front end to the next."""
        self.announce(0)
        if not self._pause(lambda: self.state(1) == 0):
            return
        self.fill_header()
        self.announce(1)
        if not self._pause(self.front_ready):
            return
        while self.front_ready() and not self._stop.is_set():
            self.serve()

    def fill_header(self):
        self.write(0, bytes(CONFIG))
        self.put(REVISION, "<I", self.revision)
        size = CONFIG + len(self.config) if self.header_size is None else self.header_size
        self.put(SIZE, "<I", size)
        self.write(CONFIG, self.config)
        self.reset()

    def reset(self):
        self.sel = {QUEUE_SEL: 0, DEVICE_FEATURES_SEL: 0, DRIVER_FEATURES_SEL: 0}
        vectors = self.queue_vectors or [min(i + 1, self.vectors - 1)
                                         for i in range(self.queues)]
        self.queue = [Queue(i, self.queue_size, vectors[i]) for i in range(self.queues)]

    def serve(self):
        """A look at everything."""
        offset = self.get(TRANSACTION, "<I")
        if offset:
            self.transaction(offset)
        busy = False
        for queue in self.queue:
            while queue.enabled and self.status & DRIVER_OK and self.pop(queue):
                busy = True
        if not offset and not busy:
            time.sleep(0.0002)

    # Transactions

    def transaction(self, offset):
        self.act(offset)
        self.acts += 1
        self.put(TRANSACTION, "<I", 0)

    def act(self, offset):
        if offset in self.sel:
            self.sel[offset] = self.get(offset, "<I")
        if offset == DEVICE_FEATURES_SEL:
            half = min(self.sel[offset], 1)
            offered = self.features | TRANSPORT
            self.put(DEVICE_FEATURES, "<I", offered >> 32 * half & 0xffffffff)
        elif offset == STATUS:
            self.status = self.get(STATUS, "<I")
            if not self.status:
                self.reset()
        elif offset in _BANK or offset == QUEUE_SEL:
            self.act_queue(offset)

    def act_queue(self, offset):
        index = self.sel[QUEUE_SEL]
        if index >= len(self.queue):
            self.write(QUEUE_SIZE, bytes(len(_BANK)))
        elif offset == QUEUE_SEL:
            self.write(QUEUE_SIZE, bytes(self.queue[index].bank))
        else:
            self.queue[index].bank[:] = self.read(QUEUE_SIZE, len(_BANK))

    # Split rings

    def chain(self, queue, head):
        """The segments of a buffer: (address, length, writable)."""
        table, index = queue.desc, head
        while True:
            addr, length, flags, following = self.get(table + 16 * index, "<QIHH")
            if flags & INDIRECT:
                table, index = addr, 0
                continue
            yield addr, length, bool(flags & WRITE)
            if not flags & NEXT:
                return
            index = following

    def pop(self, queue):
        """Serve the next buffer, if there is one."""
        avail = load_index(self.memory, TABLE_BYTES + queue.avail + 2)
        if avail == queue.seen & 0xffff:
            return False
        head = self.get(queue.avail + 4 + 2 * (queue.seen % queue.size), "<H")
        queue.seen += 1
        self.serve_buffer(queue, head, list(self.chain(queue, head)))
        return True

    def serve_buffer(self, queue, head, segments):
        """Of the device type; by default all is taken, nothing is given."""
        self.push(queue, head, 0)

    def push(self, queue, head, written):
        self.put(queue.device + 4 + 8 * (queue.used % queue.size), "<II", head, written)
        queue.used += 1
        store_index(self.memory, TABLE_BYTES + queue.device + 2, queue.used)
        self.put(QUEUE_EVENT, "<B", 1)
        self.kick(queue.driver_vector)

    def give(self, segments, data):
        """Copy to the writable segments; how much fitted."""
        done = 0
        for addr, length, writable in segments:
            if writable and done < len(data):
                part = data[done:done + length]
                self.write(addr, part)
                done += len(part)
        return done

    def taken(self, segments):
        return b"".join(self.read(addr, length)
                        for addr, length, writable in segments if not writable)


class Disk(BackEnd):
    """A disk of zeroes; what is written to it is forgotten."""

    config = struct.pack("<QII", 4096, 0, 8) + bytes(48)
    features = 1 << 2           # SEG_MAX
    ok = 0

    def serve_buffer(self, queue, head, segments):
        room = sum(length for _, length, writable in segments if writable)
        self.push(queue, head, self.give(segments, bytes(room - 1) + bytes([self.ok])))
