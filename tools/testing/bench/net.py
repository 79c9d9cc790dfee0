# SPDX-License-Identifier: GPL-2.0
"""Ethernet over ivshmem against QEMU's virtio-net-pci.

Guests "a" and "b" have all cables between them at once, each with a subnet of
its own. Those of virtio-net go through a socket between the two QEMUs, those
of ivshmem-net through sections; one of these has no extensions, as with a peer
from Jailhouse or Zephyr.
"""

import contextlib
import json
import pathlib
import re
import statistics
from dataclasses import dataclass

from harness import BUILD, net
from harness.guest import Guest, boot_all
from harness.process import wait_for
from harness.uio import device_node, maps

import host
from host import MEMORY_MB, Host
from runner import Case

VIRTIO, JUMBO = "virtio-net, 1500", "virtio-net, 9000"
IVSHMEM, PLAIN = "ivshmem-net", "ivshmem-net, plain"
COPY = "copy in + copy out"

SECTIONS = ["-l", "16M", "-o", "4M"]
OUTPUT_BYTES = 4 << 20
PROTOCOL = 1
TOOL, DROP = BUILD / "bench/bench-tool", BUILD / "bench/drop.o"
PROGRAMS = [TOOL, *map(pathlib.Path, ("/usr/bin/iperf3", "/usr/bin/ping", "/usr/sbin/ethtool",
                                      "/usr/bin/ip"))]

# Least ratios; the largest of the round-trip time
TCP_GOAL, TCP_PLAIN_GOAL, TCP_COPY_GOAL = 5, 2, 0.4
RTT_GOAL, UDP_GOAL = 0.7, 1.2

# What a program says while it runs; the way to us is slow and takes CPU time
OUTPUT = "/tmp/output"
UDP_BYTES, UDP_PORT = 64, 5202
PING_INTERVAL_S = 0.002
XDP_MTU = 1500
TICKS_PER_S = 100       # USER_HZ, of /proc/stat
_VIRTIO_PCI = {VIRTIO: "0000:00:08.0", JUMBO: "0000:00:09.0"}


@dataclass(frozen=True)
class Cable:
    """What it is called in each guest, and its addresses there."""
    interfaces: tuple
    addresses: tuple


class Cables(Host):
    """Two guests, and cables between them; everything ends with the stack."""

    def __init__(self, stack, kver):
        super().__init__(stack)
        self.guests = self.a, self.b = [
            Guest(f"bench-net-{end}", kver,
                  modules=["virtio_pci", "virtio_net", "ivshmem_net", "uio_ivshmem", "pktgen"],
                  programs=PROGRAMS, files={"/drop.o": DROP.read_bytes()},
                  qemu_args=["-m", MEMORY_MB, *self._virtio_args(end)])
            for end in "ab"]
        for guest in self.guests:
            stack.callback(guest.stop)
        boot_all(*self.guests)
        self.cables = {}
        self._add(VIRTIO, self._virtio(VIRTIO), "ip link set {} mtu 1500")
        self._add(JUMBO, self._virtio(JUMBO), "ip link set {} mtu 9000")
        self._add(IVSHMEM, self._ivshmem("net"))
        self._add(PLAIN, self._ivshmem("plain"), "ethtool --set-priv-flags {} extensions off")
        for guest in self.guests:
            guest.popen("exec iperf3 -s >/tmp/iperf3.log 2>&1")
            guest.wait_for("netstat -ltn | grep ':5201 '")

    def _virtio_args(self, end):
        for number, address in enumerate(_VIRTIO_PCI.values()):
            yield from ("-netdev", f"stream,id=n{number},server={'on' if end == 'a' else 'off'},"
                                   f"addr.type=unix,addr.path={self.dir}/n{number}",
                        "-device", f"virtio-net-pci,netdev=n{number},addr={address[8:10]},"
                                   f"mac=52:54:00:00:0{number}:0{end}")

    def _virtio(self, subject):
        return [f"/sys/bus/pci/devices/{_VIRTIO_PCI[subject]}"] * 2

    def _ivshmem(self, name):
        path = self.server(name, "-P", PROTOCOL, "-V", "4", *SECTIONS)
        return [guest.plug(name, path).sysfs for guest in self.guests]

    def _add(self, subject, sysfs, *commands):
        """Connect the interfaces that belong to these PCI devices."""
        subnet = f"10.0.{len(self.cables)}"
        names = [guest.wait_for(f"basename $(ls -d {path}/net/* {path}/virtio*/net/* "
                                "2>/dev/null | grep .)")
                 for guest, path in zip(self.guests, sysfs)]
        cable = Cable(tuple(names), (f"{subnet}.1", f"{subnet}.2"))
        for guest, name, address in zip(self.guests, names, cable.addresses):
            for command in (*commands, f"ip addr add {address}/24 dev {{}}", "ip link set {} up"):
                guest.check(command.format(name))
        self.wait_connected(cable)
        self.cables[subject] = cable

    def wait_connected(self, cable):
        self.a.wait_for(f"/bin/ping -q -c 1 -W 0.2 {cable.addresses[1]}")

    def subjects(self, measure, names=(VIRTIO, JUMBO, IVSHMEM, PLAIN)):
        return {name: lambda cable=self.cables[name]: measure(self, cable) for name in names}


