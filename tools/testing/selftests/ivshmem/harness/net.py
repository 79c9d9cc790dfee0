# SPDX-License-Identifier: GPL-2.0
"""Ethernet over ivshmem between two guests: a cable and its ends.

    cable = Cable(server, a, b)
    cable.up()
    cable.ping(a)
    print(cable.iperf(a)["end"]["sum_sent"]["bytes"])

What busybox has too is called by its path here: its shell would take its own.
"""

import contextlib
import json
import pathlib
import re

from .process import limit

PROGRAMS = [pathlib.Path(p) for p in (
    "/usr/sbin/ip", "/usr/bin/ping", "/usr/sbin/ethtool", "/usr/bin/iperf3",
    "/usr/bin/socat")]

# Arguments of Guest for whom a cable is plugged into
GUEST = {"modules": ["ivshmem_net"], "programs": PROGRAMS, "qemu_args": ["-m", 384]}

PROTOCOL = "0x0001"
IPV6_MIN_MTU = 1280

PKTGEN = "/proc/net/pktgen"


def pktgen(guest, name, mac, address, size):
    """Set up the kernel's packet generator; the command that runs it until it
    is killed or told to stop. Module pktgen is loaded.
    """
    settings = "".join(f"echo '{line}' >{PKTGEN}/{name} && " for line in (
        f"pkt_size {size}", "count 0", f"dst_mac {mac}", f"dst {address}"))
    guest.check(f"echo rem_device_all >{PKTGEN}/kpktgend_0 && "
                f"echo 'add_device {name}' >{PKTGEN}/kpktgend_0 && {settings} true")
    return f"echo start >{PKTGEN}/pgctrl"


class Transfer:
    """A file of random bytes on its way between two guests, over any path.

    socat has the words for it; whole() waits for the end and compares.
    """

    def __init__(self, sender, receiver, listen, connect, kib, sender_in="", receiver_in=""):
        self.receiver = receiver
        tag = re.sub(r"\W", "", listen)
        self.sent, self.got = f"/tmp/{tag}-sent", f"/tmp/{tag}-got"
        self.kib = kib
        self.sum = sender.check(f"head -c {kib}k /dev/urandom > {self.sent}; "
                                f"md5sum < {self.sent}")
        receiver.check(f"rm -f {self.got}")
        self.sink = receiver.popen(f"exec {receiver_in} socat -u -b 65536 {listen} "
                                   f"OPEN:{self.got},creat,trunc")
        port = re.search(r":(\d+)", listen)[1]
        receiver.wait_for(f"{receiver_in} netstat -ltun | grep -q ':{port} '")
        self.source = sender.popen(f"exec {sender_in} socat -u -b 32768 "
                                   f"OPEN:{self.sent} {connect}")

    def whole(self, timeout=60):
        result = self.source.wait(timeout)
        assert result.code == 0, result.err
        self.receiver.wait_for(f"test $(stat -c %s {self.got}) -ge {self.kib * 1024}")
        self.sink.kill()
        self.sink.wait()
        assert self.receiver.check(f"md5sum < {self.got}") == self.sum, "content differs"


class End:
    """An ivshmem device in a guest and its network interface.

    side 0 or 1 chooses the addresses, number the network; id is the device's.
    """

    def __init__(self, guest, socket, side, number=0, **properties):
        self.guest = guest
        self.address = f"10.0.{number}.{side + 1}"
        self.peer_address = f"10.0.{number}.{2 - side}"
        self.address6 = f"fd00:{number}::{side + 1}"
        self.device = guest.plug(f"net{number}", socket, **properties)
        self.name = self.find()

    def find(self):
        """The interface, when there is one: after bind or reset look again."""
        self.name = self.guest.wait_for(f"ls {self.device.sysfs}/net | grep .")
        return self.name

    def up(self):
        self.ip(f"addr replace {self.address}/24 dev {self.name}")
        if int(self.attribute("mtu")) >= IPV6_MIN_MTU:
            self.ip(f"addr replace {self.address6}/64 dev {self.name} nodad")
        self.ip(f"link set {self.name} up")

    def down(self):
        self.ip(f"link set {self.name} down")

    def ip(self, words):
        return self.guest.check(f"/bin/ip {words}")

    def set(self, words):
        """ip link set"""
        return self.ip(f"link set dev {self.name} {words}")

    def ethtool(self, option, words=""):
        return self.guest.check(f"ethtool {option} {self.name} {words}")

    def attribute(self, name):
        return self.guest.check(f"cat /sys/class/net/{self.name}/{name}")

    def carrier(self):
        return self.guest.run(f"grep -q 1 /sys/class/net/{self.name}/carrier").code == 0

    def wait_carrier(self, on=True, timeout=20):
        """On: and the stack has seen it, before that it drops what is sent."""
        path = f"/sys/class/net/{self.name}"
        self.guest.wait_for(f"grep -q 1 {path}/carrier && grep -q up {path}/operstate"
                            if on else f"! grep -qs 1 {path}/carrier", timeout)

    def stats(self):
        """Counters of the driver, ethtool -S."""
        found = re.findall(r"(?m)^ +(\w+): (\d+)$", self.ethtool("-S"))
        return {name: int(value) for name, value in found}

    def count(self, name):
        """The sum of a counter, as rx_packets, over all queues."""
        way, what = name.split("_", 1)
        return sum(v for k, v in self.stats().items()
                   if re.fullmatch(f"{way}_queue_\\d_{what}", k))

    def link_stats(self):
        """Counters of the kernel: {"rx": {"packets": ...}, "tx": ...}"""
        return json.loads(self.ip(f"-s -j link show {self.name}"))[0]["stats64"]

    def describe(self):
        """All that is to be seen of it, for whoever has to find out what went wrong."""
        words = [f"/bin/ip -s -s link show {self.name}", "/bin/ip -s neigh",
                 "/bin/ip route", f"ethtool -S {self.name}", f"ethtool -d {self.name}",
                 "cat /proc/interrupts", f"/bin/ping -c 3 {self.peer_address}", "ps",
                 f"ethtool -S {self.name}", "cat /proc/interrupts", "dmesg | tail -n 20"]
        return f"{self.guest}:\n" + "\n".join(self.guest.run(word).out for word in words)

    def extensions(self, on):
        self.ethtool("--set-priv-flags", f"extensions {'on' if on else 'off'}")


