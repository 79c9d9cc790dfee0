# SPDX-License-Identifier: GPL-2.0
"""What Ethernet over ivshmem can do, between guests."""

import re

import pytest

from harness import KVERS, net
from harness.guest import Guest, boot_all
from harness.net import Cable, Transfer
from harness.process import wait_for

pytestmark = pytest.mark.guest
GUEST = {**net.GUEST, "modules": ["ivshmem_net", "bridge", "8021q", "veth"]}

ETH_BYTES = 14
MAX_MTU = 65535
# Below that much a frame is one of the MTU
GSO_BYTES = 8000


@pytest.fixture
def cable(pair, server):
    return Cable(server, *pair).up()


def both_ways(cable, kib=512):
    """Files over TCP in both directions at once."""
    transfers = [cable.transfer(end.guest, kib, 7000 + side)
                 for side, end in enumerate(cable.ends)]
    for transfer in transfers:
        transfer.whole()


def sent_since(end, before):
    """Packets and bytes per packet that the end sent since then."""
    packets = end.count("tx_packets") - before[0]
    return packets, (end.count("tx_bytes") - before[1]) / max(packets, 1)


def sent(end):
    return end.count("tx_packets"), end.count("tx_bytes")


def interrupts(end):
    """How often each vector has come, by its number."""
    irqs = end.guest.check(f"cd {end.device.sysfs}; ls msi_irqs | grep . || cat irq")
    table = end.guest.check("cat /proc/interrupts")
    counts = {irq: int(n) for irq, n in re.findall(r"(?m)^ *(\d+): +(\d+)", table)}
    return [counts[irq] for irq in sorted(irqs.split(), key=int)]


# Frames of all kinds

def test_pings_are_answered_both_ways(pair, cable):
    for guest in pair:
        cable.ping(guest)


def test_pings_of_all_sizes_are_answered(pair, cable):
    for size in (0, 1, 18, 214, 215, 1472, 3300, 4096, 16356, 65507):
        cable.ping(pair[0], options=f"-s {size}")


def test_files_cross_in_both_directions_at_once(cable):
    both_ways(cable, 2048)


def test_ipv6_carries_pings_and_files(pair, cable):
    cable.ping(pair[0], cable.b.address6)
    cable.transfer(pair[0], address=cable.b.address6).whole()


def test_udp_datagrams_arrive_whole(pair, cable):
    a, b = pair
    b.check("echo 8388608 > /proc/sys/net/core/rmem_max")
    Transfer(a, b, "UDP4-RECV:7010,rcvbuf=8388608",
             f"UDP4-SENDTO:{cable.b.address}:7010", 1024).whole()


def test_multicast_arrives(pair, cable):
    a, b = pair
    Transfer(a, b, f"UDP4-RECV:7011,ip-add-membership=239.1.2.3:{cable.b.address}",
             f"UDP4-DATAGRAM:239.1.2.3:7011,ip-multicast-if={cable.a.address}", 64).whole()


def test_vlan_carries_full_frames(pair, cable):
    for end in cable.ends:
        end.set("mtu 1500")
        end.ip(f"link add link {end.name} name vlan7 type vlan id 7")
        end.ip(f"addr add {end.address.replace('10.', '10.7.', 1)[:-4]}{end.address[-2:]}/24 "
               "dev vlan7")
        end.ip("link set vlan7 up")
    other = cable.b.guest.check("/bin/ip -4 -br addr show vlan7").split()[2].split("/")[0]
    cable.ping(pair[0], other, options="-M do -s 1472")
    cable.transfer(pair[0], address=other).whole()


def test_end_works_in_a_network_namespace(pair, cable):
    a, b = pair
    cable.b.ip("netns add inside")
    try:
        cable.b.set("netns inside")
        cable.b.ip(f"-n inside addr add {cable.b.address}/24 dev {cable.b.name}")
        cable.b.ip(f"-n inside link set {cable.b.name} up")
        cable.ping(a)
        Transfer(a, b, "TCP4-LISTEN:7020,reuseaddr", f"TCP4:{cable.b.address}:7020", 1024,
                 receiver_in="/bin/ip netns exec inside").whole()
    finally:
        cable.b.ip("netns del inside")


