# SPDX-License-Identifier: GPL-2.0
"""Ethernet over ivshmem between two guests whose ends come, go, stop and die.
Whatever happens to one of them: the other one stays well, and both have carrier
and answer pings when both are there again.
"""

import contextlib
import re
import signal

import pytest

from harness import net
from harness.net import Cable, End
from harness.process import reap, wait_for

pytestmark = pytest.mark.guest
GUEST = {**net.GUEST, "packed": ["netconsole", "pktgen"]}

# Of which the least leak is a part: the private memory of a queue, 100 times
LEAK_KB = 4096
# What sockets, and frames in page pools and on their way may take
BUFFERS_KB = 40960

# One interface, down and up so many times as fast as it goes
BLINK = "for i in $(seq {times}); do /bin/ip link set {dev} down; /bin/ip link set {dev} up; done"


@pytest.fixture
def cable(pair, server):
    return Cable(server, *pair).up()


def works(cable):
    """Carrier at both ends, and frames that get through both ways."""
    cable.wait_carriers()
    try:
        for end in cable.ends:
            end.guest.wait_for(f"/bin/ping -c 1 -W 0.5 {end.peer_address}", timeout=10)
    except TimeoutError as e:
        raise AssertionError("\n\n".join([str(e)] + [end.describe() for end in cable.ends]))


def memory(guest, *names):
    info = dict(re.findall(r"(?m)^(\w+): +(\d+)", guest.check("cat /proc/meminfo")))
    return sum(int(info[name]) for name in names)


def kernel_memory(guest):
    return memory(guest, "SUnreclaim", "VmallocUsed")


def moves(end, way="rx"):
    """Wait until frames come, or go."""
    name = f"statistics/{way}_packets"
    before = int(end.attribute(name))
    wait_for(lambda: int(end.attribute(name)) > before + 100, what=f"{end.guest}: {name}")


def stands(end, way="tx"):
    """Wait until no frame goes any more."""
    name = f"statistics/{way}_packets"
    end.guest.wait_for(f"cd /sys/class/net/{end.name}; x=$(cat {name}); usleep 300000; "
                       f"[ $x = $(cat {name}) ]")


class Load:
    """iperf3 from the guest to the other one, which may both die."""

    def __init__(self, cable, guest, options=""):
        self.ends = cable.end(guest), cable.other(guest)
        self.jobs = [self.ends[1].guest.popen("exec iperf3 -s"),
                     guest.popen(f"until iperf3 -c {self.ends[1].address} -t 86400 {options}; "
                                 "do usleep 50000; done")]
        self.moves()

    def moves(self):
        moves(self.ends[1])

    def stop(self):
        for job in reversed(self.jobs):
            if not job.dead:
                job.kill()
                job.wait()


@contextlib.contextmanager
def load(cable, guest, options=""):
    it = Load(cable, guest, options)
    yield it
    it.moves()
    it.stop()


def udp_flood(end, address):
    """As much as the sender may, to a port where nobody is; nobody has to answer."""
    return end.guest.popen(f"exec socat -u -b 1400 OPEN:/dev/zero UDP-SENDTO:{address}:9")


# Coming up

@pytest.mark.parametrize("order", ["plug-0 up-0 plug-1 up-1", "plug-1 up-1 plug-0 up-0",
                                   "plug-0 plug-1 up-1 up-0"])
def test_link_comes_up_whoever_starts_first(pair, server, order):
    cable = Cable.__new__(Cable)
    socket = server("-P", net.PROTOCOL, "-l", "4M", "-o", "1M", "-V", "3")
    cable.ends = [None, None]
    for step in order.split():
        what, side = step.split("-")
        if what == "plug":
            cable.ends[int(side)] = End(pair[int(side)], socket, int(side))
        else:
            cable.ends[int(side)].up()
    cable.a, cable.b = cable.ends
    works(cable)


# Interfaces go down and up

@pytest.mark.parametrize("side", [0, 1])
def test_interface_goes_down_and_up_100_times(pair, cable, side):
    end = cable.ends[side]
    blink = BLINK.format(times=50, dev=end.name)
    flood = udp_flood(cable.ends[not side], end.address)
    pair[side].check(blink, timeout=60)
    before = [kernel_memory(guest) for guest in pair]
    pair[side].check(blink, timeout=60)
    after = [kernel_memory(guest) for guest in pair]
    flood.kill()
    works(cable)
    assert after[0] < before[0] + LEAK_KB and after[1] < before[1] + LEAK_KB, (before, after)


