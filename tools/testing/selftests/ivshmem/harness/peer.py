# SPDX-License-Identifier: GPL-2.0
"""A peer that is a process of the host, in Python: it sees all of the memory
and every event file descriptor, and is as well or ill behaved as a test wants.
"""

import mmap
import os
import select
import struct

from .process import wait_for
from .proto import EVENT_FD, PEER_GONE, Client


def store(memory, offset, form, *values):
    """Into memory that others read: struct.pack_into() zeroes it first, and who
    looks then sees an index go back, or a State that nobody set.
    """
    data = struct.pack(form, *values)
    memory[offset:offset + len(data)] = data


class Peer:
    def __init__(self, path, timeout=10):
        self.client = Client(path, timeout)
        init, fd = self.client.init()
        self.id = init.id
        self.max_peers = init.max_peers
        self.vectors = init.vectors
        self.output_size = init.output_size
        self.memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self.table_size = (4 * self.max_peers + 4095) // 4096 * 4096
        self.outputs = len(self.memory) - self.max_peers * self.output_size
        self._eventfds = {}
        while len(self._eventfds.get(self.id, ())) < self.vectors:
            self._handle(self.client.message())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.client.close()

    def _handle(self, message):
        id, = struct.unpack_from("<I", message.body)
        if message.type == EVENT_FD:
            self._eventfds.setdefault(id, []).append(message.fds[0])
        elif message.type == PEER_GONE:
            self._eventfds.pop(id, None)

    def others(self):
        """Ids of the peers that are connected now, with all their vectors."""
        while not self.client.quiet(0):
            self._handle(self.client.message())
        return sorted(id for id, fds in self._eventfds.items()
                      if id != self.id and len(fds) == self.vectors)

    def ring(self, id, vector=0):
        """Interrupt a peer; returns when its VMM has taken the event."""
        wait_for(lambda: id in self.others(), what=f"peer {id}")
        fd = self._eventfds[id][vector]
        os.write(fd, struct.pack("<Q", 1))
        wait_for(lambda: not select.select([fd], [], [], 0)[0],
                 what=f"peer {id} to take vector {vector}")

    def bell(self, id, vector=0):
        """Interrupt a peer that is there; it takes the event when it likes."""
        os.write(self._eventfds[id][vector], struct.pack("<Q", 1))

    def rung(self, vector=0):
        """How often a vector of ours was rung since the last time we asked."""
        fd = self._eventfds[self.id][vector]
        if not select.select([fd], [], [], 0)[0]:
            return 0
        return struct.unpack("<Q", os.read(fd, 8))[0]

    def state(self, id):
        return struct.unpack_from("<I", self.memory, 4 * id)[0]

    def set_state(self, value):
        store(self.memory, 4 * self.id, "<I", value)
        for id in self.others():
            self.ring(id)

    def output(self, id):
        """Offset of a peer's output section."""
        return self.outputs + id * self.output_size