def bridged(pair, server, cable):
    """Another cable, bridged with the first one in b, and back in a."""
    a, b = pair
    far = Cable(server, a, b, number=1)
    a.check("/bin/ip netns add far")
    far.a.set("netns far")
    b.check("/bin/ip link add br0 type bridge && /bin/ip link set br0 up")
    cable.b.ip(f"addr flush dev {cable.b.name}")
    for end in (cable.b, far.b):
        end.set("up master br0")
    return far


@pytest.mark.parametrize("extensions", ["on", "off"])
def test_file_crosses_a_bridge_of_two_cables(pair, server, cable, extensions):
    """Where the second cable has none, what is offloaded on the first ends."""
    a, b = pair
    far = bridged(pair, server, cable)
    try:
        for end in cable.ends + [far.b]:
            end.set("mtu 1500")
        far.b.extensions(extensions == "on")
        a.check(f"/bin/ip -n far addr add 10.0.0.2/24 dev {far.a.name}; "
                f"/bin/ip -n far link set {far.a.name} up mtu 1500")
        a.wait_for("/bin/ping -c 1 -W 1 10.0.0.2")
        before = sent(cable.a), sent(far.b)
        Transfer(a, a, "TCP4-LISTEN:7021,reuseaddr", "TCP4:10.0.0.2:7021", 1024,
                 receiver_in="/bin/ip netns exec far").whole()
        assert sent_since(cable.a, before[0])[1] > 1500 + ETH_BYTES
        assert (sent_since(far.b, before[1])[1] > 1500 + ETH_BYTES) == (extensions == "on")
    finally:
        a.check("/bin/ip netns del far")
        b.check("/bin/ip link del br0")


# The extension

@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True),
                                   (False, False)],
                         ids=["both", "first", "second", "none"])
def test_offloads_are_used_if_both_sides_extend(pair, server, sides):
    cable = Cable(server, *pair)
    for end, on in zip(cable.ends, sides):
        end.extensions(on)
        end.set("mtu 1500")
    cable.up()
    for guest in pair:
        cable.ping(guest)
    both_ways(cable)
    for end in cable.ends:
        stats = end.stats()
        assert stats["peer_extended"] == all(sides)
        assert (stats["peer_offloads"] != 0) == all(sides)
        assert (sent_since(end, (0, 0))[1] > 1500 + ETH_BYTES) == all(sides)
        assert stats["rx_queue_0_bad_header"] == 0


def test_extension_switched_off_and_on_under_traffic(pair, cable):
    with cable.traffic(pair[0]):
        for end in cable.ends:
            for on in (False, True):
                end.extensions(on)
                cable.wait_carriers()
                before = cable.b.count("rx_packets")
                wait_for(lambda: cable.b.count("rx_packets") > before + 100,
                         what="traffic to go on")
                assert end.stats()["peer_extended"] == on


@pytest.mark.parametrize("family", [4, 6])
def test_segmented_datagrams_cross_as_one_frame(pair, cable, family):
    """UDP_SEGMENT: 1400 bytes each, of writes of 32768."""
    a, b = pair
    for end in cable.ends:
        end.set("mtu 1500")
    b.check("echo 8388608 > /proc/sys/net/core/rmem_max")
    address = cable.b.address if family == 4 else f"[{cable.b.address6}]"
    before = sent(cable.a)
    Transfer(a, b, f"UDP{family}-RECV:7012,rcvbuf=8388608",
             f"UDP{family}-SENDTO:{address}:7012,setsockopt=17:103:1400", 512).whole()
    packets, size = sent_since(cable.a, before)
    assert packets < 64 and size > GSO_BYTES
    received = b.check("cat /proc/net/snmp /proc/net/snmp6")
    assert not re.search(r"Udp6?InCsumErrors\s+[1-9]", received)


@pytest.fixture(scope="module")
def booted_mixed():
    if len(KVERS) < 2:
        pytest.skip("takes two kernels")
    guests = [Guest(f"test_net-mixed-{name}", kver, **GUEST)
              for name, kver in zip("ab", KVERS)]
    boot_all(*guests)
    yield guests
    for guest in guests:
        guest.stop()