def test_both_go_down_and_up_100_times(pair, cable):
    jobs = [end.guest.popen(BLINK.format(times=100, dev=end.name)) for end in cable.ends]
    for job in jobs:
        assert job.wait(timeout=120).code == 0
    works(cable)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), None], ids=["a-b", "b-a", "together"])
def test_both_are_down_then_up_in_any_order(cable, order):
    for _ in range(5):
        for end in cable.ends:
            end.down()
        if order:
            for side in order:
                cable.ends[side].up()
        else:
            for job in [end.guest.popen(f"/bin/ip link set {end.name} up")
                        for end in cable.ends]:
                assert job.wait().code == 0
        works(cable)


@pytest.mark.parametrize("protocol", [4, 6])
def test_peer_with_a_new_mac_address_is_found(pair, cable, protocol):
    """Also if the link was down for so short a time that the stack saw nothing."""
    a, b = cable.ends
    address = b.address if protocol == 4 else b.address6
    for n in range(5):
        mac = f"02:00:00:00:00:{n:02x}"
        pair[1].check(f"/bin/ip link set {b.name} address {mac} down; "
                      f"/bin/ip link set {b.name} up; "
                      f"/bin/ip addr replace {b.address6}/64 dev {b.name} nodad")
        pair[0].wait_for(f"/bin/ping -c 1 -W 0.5 {address} && "
                         f"/bin/ip neigh show {address} | grep {mac}", timeout=10)


# Modules, devices, servers

@pytest.mark.parametrize("side", [0, 1])
def test_module_is_reloaded_10_times_under_traffic(pair, cable, side):
    end = cable.ends[side]
    flood = udp_flood(cable.ends[not side], end.address)
    with load(cable, pair[not side]):
        for _ in range(10):
            moves(end)
            pair[side].check("rmmod ivshmem_net; modprobe ivshmem_net")
            end.find()
            end.up()
            cable.wait_carriers()
        flood.kill()
        works(cable)


@pytest.mark.parametrize("side", [0, 1])
def test_device_is_unplugged_under_traffic_and_comes_back(pair, cable, side):
    traffic = Load(cable, pair[side])
    pair[side].unplug("net0")
    traffic.stop()
    cable.ends[not side].wait_carrier(False)
    cable.ends[side] = End(pair[side], cable.socket, side)
    cable.ends[side].up()
    works(cable)


def test_traffic_goes_on_without_the_server(pair, cable, server):
    with load(cable, pair[0]) as traffic:
        reap(server.process[cable.socket])
        moves(cable.a)
        traffic.moves()
    works(cable)


# Polling moves to a thread while frames never end

def threaded(end):
    return end.attribute("threaded") == "1"


def thread_ticks(end):
    """CPU time that NAPI's threads of all devices have had, in clock ticks."""
    out = end.guest.run("cat $(grep -l ^napi/ /proc/[0-9]*/comm | "
                        "sed s/comm$/stat/)").out
    fields = (line.rpartition(") ")[2].split() for line in out.splitlines())
    return sum(int(f[11]) + int(f[12]) for f in fields)


@contextlib.contextmanager
def more_than_can_be_taken(cable):
    """The kernel of a makes frames faster than the stack of b gets rid of them."""
    a, b = cable.ends
    a.guest.check("modprobe pktgen")
    flood = a.guest.popen("exec sh -c '" + net.pktgen(
        a.guest, a.name, b.attribute("address"), b.address, 64) + "'")
    try:
        yield
    finally:
        flood.kill()
        flood.wait()
        a.guest.check(f"echo stop >{net.PKTGEN}/pgctrl; rmmod pktgen")


def test_polling_is_in_a_thread_only_while_there_is_load(cable):
    b = cable.b
    assert not threaded(b)
    with more_than_can_be_taken(cable):
        wait_for(lambda: threaded(b), what="a thread")
        wait_for(lambda: thread_ticks(b) > 20, what="a thread that polls")
    wait_for(lambda: not threaded(b), what="no thread")
    works(cable)


