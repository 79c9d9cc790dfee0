# SPDX-License-Identifier: GPL-2.0
"""Peers on the host at the other end of an ivshmem-net cable. One is honest and
simple: it answers ARP and ping. The others derive from it and break one rule
each. They are processes of their own, so that they get in nobody's way but the
guest's:

    python3 -m harness.net_hostile SOCKET NAME ADDRESS

says "run" when the link is up for the first time, and "act" when the peer has
done for the first time what its name says.
"""

import ipaddress
import os
import random
import struct
import sys
import time
from collections import namedtuple

from .peer import Peer, store
from .process import wait_for

RESET, INIT, READY, RUN = range(4)

MAC = bytes.fromhex("020000000099")
BROADCAST = b"\xff" * 6
EXPERIMENTAL = b"\x88\xb5"      # an EtherType that nobody listens to
MAX_FRAME = 2048 - 64

VNET_HDR, CSUM, TSO4, TSO6, USO = (1 << n for n in range(5))
EXT_FLAG = 0x8000
EXT_BYTES = 64
EXT = {"magic": 0x584e5649, "version": 1, "queues": 1, "features": VNET_HDR,
       "max_frame": 65535, "max_gso": 65535, "vectors": 2}

NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 3, 4, 5

Layout = namedtuple("Layout", "qlen avail used data end")