@pytest.mark.parametrize("queues", [1, 3])
def test_different_kernels_work_together(booted_mixed, server, queues):
    cable = Cable(server, *booted_mixed)
    try:
        for end in cable.ends:
            if queues > 1:
                end.ethtool("-L", f"combined {queues}")
        cable.up()
        for guest in booted_mixed:
            cable.ping(guest, options="-M do -s 8000")
        for end in cable.ends:
            end.set("mtu 1500")
        before = [sent(end) for end in cable.ends]
        both_ways(cable)
        for end, sent_before in zip(cable.ends, before):
            assert end.stats()["queues_agreed"] == queues
            assert sent_since(end, sent_before)[1] > 1500 + ETH_BYTES
            end.guest.assert_clean()
    finally:
        for guest in booted_mixed:
            guest.clear()


# Sizes

def test_mtu_of_68_fragments_what_is_longer(pair, cable):
    for end in cable.ends:
        end.set("mtu 68")
    before = sent(cable.a)
    cable.ping(pair[0], options="-S 400000 -s 1000")
    packets, size = sent_since(cable.a, before)
    assert packets >= 3 * 21 and size <= 68 + ETH_BYTES


def test_largest_mtu_takes_the_longest_packet_in_one_frame(pair, cable):
    for end in cable.ends:
        end.set(f"mtu {MAX_MTU}")
    before = sent(cable.a)
    cable.ping(pair[0], options="-M do -s 65507", count=1)
    assert cable.a.count("tx_bytes") - before[1] >= 65535 + ETH_BYTES
    assert sent_since(cable.a, before)[0] < 10


@pytest.mark.parametrize("size,output,largest", [
    ("64K", "16K", 3604), ("16M", "4M", MAX_MTU)])
def test_mtu_out_of_range_is_refused(pair, server, size, output, largest):
    a, b = pair
    end = Cable(server, a, b, size, output).a
    end.set(f"mtu {largest}")
    for mtu in (largest + 1, 67, 0):
        assert a.run(f"/bin/ip link set dev {end.name} mtu {mtu}").code != 0
    assert end.attribute("mtu") == str(largest)


@pytest.mark.parametrize("large,small", [(9000, 1500), (MAX_MTU, 576)])
def test_frames_larger_than_the_receivers_mtu_arrive(pair, cable, large, small):
    cable.a.set(f"mtu {large}")
    cable.b.set(f"mtu {small}")
    for _ in range(3):  # so many fragments fill the buffer of a socket
        cable.ping(pair[0], options=f"-M do -s {large - 28}", count=1)
        cable.ping(pair[1], options=f"-S 400000 -s {large - 28}", count=1)
    both_ways(cable)


@pytest.mark.parametrize("size,output", [("64K", "16K"), ("1M", "256K"), ("1G", "256M")])
def test_sections_of_all_sizes_carry_files(pair, server, size, output):
    cable = Cable(server, *pair, size, output).up()
    for guest in pair:
        cable.ping(guest, count=20)
    both_ways(cable)
    for end in cable.ends:
        assert end.count("tx_violations") == end.count("rx_violations") == 0


def test_two_cables_are_apart(pair, server, cable):
    other = Cable(server, *pair, number=1).up()
    quiet = sent(cable.a)[0]
    other.ping(pair[0], count=20)
    both_ways(other)
    assert sent(cable.a)[0] < quiet + 10
    cable.b.down()
    other.ping(pair[0])
    cable.b.up()
    cable.ping(pair[0])


# Interrupts

@pytest.mark.parametrize("vectors,queues", [(1, 1), (2, 1), (4, 3), (9, 8)])
def test_number_of_vectors_limits_the_queues(pair, server, vectors, queues):
    cable = Cable(server, *pair, vectors=vectors)
    for end in cable.ends:
        assert len(interrupts(end)) == vectors
        assert re.findall(r"Combined:\s+(\d+)", end.ethtool("-l")) == [str(queues), "1"]
        if queues > 1:
            end.ethtool("-L", f"combined {queues}")
        assert end.guest.run(f"ethtool -L {end.name} combined {queues + 1}").code != 0
    cable.up()
    cable.ping(pair[0])
    both_ways(cable)
    for end in cable.ends:
        assert end.stats()["queues_agreed"] == queues


