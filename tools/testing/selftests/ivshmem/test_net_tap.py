# SPDX-License-Identifier: GPL-2.0
"""ivshmem-tap on the host: two of them in network namespaces, and one against
a peer of the first generation, well behaved or not. And in a guest, over
/dev/uioN.
"""

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

from harness import BIN, ROOT
from harness.net_peer import RESET, NetPeer, checksum
from harness.process import reap, run, wait_for
from harness.uio import device_node

TAP = BIN / "ivshmem-tap"
LINK = ["-P", "1", "-n", "2", "-V", "2", "-l", "4M", "-o", "1M"]
SMALL = ["-P", "1", "-n", "2", "-V", "2", "-l", "256K", "-o", "64K"]
GUEST = {"modules": ["uio_ivshmem", "tun"], "packed": ["ivshmem-net"],
         "programs": [TAP, "/usr/sbin/ethtool"]}
CLONE_NEWNET = 0x40000000
SOL_UDP, UDP_SEGMENT = 17, 103
NOBODY = 65534

_missing = [what for what, there in [
    ("/dev/net/tun", os.access("/dev/net/tun", os.R_OK | os.W_OK)),
    ("root", os.geteuid() == 0),
    ("ip", shutil.which("ip")), ("ping", shutil.which("ping"))] if not there]
pytestmark = pytest.mark.skipif(bool(_missing), reason=f"needs {', '.join(_missing)}")

_libc = ctypes.CDLL(None, use_errno=True)
_names = itertools.count()