def test_polling_stays_in_a_thread_if_users_want_it(cable):
    b = cable.b
    b.guest.check(f"echo 1 > /sys/class/net/{b.name}/threaded")
    flood = udp_flood(cable.a, b.address)
    moves(b)
    flood.kill()
    flood.wait()
    works(cable)
    b.guest.check("usleep 2500000")     # two ticks
    assert threaded(b)


# Guests die

@contextlib.contextmanager
def frozen(*guests):
    with contextlib.ExitStack() as stack:
        for guest in guests:
            stack.enter_context(guest.frozen())
        yield


def plug_again(cable, side, guest):
    cable.ends[side] = End(guest, cable.socket, side)
    cable.a, cable.b = cable.ends
    cable.ends[side].up()


@pytest.mark.parametrize("side", [0, 1])
def test_guest_is_killed_15_times_under_traffic(pair, server, side):
    victim, survivor = pair[side], pair[not side]
    with frozen(victim):
        cable = Cable(server, *pair).up()
        memories = []
        for i in range(15):
            traffic = Load(cable, pair[i % 2])
            moves(cable.ends[not side], "tx")
            victim.kill()
            cable.ends[not side].wait_carrier(False)
            traffic.stop()
            victim.boot()
            plug_again(cable, side, victim)
            works(cable)
            survivor.assert_clean()
            memories.append(kernel_memory(survivor))
        assert memories[-1] < memories[1] + LEAK_KB, memories


@pytest.mark.parametrize("side", [0, 1])
def test_guest_is_reset_under_traffic(pair, cable, side):
    traffic = Load(cable, pair[side])
    pair[side].reset()
    traffic.stop()
    cable.ends[side].find()
    cable.ends[side].up()
    works(cable)


# Peers that are there, but take nothing

@contextlib.contextmanager
def down(end):
    """READY, with carrier, and does not run."""
    end.down()
    try:
        yield
    finally:
        end.up()


@contextlib.contextmanager
def stopped(end):
    end.guest.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        end.guest.process.send_signal(signal.SIGCONT)


def test_traffic_goes_on_after_the_peer_was_stopped(pair, cable):
    a, b = cable.ends
    with load(cable, pair[0]) as traffic:
        with stopped(b):
            stands(a)
            assert pair[0].check("echo still here") == "still here"
        traffic.moves()
    works(cable)


@pytest.mark.parametrize("idle", [down, stopped])
def test_sender_is_held_back_while_nobody_reads(pair, cable, idle):
    a, b = cable.ends
    pair[0].check(f"/bin/ip neigh replace {b.address} lladdr {b.attribute('address')} "
                  f"dev {a.name}")
    before = memory(pair[0], "MemAvailable")
    floods = [udp_flood(a, b.address) for _ in range(3)]
    moves(b)
    with idle(b):
        a.wait_carrier()
        stands(a)
        assert memory(pair[0], "MemAvailable") > before - BUFFERS_KB
        assert a.carrier()
    moves(b)
    for flood in floods:
        flood.kill()
        flood.wait()
    works(cable)


# Wake-ups

@pytest.mark.parametrize("options", ["-n 4M", "-n 4M -R", "-n 4M --bidir",
                                     "-u -b 0 -l 800 -n 2M", "-u -b 0 -l 800 -n 2M --bidir"],
                         ids=lambda options: options.replace(" ", ""))
def test_tiny_ring_does_not_stall(pair, server, options):
    cable = Cable(server, *pair, size="64K", output="16K", vectors=2)
    for end in cable.ends:
        end.set("mtu 1400")
    cable.up()
    cable.iperf(pair[0], options, timeout=60)


# The console of the kernel

def test_netconsole_reaches_the_peer(pair, cable):
    a, b = cable.ends
    log = b.guest.popen("exec socat -u UDP-RECV:6666 -")
    b.guest.wait_for("netstat -lun | grep -q ':6666 '")
    a.guest.check(f"modprobe netconsole netconsole=6665@{a.address}/{a.name},"
                  f"6666@{b.address}/{b.attribute('address')}")
    a.guest.check("for i in $(seq 100); do echo \"<1>line $i\" > /dev/kmsg; done")
    log.wait_output("line 100")
    a.guest.check("rmmod netconsole")