def align(value, to):
    return -(-value // to) * to


def layout(size):
    """How a section of that size is laid out, as net.rst has it."""
    qlen = 4096
    while True:
        avail = 16 * qlen
        used = align(avail + 6 + 2 * qlen, 64)
        data = align(used + 6 + 8 * qlen, 64)
        if qlen == 32 or data < size // 8:
            return Layout(qlen, avail, used, data, size)
        qlen //= 2


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class NetPeer(Peer):
    """The honest one. It looks instead of sleeping, and rings for everything."""

    ext = None          # None, or what differs from EXT
    bells = 0, 1        # the vectors that it rings
    header = 0          # bytes in front of each frame, once the link is up

    def __init__(self, path, address):
        super().__init__(path)
        self.guest = 1 - self.id
        self.address = ipaddress.ip_address(address).packed
        self.random = random.Random(type(self).__name__)
        self.layout = layout(self.output_size)
        self.slot_bytes = 2048
        self.slots = min((self.layout.end - EXT_BYTES - self.layout.data) // self.slot_bytes,
                         self.layout.qlen)
        self.mac = BROADCAST
        self.said = set()
        self.start()
        wait_for(lambda: self.guest in self.others(), what="guest")

    def say(self, word):
        if word not in self.said:
            self.said.add(word)
            print(word, flush=True)

    def act(self):
        self.say("act")

    # Memory: offsets into my section and the guest's

    def put(self, offset, fmt, *values):
        store(self.memory, self.output(self.id) + offset, fmt, *values)

    def get(self, offset, fmt):
        values = struct.unpack_from(fmt, self.memory, self.output(self.guest) + offset)
        return values if len(values) > 1 else values[0]

    def write(self, offset, data):
        start = self.output(self.id) + offset
        self.memory[start:start + len(data)] = data

    def read(self, offset, size):
        start = self.output(self.guest) + offset
        return self.memory[start:start + size]

    # The link

    def kick(self, vector=1):
        if vector in self.bells:
            self.bell(self.guest, vector)

    def announce(self, state):
        self.mine = state
        store(self.memory, 4 * self.id, "<I", state)
        self.kick(0)

    def live(self):
        self.announce(RESET)
        while True:
            self.step(self.state(self.guest))
            if self.mine == RUN:
                self.serve()
            else:
                time.sleep(0.0005)

    def step(self, theirs):
        if self.mine == RESET and theirs in (RESET, INIT):
            self.announce(INIT)
        elif self.mine == INIT and theirs != RESET:
            self.prepare()
            self.announce(READY)
        elif self.mine == READY and theirs in (READY, RUN):
            self.connect()
            self.announce(RUN)
            self.say("run")
        elif self.mine >= READY and theirs == RESET or self.mine == RUN and theirs == INIT:
            self.announce(RESET)

    def start(self):
        self.mine = RESET
        self.sent = self.taken = self.returned = 0

    def prepare(self):
        self.start()
        self.write(0, bytes(self.layout.data))
        self.write(self.layout.end - EXT_BYTES, bytes(EXT_BYTES))
        if self.ext is not None:
            self.write_ext(**self.ext)
            self.put(self.layout.avail, "<H", EXT_FLAG)

    def write_ext(self, **fields):
        values = {**EXT, **fields}
        self.put(self.layout.end - EXT_BYTES, "<IHHIIII", *values.values())

    def connect(self):
        ours = self.ext is not None and {**EXT, **self.ext}["features"]
        theirs = self.get(self.layout.avail, "<H") & EXT_FLAG and \
            self.get(self.layout.end - EXT_BYTES + 8, "<I")
        self.header = 10 if ours and theirs and ours & theirs & VNET_HDR else 0

    # Frames

    def serve(self):
        """A look at the rings, in RUN."""
        if not self.receive():
            time.sleep(0.0005)

    def receive(self):
        """Take what the guest has sent; how many frames that were."""
        idx = self.get(self.layout.avail + 2, "<H")
        count = (idx - self.taken) % 65536
        if count > self.layout.qlen:
            return 0        # the guest has started over, its State comes next
        for _ in range(count):
            id = self.get(self.layout.avail + 4 + 2 * (self.taken % self.layout.qlen), "<H")
            self.taken += 1
            addr, length = self.get(16 * id, "<QI")
            frame = self.read(addr, length)[self.header:]
            self.give_back(id)
            self.answer(frame)
        return count

    def give_back(self, id):
        self.put(self.layout.used + 4 + 8 * (self.returned % self.layout.qlen), "<II", id, 1)
        self.returned += 1
        self.put_used(self.returned)

    def put_used(self, idx):
        self.put(self.layout.used + 2, "<H", idx % 65536)
        self.kick()

    def room(self):
        """How many frames can be sent."""
        done = self.get(self.layout.used + 2, "<H")
        return self.slots - (self.sent - done) % 65536

    def send(self, frame, header=bytes(10), **lies):
        """Send it, if there is room; lies about id, addr, len, flags, idx."""
        if self.room() <= 0:
            return
        slot = self.sent % self.slots
        place = self.layout.data + slot * self.slot_bytes
        self.post(place, header[:self.header] + frame, **lies)

    def post(self, place, data, **lies):
        id = self.sent % self.layout.qlen
        self.write(place, data)
        self.put(16 * id, "<QIHH", lies.get("addr", place), lies.get("len", len(data)),
                 lies.get("flags", 0), 0)
        self.put(self.layout.avail + 4 + 2 * id, "<H", lies.get("id", id))
        self.sent += 1
        self.put_avail(lies.get("idx", self.sent))

    def put_avail(self, idx):
        self.put(self.layout.avail + 2, "<H", idx % 65536)
        self.kick()

    def answer(self, frame):
        self.mac = frame[6:12]
        if frame[12:14] == b"\x08\x06" and frame[38:42] == self.address:
            self.send(self.mac + MAC + frame[12:20] + b"\0\2" + MAC + self.address +
                      frame[22:32])
        elif frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34] == 8:
            self.send(self.mac + MAC + frame[12:26] + frame[30:34] + frame[26:30] +
                      self.echo(frame[34:]))

    @staticmethod
    def echo(icmp):
        even = b"\0" + icmp[1:2] + b"\0\0" + icmp[4:] + bytes(len(icmp) % 2)
        return even[:2] + struct.pack("!H", checksum(even)) + icmp[4:]

    def noise(self):
        """A frame that nobody wants."""
        return BROADCAST + MAC + EXPERIMENTAL + self.random.randbytes(86)


PEERS = {"honest": NetPeer}
VIOLATIONS = {}
Violation = namedtuple("Violation", "counter works")


def violation(name, counter, base, works=False, **attributes):
    """Register a peer. The counter of the driver rises; what works nevertheless
    is a ping."""
    PEERS[name] = type(name, (base,), attributes)
    VIOLATIONS[name] = Violation(counter, works)


# What it sends

class Sends(NetPeer):
    """One frame with a lie for each link, and nothing after it."""

    def connect(self):
        super().connect()
        self.lied = False

    def room(self):
        return 0 if self.lied else super().room()

    def serve(self):
        if not self.lied:
            self.send(self.noise())
            self.send(self.noise(), **self.lies())
            self.lied = True
            self.act()
        super().serve()