# TCP

@dataclass
class Stream:
    """MB/s, and what all CPUs of both guests did for a byte."""
    rate: float
    cpu_ns_per_byte: float


def busy_seconds(guest):
    """That its CPUs have spent on work so far."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, guest.check("head -n 1 /proc/stat").split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def iperf(links, cable, arguments, seconds):
    before = sum(map(busy_seconds, links.guests))
    links.a.check(f"iperf3 -J -i 0 -c {cable.addresses[1]} -t {seconds} {arguments} >{OUTPUT}",
                  timeout=60 + seconds)
    busy = sum(map(busy_seconds, links.guests)) - before
    end = json.loads(links.a.check(f"cat {OUTPUT}"))["end"]["sum_received"]
    return Stream(end["bits_per_second"] / 8e6, busy * 1e9 / end["bytes"])


def copy_bound(links, node, section_maps):
    """MB/s if each byte is copied into the section, then out of it, as the
    kernel of guest "a" maps them: its uio device has the same kind of memory.
    """
    def rate(direction, name):
        offset = section_maps.index(name) * host.PAGE_BYTES
        return float(links.a.check(f"bench-tool copy {direction} {node} {offset} "
                                   f"{OUTPUT_BYTES}")) / 1e6
    into, out = rate("to", "output_section"), rate("from", "input_sections")
    return Stream(1 / (1 / into + 1 / out), 0)


def rate_cases(what, subjects):
    """The rate to virtio-net's, and to that without extensions."""
    yield Case(f"TCP, {what}", "MB/s", VIRTIO, subjects, {IVSHMEM: TCP_GOAL},
               figure=lambda stream: stream.rate)
    ours = {name: subjects[name] for name in (PLAIN, IVSHMEM)}
    yield Case(f"TCP, {what}, to plain", "MB/s", PLAIN, ours, {IVSHMEM: TCP_PLAIN_GOAL},
               figure=lambda stream: stream.rate)


def cost_cases(links, what, subjects):
    """The rate to what copying allows, and the CPU time that it takes."""
    device = links.a.plug("copy", links.server("copy", *SECTIONS))
    node = device_node(links.a, device)
    section_maps = maps(links.a, device)
    yield Case(f"TCP, {what}, to copying", "MB/s", COPY,
               {COPY: lambda: copy_bound(links, node, section_maps), IVSHMEM: subjects[IVSHMEM]},
               {IVSHMEM: TCP_COPY_GOAL}, figure=lambda stream: stream.rate)
    yield Case(f"CPU of both guests, TCP, {what}", "ns/byte", VIRTIO, subjects,
               less_is_better=True, figure=lambda stream: stream.cpu_ns_per_byte)


def tcp_cases(links, seconds):
    for streams, what in ((1, "1 stream"), (4, "4 streams")):
        for arguments, way in (f"-P {streams}", ""), (f"-P {streams} -R", " back"):
            subjects = links.subjects(lambda links, cable, arguments=arguments:
                                      iperf(links, cable, arguments, seconds))
            yield from rate_cases(what + way, subjects)
            if arguments == "-P 1":
                yield from cost_cases(links, what, subjects)


# Small packets

@dataclass
class Datagrams:
    """Packets/s that were received, and how much of what was sent."""
    rate: float
    percent: float


def datagrams(links, cable, seconds):
    receiver = links.b.popen(f"exec bench-tool datagrams-receive {UDP_PORT}")
    receiver.wait_output("ready")
    sent, took = links.a.check(
        f"bench-tool datagrams-send {cable.addresses[1]} {UDP_PORT} {UDP_BYTES} {seconds}",
        timeout=20 + seconds).split()
    receiver.close_stdin()
    result = receiver.wait()
    assert result.code == 0, result.err
    got = int(result.out.split()[1])
    return Datagrams(got / float(took), 100 * got / int(sent))