@pytest.mark.parametrize("vectors", [1, 2])
def test_each_frame_after_a_pause_interrupts_on_the_queues_vector(pair, server, vectors):
    cable = Cable(server, *pair, vectors=vectors).up()
    cable.ping(pair[0])
    before = [interrupts(end) for end in cable.ends]
    cable.ping(pair[0], count=20)
    for end, then in zip(cable.ends, before):
        assert interrupts(end)[-1] - then[-1] >= 10
        assert sum(interrupts(end)[:-1]) == sum(then[:-1])


@pytest.mark.parametrize("sides", [(False, False), (True, False)], ids=["both", "one"])
def test_intx_carries_files(pair, server, sides):
    cable = Cable(server, *pair, msix=sides).up()
    before = interrupts(cable.b)
    cable.ping(pair[0], count=20)
    assert interrupts(cable.b)[0] - before[0] >= 10
    both_ways(cable)


# Queues

def datagrams_until(predicate, sender, receiver, what):
    """Datagrams from ever new ports, which go to any queue."""
    def step():
        sender.guest.check("for i in 1 2 3 4; do echo x | "
                           f"socat -u - UDP4-SENDTO:{receiver.address}:9; done")
        return predicate()

    wait_for(step, what=what)


def test_all_queues_carry_frames(pair, server):
    cable = Cable(server, *pair, vectors=5)
    for end in cable.ends:
        end.ethtool("-L", "combined 4")
    before = [interrupts(end) for end in cable.ends]
    cable.up()
    for end in cable.ends:
        other = cable.other(end.guest)
        datagrams_until(lambda: all(end.stats()[f"tx_queue_{q}_packets"] for q in range(4)),
                        end, other, "frames in all queues")
        wait_for(lambda: all(other.stats()[f"rx_queue_{q}_packets"] for q in range(4)),
                 what="frames from all queues")
    for end, then in zip(cable.ends, before):
        assert all(new > old for new, old in zip(interrupts(end)[1:], then[1:]))


def test_queues_are_the_smaller_of_both_offers(pair, server):
    cable = Cable(server, *pair, vectors=9)
    cable.a.ethtool("-L", "combined 8")
    cable.b.ethtool("-L", "combined 3")
    cable.up()
    both_ways(cable)
    for end in cable.ends:
        assert end.stats()["queues_agreed"] == 3
        found = end.guest.check(f"ls -d /sys/class/net/{end.name}/queues/tx-*")
        assert len(found.split()) == 3


def test_number_of_queues_changes_under_traffic(pair, server):
    cable = Cable(server, *pair, vectors=5).up()
    with cable.traffic(pair[0], "-P 4"):
        for a, b in ((4, 1), (4, 4), (2, 4), (1, 1)):
            for end, queues in zip(cable.ends, (a, b)):
                if f"Combined:\t{queues}\n" not in end.ethtool("-l").split("Current")[1] + "\n":
                    end.ethtool("-L", f"combined {queues}")
            cable.wait_carriers()
            before = cable.b.count("rx_packets")
            wait_for(lambda: cable.b.count("rx_packets") > before + 100,
                     what="traffic to go on")
            assert cable.b.stats()["queues_agreed"] == min(a, b)


def test_queues_that_do_not_fit_the_mtu_are_refused(pair, server):
    a, b = pair
    end = Cable(server, a, b, "1M", "256K", vectors=9).a
    end.set("mtu 9000")
    result = a.run(f"ethtool -L {end.name} combined 8")
    assert result.code != 0 and "No space left on device" in result.err
    end.ethtool("-L", "combined 2")
    end.set("mtu 1500")
    end.ethtool("-L", "combined 8")
    assert a.run(f"/bin/ip link set dev {end.name} mtu 9000").code != 0


def test_several_queues_and_no_extension_exclude_each_other(pair, cable):
    a, _ = pair
    cable.a.extensions(False)
    assert a.run(f"ethtool -L {cable.a.name} combined 2").code != 0
    cable.a.extensions(True)
    cable.a.ethtool("-L", "combined 2")
    assert a.run(f"ethtool --set-priv-flags {cable.a.name} extensions off").code != 0
    cable.wait_carriers()
    cable.ping(a)


