# SPDX-License-Identifier: GPL-2.0
"""XDP on Ethernet over ivshmem: each verdict, in the driver."""

import pytest

from harness import net
from harness.initramfs import SELFTESTS
from harness.net import Cable
from harness.process import run, wait_for

pytestmark = pytest.mark.guest
GUEST = {**net.GUEST, "modules": ["ivshmem_net", "8021q"]}

PROGRAMS = "/tmp/net-xdp.o"
# A page without head room and what an skb needs behind
MAX_FRAME = 4096 - 256 - 320
MAX_MTU = MAX_FRAME - 18


def build(tmp_path, redirect_to=0):
    """The programs as an object file."""
    out = tmp_path / "net-xdp.o"
    result = run(["clang", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
                  "-Wno-unused-parameter", "-target", "bpf",
                  "-I/usr/include/x86_64-linux-gnu", f"-DREDIRECT_TO={redirect_to}",
                  "-c", SELFTESTS / "net-xdp.c", "-o", out])
    assert result.returncode == 0, result.stderr
    return out.read_bytes()


@pytest.fixture
def cable(pair, server, tmp_path):
    """With MTUs that XDP takes, and the programs in b."""
    cable = Cable(server, *pair, vectors=5)
    for end in cable.ends:
        end.set("mtu 1500")
    pair[1].put(PROGRAMS, build(tmp_path))
    return cable.up()


def load(end, program):
    """In the place of the one that is there."""
    end.ip(f"-force link set dev {end.name} xdpdrv obj {PROGRAMS} "
           f"program net_xdp_{program}")


def attach(cable, program):
    """To b; what it takes has changed, so the link starts anew."""
    load(cable.b, program)
    cable.wait_carriers()


def detach(cable):
    cable.b.set("xdpdrv off")
    cable.wait_carriers()


def lost_pings(cable, count=5):
    """All of them; ARP, which every program passes, has to work."""
    out = cable.a.guest.run(f"/bin/ping -c {count} -i 0.01 -W 1 {cable.b.address}").out
    assert f"{count} packets transmitted, 0 received" in out and "errors" not in out, out


def test_passed_frames_reach_the_stack(pair, cable):
    attach(cable, "pass")
    for guest in pair:
        cable.ping(guest, options="-s 1472")
    cable.transfer(pair[0], 512).whole()
    cable.transfer(pair[1], 512, port=7001).whole()
    assert cable.b.count("rx_packets") > 0 and cable.b.count("rx_xdp_errors") == 0


@pytest.mark.parametrize("program,counter", [
    ("drop", "rx_xdp_drop"), ("aborted", "rx_xdp_errors"), ("unknown", "rx_xdp_errors")])
def test_frames_that_are_not_passed_are_counted(cable, program, counter):
    cable.ping(cable.a.guest)
    attach(cable, program)
    before = cable.b.count(counter)
    lost_pings(cable)
    assert cable.b.count(counter) == before + 5
    detach(cable)
    cable.ping(cable.a.guest)


def test_frames_that_are_sent_back_answer_pings(cable):
    cable.b.guest.check("echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all")
    try:
        attach(cable, "tx")
        before = cable.b.count("tx_xdp")
        cable.ping(cable.a.guest, count=20, options="-s 1400")
        assert cable.b.count("rx_xdp_tx") == cable.b.count("tx_xdp") - before == 20
    finally:
        cable.b.guest.check("echo 0 > /proc/sys/net/ipv4/icmp_echo_ignore_all")


@pytest.mark.parametrize("extensions", [True, False], ids=["extended", "plain"])
def test_redirection_joins_two_cables(pair, server, tmp_path, extensions):
    """Pings from a to a, through b, whose stack sees nothing of them."""
    a, b = pair
    near, far = (Cable(server, a, b, number=n) for n in range(2))
    a.check("/bin/ip netns add far")
    try:
        far.a.set("netns far")
        for end, other in ((near.b, far.b), (far.b, near.b)):
            end.set("mtu 1500")
            end.extensions(extensions)
            end.set("up")
            b.put(PROGRAMS, build(tmp_path, int(other.attribute("ifindex"))))
            load(end, "redirect")
        a.check(f"/bin/ip link set {near.a.name} mtu 1500; "
                f"/bin/ip addr add 10.0.0.1/24 dev {near.a.name}; "
                f"/bin/ip link set {near.a.name} up; "
                f"/bin/ip -n far link set {far.a.name} mtu 1500; "
                f"/bin/ip -n far addr add 10.0.0.2/24 dev {far.a.name}; "
                f"/bin/ip -n far link set {far.a.name} up")
        for end in (near.b, far.b):
            end.wait_carrier()
        near.ping(a, "10.0.0.2", count=20, options="-s 1472")
        for end in (near.b, far.b):
            assert end.count("rx_xdp_redirect") >= 20
            assert end.count("tx_xdp") >= 20
            assert end.count("rx_packets") == 0
    finally:
        a.check("/bin/ip netns del far")