def udp_cases(links, seconds):
    subjects = links.subjects(lambda links, cable: datagrams(links, cable, seconds))
    yield Case(f"UDP, {UDP_BYTES} bytes, received", "packets/s", VIRTIO, subjects,
               {IVSHMEM: UDP_GOAL}, figure=lambda d: d.rate)
    yield Case(f"UDP, {UDP_BYTES} bytes, not lost", "%", VIRTIO, subjects,
               figure=lambda d: d.percent)


# Round trips

def ping(links, cable, count):
    """Round-trip times in us, sorted."""
    links.a.check(f"/bin/ping -c {count} -i {PING_INTERVAL_S} {cable.addresses[1]} >{OUTPUT}",
                  timeout=60)
    times = links.a.check(f"sed -n 's/.* time=\\([0-9.]*\\) ms/\\1/p' {OUTPUT}").split()
    assert len(times) > count * 0.9, f"{len(times)} answers to {count} pings"
    return sorted(float(t) * 1000 for t in times)


def percentile(times, percent):
    return times[min(len(times) * percent // 100, len(times) - 1)]


def rtt_cases(links, count):
    subjects = links.subjects(lambda links, cable: ping(links, cable, count))
    yield Case("round trip, median", "us", VIRTIO, subjects, {IVSHMEM: RTT_GOAL},
               less_is_better=True, figure=statistics.median)
    yield Case("round trip, p99", "us", VIRTIO, subjects, less_is_better=True,
               figure=lambda times: percentile(times, 99))


# Without the network stack

def dropped(guest, name):
    """Frames that XDP has dropped."""
    out = guest.check(f"ethtool -S {name}")
    return sum(map(int, re.findall(r"rx(?:_queue_)?\d+_xdp_drops?: (\d+)", out)))


@contextlib.contextmanager
def xdp_drop(links, cable):
    """Inside, the driver of guest "b" throws away what it receives."""
    name = cable.interfaces[1]
    mtu = links.b.check(f"cat /sys/class/net/{name}/mtu")
    links.b.check(f"ip link set {name} mtu {XDP_MTU} && "
                  f"/bin/ip link set {name} xdpdrv obj /drop.o sec xdp")

    def drops():
        before = dropped(links.b, name)
        links.a.run(f"/bin/ping -q -c 1 -W 0.1 {cable.addresses[1]}")
        return dropped(links.b, name) > before

    # A link may start over for this
    wait_for(drops, what="frames that XDP drops")
    try:
        yield
    finally:
        links.b.check(f"/bin/ip link set {name} xdpdrv off && ip link set {name} mtu {mtu}")
        links.wait_connected(cable)


def pktgen(guest, name, mac, size, seconds):
    """Send from the kernel for a while; the seconds that it took."""
    start = net.pktgen(guest, name, mac, "10.255.0.1", size)
    guest.run(f"timeout {seconds} sh -c '{start}'; echo stop >{net.PKTGEN}/pgctrl",
              timeout=20 + seconds)
    text = guest.wait_for(f"grep -o 'OK: [0-9]*' {net.PKTGEN}/{name}")
    return int(text.split()[1]) / 1e6


def drop_rate(links, cable, size, seconds):
    sender, receiver = cable.interfaces
    mac = links.b.check(f"cat /sys/class/net/{receiver}/address")
    with xdp_drop(links, cable):
        before = dropped(links.b, receiver)
        took = pktgen(links.a, sender, mac, size, seconds)
        return (dropped(links.b, receiver) - before) / took


def driver_cases(links, seconds):
    for size in (64, 1500):
        yield Case(f"pktgen to XDP_DROP, {size} bytes", "packets/s", VIRTIO, links.subjects(
            lambda links, cable, size=size: drop_rate(links, cable, size, seconds),
            (VIRTIO, IVSHMEM, PLAIN)))


def facts(links, plan):
    guests, machine, runs = host.facts(links.a, plan)
    return [guests,
            f"{machine}; output sections of {OUTPUT_BYTES >> 20} MiB; "
            f"MTU of ivshmem-net: its default; {runs}",
            "virtio-net over -netdev stream, a UNIX socket, which in QEMU 7.2 carries no vnet "
            "header: its offloads are GSO and GRO in software",
            f"TCP: iperf3; round trip: ping -i {PING_INTERVAL_S}; copying: of words, in guest a, "
            "between private memory and the sections of a third device, by /dev/uioN"]


def setup(stack, plan, kver):
    host.build_tools()
    links = Cables(stack, kver)
    seconds, pings = (1, 200) if plan.quick else (2, 600)
    cases = [*tcp_cases(links, seconds), *udp_cases(links, 1), *rtt_cases(links, pings),
             *driver_cases(links, 1)]
    return facts(links, plan), cases