class Cable:
    """A server, and two guests that are plugged into it."""

    def __init__(self, server, a, b, size="16M", output="4M", vectors=4, number=0,
                 **properties):
        """properties: of each device, or where it is a pair, of a's and b's."""
        self.socket = server("-P", PROTOCOL, "-l", size, "-o", output, "-V", vectors)
        self.ends = []
        for side, guest in enumerate((a, b)):
            own = {k: v[side] if isinstance(v, tuple) else v
                   for k, v in properties.items()}
            self.ends.append(End(guest, self.socket, side, number, **own))
        self.a, self.b = self.ends

    def end(self, guest):
        return self.a if guest is self.a.guest else self.b

    def other(self, guest):
        return self.b if guest is self.a.guest else self.a

    def up(self):
        """Both interfaces with addresses, and carrier."""
        for end in self.ends:
            end.up()
        self.wait_carriers()
        return self

    def wait_carrier(self, guest, on=True, timeout=20):
        self.end(guest).wait_carrier(on, timeout)

    def wait_carriers(self, timeout=20):
        for end in self.ends:
            end.wait_carrier(timeout=timeout)

    def ping(self, guest, address=None, count=3, options="", timeout=30):
        """The first so many echo requests are answered, the peer's by default.

        With -w, late is not lost: ping waits for all answers and may send more.
        """
        address = address or self.other(guest).address
        out = guest.run(f"/bin/ping -c {count} -i 0.01 -w {limit(timeout) - 10} {options} {address}",
                        timeout=timeout)
        answered = [int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", out.out)]
        assert set(answered) >= set(range(1, count + 1)), out.out + out.err

    def transfer(self, guest, kib=2048, port=7000, address=None):
        """Begin to send a file over TCP to the other guest; its Transfer."""
        other = self.other(guest)
        address = address or other.address
        tcp = "TCP6" if ":" in address else "TCP4"
        host = f"[{address}]" if ":" in address else address
        return Transfer(guest, other.guest, f"{tcp}-LISTEN:{port},reuseaddr",
                        f"{tcp}:{host}:{port}", kib)

    @contextlib.contextmanager
    def _iperf_server(self, guest, port):
        job = guest.popen(f"exec iperf3 -s -1 -p {port}")
        guest.wait_for(f"netstat -ltn | grep -q ':{port} '")
        try:
            yield
        finally:
            job.kill()
            job.wait()

    def iperf(self, guest, options="-n 8M", address=None, port=5201, timeout=60):
        """iperf3 from the guest to the other one; what it reports."""
        other = self.other(guest)
        with self._iperf_server(other.guest, port):
            out = guest.run(f"iperf3 -J -c {address or other.address} -p {port} {options}",
                            timeout=timeout)
            report = json.loads(out.out)
            assert out.code == 0 and "error" not in report, report.get("error")
            return report

    @contextlib.contextmanager
    def traffic(self, guest, options="", port=5202):
        """iperf3 inside the block, from the guest: it still runs at the end."""
        other = self.other(guest)
        with self._iperf_server(other.guest, port):
            job = guest.popen(f"exec iperf3 -c {other.address} -p {port} -t 86400 "
                              f"-i 0.2 --forceflush {options}")
            job.wait_output("bits/sec")
            yield job
            assert job.code is None, f"{job.command}: {job.stdout} {job.stderr}"
            job.kill()
            job.wait()