def test_frames_whose_head_grew_reach_the_stack(cable):
    """Requests get their tag in b, answers are sent with it."""
    for side, end in enumerate(cable.ends):  # as no part of one is the other
        end.set(f"address 02:00:00:00:00:0{side + 1}")
    for end, device in zip(cable.ends, (cable.a.name, "vlan7")):
        other = cable.other(end.guest)
        end.ip(f"link add link {end.name} name vlan7 type vlan id 7")
        end.ip("link set vlan7 up")
        end.ip(f"addr flush dev {end.name}")
        end.ip(f"addr add {end.address}/24 dev {device}")
        end.ip(f"neigh replace {other.address} lladdr {other.attribute('address')} "
               f"dev {device}")
    attach(cable, "tag")
    for end in cable.ends:
        end.guest.wait_for("grep -q up /sys/class/net/vlan7/operstate")
    received = "cat /sys/class/net/vlan7/statistics/rx_packets"
    before = int(cable.b.guest.check(received))
    cable.ping(cable.a.guest, options="-s 1400")
    assert int(cable.b.guest.check(received)) >= before + 3


def test_program_is_replaced_and_removed_under_traffic(pair, cable):
    with cable.traffic(pair[0]):
        for _ in range(3):
            for action in (lambda: attach(cable, "pass"), lambda: attach(
                    cable, "drop"), lambda: detach(cable)):
                action()
                before = cable.b.count("rx_packets")
                wait_for(lambda: cable.b.count("rx_packets") > before + 50,
                         what="traffic to go on")


def test_offloads_go_and_come_with_the_program(cable):
    assert cable.a.stats()["peer_offloads"] != 0
    attach(cable, "pass")
    wait_for(lambda: cable.a.stats()["peer_offloads"] == 0, what="offloads to go")
    assert cable.b.stats()["peer_offloads"] != 0
    detach(cable)
    wait_for(lambda: cable.a.stats()["peer_offloads"] != 0, what="offloads to come")


def test_mtu_that_does_not_fit_a_page_is_refused(cable):
    b = cable.b.guest
    cable.b.set(f"mtu {MAX_MTU + 1}")
    result = b.run(f"/bin/ip link set dev {cable.b.name} xdpdrv obj {PROGRAMS} "
                   "program net_xdp_pass")
    assert result.code != 0 and "MTU is too large for XDP" in result.err
    cable.b.set(f"mtu {MAX_MTU}")
    attach(cable, "pass")
    assert b.run(f"/bin/ip link set dev {cable.b.name} mtu {MAX_MTU + 1}").code != 0
    cable.a.set(f"mtu {MAX_MTU}")
    cable.ping(cable.a.guest, options=f"-M do -s {MAX_MTU - 28}")


def test_frames_that_are_too_long_for_the_program_are_counted(cable):
    """By the sender if it knows, else by the receiver."""
    cable.a.set("mtu 9000")
    attach(cable, "pass")
    big = f"/bin/ping -c 3 -i 0.01 -W 1 -M do -s 8000 {cable.b.address}"
    assert cable.a.guest.run(big).code != 0
    assert cable.a.count("tx_too_long") == 3
    cable.a.extensions(False)
    cable.wait_carriers()
    assert cable.a.guest.run(big).code != 0
    assert cable.b.count("rx_too_long") == 3
    cable.ping(cable.a.guest)


def test_program_sees_the_frames_of_all_queues(cable):
    for end in cable.ends:
        end.ethtool("-L", "combined 4")
    attach(cable, "drop")
    lost_pings(cable)
    cable.transfer(cable.a.guest, 256).whole()
    assert cable.b.count("rx_xdp_drop") == 5
