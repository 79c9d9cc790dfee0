# SPDX-License-Identifier: GPL-2.0
"""The command line ivshmem: each subcommand between peers on the host."""

import json
import os
import re
import select
import signal
import struct
import subprocess

import pytest

from harness import BIN, ROOT, proto
from harness.libpeer import Peer
from harness.process import run, wait_for

IVSHMEM = BIN / "ivshmem"
PAGE = 4096

COMMANDS = ["list", "info", "ping", "pong", "watch", "state", "doorbell",
            "read", "write"]


def cli(*args, **kwargs):
    return run([IVSHMEM, *args], **kwargs)


def ok(*args, **kwargs):
    result = cli(*args, **kwargs)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def fails(*args, status=1, **kwargs):
    """The one line on stderr that it must leave; usage may follow."""
    result = cli(*args, **kwargs)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stderr


class Background:
    """A command that runs until it is told to end."""

    def __init__(self, processes, args):
        self.process = processes([IVSHMEM, *args], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def output(self):
        self.text += (self.process.stdout.read() or b"").decode()
        return self.text

    def wait_for(self, words, timeout=10):
        wait_for(lambda: words in self.output() or
                 self.process.poll() is not None, timeout, what=words)
        assert words in self.output(), self.process.stderr.read()

    def end(self, with_signal=signal.SIGINT):
        self.process.send_signal(with_signal)
        status = self.process.wait(10)
        return status, self.output()


@pytest.fixture
def background(processes):
    return lambda *args: Background(processes, args)


@pytest.fixture
def link(server):
    """link(options) -> the device argument of a fresh server."""
    return lambda *options: f"unix:{server(*options)}"


@pytest.fixture
def peer():
    peers = []

    def start(device):
        p = Peer()
        peers.append(p)
        assert p("open", device, 5000).startswith("open ")
        return p
    yield start
    for p in peers:
        p.end()


# Arguments

def test_help_names_every_command():
    text = ok("--help")
    assert all(f"\n  {c} " in text for c in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_goes_to_stdout(command):
    assert ok(command, "--help").startswith(f"Usage: ivshmem {command}")


def test_version_is_that_of_the_tree():
    assert ok("--version").split() == ["ivshmem", (ROOT / "VERSION").read_text().strip()]


@pytest.mark.parametrize("args", [
    [], ["frobnicate"], ["list", "x"], ["list", "-x"], ["info"],
    ["info", "a", "b"], ["ping", "unix:/x"], ["ping", "unix:/x", "one"],
    ["ping", "unix:/x", "-1"], ["ping", "unix:/x", "70000"],
    ["ping", "-i", "-3", "unix:/x", "1"], ["ping", "-c", "nan", "unix:/x", "1"],
    ["ping", "-W", "nan", "unix:/x", "1"], ["pong"], ["watch"],
    ["watch", "-n", "unix:/x"], ["watch", "-t", "x", "unix:/x"], ["state"],
    ["state", "unix:/x", "0x100000000"], ["state", "unix:/x", "1", "-t", "y"],
    ["doorbell", "unix:/x"], ["doorbell", "unix:/x", "1", "2", "3"],
    ["doorbell", "unix:/x", "1", "65536"], ["read", "unix:/x"],
    ["read", "-o", "1T", "unix:/x", "rw"], ["read", "-o", "-1", "unix:/x", "rw"],
    ["read", "-n", "99999999999G", "unix:/x", "rw"], ["write", "unix:/x"],
    ["write", "unix:/x", "rw", "-d"],
], ids=" ".join)
def test_wrong_arguments_are_exit_status_2_and_usage(args):
    assert "Usage: ivshmem" in fails(*args, status=2)


@pytest.mark.parametrize("args", [
    ["info", "unix:/nonexistent"], ["ping", "unix:/nonexistent", "1"],
    ["pong", "unix:/nonexistent"], ["watch", "unix:/nonexistent"],
    ["state", "unix:/nonexistent"], ["doorbell", "unix:/nonexistent", "1"],
    ["read", "unix:/nonexistent", "rw"], ["write", "unix:/nonexistent", "rw"],
], ids=lambda args: args[0])
def test_missing_server_is_exit_status_1_and_advice(args):
    assert fails(*args) == (f"ivshmem {args[0]}: /nonexistent: no server there: "
                            "start ivshmem2-server -S /nonexistent\n")


def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        result = run([IVSHMEM, "list"], capture_output=False, stdout=full,
                     stderr=subprocess.PIPE)
    assert result.returncode == 1 and "output" in result.stderr


# list

def sysfs_device(root, address, vendor="0x110a", device="0x4106",
                 klass="0xff0000", driver=None, uio=None):
    path = root / "bus/pci/devices" / address
    path.mkdir(parents=True)
    (path / "vendor").write_text(vendor + "\n")
    (path / "device").write_text(device + "\n")
    (path / "class").write_text(klass + "\n")
    if driver:
        (path / "driver").symlink_to(f"../../drivers/{driver}")
    if uio:
        (path / "uio" / uio).mkdir(parents=True)


def test_list_names_protocol_driver_and_device(tmp_path):
    sysfs_device(tmp_path, "0000:00:02.0", driver="uio_ivshmem", uio="uio3")
    sysfs_device(tmp_path, "0000:00:03.0", vendor="0x1af4", device="0x1110")
    sysfs_device(tmp_path, "0000:00:04.0", device="0x4107")
    for slot, klass in (("05", "0xff0001"), ("06", "0xff4001"),
                        ("07", "0xff8003"), ("08", "0xffc002"),
                        ("09", "0xff0002"), ("0a", "0xff9234")):
        sysfs_device(tmp_path, f"0000:00:{slot}.0", klass=klass)
    lines = ok("list", "--sysfs", tmp_path).splitlines()[1:]
    assert [re.split("  +", line) for line in lines] == [
        ["0000:00:02.0", "undefined", "uio_ivshmem", "/dev/uio3"],
        ["0000:00:05.0", "Ethernet", "-", "-"],
        ["0000:00:06.0", "user-defined 4001", "-", "-"],
        ["0000:00:07.0", "virtio console front end", "-", "-"],
        ["0000:00:08.0", "virtio block back end", "-", "-"],
        ["0000:00:09.0", "reserved 0002", "-", "-"],
        ["0000:00:0a.0", "virtio device 4660 front end", "-", "-"],
    ]


def test_list_without_a_device_says_so(tmp_path):
    assert "no ivshmem v2 device" in ok("list", "--sysfs", tmp_path)
    assert json.loads(ok("list", "--json", "--sysfs", tmp_path)) == []


def test_list_json_has_the_same_facts(tmp_path):
    sysfs_device(tmp_path, "0000:00:02.0", klass="0xffc003",
                 driver="uio_ivshmem", uio="uio0")
    sysfs_device(tmp_path, "0000:00:03.0")
    assert json.loads(ok("list", "--json", "--sysfs", tmp_path)) == [
        {"address": "0000:00:02.0", "protocol": 0xc003,
         "protocol_name": "virtio console back end", "driver": "uio_ivshmem",
         "device": "/dev/uio0"},
        {"address": "0000:00:03.0", "protocol": 0,
         "protocol_name": "undefined", "driver": None, "device": None}]


# info

def test_info_shows_layout_and_states(link, peer):
    device = link("-l", "64K", "-o", "4K", "-n", "4", "-V", "2", "-P", "0x4001")
    other = peer(device)
    other("set", 0x2a)
    text = ok("info", device)
    assert "peer 1 of 4" in text and "user-defined 4001" in text
    assert re.search(r"R/W section +offset +0x1000 +size +45056\n", text)
    assert re.search(r"of peer 1, own +offset +0xd000 +size +4096\n", text)
    assert re.search(r"peer 0 +state 0x2a\n", text)
    assert re.search(r"peer 1 +state 0, own\n", text)
    assert "peer 2" not in text
    assert re.search(r"peer 3 +state 0, not there\n", ok("info", "--all", device))


def test_info_json_has_the_same_facts(link, peer):
    device = link("-l", "64K", "-o", "4K", "-n", "4")
    peer(device)("set", 7)
    assert json.loads(ok("info", "--json", device)) == {
        "device": device, "id": 1, "max_peers": 4, "vectors": 1, "protocol": 0,
        "protocol_name": "undefined", "state_table_size": PAGE,
        "rw_offset": PAGE, "rw_size": 11 * PAGE, "output_offset": 12 * PAGE,
        "output_size": PAGE, "states": {"0": 7, "1": 0}}


# ping and pong

LAYOUTS = pytest.mark.parametrize("options", [
    ["-l", "64K", "-o", "4K"],
    ["-l", "64K"],
    ["-l", "64K", "-o", "4K", "-n", "3", "-V", "4"],
], ids=" ".join)


@LAYOUTS
def test_ping_is_answered_in_every_layout(link, background, options):
    device = link(*options)
    pong = background("pong", "-v", device)
    pong.wait_for("PONG as peer 0")
    text = ok("ping", "-c", "3", "-i", "0.01", device, "0")
    assert re.findall(r"answer from peer 0: seq=(\d+) time=[0-9.]+ ms", text) == \
        ["1", "2", "3"]
    assert "3 transmitted, 3 received, 0% loss" in text
    low, mean, high, _ = map(float, re.search(
        r"mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms", text).groups())
    assert 0 < low <= mean <= high
    status, text = pong.end()
    assert status == 0 and text.count("answered peer 1\n") == 3
    assert text.endswith("3 answered\n")


def test_ping_flood_of_several_peers_loses_nothing(link, background):
    device = link("-l", "64K", "-o", "4K", "-n", "4")
    pong = background("pong", device)
    pong.wait_for("PONG as peer 0")
    pings = [background("ping", "-q", "-c", "300", "-i", "0", "-W", "20",
                        device, "0") for _ in range(3)]
    for ping in pings:
        ping.wait_for("300 transmitted, 300 received, 0% loss", 20)
    assert pong.end()[1].endswith("900 answered\n")


def test_pong_rings_a_peer_that_it_answered_before_it_knew_of_it(background, tmp_path):
    """Another one's doorbell makes it look; the server's word may come later."""
    server = proto.Server(tmp_path / "socket")
    fd, memory = proto.memory(64 << 10)
    fds = {peer: os.eventfd(0, os.EFD_NONBLOCK) for peer in (0, 1)}
    pong = background("pong", f"unix:{server.path}")
    server.accept()
    server.send(proto.init(id=0, output_size=4096), [fd])
    server.send(proto.event_fd(0, 0), [fds[0]])
    pong.wait_for("PONG as peer 0")
    # magic, target, sequence
    struct.pack_into("<3I", memory, len(memory) - 64, 0x474e4950, 0, 5)
    os.eventfd_write(fds[0], 1)
    answer = len(memory) - 4096 - 64 + 0x14
    wait_for(lambda: struct.unpack_from("<I", memory, answer) == (5,), what="answer")
    server.send(proto.event_fd(1, 0), [fds[1]])
    assert select.select([fds[1]], [], [], 10)[0], "no doorbell"
    assert pong.end()[0] == 0
    for each in fd, *fds.values():
        os.close(each)
    server.close()


def test_ping_without_a_pong_fails_and_says_why(link, peer):
    device = link("-l", "64K", "-o", "4K")
    peer(device)
    result = cli("ping", "-c", "2", "-i", "0", "-W", "0.05", device, "0")
    assert result.returncode == 1 and result.stderr == "ivshmem ping: no answer\n"
    assert "seq=2 (no pong runs there)" in result.stdout
    assert "2 transmitted, 0 received, 100% loss" in result.stdout


def test_ping_ends_with_a_summary_on_a_signal(link, background):
    device = link("-l", "64K", "-o", "4K")
    background("pong", device).wait_for("PONG as peer 0")
    ping = background("ping", "-i", "100", device, "0")
    ping.wait_for("seq=1 ")
    status, text = ping.end()
    assert status == 0 and "1 transmitted, 1 received" in text


def test_ping_and_pong_can_be_repeated(link, background):
    device = link("-l", "64K", "-o", "4K")
    for _ in range(2):
        pong = background("pong", "-c", "2", device)
        pong.wait_for("PONG as peer 0")
        assert "2 received" in ok("ping", "-c", "2", "-i", "0", device, "0")
        assert pong.process.wait(10) == 0


def test_ping_checks_its_target(link):
    device = link("-l", "64K", "-o", "4K")
    assert "this one" in fails("ping", device, "0")
    assert "no peer 2" in fails("ping", device, "2")


@pytest.mark.parametrize("command", [["pong", "-c", "1"], ["ping", "-c", "1"]],
                         ids=lambda c: c[0])
def test_data_in_the_place_for_pings_is_kept_unless_forced(link, command):
    device = link("-l", "64K", "-o", "4K")
    ok("write", "-o", PAGE - 4, "-d", "data", device, "output")
    target = ["1"] if command[0] == "ping" else []
    assert "--force" in fails(*command, device, *target)
    assert ok("read", "-o", PAGE - 4, device, "output") == "data"
    if target:
        assert "no answer" in fails(*command, "-f", "-W", "0.05", device, "1")
        assert ok("read", "-o", PAGE - 4, device, "output") == 4 * "\0"


def test_ping_needs_a_section_to_lie_in(link):
    device = link("-l", "4K")
    assert "no place for a ping" in fails("ping", device, "1")
    assert "no place for a ping" in fails("pong", device)


# watch

@pytest.fixture
def watched(link, peer, background):
    """A peer 0 and a running watch as peer 1 that has seen it arrive."""
    def start(*options):
        device = link("-l", "64K", "-n", "3", "-V", "4")
        other = peer(device)
        watch = background("watch", *options, device)
        assert other("wait", 5000) == "arrived 1"
        watch.wait_for("peer 0 arrived")
        return device, other, watch
    return start


def test_watch_prints_arrival_states_and_departure_with_the_time(watched):
    _, other, watch = watched()
    other("set", 16)
    watch.wait_for("peer 0 state 0 -> 0x10")
    other("set", 3)
    watch.wait_for("peer 0 state 0x10 -> 0x3")
    other("close")
    watch.wait_for("peer 0 gone")
    status, text = watch.end()
    assert status == 0
    assert re.fullmatch(r"(\d\d:\d\d:\d\d\.\d{6} peer 0 .*\n){5}", text)
    assert text.index("state 0x3 -> 0\n") < text.index("gone")


def test_watch_ends_after_its_count_or_time(link, peer):
    device = link("-l", "64K")
    peer(device)("set", 1)
    assert len(ok("watch", "-n", "2", device).splitlines()) == 2
    assert len(ok("watch", "-t", "0.1", device).splitlines()) == 2


def test_watch_prints_interrupts_if_asked(watched):
    device, _, watch = watched("-v")
    ok("doorbell", device, "1", "3")
    watch.wait_for("interrupt vector 3")
    ok("doorbell", device, "1")
    watch.wait_for("interrupt vector 0")


def test_watch_tells_that_the_server_is_gone_and_goes_on(watched, server):
    _, other, watch = watched()
    for process in server.process.values():
        process.kill()
    watch.wait_for("server gone")
    other("set", 5)
    watch.wait_for("peer 0 state 0 -> 0x5")
    assert watch.end(signal.SIGTERM)[0] == 0


# state

def test_state_is_held_until_the_signal_and_0_afterwards(link, peer, background):
    device = link("-l", "64K")
    other = peer(device)
    state = background("state", device, "0x11")
    state.wait_for("peer 1 state 0x11")
    assert other("get", 1) == str(0x11)
    assert state.end(signal.SIGTERM)[0] == 0
    assert other("get", 1) == "0"


def test_state_is_held_for_the_given_time(link):
    device = link("-l", "64K")
    assert ok("state", device, "5", "--hold", "0.05") == "peer 0 state 0x5\n"
    assert ok("state", device) == "peer 0 state 0\n"


# read and write

def test_bytes_written_are_read_by_the_other_side(link, peer):
    device = link("-l", "64K", "-o", "4K")
    other = peer(device)
    ok("write", "-o", "0x10", "-d", "hello", device, "output")
    assert ok("read", "-o", "16", "-n", "5", device, "input:1") == "hello"
    assert other("peek", "input:1", 16) == str(ord("h"))
    ok("write", device, "rw", input="from stdin")
    assert ok("read", "-n", "10", device, "rw") == "from stdin"


def test_a_whole_section_passes_through_a_pipe(link, tmp_path):
    device = link("-l", "256K")
    size = 63 * PAGE
    (tmp_path / "data").write_bytes(bytes(i * 7 % 251 for i in range(size)))
    with open(tmp_path / "data") as data:
        ok("write", device, "rw", stdin=data)
    with open(tmp_path / "copy", "w") as copy:
        run([IVSHMEM, "read", device, "rw"], capture_output=False, stdout=copy)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "data").read_bytes()


def test_hex_shows_offsets(link):
    device = link("-l", "64K")
    ok("write", "-o", "1K", "-d", "0123456789abcdefXY", device, "rw")
    assert ok("read", "--hex", "-o", "1K", "-n", "18", device, "rw") == \
        "00000400  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66\n" \
        "00000410  58 59\n"


def test_state_table_can_be_read(link, peer):
    device = link("-l", "64K")
    peer(device)("set", 0x01020304)
    assert ok("read", "-x", "-n", "4", device, "state") == "00000000  04 03 02 01\n"


@pytest.mark.parametrize("section", ["state", "input:0", "input:1"])
def test_writing_what_others_own_is_refused(link, section):
    device = link("-l", "64K", "-o", "4K")
    assert "read only" in fails("write", "-d", "x", device, section)


@pytest.mark.parametrize("args, words", [
    (["read", "-o", "4097", "output"], "exceed"),
    (["read", "-n", "4097", "output"], "exceed"),
    (["read", "-o", "1", "-n", "4K", "output"], "exceed"),
    (["read", "-o", "0xffffffffffffffff", "-n", "2", "output"], "exceed"),
    (["write", "-o", "4095", "-d", "xy", "output"], "exceed"),
    (["write", "-o", "4097", "-d", "", "output"], "exceed"),
])
def test_what_exceeds_a_section_is_refused(link, args, words):
    device = link("-l", "64K", "-o", "4K")
    assert words in fails(*args[:-1], device, args[-1])


def test_input_that_does_not_fit_changes_nothing(link):
    device = link("-l", "64K", "-o", "4K")
    assert "exceed" in fails("write", device, "output", input="x" * (PAGE + 1))
    assert ok("read", device, "output") == PAGE * "\0"


def test_absent_and_unknown_sections_are_told_apart(link):
    device = link("-l", "64K")
    assert "has no section output" in fails("read", device, "output")
    assert "Usage" in fails("read", device, "outptu", status=2)
    assert "Usage" in fails("read", device, "input:2", status=2)


def test_link_that_is_full_is_an_error(link, peer):
    device = link("-l", "64K")
    peer(device)
    peer(device)
    assert "ids taken" in fails("info", device)


@pytest.mark.parametrize("page", ["man/ivshmem.1", "man/libivshmem.3"])
def test_manual_pages_are_clean(page):
    result = run(["mandoc", "-T", "lint", "-W", "warning",
                  ROOT / "Documentation" / page])
    assert result.returncode == 0 and result.stdout + result.stderr == ""