RX = "rx_queue_0_violations"
TX = "tx_queue_0_violations"
for name, lies in {
        "avail-index-a-ring-ahead": lambda p: {"idx": p.sent + p.layout.qlen + 2},
        "avail-index-goes-back": lambda p: {"idx": -1},
        "avail-index-half-of-all-ahead": lambda p: {"idx": 0x8000},
        "descriptor-behind-the-table": lambda p: {"id": p.layout.qlen},
        "descriptor-65535": lambda p: {"id": 0xffff},
        "descriptor-that-was-never-written": lambda p: {"id": p.layout.qlen - 1},
        "frame-in-the-rings": lambda p: {"addr": 0},
        "frame-begins-in-the-header": lambda p: {"addr": p.layout.data - 1},
        "frame-behind-the-section": lambda p: {"addr": p.layout.end},
        "frame-over-the-end": lambda p: {"addr": p.layout.end - 99},
        "frame-far-away": lambda p: {"addr": 2**64 - 1},
        "frame-over-2^64": lambda p: {"addr": 2**64 - 64, "len": 128},
        "frame-in-the-other-section": lambda p: {"addr": 2**64 - p.output_size},
        "length-0": lambda p: {"len": 0},
        "length-13": lambda p: {"len": 13},
        "length-of-the-section": lambda p: {"len": p.layout.end},
        "length-2^32-1": lambda p: {"len": 2**32 - 1},
        "flag-next": lambda p: {"flags": 1},
        "flag-indirect": lambda p: {"flags": 4},
        "all-flags": lambda p: {"flags": 0xffff}}.items():
    violation(name, RX, Sends, lies=lies)


class Scribbles(NetPeer):
    """Random numbers in the rings, while frames are under way."""

    def serve(self):
        self.send(self.noise())
        start, end = self.area()
        for _ in range(64):
            self.write(self.random.randrange(start, end), self.random.randbytes(2))
        self.kick()
        self.act()
        super().serve()


violation("avail-ring-is-noise", RX, Scribbles,
          area=lambda p: (p.layout.avail, p.layout.used - 2))
violation("header-is-noise", None, Scribbles, area=lambda p: (0, p.layout.data))


# What it returns

class Returns(NetPeer):
    """Returns one frame of each link wrongly."""

    def connect(self):
        super().connect()
        self.lied = False

    def give_back(self, id):
        if self.lied or self.returned < 2:
            super().give_back(id)
            return
        self.lied = True
        elem = self.layout.used + 4 + 8 * (self.returned % self.layout.qlen)
        id, length, idx = self.lie(id)
        self.put(elem, "<II", id % 2**32, length)
        self.put_used(idx)
        self.act()


for name, lie in {
        "used-index-ahead": lambda p, id: (id, 1, p.returned + 2),
        "used-index-a-ring-ahead": lambda p, id: (id, 1, p.returned + p.layout.qlen + 1),
        "used-index-goes-back": lambda p, id: (id, 1, -1),
        "used-id-of-another": lambda p, id: (id + 1, 1, p.returned + 1),
        "used-id-was-returned": lambda p, id: (id - 1, 1, p.returned + 1),
        "used-id-huge": lambda p, id: (-1, 1, p.returned + 1),
        "used-id-beyond-16-bits": lambda p, id: (id + 65536, 1, p.returned + 1),
        "used-length-0": lambda p, id: (id, 0, p.returned + 1),
        "used-length-huge": lambda p, id: (id, 2**32 - 1, p.returned + 1)}.items():
    violation(name, TX, Returns, lie=lie)

violation("used-ring-is-noise", TX, Scribbles,
          area=lambda p: (p.layout.used, p.layout.used + 4 + 8 * 16))


class Lurks(NetPeer):
    """Returns too much, without a doorbell: the guest sees it when its ring is full."""

    bells = 0,

    def serve(self):
        if self.get(self.layout.avail + 2, "<H"):
            self.put_used(0x8000)
            self.act()
        time.sleep(0.001)


violation("used-index-ahead-without-doorbell", TX, Lurks)


class Events(NetPeer):
    """The events are somewhere else all the time."""

    def serve(self):
        used_event = self.layout.avail + 4 + 2 * self.layout.qlen
        avail_event = self.layout.used + 4 + 8 * self.layout.qlen
        for offset in used_event, avail_event:
            self.put(offset, "<H", self.random.randrange(65536))
        self.act()
        super().serve()


violation("events-are-noise", "rx_queue_0_packets", Events, works=True)


