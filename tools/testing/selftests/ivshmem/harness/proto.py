# SPDX-License-Identifier: GPL-2.0
"""Both ends of the server protocol, scripted.

The numbers come from include/uapi/linux/ivshmem_server.h; they are repeated
here as literals on purpose, so that a change there fails a test.
"""

import array
import mmap
import os
import select
import socket
import struct
from collections import namedtuple

INIT, EVENT_FD, PEER_GONE = 0, 1, 2

Message = namedtuple("Message", "type len body fds")
Init = namedtuple("Init", "version compatible id max_peers vectors protocol output_size")


def init(id=0, max_peers=2, vectors=1, protocol=0, output_size=0, version=2,
         compatible=2):
    return struct.pack("<8IQ", INIT, 40, version, compatible, id, max_peers,
                       vectors, protocol, output_size)


def event_fd(id, vector):
    return struct.pack("<4I", EVENT_FD, 16, id, vector)


def peer_gone(id):
    return struct.pack("<3I", PEER_GONE, 12, id)


def send(sock, data, fds=()):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                           array.array("i", fds))] if fds else [])


def memory(size):
    """Shared memory as a server makes it: (fd, mmap)."""
    fd = os.memfd_create("ivshmem-test", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd, mmap.mmap(fd, size)


class Client:
    """A client that reads message by message and forgets nothing."""

    def __init__(self, path, timeout=10):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self.fds = []

    def _read(self, size):
        data, fds = b"", []
        while len(data) < size:
            part, anc, _, _ = self.sock.recvmsg(size - len(data),
                                                socket.CMSG_SPACE(4))
            if not part:
                raise EOFError("server closed the connection")
            data += part
            for level, kind, payload in anc:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    got = array.array("i")
                    got.frombytes(payload[:len(payload) // 4 * 4])
                    fds += list(got)
        self.fds += fds
        return data, fds

    def message(self):
        head, fds = self._read(8)
        kind, length = struct.unpack("<2I", head)
        body, more = self._read(length - 8)
        return Message(kind, length, body, fds + more)

    def init(self):
        """The first message: (Init, fd of the shared memory)."""
        msg = self.message()
        assert msg.type == INIT and msg.len == 40, msg
        assert len(msg.fds) == 1, msg
        return Init(*struct.unpack("<6IQ", msg.body)), msg.fds[0]

    def quiet(self, seconds=0.2):
        """True if nothing arrives for that long."""
        return not select.select([self.sock], [], [], seconds)[0]

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Server:
    """A server that says exactly what the test tells it to."""

    def __init__(self, path, timeout=20):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.settimeout(timeout)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.conn = None

    def accept(self):
        self.conn, _ = self.listener.accept()
        return self.conn

    def send(self, data, fds=()):
        send(self.conn, data, fds)

    def drop(self):
        self.conn.close()
        self.conn = None

    def close(self):
        self.listener.close()
        if self.conn:
            self.conn.close()
        os.unlink(self.path)
