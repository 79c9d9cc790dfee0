# SPDX-License-Identifier: GPL-2.0
"""Peers of ivshmem-net that break the rules, one in each test, at a cable of
their own. The guest goes on, says a line or two, counts, and works with an
honest peer at that cable afterwards; its other cable does not notice.
"""

import contextlib
import pathlib
import select
import subprocess
import sys

import pytest

from harness import net
from harness.net import Cable, End
from harness.net_hostile import VIOLATIONS
from harness.process import limit, listens, reap, spawn, wait_for
from harness import BIN

pytestmark = pytest.mark.guest
GUEST = {**net.GUEST, "packed": ["netconsole"]}

# So many hostile peers at once, each at a cable of its own
LANES = 4
MOST_LINES = 100        # of the link going up and down, and of the stack: limited in 30 s
# For a command while the peers do their worst: it takes a tenth of that
ANSWER_S = 20


def ping(address):
    return f"/bin/ping -c 1 -W 0.3 {address}"


class Lane:
    """A cable from the guest to a peer on the host."""

    def __init__(self, guest, server, number):
        self.guest = guest
        self.address = f"10.0.{number}.2"
        self.socket = server("-P", net.PROTOCOL, "-l", "4M", "-o", "1M", "-V", "3")
        self.end = End(guest, self.socket, 0, number)
        self.end.up()
        guest.popen(f"exec /bin/ping -q -i 0.1 {self.address}")
        self.process = None

    def enter(self, name):
        """Let a peer in, the only one now."""
        self.leave()
        self.process = spawn([sys.executable, "-m", "harness.net_hostile", self.socket, name,
                              self.address], stdout=subprocess.PIPE,
                             cwd=pathlib.Path(__file__).parent)

    def leave(self):
        if self.process:
            self.process.kill()
            reap(self.process)
            self.process = None

    def wait_says(self, word, timeout=60):
        said = b""
        while word.encode() + b"\n" not in said:
            ready = select.select([self.process.stdout], [], [], limit(timeout))[0]
            part = ready and self.process.stdout.read1()
            assert part, f"the peer did not say {word}"
            said += part

    def meet(self, name, before):
        """The peer did what its name says, and the driver noticed."""
        violation = VIOLATIONS[name]
        self.wait_says("act")
        if violation.counter:
            wait_for(lambda: self.end.stats()[violation.counter] > before[violation.counter],
                     what=f"{name}: {violation.counter}")
        if violation.works:
            self.guest.wait_for(ping(self.address))
        if "violations" in (violation.counter or ""):
            wait_for(lambda: self.end.stats()["link_resets"] > before["link_resets"],
                     what=f"{name}: reset of the link")


class Arena:
    """Guest a with an honest cable to b, in use, and the cables to the host."""

    def __init__(self, a, b, tmp, stack):
        self.guest = a
        self.tmp = tmp
        self.stack = stack
        self.cable = Cable(self.server, a, b).up()
        a.check("sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0")
        self.lanes = [Lane(a, self.server, number + 1) for number in range(LANES)]
        self.load = stack.enter_context(self.cable.traffic(a, "-b 20M"))

    def server(self, *options):
        path = self.tmp / f"{len(list(self.tmp.iterdir()))}.sock"
        process = spawn([BIN / "ivshmem2-server", "-F", "-S", path, *options])
        self.stack.callback(reap, process)
        wait_for(lambda: listens(path), what="socket of the server")
        return path

    def sent(self):
        return int(self.cable.a.attribute("statistics/tx_bytes"))


@pytest.fixture(scope="module")
def booted_arena(booted_pair, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Arena(*booted_pair, tmp_path_factory.mktemp("arena"), stack)
        booted_pair[1].assert_clean()


@pytest.fixture
def arena(booted_arena):
    booted_arena.guest.check("dmesg -c")
    yield booted_arena
    for lane in booted_arena.lanes:
        lane.leave()


def batches(names):
    return [names[i:i + LANES] for i in range(0, len(names), LANES)]


@pytest.mark.parametrize("names", batches(list(VIOLATIONS)), ids="+".join)
def test_hostile_peer_harms_nobody(arena, names):
    guest, lanes = arena.guest, arena.lanes[:len(names)]
    before, sent = [lane.end.stats() for lane in lanes], arena.sent()
    for lane, name in zip(lanes, names):
        lane.enter(name)
    for lane, name, stats in zip(lanes, names, before):
        lane.meet(name, stats)
    guest.check("ip link show", timeout=ANSWER_S)
    assert arena.load.code is None, arena.load.stderr
    wait_for(lambda: arena.sent() > sent + (1 << 16), what="traffic to the honest peer")

    for lane in lanes:
        lane.enter("honest")
    for lane in lanes:
        guest.wait_for(ping(lane.address))
    lines = guest.dmesg().splitlines()
    assert len(lines) <= MOST_LINES, "\n".join(lines)
    guest.assert_clean()


def test_driver_may_complain_over_its_own_cable(arena):
    """The console sends while the driver does, which has just found a violation."""
    guest, lane = arena.guest, arena.lanes[0]
    lane.enter("honest")
    guest.wait_for(ping(lane.address))
    guest.check(f"modprobe netconsole netconsole=@{lane.end.address}/{lane.end.name},"
                f"@{lane.address}/")
    before = lane.end.stats()
    flood = guest.popen("exec socat -u -b 1400 OPEN:/dev/zero "
                        f"UDP-DATAGRAM:{lane.address}:9")
    try:
        lane.enter("used-index-ahead-without-doorbell")
        lane.meet("used-index-ahead-without-doorbell", before)
        flood.kill()
        flood.wait()
        lane.enter("honest")
        guest.wait_for(ping(lane.address))
    finally:
        guest.check("rmmod netconsole")
    guest.assert_clean()


def test_module_goes_in_a_storm(arena):
    guest = arena.guest
    for lane in arena.lanes:
        lane.enter("doorbells-without-end")
    for lane in arena.lanes:
        lane.wait_says("act")
        guest.check(f"echo {lane.end.device.address} > "
                    "/sys/bus/pci/drivers/ivshmem_net/unbind")
        guest.check(f"echo {lane.end.device.address} > "
                    "/sys/bus/pci/drivers/ivshmem_net/bind")
        lane.end.find()
        lane.end.up()
    for lane in arena.lanes:
        lane.enter("honest")
        guest.wait_for(ping(lane.address))
    guest.assert_clean()