class Silent(NetPeer):
    """RUN, but it takes nothing."""

    def serve(self):
        self.act()
        time.sleep(0.01)


violation("never-reads", "tx_queue_0_packets", Silent)
violation("never-rings", "rx_queue_0_packets", NetPeer, works=True, bells=(),
          serve=lambda p: (NetPeer.serve(p), p.act()))


# States

class States(NetPeer):
    """States as they come, whatever the guest does."""

    pause_s = 0.0

    def live(self):
        self.prepare()
        while True:
            for state in self.states():
                self.announce(state)
                time.sleep(self.pause_s)
            self.act()


for name, states in {
        "state-reset-or-run": lambda p: (RESET, RUN),
        "state-init-or-run": lambda p: (INIT, RUN),
        "state-ready-or-reset": lambda p: (READY, RESET),
        "state-goes-round": lambda p: (RESET, INIT, READY, RUN),
        "state-is-none": lambda p: (RUN, 4, RUN, 2**32 - 1, RUN, 2**31, RUN, 0x101),
        "state-at-random": lambda p: (p.random.choice((0, 1, 1, 2, 2, 3, 3, 4)),)}.items():
    violation(name, "link_resets", States, states=states, pause_s=0.003)
    violation(f"{name}-at-full-speed", None, States, states=states)


# The extension

class Extends(NetPeer):
    """Says what it likes about itself."""

    def serve(self):
        self.act()
        super().serve()


for name, ext in {
        "0-queues": {"queues": 0, "features": 0},
        "9-queues": {"queues": 9, "features": 0},
        "65535-queues": {"queues": 65535, "features": 0},
        "8-queues": {"queues": 8},
        "frames-of-0": {"max_frame": 0, "features": 0},
        "frames-of-2^32-1": {"max_frame": 2**32 - 1, "max_gso": 2**32 - 1},
        "gso-of-0": {"features": 2**32 - 1, "max_gso": 0},
        "all-features": {"features": 2**32 - 1},
        "gso-without-checksums": {"features": VNET_HDR | TSO4 | TSO6 | USO},
        "features-without-header": {"features": 2**32 - 2},
        "no-vectors": {"vectors": 0},
        "2^32-1-vectors": {"vectors": 2**32 - 1},
        "version-0": {"version": 0, "features": 0},
        "version-65535": {"version": 65535},
        "wrong-magic": {"magic": 1, "features": 0}}.items():
    violation(f"extension-{name}", "rx_queue_0_packets", Extends, works=True, ext=ext)
violation("extension-frames-of-68", "tx_queue_0_too_long", Extends, ext={"max_frame": 68})


class Changes(Extends):
    """The extension changes when it should not."""

    def serve(self):
        if self.get(self.layout.avail + 2, "<H"):   # the guest has read it
            self.change()
        super().serve()

    def change(self):
        self.write_ext(**{field: self.random.randrange(65536) for field in EXT})


violation("extension-changes-later", "rx_queue_0_packets", Changes, works=True, ext={})


# The virtio_net_hdr

def vnet_header(flags=NEEDS_CSUM, gso=GSO_TCPV4, hdr_len=54, gso_size=100, start=34, offset=16):
    return struct.pack("<BBHHHH", flags, gso, hdr_len, gso_size, start, offset)


class Headers(NetPeer):
    """Frames whose headers do not fit them, to the guest and through it."""

    ext = {"features": VNET_HDR | CSUM | TSO4 | TSO6 | USO}
    beyond = ipaddress.ip_address("10.0.0.2").packed    # the guest routes to it

    def tcp(self):
        ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1040, 1, 0, 64,
                                   self.random.choice((6, 6, 17)), 0, self.address,
                                   self.random.choice((self.beyond, self.address[:3] + b"\1"))))
        ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
        return self.mac + MAC + b"\x08\0" + bytes(ip) + \
            struct.pack("!HHIIBBHHH", 9, 9, 1, 1, 0x50, 0x10, 1000, 0, 0) + bytes(1000)

    def serve(self):
        if self.mac != BROADCAST:
            for _ in range(16):
                self.send(self.tcp(), header=self.header_of(self.random))
            self.act()
        super().serve()