def ok(*argv, **kwargs):
    result = run(argv, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


class Namespace:
    """A network namespace with a prepared interface tap0 of a user."""

    def __init__(self, number, user=0):
        self.name = f"ivn-{os.getpid()}-{next(_names)}"
        self.address = f"192.0.2.{number}"
        self.address6 = f"fd00::{number}"
        ok("ip", "netns", "add", self.name)
        self.user = user

    def prepare(self):
        self.ip("link", "set", "lo", "up")
        self.ip("tuntap", "add", "dev", "tap0", "mode", "tap", "user", self.user)
        self.configure()

    def configure(self):
        self.ip("address", "add", f"{self.address}/24", "dev", "tap0")
        self.ip("address", "add", f"{self.address6}/64", "dev", "tap0", "nodad")
        self.ip("link", "set", "tap0", "up")

    def remove(self):
        run(["ip", "netns", "delete", self.name])

    def ip(self, *words):
        return ok("ip", "-n", self.name, *words)

    def wrap(self, *argv):
        return ["ip", "netns", "exec", self.name, *argv]

    def show(self):
        """tap0 as ip(8) sees it, or None."""
        result = run(["ip", "-n", self.name, "-json", "-details", "link", "show", "tap0"])
        return json.loads(result.stdout)[0] if result.returncode == 0 else None

    def carrier(self):
        return "LOWER_UP" in self.show()["flags"]

    def wait_carrier(self, on=True):
        wait_for(lambda: self.carrier() == on, what=f"carrier {on}")

    def ping(self, to, *options):
        """Whether echo requests are answered, at least some."""
        return run(self.wrap("ping", "-c", "5", "-i", "0.05", "-W", "5", "-q",
                             *options, to)).returncode == 0

    def socket(self, family, kind):
        made = []

        def make():
            fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            if not _libc.setns(fd, CLONE_NEWNET):
                made.append(socket.socket(family, kind))
            os.close(fd)

        # The thread takes its namespace with it
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(30)
        return made[0]


@pytest.fixture
def namespace():
    made = []

    def make(number, prepare=True, **kwargs):
        made.append(Namespace(number, **kwargs))
        if prepare:
            made[-1].prepare()
        return made[-1]

    yield make
    for each in made:
        each.remove()


class Tap:
    """An ivshmem-tap in a namespace."""

    def __init__(self, processes, ns, path, log, *options, wrapper=()):
        self.ns, self.log = ns, log
        with open(log, "ab") as stderr:
            self.process = processes(
                ns.wrap(*wrapper, TAP, "-v", "-i", "tap0", *options, f"unix:{path}"),
                stderr=stderr)

    def text(self):
        return self.log.read_text()

    def wait_text(self, words, count=1):
        wait_for(lambda: self.text().count(words) >= count or self.process.poll() is not None,
                 what=words)
        assert self.text().count(words) >= count, self.text()

    def stats(self):
        before = self.text().count("sent ")
        self.process.send_signal(signal.SIGUSR1)
        self.wait_text("sent ", before + 1)
        line = re.findall(r"sent .*", self.text())[-1]
        return {name: int(value) for name, value in re.findall(r"([a-z][a-z ]*) (\d+)", line)}

    def end(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        return self.process.wait(10)


@pytest.fixture
def tap(processes, tmp_path):
    count = itertools.count()

    def start(ns, path, *options, **kwargs):
        return Tap(processes, ns, path, tmp_path / f"tap{next(count)}.log", *options, **kwargs)

    return start


@pytest.fixture
def cable(server, namespace, tap):
    """cable(options of one, of the other) -> two namespaces, connected."""
    def make(mine=(), other=(), link=LINK):
        path = server(*link)
        a, b = namespace(1), namespace(2)
        a.tap, b.tap = tap(a, path, *mine), tap(b, path, *other)
        a.path = b.path = path
        a.wait_carrier()
        b.wait_carrier()
        return a, b

    return make


@pytest.fixture
def old(server, namespace, tap):
    """old(options) -> a namespace with a tap and the old peer beside it."""
    peers = []

    def make(*options, link=LINK, kind=NetPeer):
        path = server(*link)
        ns = namespace(1)
        ns.tap = tap(ns, path, *options)
        peer = kind(path, "192.0.2.9").start()
        peers.append(peer)
        peer.wait_running()
        ns.wait_carrier()
        return ns, peer

    yield make
    for peer in peers:
        peer.stop()


def transfer(source, sink, family, megabytes=16):
    """A stream through TCP: whether it arrives as it was sent."""
    listener = sink.socket(family, socket.SOCK_STREAM)
    listener.bind(("", 5001))
    listener.listen(1)
    client = source.socket(family, socket.SOCK_STREAM)
    block = os.urandom(1 << 20)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def send():
        client.connect((sink.address6 if family == socket.AF_INET6 else sink.address, 5001))
        for _ in range(megabytes):
            client.sendall(block)
            sent.update(block)
        client.close()

    thread = threading.Thread(target=send)
    thread.start()
    connection, _ = listener.accept()
    connection.settimeout(30)
    while part := connection.recv(1 << 20):
        got.update(part)
    thread.join()
    connection.close()
    listener.close()
    return sent.digest() == got.digest()


# Two of them

MODES = {"both": ((), ()), "one": ((), ["--no-extensions"]),
         "none": (["--no-extensions"], ["--no-extensions"])}


@pytest.mark.parametrize("mode", MODES)
def test_ping_goes_both_ways(cable, mode):
    a, b = cable(*MODES[mode])
    assert a.ping(b.address) and b.ping(a.address)
    assert a.ping(b.address6) and b.ping(a.address6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_tcp_stream_arrives_as_it_was_sent(cable, mode, family):
    a, b = cable(*MODES[mode])
    assert transfer(a, b, family) and transfer(b, a, family)


@pytest.mark.parametrize("mode", MODES)
def test_extensions_are_used_if_both_offer_them(cable, mode):
    a, b = cable(*MODES[mode])
    words = "extensions vnet_hdr csum tso4 tso6" if mode == "both" else ", no extensions\n"
    for ns in a, b:
        ns.tap.wait_text("link is up")
        assert words in ns.tap.text()


def test_large_segments_cross_in_one_piece(cable):
    a, b = cable()
    assert transfer(a, b, socket.AF_INET, megabytes=16)
    # 16 MiB are 11,000 frames of 1500 bytes
    assert a.tap.stats()["sent"] < 4000


@pytest.mark.parametrize("mode", ["both", "none"])
def test_udp_segments_arrive_one_by_one(cable, mode):
    a, b = cable(*MODES[mode])
    sink = b.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind((b.address, 5002))
    source = a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
    data = os.urandom(40 * 1000)
    source.sendto(data, (b.address, 5002))
    assert b"".join(sink.recv(2000) for _ in range(40)) == data


@pytest.mark.parametrize("mode", MODES)
def test_jumbo_frames_cross_after_the_mtu_was_raised(cable, mode):
    a, b = cable(*MODES[mode])
    assert a.ping(b.address)
    for ns in a, b:
        ns.ip("link", "set", "tap0", "mtu", "9000")
    assert a.ping(b.address, "-s", "8972", "-M", "do")
    assert a.tap.stats()["too long"] == 0


@pytest.mark.parametrize("link", [["-P", "1", "-l", "64K", "-o", "4K"],
                                  ["-P", "1", "-l", "64K", "-o", "16K", "-V", "1"], SMALL],
                         ids=["4K", "one-vector", "64K"])
def test_stream_crosses_small_sections(cable, link):
    a, b = cable(link=link)
    for ns in a, b:
        ns.ip("link", "set", "tap0", "mtu", "1280" if link is SMALL else "576")
    assert transfer(a, b, socket.AF_INET, megabytes=2)


@pytest.mark.parametrize("who", ["first", "second"])
def test_link_comes_back_after_ten_crashes(cable, tap, who):
    a, b = cable()
    victim, other = (a, b) if who == "first" else (b, a)
    for _ in range(10):
        assert victim.tap.end(signal.SIGKILL) == -signal.SIGKILL
        victim.tap = tap(victim, victim.path)
        victim.wait_carrier()
        other.tap.wait_text("state RUN", other.tap.text().count("state RESET"))
        wait_for(lambda: victim.ping(other.address, "-c", "1", "-W", "1"), what="answer")
    assert other.tap.process.poll() is None


def test_link_comes_back_after_crashes_under_traffic(cable, tap):
    a, b = cable()
    flood = subprocess.Popen(a.wrap("ping", "-q", "-i", "0.002", "-s", "1400", b.address),
                             stdout=subprocess.DEVNULL)
    try:
        for _ in range(5):
            b.tap.end(signal.SIGKILL)
            b.tap = tap(b, b.path)
            b.wait_carrier()
            wait_for(lambda: b.ping(a.address, "-c", "1", "-W", "1"), what="answer")
    finally:
        reap(flood)
    assert "broke" not in a.tap.text() + b.tap.text()


def test_carrier_follows_the_link(server, namespace, tap):
    path = server(*LINK)
    a, b = namespace(1), namespace(2)
    first = tap(a, path)
    first.wait_text("state INIT")
    assert not a.carrier()
    second = tap(b, path)
    a.wait_carrier()
    assert second.end() == 0
    a.wait_carrier(False)


def test_interface_is_made_and_goes_with_the_program(server, namespace, tap):
    path = server(*LINK)
    ns = namespace(1, prepare=False)
    process = tap(ns, path)
    process.wait_text("tap0 is connected")
    assert ns.show()["linkinfo"]["info_kind"] == "tun"
    assert process.end(signal.SIGINT) == 0
    assert ns.show() is None


def test_prepared_interface_stays(cable):
    a, _ = cable()
    assert a.tap.end() == 0
    assert a.show() and not a.carrier()


def test_end_resets_the_state_before_the_server_does(server, old):
    ns, peer = old()
    process = server.process[peer.path]
    process.send_signal(signal.SIGSTOP)
    try:
        assert ns.tap.end() == 0
        assert peer.link.state(peer.link.other) == RESET
    finally:
        process.send_signal(signal.SIGCONT)


def as_nobody(device):
    """The wrapper of a command: nobody's, with that file as /dev/net/tun."""
    return ["sh", "-c", f'mount --bind {device} /dev/net/tun && exec setpriv '
            f'--reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all "$@"', "sh"]


@pytest.fixture
def open_tun(tmp_path):
    """A device node that everybody may use, as most systems have it."""
    path = tmp_path / "tun"
    os.mknod(path, 0o020666, os.makedev(10, 200))
    path.chmod(0o666)
    return path


@pytest.fixture
def open_server(server, tmp_path):
    path = server(*LINK)
    path.chmod(0o666)
    for directory in tmp_path, *tmp_path.parents[:2]:
        directory.chmod(0o755)
    return path


def test_user_without_privileges_uses_the_interface_made_for_him(
        open_server, namespace, tap, open_tun):
    a, b = namespace(1, user=NOBODY), namespace(2)
    process = tap(a, open_server, wrapper=as_nobody(open_tun))
    tap(b, open_server)
    a.wait_carrier()
    assert a.ping(b.address)
    status = open(f"/proc/{process.process.pid}/status").read()
    assert f"Uid:\t{NOBODY}" in status and re.search(r"CapEff:\s0+$", status, re.M)


def test_user_without_interface_is_told_the_command(open_server, namespace, tap, open_tun):
    process = tap(namespace(1), open_server, wrapper=as_nobody(open_tun))
    assert process.process.wait(10) == 1
    assert f"ip tuntap add dev tap0 mode tap user {NOBODY}" in process.text()


def test_user_without_device_node_is_told_so(open_server, namespace, tap, open_tun):
    open_tun.chmod(0o600)
    process = tap(namespace(1, user=NOBODY), open_server, wrapper=as_nobody(open_tun))
    assert process.process.wait(10) == 1
    assert "/dev/net/tun: Permission denied" in process.text()


# Wrong calls and links

@pytest.mark.parametrize("args", [[], ["a", "b"], ["-x"], ["-i"], ["-i", "", "unix:/x"],
                                  ["-i", "sixteen-letters-", "unix:/x"]], ids=" ".join)
def test_wrong_arguments_are_exit_status_2(args):
    result = run([TAP, *args])
    assert result.returncode == 2 and "--help" in result.stderr and not result.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_goes_to_stdout(option):
    result = run([TAP, option])
    assert result.returncode == 0 and result.stdout.startswith("Usage: ivshmem-tap")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version_is_that_of_the_tree(option):
    version = (ROOT / "VERSION").read_text().strip()
    assert run([TAP, option]).stdout == f"ivshmem-tap {version}\n"


@pytest.mark.parametrize("options, words", [
    (["-P", "0x8003", "-l", "4M", "-o", "1M"], "-P 1"),
    (["-P", "1", "-n", "3", "-l", "4M", "-o", "1M"], "-n 2"),
    (["-P", "1", "-l", "4M"], "too small"),
], ids=["protocol", "peers", "section"])
def test_wrong_link_is_refused_with_the_way_out(server, namespace, tap, options, words):
    process = tap(namespace(1), server(*options))
    assert process.process.wait(10) == 1
    assert words in process.text()


def test_missing_server_is_exit_status_1(namespace, tap, tmp_path):
    process = tap(namespace(1), tmp_path / "nobody.sock")
    assert process.process.wait(10) == 1 and "ivshmem2-server" in process.text()


def test_interface_in_use_is_named(cable, tap):
    a, _ = cable()
    process = tap(a, a.path)
    assert process.process.wait(10) == 1 and "tap0: another program has it" in process.text()


def test_interface_of_another_kind_is_named(server, namespace, tap):
    ns = namespace(1, prepare=False)
    ns.ip("tuntap", "add", "dev", "tap0", "mode", "tun")
    process = tap(ns, server(*LINK))
    assert process.process.wait(10) == 1 and "tap0: no TAP interface" in process.text()


def test_deleted_interface_ends_it(cable):
    a, b = cable()
    a.ip("link", "delete", "tap0")
    assert a.tap.process.wait(10) == 1 and "the interface is gone" in a.tap.text()
    b.wait_carrier(False)


def test_end_of_the_server_ends_it(server, cable):
    a, b = cable()
    reap(server.process[a.path])
    for ns in a, b:
        assert ns.tap.process.wait(10) == 1 and "the server is gone" in ns.tap.text()


# A peer of the first generation

@pytest.mark.parametrize("link", [LINK, SMALL, ["-P", "1", "-l", "256K", "-o", "64K", "-V", "1"]],
                         ids=["1M", "64K", "one-vector"])
def test_old_peer_answers_a_ping(old, link):
    ns, peer = old(link=link)
    assert ns.ping("192.0.2.9")
    assert ns.ping("192.0.2.9", "-s", "1472", "-M", "do")
    assert ", no extensions\n" in ns.tap.text()


def test_old_peer_is_answered(old):
    ns, peer = old()
    target = bytes(map(int, ns.address.split(".")))
    peer.send(peer.arp(1, bytes(6), target))
    reply = peer.recv(wanted=lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2")
    assert reply[28:32] == target and reply[:6] == peer.mac
    assert reply[6:12].hex(":") == ns.show()["address"]


def datagrams(frame):
    return frame[12:14] == b"\x08\0" and frame[23] == 17


def learn(ns, peer):
    """Make the namespace know the old peer's address, so that nothing waits."""
    ns.ip("neighbour", "replace", "192.0.2.9", "lladdr", peer.mac.hex(":"), "dev", "tap0")


def test_old_peer_gets_complete_checksums(old):
    ns, peer = old()
    learn(ns, peer)
    source = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.sendto(b"seven..", ("192.0.2.9", 7))
    packet = peer.recv(wanted=datagrams)[14:]
    udp = packet[20:20 + struct.unpack_from(">H", packet, 24)[0]]
    assert udp[8:] == b"seven.."
    assert checksum(packet[12:20] + struct.pack(">HH", 17, len(udp)) + udp) == 0


def test_frames_wait_in_order_for_a_peer_without_time(old):
    ns, peer = old(link=SMALL)
    learn(ns, peer)
    source = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.pause(True)
    for i in range(600):
        source.sendto(struct.pack(">H", i) + bytes(500), ("192.0.2.9", 7))
    # Full: it asks for a doorbell when some of them are back
    peer.wait_for(lambda p: 0 < (p.peek("H", p.layout.used_event)[0] - p.taken) & 0xffff
                  < p.layout.qlen, what="the event")
    peer.pause(False)
    numbers = [struct.unpack_from(">H", peer.recv(wanted=datagrams), 42)[0] for _ in range(600)]
    assert numbers == list(range(600))


def test_thousands_of_frames_from_an_old_peer_arrive_in_order(old):
    ns, peer = old(link=SMALL)
    sink = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)     # SO_RCVBUFFORCE
    sink.bind((ns.address, 7))
    mac = bytes.fromhex(ns.show()["address"].replace(":", ""))
    for i in range(3000):
        udp = struct.pack(">HHHHH", 7, 7, 8 + 2 + i % 1000, 0, i) + bytes(i % 1000)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0) + \
            peer.address + bytes(map(int, ns.address.split(".")))
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        peer.send(mac + peer.mac + b"\x08\0" + head + udp)
    for i in range(3000):
        data = sink.recv(2000)
        assert data == struct.pack(">H", i) + bytes(i % 1000)


def test_link_comes_back_when_an_old_peer_is_down_or_dead(old):
    ns, peer = old()
    for leave in (lambda: peer.set_up(False), peer.stop, peer.kill) * 3:
        runs = ns.tap.text().count("link is up")
        leave()
        ns.tap.wait_text("link is down", runs)
        if peer.thread:
            peer.set_up(True)
        else:
            peer.start()
        peer.wait_running()
        wait_for(lambda: ns.ping("192.0.2.9", "-c", "1", "-W", "1"), what="answer")


def test_frames_that_an_old_peer_cannot_take_are_counted(old):
    ns, peer = old(link=SMALL)
    ns.ip("link", "set", "tap0", "mtu", "20000")
    before = ns.tap.stats()["too long"]
    assert not ns.ping("192.0.2.9", "-c", "1", "-W", "1", "-s", "18000")
    assert ns.tap.stats()["too long"] == before + 1
    assert ns.ping("192.0.2.9", "-s", "10000")


class OfferingPeer(NetPeer):
    """An old peer with an extension: frames begin with a virtio_net_hdr."""

    features, max_frame = 1, 1000

    def _prepare(self):
        super()._prepare()
        self.poke("IHHIIII", self.layout.end - 64, 0x584e5649, 1, 1, self.features,
                  self.max_frame, 65553, 2)
        self.layout.end = self.link.output_size - 64
        self.poke("H", self.layout.avail, 0x8000)


def test_frames_that_the_peer_does_not_offer_to_take_are_counted(old):
    ns, peer = old(kind=OfferingPeer)
    learn(ns, peer)
    source = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = ns.tap.stats()["too long"]
    source.sendto(bytes(1000 - 42 + 1), ("192.0.2.9", 7))
    source.sendto(bytes(1000 - 42), ("192.0.2.9", 7))
    frame = peer.recv(wanted=lambda f: datagrams(f[10:]))
    assert len(frame) == 10 + 1000 and frame[:10] == bytes(10)
    assert ns.tap.stats()["too long"] == before + 1


# Against the rules

def honest_again(ns, peer):
    ns.tap.wait_text("broke the rules")
    peer.wait_for(lambda p: ns.tap.text().count("link is up") > 1, what="the link")
    peer.wait_running()
    wait_for(lambda: ns.ping("192.0.2.9", "-c", "1", "-W", "1"), what="answer")
    assert ns.tap.process.poll() is None


def frame_of(peer, **wrong):
    """Publish one descriptor with something wrong in it."""
    good = {"ident": 0, "addr": peer.layout.data, "length": 60, "flags": 0, "ahead": 1}
    f = {**good, **wrong}
    with peer.moved:
        peer.poke("QIHH", 0, f["addr"], f["length"], f["flags"], 0)
        peer.poke("H", peer.layout.avail + 4 + 2 * (peer.sent % peer.layout.qlen), f["ident"])
        peer.poke("H", peer.layout.avail + 2, (peer.sent + f["ahead"]) & 0xffff)
        peer.ring()


@pytest.mark.parametrize("wrong", [
    {"ahead": 5000}, {"ahead": -1}, {"ident": 4096}, {"ident": 0xffff}, {"flags": 1},
    {"flags": 4}, {"addr": 0}, {"addr": 1 << 20}, {"addr": (1 << 64) - 32}, {"length": 13},
    {"length": 0}, {"length": 1 << 20}, {"length": 0xffffffff}], ids=str)
def test_bad_frame_resets_the_link_and_an_honest_peer_works_again(old, wrong):
    ns, peer = old()
    frame_of(peer, **wrong)
    honest_again(ns, peer)


@pytest.mark.parametrize("idx, entry", [(5000, (0, 1)), (-1, (0, 1)), (1, (1, 1)), (1, (0, 0)),
                                        (1, (1 << 31, 1))], ids=str)
def test_bad_return_resets_the_link_and_an_honest_peer_works_again(old, idx, entry):
    ns, peer = old()
    learn(ns, peer)
    with peer.moved:
        # Where frames were returned already, the next entry is the one that counts
        peer.paused = True
        start = peer.taken
    source = ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = ns.tap.stats()["sent"]
    source.sendto(b"x", ("192.0.2.9", 7))
    wait_for(lambda: ns.tap.stats()["sent"] > sent, what="a frame")
    with peer.moved:
        slot = start % peer.layout.qlen
        ident, length = entry
        peer.poke("II", peer.layout.used + 4 + 8 * slot, slot + ident & 0xffffffff, length)
        peer.poke("H", peer.layout.used + 2, (start + idx) & 0xffff)
    # It looks when there is something to send
    source.sendto(b"x", ("192.0.2.9", 7))
    ns.tap.wait_text("broke the rules of the ring of frames that it got")
    peer.pause(False)
    honest_again(ns, peer)


def test_faults_are_reported_once_and_held_off(old):
    ns, peer = old()
    for fault in range(1, 4):
        frame_of(peer, ident=0xffff)
        ns.tap.wait_text("link is down", fault)
        ns.tap.wait_text("link is up", fault + 1)
        peer.wait_running()
    assert ns.tap.text().count("broke the rules") == 1


@pytest.mark.parametrize("state", [4, 0xffffffff])
def test_state_that_is_none_is_a_reset(old, state):
    ns, peer = old()
    with peer.moved:
        peer.link.change_state(state)
        ns.tap.wait_text("link is down")
        peer.set_up(False)
    peer.set_up(True)
    peer.wait_running()
    assert ns.ping("192.0.2.9")


@pytest.mark.parametrize("header", [
    b"\1\0\0\0\0\0\xff\xff\xff\xff", b"\1\1\0\0\1\0\0\0\0\0", b"\0\x7f" + bytes(8),
    b"\0\1\xff\xff\0\0" + bytes(4)], ids=["csum", "gso-size", "gso-type", "no-csum"])
def test_frame_with_a_senseless_header_is_refused(old, header):
    ns, peer = old(kind=OfferingPeer)
    before = ns.tap.stats()["refused"]
    peer.send(header + peer.arp(1, bytes(6), b"\xc0\0\2\1"))
    wait_for(lambda: ns.tap.stats()["refused"] == before + 1, what="the counter")
    assert "link is down" not in ns.tap.text()


# In a guest

NEW_ID = "echo 110a 4106 ffffffff ffffffff ff0001 ffffff > /sys/bus/pci/drivers/uio_ivshmem/new_id"
GUEST_ADDRESS = "192.0.2.3"


class GuestTap:
    """ivshmem-tap in a guest, on a device without driver of its own."""

    def __init__(self, guest, path):
        self.guest = guest
        device = guest.plug("net", path)
        guest.run(NEW_ID)   # once a boot, then it is known
        self.node = device_node(guest, device)
        self.start()

    def start(self):
        self.job = self.guest.popen(f"exec ivshmem-tap -v -i tap0 {self.node}")
        self.guest.wait_for(f"ip address add {GUEST_ADDRESS}/24 dev tap0")
        self.guest.check("ip link set tap0 up")
        self.guest.wait_for("grep -q 1 /sys/class/net/tap0/carrier")

    def ping(self, to):
        self.guest.wait_for(f"ping -q -c 1 -W 2 {to}")


@pytest.fixture
def host_end(server, namespace, tap):
    """The server's socket, for a guest, and the host's end of the cable."""
    def make(*options):
        path = server(*LINK)
        host = namespace(1)
        host.tap = tap(host, path, *options)
        return path, host
    return make


@pytest.mark.guest
def test_guest_over_uio_talks_with_an_old_peer(guest, server):
    path = server(*LINK)
    with NetPeer(path, "192.0.2.9") as peer:
        inside = GuestTap(guest, path)
        peer.wait_running()
        inside.ping("192.0.2.9")
        inside.job.kill(signal.SIGTERM)
        peer.wait_for(lambda p: p.other_state() == RESET, what="reset")
        assert inside.job.wait().code == 0


@pytest.mark.guest
def test_guest_over_uio_talks_with_the_host_and_survives_crashes(guest, host_end):
    path, host = host_end()
    inside = GuestTap(guest, path)
    host.wait_carrier()
    host.tap.wait_text("extensions vnet_hdr csum tso4 tso6")
    for _ in range(3):
        inside.ping(host.address)
        assert host.ping(GUEST_ADDRESS, "-s", "1472")
        inside.job.kill()
        inside.job.wait()
        host.wait_carrier(False)
        inside.start()
        host.wait_carrier()


def stream_arrives(guest, host):
    """Four megabytes from the guest to the host, through TCP."""
    listener = host.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((host.address, 5001))
    listener.listen(1)
    guest.check("dd if=/dev/urandom of=/tmp/data bs=1M count=4")
    job = guest.popen(f"nc {host.address} 5001 < /tmp/data")
    connection, _ = listener.accept()
    connection.settimeout(30)
    got = b""
    while part := connection.recv(1 << 20):
        got += part
    connection.close()
    listener.close()
    assert job.wait().code == 0 and len(got) == 4 << 20
    assert guest.check("md5sum /tmp/data; rm /tmp/data").split()[0] == hashlib.md5(got).hexdigest()


@pytest.mark.guest
def test_stream_from_a_guest_over_uio_arrives_as_it_was_sent(guest, host_end):
    path, host = host_end()
    inside = GuestTap(guest, path)
    host.wait_carrier()
    inside.ping(host.address)
    stream_arrives(guest, host)


@contextlib.contextmanager
def driver_in(guest, path):
    """The interface of ivshmem-net, which is not the first that wants it."""
    device = guest.plug("net", path)
    address = device.sysfs.rpartition("/")[2]
    guest.check(f"modprobe ivshmem-net && cd {device.sysfs} && "
                "echo ivshmem_net > driver_override && "
                "{ ! test -e driver || basename $(readlink driver) | grep -q net || "
                f"echo {address} > driver/unbind; }} && "
                f"{{ test -e driver || echo {address} > /sys/bus/pci/drivers_probe; }}")
    name = guest.wait_for(f"ls {device.sysfs}/net")
    guest.check(f"ip address add {GUEST_ADDRESS}/24 dev {name} && ip link set {name} up")
    yield name
    guest.check("rmmod ivshmem_net")


@pytest.mark.guest
@pytest.mark.parametrize("options, extended", [([], "1"), (["--no-extensions"], "0")])
def test_driver_of_a_guest_talks_with_the_host(guest, host_end, tap, options, extended):
    path, host = host_end(*options)
    with driver_in(guest, path) as name:
        host.wait_carrier()
        guest.wait_for(f"ping -q -c 1 -W 2 {host.address}")
        assert host.ping(GUEST_ADDRESS, "-s", "1472")
        stream_arrives(guest, host)
        assert guest.check(f"ethtool -S {name} | grep peer_extended").split()[-1] == extended
        host.tap.end(signal.SIGKILL)
        guest.wait_for(f"grep -q 0 /sys/class/net/{name}/carrier")
        host.tap = tap(host, path, *options)
        guest.wait_for(f"ping -q -c 1 -W 2 {host.address}")
    host.wait_carrier(False)