# What the administrator sees

def test_ethtool_names_driver_and_device(cable):
    out = cable.a.ethtool("-i")
    assert "driver: ivshmem_net\n" in out
    assert f"bus-info: {cable.a.device.address}\n" in out


def test_ethtool_shows_registers_and_both_states(cable):
    words = []
    for line in cable.b.ethtool("-d").splitlines():
        if match := re.match(r"0x[0-9a-f]+:?\s+((?:[0-9a-f]{2} ?)+)", line):
            words += match[1].split()
    data = bytes.fromhex("".join(words))
    values = [int.from_bytes(data[i:i + 4], "little") for i in range(0, 24, 4)]
    assert values == [1, 2, 1, 0, 3, 3]


@pytest.mark.parametrize("size,output,qlen", [("64K", "16K", 64), ("16M", "4M", 4096)])
def test_ethtool_shows_the_length_of_the_rings(pair, server, size, output, qlen):
    end = Cable(server, *pair, size, output).a
    assert re.findall(r"(?:RX|TX):\s+(\d+)", end.ethtool("-g")) == [str(qlen)] * 4


def test_time_to_poll_is_set_in_its_range(pair, cable):
    a, _ = pair
    cable.a.ethtool("-C", "rx-usecs 100000")
    result = a.run(f"ethtool -C {cable.a.name} rx-usecs 100001")
    assert result.code != 0 and "100000 at most" in result.err + result.out
    assert re.search(r"rx-usecs:\s+100000\n", cable.a.ethtool("-c"))


def test_receiver_that_polls_needs_no_doorbells(pair, cable):
    cable.b.ethtool("-C", "rx-usecs 100000")
    cable.ping(pair[0])
    before = interrupts(cable.b)
    cable.ping(pair[0], count=20)
    assert interrupts(cable.b)[1] - before[1] < 10


def test_offloads_can_be_switched_off(pair, cable):
    a, _ = pair
    for end in cable.ends:
        end.set("mtu 1500")
    features = cable.a.ethtool("-k")
    for feature in ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload",
                    "tx-udp-segmentation"):
        assert f"{feature}: on\n" in features
    cable.a.ethtool("-K", "tso off gso off")
    before = sent(cable.a)
    cable.transfer(a).whole()
    assert sent_since(cable.a, before)[1] <= 1500 + ETH_BYTES
    cable.a.ethtool("-K", "tx off sg off")
    cable.transfer(a).whole()


def test_counters_agree_with_each_other(pair, cable):
    a, b = cable.ends
    cable.ping(pair[0], count=20, options="-s 500")
    assert a.count("tx_packets") >= 20 and a.count("tx_bytes") > 20 * 542
    for what in ("packets", "bytes"):
        wait_for(lambda: a.count(f"tx_{what}") == b.count(f"rx_{what}") ==
                 a.link_stats()["tx"][what], what=f"{what} to be counted")
        wait_for(lambda: b.count(f"tx_{what}") == a.count(f"rx_{what}") ==
                 a.link_stats()["rx"][what], what=f"{what} to be counted")
    for way in ("rx", "tx"):
        counts = a.link_stats()[way]
        assert counts["errors"] == counts["dropped"] == 0
    assert {"link_resets", "interrupt_storms", "queues_agreed", "peer_extended",
            "peer_offloads", "tx_queue_2_stopped", "rx_queue_2_doorbells"} <= set(a.stats())


def test_counters_survive_the_link(pair, cable):
    cable.ping(pair[0], count=10)
    before = cable.b.count("rx_packets")
    cable.b.down()
    cable.b.up()
    cable.wait_carriers()
    stats = cable.b.stats()
    assert cable.b.count("rx_packets") >= before and stats["link_resets"] >= 1


def test_port_is_named_by_the_peer_number(cable):
    assert [end.attribute("phys_port_name") for end in cable.ends] == ["iv0", "iv1"]


def test_link_has_full_duplex_and_is_detected(cable):
    out = cable.a.ethtool("")
    assert "Duplex: Full\n" in out and "Link detected: yes" in out
