# SPDX-License-Identifier: GPL-2.0
"""What a peer sees that knows nothing of the extension, as Jailhouse's driver
or Zephyr: the rings, the frames and the states, against numbers by hand.
"""

import struct

import pytest

from harness import net
from harness.net import PROTOCOL, End
from harness.peer import Peer, store
from harness.process import wait_for

pytestmark = pytest.mark.guest
GUEST = net.GUEST

RESET, INIT, READY, RUN = range(4)
MAC_GUEST, MAC_HOST = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")

# Of sections of 16 KiB and 4 MiB: bytes, qlen, avail, used, data
SMALL = 16384, 64, 1024, 1216, 1792
LARGE = 4 << 20, 4096, 65536, 73792, 106624


def inet_sum(data):
    """RFC 1071; 0 if the data has its right checksum in it."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return 0xffff - total


class Host(Peer):
    """Peer 0, that does what the test says and nothing else."""

    def __init__(self, socket, sizes):
        super().__init__(socket)
        self.size, self.qlen, self.avail, self.used, self.data = sizes
        self.mine, self.theirs = self.output(0), self.output(1)

    def read(self, form, offset):
        return struct.unpack_from("<" + form, self.memory, self.theirs + offset)

    def write(self, form, offset, *values):
        store(self.memory, self.mine + offset, "<" + form, *values)

    def wait_state(self, state):
        wait_for(lambda: self.state(1) == state, what=f"guest in state {state}")

    def sent(self):
        """How many frames the guest has sent."""
        return self.read("H", self.avail + 2)[0]

    def frame(self, i):
        """(descriptor, bytes) of the guest's i-th frame"""
        id, = self.read("H", self.avail + 4 + 2 * (i % self.qlen))
        desc = self.read("QIHH", 16 * id)
        start = self.theirs + desc[0]
        return desc, bytes(self.memory[start:start + desc[1]])

    def give_back(self, first, count):
        """Return the guest's frames from the first one."""
        for i in range(first, first + count):
            self.write("II", self.used + 4 + 8 * (i % self.qlen), i % self.qlen, 1)
        self.write("H", self.used + 2, first + count)

    def send(self, i, place, data, length=None):
        """The i-th frame of ours, at an offset in our section."""
        self.memory[self.mine + place:self.mine + place + len(data)] = data
        self.write("QIHH", 16 * i, place, length or len(data), 0, 0)
        self.write("H", self.avail + 4 + 2 * i, i)
        self.write("H", self.avail + 2, i + 1)
        self.others()
        self.bell(1, 1)


def plug(guest, server, hosts, sizes, extensions):
    """(host, end), with the interface up and the guest waiting in INIT."""
    total, output = {SMALL: ("64K", "16K"), LARGE: ("16M", "4M")}[sizes]
    socket = server("-P", PROTOCOL, "-l", total, "-o", output, "-V", 2)
    host = Host(socket, sizes)
    hosts.append(host)
    end = End(guest, socket, side=0)
    end.extensions(extensions)
    # No IPv6 with that MTU: nothing is sent but by the tests
    end.set(f"mtu 576 address {MAC_GUEST.hex(':')}")
    end.ip(f"addr add {end.address}/24 dev {end.name}")
    end.ip(f"neigh add 10.0.0.2 lladdr {MAC_HOST.hex(':')} dev {end.name}")
    end.set("up")
    host.wait_state(INIT)
    return host, end


def connect(host):
    for mine, theirs in ((INIT, READY), (READY, RUN), (RUN, RUN)):
        host.set_state(mine)
        host.wait_state(theirs)


@pytest.fixture
def hosts():
    found = []
    yield found
    for host in found:
        host.close()


@pytest.fixture(params=[True, False], ids=["offered", "off"])
def extensions(request):
    return request.param


@pytest.fixture
def old(guest, server, hosts, extensions):
    """(host, end) in RUN, sections of 16 KiB, the extension offered or not."""
    host, end = plug(guest, server, hosts, SMALL, extensions)
    connect(host)
    end.wait_carrier()
    return host, end


@pytest.fixture
def busy(guest, old):
    """Likewise; the first frame went and came back, more may be in flight.

    The stack's own limit holds the second back until the first has returned.
    """
    host, end = old
    limits = f"/sys/class/net/{end.name}/queues/tx-0/byte_queue_limits"
    guest.check(f"echo 1000000 > {limits}/limit_min; "
                "echo x | socat -u - UDP4-SENDTO:10.0.0.2:9")
    wait_for(lambda: host.sent() == 1, what="datagram")
    host.give_back(0, 1)
    host.ring(1, 1)
    guest.wait_for(f"grep -q '^0$' {limits}/inflight")
    return host, end


def test_frame_of_a_ping_and_its_answer(guest, old, extensions):
    host, _ = old
    host.rung(1)
    ping = guest.popen("exec /bin/ping -c 1 -s 16 -W 15 10.0.0.2")
    wait_for(lambda: host.sent() == 1, what="echo request")
    assert host.read("H", host.avail) == (0x8000 if extensions else 0,)
    desc, frame = host.frame(0)
    assert desc[:3] == (1792, 58, 0)
    assert frame[:12] == MAC_HOST + MAC_GUEST
    assert frame[12:18] == bytes.fromhex("08004500002c")
    assert frame[23] == 1 and frame[26:34] == bytes([10, 0, 0, 1, 10, 0, 0, 2])
    assert frame[34:36] == b"\x08\0"
    assert inet_sum(frame[14:34]) == inet_sum(frame[34:]) == 0
    wait_for(lambda: host.rung(1), what="doorbell")

    icmp = b"\0\0\0\0" + frame[38:]
    icmp = icmp[:2] + struct.pack(">H", inet_sum(icmp)) + icmp[4:]
    answer = frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30] + icmp
    host.give_back(0, 1)
    host.send(0, 1792, answer)
    assert ping.wait().code == 0
    # Its used ring: flags, idx, the frame; then avail_event, behind 64 entries
    assert host.read("HHII", 1216) == (0, 1, 0, 1)
    wait_for(lambda: host.read("H", 1216 + 4 + 8 * 64) == (1,), what="avail_event")


