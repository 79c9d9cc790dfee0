# SPDX-License-Identifier: GPL-2.0
"""libivshmem and the command line over /dev/uioN, in guests."""

import json

import pytest

from harness import BIN
from harness.libpeer import PROGRAMS, build
from harness.process import wait_for
from harness.uio import device_node

pytestmark = pytest.mark.guest
GUEST = {"modules": ["uio_ivshmem"],
         "programs": [BIN / "ivshmem", PROGRAMS / "lib-peer"]}

LAYOUT = ["-l", "1M", "-o", "64K", "-n", "3", "-V", "2"]
RW_BYTES = 0x100000 - 4096 - 3 * 0x10000
ANY_VECTOR = f"vector {2**32 - 1}"
SEGV = 128 + 11

VARIANTS = {"msix": {}, "intx": {"msix": False},
            "base-address": {"base_address": 0x200000000}}


@pytest.fixture(scope="module", autouse=True)
def programs():
    build()


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


class GuestPeer:
    """tools/testing/lib/peer.c in a guest, one command at a time."""

    def __init__(self, guest, node):
        self.job = guest.popen("lib-peer")
        self.answers = 0
        self.opened = self("open", node, 1000)

    def __call__(self, *words):
        self.job.write(" ".join(map(str, words)) + "\n")
        self.answers += 1
        self.job.wait_for(lambda: self.job.stdout.count(b"\n") >= self.answers or
                          self.job.code is not None)
        return self.job.stdout.decode().splitlines()[self.answers - 1]

    def events(self):
        found = []
        while not found or found[-1] != "none":
            found.append(self("next"))
        return found[:-1]


def plug(guest, socket, **properties):
    return device_node(guest, guest.plug("shm", socket, **properties))


def test_list_and_info_describe_the_device(pair, server):
    a, _ = pair
    node = plug(a, server(*LAYOUT))
    device, = json.loads(a.check("ivshmem list --json", user="nobody"))
    assert (device["device"], device["driver"]) == (node, "uio_ivshmem")
    info = json.loads(a.check(f"ivshmem info --json {node}"))
    assert (info["id"], info["max_peers"], info["vectors"]) == (0, 3, 2)
    assert (info["rw_offset"], info["rw_size"]) == (4096, RW_BYTES)
    assert (info["output_offset"], info["output_size"]) == (4096 + RW_BYTES, 0x10000)


def test_open_errors_tell_what_to_do(pair, server):
    a, _ = pair
    node = plug(a, server(*LAYOUT))
    assert "join the group ivshmem" in a.run(f"ivshmem info {node}", user="nobody").err
    assert "modprobe uio_ivshmem" in a.run("ivshmem info /dev/uio77").err
    assert a.run("ivshmem info /dev/null").code == 1


def test_ping_between_guests_loses_no_doorbell(pair, server, variant):
    a, b = pair
    socket = server(*LAYOUT)
    node_a, node_b = plug(a, socket, **variant), plug(b, socket, **variant)
    pong = a.popen(f"ivshmem pong {node_a}")
    pong.wait_output("PONG as peer 0")
    # A lost doorbell would take all of the 30 s, and fail the command
    out = b.check(f"ivshmem ping -q -c 1000 -i 0 -W 30 {node_b} 0", timeout=29)
    assert "1000 transmitted, 1000 received, 0% loss" in out
    pong.kill(15)
    assert pong.wait().out.endswith("1000 answered")


def test_ping_between_guest_and_host_both_ways(pair, server, processes):
    a, _ = pair
    socket = server(*LAYOUT)
    node = plug(a, socket)
    processes([BIN / "ivshmem", "pong", f"unix:{socket}"])
    a.wait_for(f"ivshmem ping -q -c 3 -i 0 -W 5 {node} 1")


def test_events_come_one_by_one_and_rearm_by_themselves(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    host = peer(socket)
    p = GuestPeer(a, plug(a, socket))
    assert p.opened == f"open 1 3 2 0 {RW_BYTES} 65536"
    assert p.events() == [] and p("poll", 0) == "idle"
    for vector in (0, 1, 0):
        host.ring(1, vector)
        assert p("poll", 5000) == "ready"
        assert p.events() == [ANY_VECTOR]
    assert p("wait", 20) == "none"


def test_doorbell_and_state_reach_the_host(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    host = peer(socket)
    p = GuestPeer(a, plug(a, socket))
    p("set", 7)
    assert p("get", 1) == "7" and host.state(1) == 7
    wait_for(lambda: host.rung(0), what="interrupt of the State")
    p("ring", 0, 1)
    wait_for(lambda: host.rung(1), what="doorbell")


def test_states_of_the_other_guest_are_events_its_death_included(pair, server):
    a, b = pair
    socket = server(*LAYOUT)
    p, q = (GuestPeer(guest, plug(guest, socket)) for guest in (a, b))
    p("set", 3)
    assert q("wait", 5000) == "state 0 0 3"
    assert set(q.events()) <= {ANY_VECTOR}
    p.job.kill()
    assert q("wait", 5000) == "state 0 3 0"


def test_what_only_the_server_knows_is_not_supported(pair, server):
    a, _ = pair
    p = GuestPeer(a, plug(a, server(*LAYOUT)))
    assert p("take", 1).startswith("error EOPNOTSUPP")
    assert int(p("present", 1)) < 0


@pytest.mark.parametrize("section", ["table", "input:0", "input:1"])
def test_writing_what_others_own_is_a_fault(pair, server, section):
    a, _ = pair
    p = GuestPeer(a, plug(a, server(*LAYOUT)))
    p.job.write(f"poke {section} 0 1\n")
    assert p.job.wait().code == SEGV


def test_unplugged_device_is_an_event_and_harms_nobody(pair, server):
    a, _ = pair
    p = GuestPeer(a, plug(a, server(*LAYOUT)))
    a.unplug("shm")
    assert p("wait", 5000) == "device-gone -5"
    assert p("wait", 5000).startswith("error ENODEV")
    assert p("get", 0) == "0" and p("peek", "rw", 0) == "0"
    assert [p("ring", 0, 0), p("set", 1), p("close")] == 3 * ["ok"]