BAD = "rx_queue_0_bad_header"
for name, fields in {
        "checksum-starts-behind-the-frame": {"gso": GSO_NONE, "start": 5000},
        "checksum-starts-at-65535": {"gso": GSO_NONE, "start": 65535},
        "checksum-lies-behind-the-frame": {"gso": GSO_NONE, "offset": 5000},
        "checksum-lies-at-65535": {"gso": GSO_NONE, "offset": 65535},
        "gso-type-unknown": {"gso": 0x7f},
        "gso-type-of-ipv6": {"gso": GSO_TCPV6},
        "gso-size-0": {"gso_size": 0}}.items():
    violation(f"header-{name}", BAD, Headers,
              header_of=lambda p, r, header=vnet_header(**fields): header)
for name, fields in {
        "gso-size-1": {"gso_size": 1},
        "gso-size-65535": {"gso_size": 65535},
        "gso-without-checksum": {"flags": 0},
        "gso-of-udp": {"gso": GSO_UDP_L4, "offset": 6},
        "gso-of-udp-fragments": {"gso": GSO_UDP},
        "length-0": {"hdr_len": 0},
        "length-65535": {"hdr_len": 65535}}.items():
    violation(f"header-{name}", "rx_queue_0_packets", Headers,
              header_of=lambda p, r, header=vnet_header(**fields): header)


def random_header(r):
    some = (0, 1, 2, 13, 14, 20, 33, 34, 35, 54, 55, 100, 1053, 1054, 1055, 4096, 65535)
    return struct.pack("<BBHHHH", r.choice((0, 1, 1, 2, 3, 255)),
                       r.choice((0, 1, 1, 3, 4, 5, 0x81, 255)), *(r.choice(some) for _ in range(4)))


class RandomHeaders(Headers):
    """All of it at random, the frame's own headers too."""

    def tcp(self):
        frame = bytearray(super().tcp())
        for _ in range(self.random.randrange(4)):
            frame[self.random.randrange(12, 54)] = self.random.randrange(256)
        return bytes(frame)[:self.random.choice((14, 34, 53, 54, 55, 1054, 1054, 1054))]


violation("header-at-random", BAD, RandomHeaders, header_of=lambda p, r: random_header(r))


# Speed

class Flood(NetPeer):
    """Full rings as fast as the guest can take them, always the same frames."""

    def connect(self):
        super().connect()
        for id in range(self.layout.qlen):
            place = self.layout.data + id % self.slots * self.slot_bytes
            self.put(16 * id, "<QIHH", place, self.header + 100, 0, 0)
            self.put(self.layout.avail + 4 + 2 * id, "<H", id)
        self.frame = bytes(self.header) + self.noise()
        self.fill(self.frame)

    def fill(self, frame):
        self.write(self.layout.data, frame.ljust(self.slot_bytes, b"\0") * self.slots)

    def serve(self):
        self.receive()
        self.put_avail(self.get(self.layout.used + 2, "<H") + self.layout.qlen)
        self.act()


violation("frames-without-end", "rx_queue_0_packets", Flood)


class Rewrites(Flood):
    """They change while they are read, and so do their descriptors."""

    ext = {"features": VNET_HDR | CSUM | TSO4 | TSO6 | USO}

    def serve(self):
        super().serve()
        for _ in range(4):
            header = random_header(self.random)
            self.fill(header + self.mac + MAC + b"\x08\0" + self.random.randbytes(80))
            id = self.random.randrange(self.layout.qlen)
            self.put(16 * id + 8, "<I", self.random.randrange(24, 2048))


violation("frames-change-while-they-are-read", BAD, Rewrites)


class Returner(NetPeer):
    """Returns before it was sent, all that could be on its way."""

    def serve(self):
        self.put_used(self.returned + self.layout.qlen)
        self.act()
        super().serve()


violation("returns-without-end", TX, Returner)


class Storm(NetPeer):
    """Rings all vectors as often as it can."""

    def serve(self):
        self.receive()
        for _ in range(64):
            for vector in range(self.vectors):
                self.bell(self.guest, vector)
        self.act()


violation("doorbells-without-end", "interrupt_storms", Storm)


class StateStorm(Storm):
    """Likewise, with a State to see each time."""

    def live(self):
        self.prepare()
        while True:
            for state in RESET, INIT, READY, RUN:
                self.announce(state)
                self.serve()


violation("doorbells-and-states-without-end", None, StateStorm)


if __name__ == "__main__":
    try:
        PEERS[sys.argv[2]](sys.argv[1], sys.argv[3]).live()
    except BrokenPipeError:
        os._exit(1)     # nobody listens to what we say
