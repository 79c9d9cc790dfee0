# SPDX-License-Identifier: GPL-2.0
"""Other virtio drivers on the transport: what they need is the vring API and
nothing else. Their back ends are a few lines each, here.
"""

import struct

import pytest

from harness.process import wait_for
from harness.virtio_backend import BackEnd

pytestmark = pytest.mark.guest
GUEST = {"modules": ["virtio_ivshmem", "virtio-rng", "virtio_net"]}

NET_MAC = 1 << 5
NET_HEADER_BYTES = 12
GUEST_MAC, OTHER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
GUEST_IP, OTHER_IP = "10.9.0.1", "10.9.0.2"


class Rng(BackEnd):
    """Gives what a test can tell from any other bytes."""

    def serve_buffer(self, queue, head, segments):
        room = sum(length for _, length, writable in segments if writable)
        self.push(queue, head, self.give(segments, (b"ivshmem!" * room)[:room]))


class Net(BackEnd):
    """A host that answers pings, with one frame in one buffer."""

    queues = 2
    queue_size = 64
    features = NET_MAC
    config = GUEST_MAC + bytes(6)

    def reset(self):
        super().reset()
        self.empty = []
        self.pings = 0

    def serve_buffer(self, queue, head, segments):
        if queue.index == 0:
            self.empty.append((head, segments))
            return
        answer = self.answer(self.taken(segments)[NET_HEADER_BYTES:])
        self.push(queue, head, 0)
        if answer and self.empty:
            head, segments = self.empty.pop(0)
            header = bytes(NET_HEADER_BYTES - 2) + struct.pack("<H", 1)
            self.push(self.queue[0], head, self.give(segments, header + answer))

    def answer(self, frame):
        """To an ARP request, or an echo request over IPv4; None else."""
        if frame[12:22] == bytes.fromhex("08060001080006040001"):
            return (frame[6:12] + OTHER_MAC + frame[12:21] + b"\2" + OTHER_MAC +
                    frame[38:42] + frame[22:32])
        if frame[12:14] != b"\x08\x00" or frame[23] != 1 or frame[34] != 8:
            return None
        self.pings += 1
        checksum = struct.unpack_from(">H", frame, 36)[0] + 0x0800
        checksum = (checksum & 0xffff) + (checksum >> 16)
        return (frame[6:12] + frame[0:6] + frame[12:26] + frame[30:34] + frame[26:30] +
                b"\0\0" + struct.pack(">H", checksum) + frame[38:])


@pytest.fixture
def served(guest, link):
    """served(kind, class) -> (Front, back end that is running)"""
    backs = []

    def start(kind, back_end, **properties):
        this = link(kind, vectors=3)
        front = this.plug(guest, **properties)
        backs.append(back_end(this.socket).start())
        front.wait()
        return front, backs[-1]

    yield start
    for back in backs:
        back.close()


def test_random_numbers_come_from_the_back_end(guest, served):
    served("rng", Rng)
    guest.wait_for("grep virtio_rng /sys/class/misc/hw_random/rng_current")
    assert guest.run("dd if=/dev/hwrng bs=64 count=64").stdout == b"ivshmem!" * 512


def test_reader_of_random_numbers_is_let_go_when_the_back_end_dies(guest, served):
    class Slow(Rng):
        def serve_buffer(self, queue, head, segments):
            self.acts += 1000

    front, back = served("rng", Slow)
    reader = guest.popen("dd if=/dev/hwrng bs=64 count=1")
    wait_for(lambda: back.acts >= 1000, what="request for random numbers")
    back.close()
    front.wait_gone()
    reader.wait()


@pytest.mark.parametrize("msix", [True, False], ids=["msix", "intx"])
def test_network_carries_pings(guest, served, msix):
    front, back = served("net", Net, msix=msix)
    name = guest.wait_for(f"ls {front.sysfs}/virtio*/net")
    guest.check(f"ip addr add {GUEST_IP}/24 dev {name} && ip link set {name} up")
    out = guest.check(f"ping -c 5 -s 1400 {OTHER_IP}")
    assert "5 packets transmitted, 5 packets received" in out
    assert back.pings == 5


def test_network_interface_goes_with_the_back_end_and_comes_back(guest, served, link):
    front, back = served("net", Net)
    guest.wait_for(f"ls {front.sysfs}/virtio*/net")
    socket = back.client.sock.getpeername()
    back.close()
    front.wait_gone()
    again = Net(socket).start()
    try:
        guest.wait_for(f"ls {front.sysfs}/virtio*/net")
    finally:
        again.close()
