# SPDX-License-Identifier: GPL-2.0
"""QEMU's control channel, as far as the tests need it."""

import json
import socket
import time

from .process import limit


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    def __init__(self, path):
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(str(path))
        self._buffer = b""
        self._events = []
        self._read(20)
        self.command("qmp_capabilities")

    def _read(self, timeout):
        while b"\n" not in self._buffer:
            self._sock.settimeout(timeout)
            data = self._sock.recv(65536)
            if not data:
                raise EOFError("QEMU closed its control channel")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, /, timeout=20, **arguments):
        """Run it: what QEMU returns, or QmpError."""
        request = json.dumps({"execute": name, "arguments": arguments})
        self._sock.sendall(request.encode() + b"\n")
        while True:
            message = self._read(timeout)
            if "error" in message:
                raise QmpError(f"{name}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self._events.append(message)

    def wait_event(self, name, timeout=20, **data):
        """Take the event with these data out of those that came or will."""
        timeout = limit(timeout)
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if (event["event"] == name and
                        data.items() <= event.get("data", {}).items()):
                    self._events.remove(event)
                    return event
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"QEMU's event {name} {data}: not within {timeout} s")
            self._events.append(self._read(left))

    def close(self):
        self._sock.close()