def test_frames_lie_in_a_fifo_until_they_are_returned(guest, busy):
    host, _ = busy
    for i, size in enumerate((100, 30, 500)):
        guest.check(f"head -c {size} /dev/zero | socat -u - UDP4-SENDTO:10.0.0.2:9")
        wait_for(lambda: host.sent() > i + 1, what="datagram")
    found = [host.frame(i)[0][:3] for i in range(1, 4)]
    # Lengths with headers 142, 72, 542; they take 192, 128 and 576 bytes
    assert found == [(1792, 142, 0), (1984, 72, 0), (2112, 542, 0)]
    host.give_back(1, 1)
    guest.check("echo x | socat -u - UDP4-SENDTO:10.0.0.2:9")
    wait_for(lambda: host.sent() == 5, what="datagram")
    assert host.frame(4)[0][:3] == (2688, 44, 0)


def test_checksums_are_complete(guest, busy):
    host, _ = busy
    guest.check("echo hello, | socat -u - UDP4-SENDTO:10.0.0.2:9")
    guest.popen("exec socat -u OPEN:/dev/null TCP4:10.0.0.2:9")
    wait_for(lambda: host.sent() >= 3, what="datagram and SYN")
    for i, (protocol, sum_at) in enumerate(((17, 40), (6, 50)), 1):
        frame = host.frame(i)[1]
        assert frame[23] == protocol and frame[sum_at:sum_at + 2] != b"\0\0"
        payload = frame[34:14 + struct.unpack_from(">H", frame, 16)[0]]
        pseudo = frame[26:34] + struct.pack(">HH", protocol, len(payload))
        assert inet_sum(pseudo + payload) == 0


def test_extension_lies_in_the_last_bytes(old, extensions):
    host, _ = old
    block = host.read("4sHHIIII40s", 16384 - 64)
    if extensions:
        assert block == (b"IVNX", 1, 1, 0x1f, 65553, 65553, 2, bytes(40))
    else:
        assert host.read("64s", 16384 - 64) == (bytes(64),)


def test_sender_stops_when_the_section_is_full_and_goes_on(guest, busy):
    """No frame overwrites another, and returned ones wake the sender."""
    host, end = busy
    job = guest.popen("head -c 50000 /dev/zero | socat -u -b 500 - UDP4-SENDTO:10.0.0.2:9")
    # 14528 bytes, 576 for each frame, and room for the longest has to stay
    wait_for(lambda: host.sent() >= 17, what="full section")
    seen = 1
    while seen < 101:
        sent = wait_for(lambda: (n := host.sent()) > seen and n, what="more frames")
        places = [host.frame(i)[0][:2] for i in range(seen, sent)]
        assert len(places) <= 25
        assert len({place for place, _ in places}) == len(places)
        assert all(1792 <= p and p + n <= 16384 and n == 542 for p, n in places)
        host.give_back(seen, sent - seen)
        seen = sent
        host.bell(1, 1)
    assert job.wait().code == 0 and seen == 101
    assert end.count("tx_stopped") > 0


def test_frame_that_is_too_long_is_counted_and_returned(guest, server, hosts):
    host, end = plug(guest, server, hosts, LARGE, True)
    connect(host)
    end.wait_carrier()
    host.send(0, 106624, b"", length=70000)
    wait_for(lambda: host.read("HHII", 73792) == (0, 1, 0, 1), what="frame to return")
    assert end.count("rx_too_long") == 1 and end.count("rx_violations") == 0
    assert host.state(1) == RUN


# The states: what the host does, and where the guest has to be then

@pytest.mark.parametrize("steps", [
    [(INIT, READY), (READY, RUN), (RUN, RUN)],
    [(RUN, RUN)],
    [(READY, RUN), (INIT, READY), (READY, RUN)],
    [(RUN, RUN), (RESET, INIT), (INIT, READY), (RUN, RUN)],
    [(INIT, READY), (RESET, INIT), (INIT, READY), (READY, RUN), (RESET, INIT)],
    [(INIT, READY), (RUN, RUN), (INIT, READY), (RUN, RUN)],
    [(4, INIT), (RUN, RUN), (7, INIT), (INIT, READY), (0xffffffff, INIT), (RUN, RUN)],
], ids=["in-turn", "at-once", "init-in-run", "reset-in-run", "reset-in-ready",
        "init-twice", "no-states"])
def test_guest_follows_the_states_of_the_host(guest, server, hosts, steps):
    host, end = plug(guest, server, hosts, SMALL, True)
    for mine, theirs in steps:
        host.set_state(mine)
        host.wait_state(theirs)
        end.wait_carrier(theirs == RUN)


def test_interface_that_is_down_waits_for_the_host_to_see_it(guest, old):
    host, end = old
    end.down()
    host.wait_state(RESET)
    guest.check("echo 3 > /proc/sys/vm/drop_caches")
    assert host.state(1) == RESET
    for mine, theirs in ((RESET, INIT), (INIT, READY), (READY, READY), (RUN, READY)):
        host.set_state(mine)
        host.wait_state(theirs)
    end.set("up")
    host.wait_state(RUN)
    end.wait_carrier()
