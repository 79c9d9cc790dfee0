# SPDX-License-Identifier: GPL-2.0
"""libivshmem as a peer on the host: against the real server, and against
scripted ones that die, lie and hang.

The peers are processes of tools/testing/lib/peer.c, built with the sanitizers;
each test ends them regularly, so that leaks fail it as well.
"""

import contextlib
import os
import signal
import socket
import struct

import pytest

from harness import ROOT, proto
from harness.libpeer import Peer, build
from harness.process import run, wait_for

PAGE = 4096


@pytest.fixture
def peer():
    """peer() starts one; all are ended and checked with the test."""
    with contextlib.ExitStack() as stack:
        def start(**kwargs):
            p = Peer(**kwargs)
            stack.callback(lambda: p.process.stdin.closed or p.end())
            return p
        yield start


@pytest.fixture
def pair(peer, server):
    """Two peers of a real server that have seen each other arrive."""
    def start(*options):
        path = server(*options)
        a, b = peer(), peer()
        assert a.open(path).startswith("open 0 ")
        assert b.open(path).startswith("open 1 ")
        assert a("wait", 5000) == "arrived 1"
        assert b("wait", 5000) == "arrived 0"
        return a, b
    return start


class Scripted:
    """A scripted server and the peer that talks to it."""

    def __init__(self, peer, path):
        self.server = proto.Server(path)
        self.peer = peer
        self.fds = []
        self.size = 0

    def memory(self, size=4 * PAGE):
        fd, self.map = proto.memory(size)
        self.fds.append(fd)
        return fd

    def eventfd(self):
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.fds.append(fd)
        return fd

    def connect(self, timeout_ms=5000):
        self.peer.begin("open", f"unix:{self.server.path}", timeout_ms)
        self.server.accept()

    def handshake(self, others=(), **init):
        """A correct one; returns own and others' eventfds by (id, vector)."""
        fields = dict({"id": 0, "max_peers": 2, "vectors": 1}, **init)
        self.connect()
        self.server.send(proto.init(**fields), [self.memory()])
        fds = {}
        for peer_id in (*others, fields["id"]):
            for vector in range(fields["vectors"]):
                fds[peer_id, vector] = self.eventfd()
                self.server.send(proto.event_fd(peer_id, vector),
                                 [fds[peer_id, vector]])
        assert self.peer.answer().startswith("open ")
        return fds

    def table(self, peer_id, state):
        self.map[4 * peer_id:4 * peer_id + 4] = struct.pack("<I", state)

    def close(self):
        self.server.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def scripted(peer, tmp_path):
    s = Scripted(peer(), tmp_path / "scripted.sock")
    yield s
    s.close()


def pending(fd):
    """What an eventfd has counted since the last time."""
    try:
        return struct.unpack("Q", os.read(fd, 8))[0]
    except BlockingIOError:
        return 0


# Opening

def test_open_tells_layout_id_vectors_and_protocol(peer, server):
    path = server("-l", "64K", "-o", "4K", "-n", "3", "-V", "2", "-P", "0x4001")
    assert peer().open(path) == f"open 0 3 2 {0x4001} {65536 - 4 * PAGE} {PAGE}"


def test_open_tells_each_virtio_peer_its_role(peer, server):
    path = server("-l", "64K", "-P", "0x8003")
    assert peer().open(path).split()[4] == str(0xC003)
    assert peer().open(path).split()[4] == str(0x8003)


@pytest.mark.parametrize("device, answer, advice", [
    ("unix:/nonexistent/socket", "ENOENT", "ivshmem2-server"),
    ("unix:", "EINVAL", "path"),
    ("unix:" + 200 * "x", "EINVAL", "path"),
    ("/dev/uio999", "ENOENT", "modprobe uio_ivshmem"),
    ("/dev/null", "EINVAL|ENODEV", "ivshmem"),
    ("/etc/passwd", "EINVAL", "unix:"),
    ("eth0", "EINVAL", "/dev/uioN"),
])
def test_open_error_says_what_to_do(peer, device, answer, advice):
    words = peer()("open", device, 1000)
    assert words.split()[0] == "error" and words.split()[1] in answer.split("|")
    assert advice in words


def test_open_error_names_the_missing_permission(peer, server):
    path = server("-l", "64K")
    path.chmod(0)
    # Root obeys the mode as well once its capabilities are gone
    obey = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    words = peer(wrapper=obey).open(path)
    assert words.startswith("error EACCES") and "permission" in words


def test_open_of_a_socket_that_nobody_serves_is_refused(peer, tmp_path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    assert peer().open(path).startswith("error ECONNREFUSED")


def test_open_without_a_free_id_is_reset(peer, server):
    path = server("-l", "64K")
    a, b, c = peer(), peer(), peer()
    assert a.open(path).startswith("open") and b.open(path).startswith("open")
    words = c.open(path)
    assert words.startswith("error ECONNRESET") and "ids" in words


def test_open_times_out_on_a_server_that_is_silent(scripted):
    scripted.connect(timeout_ms=200)
    assert scripted.peer.answer().startswith("error ETIMEDOUT")


def test_open_times_out_on_a_server_that_trickles(scripted):
    scripted.connect(timeout_ms=500)
    scripted.server.send(proto.init()[:7])
    assert scripted.peer.answer().startswith("error ETIMEDOUT")


def test_open_times_out_on_a_server_that_never_finishes(scripted):
    scripted.connect(timeout_ms=500)
    scripted.server.send(proto.init(), [scripted.memory()])
    assert scripted.peer.answer().startswith("error ETIMEDOUT")


def test_open_times_out_on_a_full_backlog(peer, tmp_path):
    path = tmp_path / "full.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        filler = stack.enter_context(socket.socket(socket.AF_UNIX))
        filler.connect(str(path))
        assert peer().open(path, 200).startswith("error ETIMEDOUT")


def test_every_descriptor_is_closed_by_exec_and_by_close(pair):
    a, _ = pair("-l", "64K", "-o", "4K", "-V", "3")
    inherited, opened = map(int, a("descriptors").split())
    assert inherited == 0 and opened >= 2 * 3 + 3
    a("close")
    assert a("descriptors") == "0 0"


# Sections

def test_own_output_is_the_others_input(pair):
    a, b = pair("-l", "64K", "-o", "4K")
    a("poke", "output", 7, 42)
    b("poke", "output", 7, 43)
    assert (b("peek", "input:0", 7), a("peek", "input:1", 7)) == ("42", "43")
    assert a("peek", "input:0", 7) == "42"
    assert a("peek", "input:2", 0) == "-1"


def test_rw_section_is_shared(pair):
    a, b = pair("-l", "64K")
    a("poke", "rw", 65535 - PAGE, 99)
    assert b("peek", "rw", 65535 - PAGE) == "99"


@pytest.mark.parametrize("section", ["input:0", "input:1", "table"])
def test_writing_what_a_guest_cannot_write_is_a_fault(pair, section):
    a, _ = pair("-l", "64K", "-o", "4K")
    a.begin("poke", section, 0, 1)
    assert a.process.wait(10) == -signal.SIGSEGV
    a.kill()


# State, doorbells, presence

def test_state_appears_in_the_table_and_interrupts_on_change_only(scripted):
    fds = scripted.handshake(others=[1], vectors=2)
    for value, count in ((5, 1), (5, 0), (6, 1), (0, 1), (0, 0)):
        scripted.peer("set", value)
        assert scripted.map[:4] == struct.pack("<I", value)
        assert pending(fds[1, 0]) == count
    assert pending(fds[1, 1]) == 0 and pending(fds[0, 0]) == 0


def test_state_starts_as_0_without_an_interrupt(scripted):
    fds = scripted.handshake(others=[1])
    assert scripted.map[:8] == bytes(8)
    assert pending(fds[1, 0]) == 0


def test_state_change_is_an_event_with_old_and_new_value(pair):
    a, b = pair("-l", "64K")
    a("set", 3)
    assert b("wait", 5000) == "state 0 0 3"
    assert b.events() == ["vector 0"]
    a("set", 4)
    assert b("poll", 5000) == "ready"
    assert b.events() == ["state 0 3 4", "vector 0"]
    assert b("get", 0) == "4" and b("get", 1) == "0" and b("get", 77) == "0"


def test_late_peer_learns_states_and_presence_first(peer, server):
    path = server("-l", "64K", "-n", "3")
    a, b = peer(), peer()
    a.open(path)
    a("set", 7)
    b.open(path)
    assert b.events() == ["arrived 0", "state 0 0 7"]


def test_doorbell_interrupts_that_vector_of_that_peer_alone(scripted):
    fds = scripted.handshake(others=[1, 2], max_peers=3, vectors=3)
    scripted.peer("ring", 2, 1)
    assert {key: pending(fd) for key, fd in fds.items()} == \
        {key: int(key == (2, 1)) for key in fds}


def test_doorbell_to_what_is_not_there_has_no_effect(scripted):
    fds = scripted.handshake(others=[1], max_peers=3, vectors=2)
    for target, vector in ((1, 2), (2, 0), (3, 0), (65536, 0), (1, 65536),
                           (4294967295, 4294967295)):
        assert scripted.peer("ring", target, vector) == "ok"
    assert not any(pending(fd) for fd in fds.values())


def test_doorbell_never_blocks_on_a_full_counter(scripted):
    scripted.handshake()
    full = os.eventfd(0, os.EFD_CLOEXEC)
    scripted.fds.append(full)
    os.write(full, struct.pack("Q", 2**64 - 2))
    scripted.server.send(proto.event_fd(1, 0), [full])
    assert scripted.peer("wait", 5000) == "arrived 1"
    assert scripted.peer("ring", 1, 0) == "ok"


def test_vectors_are_reported_once_each_however_often_they_fired(pair):
    a, b = pair("-l", "64K", "-V", "70")
    for vector in (69, 3, 64, 3, 63):
        a("ring", 1, vector)
    assert b("poll", 5000) == "ready"
    assert b.events() == ["vector 3", "vector 63", "vector 64", "vector 69"]
    assert b("poll", 0) == "idle"


def test_a_taken_vector_comes_from_its_descriptor_alone(pair):
    a, b = pair("-l", "64K", "-V", "3")
    assert b("take", 2) == "ok" and b("take", 2) == "ok"
    assert b("take", 0).startswith("error EINVAL")
    assert b("take", 3).startswith("error EINVAL")
    a("ring", 1, 2)
    a("ring", 1, 2)
    a("ring", 1, 1)
    assert b("wait", 5000) == "vector 1" and b.events() == []
    assert b("drain", 5000) == "2"


def test_three_peers_see_each_other_come_and_go(peer, server):
    path = server("-l", "64K", "-n", "3")
    a, b, c = peer(), peer(), peer()
    for p in (a, b, c):
        p.open(path)
    assert [a("wait", 5000) for _ in range(2)] == ["arrived 1", "arrived 2"]
    assert c.events() == ["arrived 0", "arrived 1"]
    assert (a("present", 1), a("present", 2), a("present", 3)) == ("1", "1", "0")

    b("set", 9)
    assert a("wait", 5000) == "state 1 0 9" and a.events() == ["vector 0"]
    b.kill()
    seen = []
    wait_for(lambda: seen.append(a("wait", 1000)) or "gone 1" in seen)
    assert seen.index("state 1 9 0") < seen.index("gone 1")
    assert a("present", 1) == "0" and a("get", 1) == "0"

    again = peer()
    assert again.open(path).startswith("open 1 ")
    assert a("wait", 5000) == "arrived 1"
    again("ring", 0, 0)
    assert a("wait", 5000) == "vector 0"


def test_close_sets_state_0_and_interrupts_even_without_a_server(scripted):
    fds = scripted.handshake(others=[1])
    scripted.peer("set", 5)
    assert pending(fds[1, 0]) == 1
    scripted.server.drop()
    scripted.peer("close")
    assert scripted.map[:4] == bytes(4) and pending(fds[1, 0]) == 1


def test_close_in_a_forked_child_leaves_the_link_alone(pair):
    a, b = pair("-l", "64K")
    a("set", 5)
    assert b("wait", 5000) == "state 0 0 5" and b.events() == ["vector 0"]
    assert a("fork-close") == "0"
    assert b("poll", 100) == "idle" and b("get", 0) == "5"
    b("ring", 0, 0)
    assert a("wait", 5000) == "vector 0"


def test_wait_ends_at_its_limit_and_poll_is_idle_without_events(pair):
    a, _ = pair("-l", "64K")
    assert a("wait", 0) == "none" and a("wait", 50) == "none"
    assert a("poll", 0) == "idle"


def test_a_flood_of_doorbells_does_not_hold_a_batch_open(pair):
    a, b = pair("-l", "64K")
    for _ in range(200):
        a.begin("ring", 1, 0)
    batches = 0
    while b("poll", 200) == "ready":
        assert b.events() == ["vector 0"]
        batches += 1
    assert 1 <= batches <= 200


def test_threads_may_ring_while_another_takes_the_events(server):
    path = server("-l", "64K", "-n", "3")
    result = run(["setarch", "-R", build() / "lib-threads-tsan", f"unix:{path}"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "50 rounds\n"


# Servers that die

def test_server_killed_is_an_event_and_known_peers_go_on(pair, server):
    a, b = pair("-l", "64K", "-V", "2")
    for process in server.process.values():
        process.kill()
    assert a("wait", 5000) == "server-gone 0"
    assert b("wait", 5000) == "server-gone 0"
    a("ring", 1, 1)
    a("set", 4)
    assert [b("wait", 5000) for _ in range(3)] == \
        ["state 0 0 4", "vector 0", "vector 1"]
    assert b("poll", 0) == "idle" and a("poll", 0) == "idle"


def test_server_that_breaks_the_protocol_keeps_our_id(scripted):
    scripted.handshake(others=[1])
    scripted.server.send(struct.pack("<2I", 1, 8))
    scripted.peer.events()
    assert scripted.peer("present", 1) == "1"
    scripted.server.conn.settimeout(0.2)
    with pytest.raises(TimeoutError):
        scripted.server.conn.recv(1)


@pytest.mark.parametrize("data, descriptors", [
    (struct.pack("<2I", 1, 8), 0),
    (struct.pack("<2I", 2, 11), 0),
    (struct.pack("<2I", 77, 7), 0),
    (struct.pack("<2I", 0, 0), 0),
    (proto.init(), 1),
    (proto.event_fd(2, 0), 1),
    (proto.event_fd(1, 1), 1),
    (proto.event_fd(1, 0), 0),
    (proto.event_fd(1, 0), 2),
    (proto.event_fd(0, 0), 1),
    (proto.event_fd(0xffffffff, 0xffffffff), 1),
    (proto.peer_gone(1), 1),
    (proto.peer_gone(0), 0),
    (proto.peer_gone(2), 0),
    (proto.peer_gone(0xffffffff), 0),
], ids=lambda value: value.hex() if isinstance(value, bytes) else str(value))
def test_malformed_message_at_run_time_ends_the_server_only(scripted, data,
                                                            descriptors):
    fds = scripted.handshake()
    scripted.server.send(data, [scripted.eventfd() for _ in range(descriptors)])
    assert scripted.peer("wait", 5000) == "server-gone -71"
    os.write(fds[0, 0], struct.pack("Q", 1))
    assert scripted.peer("wait", 5000) == "vector 0"


# Servers that lie in the handshake

@pytest.mark.parametrize("fields, error", [
    (dict(version=1), "EPROTONOSUPPORT"),
    (dict(version=3, compatible=3), "EPROTONOSUPPORT"),
    (dict(id=2), "EPROTO"),
    (dict(id=0, max_peers=0), "EPROTO"),
    (dict(max_peers=1), "EPROTO"),
    (dict(max_peers=65537), "EPROTO"),
    (dict(max_peers=0xffffffff), "EPROTO"),
    (dict(vectors=0), "EPROTO"),
    (dict(vectors=1025), "EPROTO"),
    (dict(protocol=0x10000), "EPROTO"),
    (dict(output_size=100), "EPROTO"),
    (dict(output_size=2 * PAGE), "EPROTO"),
    (dict(output_size=2**63), "EPROTO"),
    (dict(output_size=2**64 - PAGE), "EPROTO"),
], ids=str)
def test_init_with_impossible_numbers_is_refused(scripted, fields, error):
    scripted.connect()
    scripted.server.send(proto.init(**fields), [scripted.memory(4 * PAGE)])
    assert scripted.peer.answer().split()[:2] == ["error", error]


def test_init_of_a_later_compatible_version_is_accepted(scripted):
    scripted.handshake(version=3, compatible=2)


@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE + 1])
def test_init_with_memory_of_impossible_size_is_refused(scripted, size):
    fd = os.memfd_create("short")
    os.ftruncate(fd, size)
    scripted.fds.append(fd)
    scripted.connect()
    scripted.server.send(proto.init(), [fd])
    assert scripted.peer.answer().startswith("error EPROTO")


@pytest.mark.parametrize("message, fds", [
    (proto.init(), 0),
    (proto.init(), 2),
    (proto.event_fd(0, 0), 1),
    (proto.peer_gone(1), 0),
    (struct.pack("<2I", 0, 39) + bytes(31), 1),
    (b"GET / HTTP/1.1\r\n\r\n", 0),
    (bytes(64), 0),
    (b"\xff" * 7 + b"\0" * 57, 0),
], ids=lambda value: value.hex() if isinstance(value, bytes) else str(value))
def test_malformed_greeting_is_refused(scripted, message, fds):
    scripted.connect(timeout_ms=1000)
    scripted.server.send(message, [scripted.memory() for _ in range(fds)])
    assert scripted.peer.answer().startswith(("error EPROTO", "error ETIMEDOUT"))


def test_init_without_a_memory_descriptor_is_refused(scripted):
    scripted.connect()
    scripted.server.send(proto.init(), [scripted.eventfd()])
    assert scripted.peer.answer().startswith("error EPROTO")


def test_event_descriptor_must_be_no_pipe_socket_or_file(scripted):
    for make in (lambda: os.pipe()[1], lambda: socket.socket().detach(),
                 scripted.memory):
        fd = make()
        if make != scripted.memory:
            scripted.fds.append(fd)
        scripted.connect()
        scripted.server.send(proto.init(), [scripted.memory()])
        scripted.server.send(proto.event_fd(0, 0), [fd])
        answer = scripted.peer.answer()
        assert answer.startswith("error EPROTO") and "eventfd" in answer


def test_server_that_hangs_up_in_the_handshake_is_an_error(scripted):
    scripted.connect()
    scripted.server.send(proto.init(), [scripted.memory()])
    scripted.server.drop()
    assert scripted.peer.answer().startswith("error ECONNRESET")


def test_a_failed_open_leaves_no_descriptor(scripted):
    scripted.connect()
    scripted.server.send(proto.init(), [scripted.memory()])
    scripted.server.send(proto.event_fd(1, 0), [scripted.eventfd()])
    scripted.server.send(proto.event_fd(0, 1), [scripted.eventfd()])
    assert scripted.peer.answer().startswith("error EPROTO")
    assert scripted.peer("descriptors") == "0 0"


def test_unknown_messages_are_skipped_with_their_descriptors(scripted):
    unknown = struct.pack("<2I", 3, 10000) + bytes(9992)
    scripted.connect()
    scripted.server.send(unknown)
    scripted.server.send(proto.init(), [scripted.memory()])
    scripted.server.send(struct.pack("<2I", 9, 8),
                         [scripted.eventfd() for _ in range(200)])
    scripted.server.send(proto.event_fd(0, 0), [scripted.eventfd()])
    assert scripted.peer.answer().startswith("open 0 2 1")
    _, before = map(int, scripted.peer("descriptors").split())
    scripted.server.send(unknown, [scripted.eventfd()])
    scripted.server.send(proto.event_fd(1, 0), [scripted.eventfd()])
    assert scripted.peer("wait", 5000) == "arrived 1"
    assert scripted.peer("descriptors") == f"0 {before + 1}"


def test_extra_bytes_of_known_messages_are_skipped(scripted):
    scripted.connect()
    longer = bytearray(proto.init() + bytes(100))
    struct.pack_into("<I", longer, 4, len(longer))
    scripted.server.send(bytes(longer), [scripted.memory()])
    own = bytearray(proto.event_fd(0, 0) + b"\xff" * 5000)
    struct.pack_into("<I", own, 4, len(own))
    scripted.server.send(bytes(own), [scripted.eventfd()])
    assert scripted.peer.answer().startswith("open 0 2 1")


def test_messages_may_come_in_single_bytes(scripted):
    scripted.connect()
    for message, fd in ((proto.init(), scripted.memory()),
                        (proto.event_fd(0, 0), scripted.eventfd())):
        scripted.server.send(message[:1], [fd])
        for byte in message[1:]:
            scripted.server.send(bytes([byte]))
    assert scripted.peer.answer().startswith("open 0 2 1")


def test_id_reused_within_a_batch_is_gone_and_arrived_in_this_order(scripted):
    scripted.handshake(others=[1])
    scripted.table(1, 6)
    scripted.peer.events()
    scripted.table(1, 6)
    scripted.server.send(proto.peer_gone(1))
    scripted.server.send(proto.event_fd(1, 0), [scripted.eventfd()])
    assert scripted.peer("poll", 5000) == "ready"
    assert [e for e in scripted.peer.events() if not e.startswith("vector")] == \
        ["state 1 6 0", "gone 1", "arrived 1", "state 1 0 6"]


def test_peer_that_was_never_complete_neither_arrives_nor_goes(scripted):
    scripted.handshake(vectors=2)
    scripted.server.send(proto.event_fd(1, 0), [scripted.eventfd()])
    scripted.server.send(proto.peer_gone(1))
    scripted.server.send(proto.peer_gone(1))
    for vector in range(2):
        scripted.server.send(proto.event_fd(1, vector), [scripted.eventfd()])
    assert scripted.peer("wait", 5000) == "arrived 1"
    assert scripted.peer("present", 1) == "1"


def test_running_out_of_descriptors_is_said_so(scripted):
    scripted.handshake(max_peers=400)
    pid = scripted.peer.process.pid
    fd = scripted.eventfd()
    run(["prlimit", f"--pid={pid}", "--nofile=16:16"])
    for peer_id in range(1, 20):
        scripted.server.send(proto.event_fd(peer_id, 0), [fd])
    seen = []
    wait_for(lambda: seen.append(scripted.peer("wait", 1000)) or
             seen[-1].startswith("server-gone"))
    assert seen[-1] == "server-gone -24" and "arrived 1" in seen


# As a package

PROGRAM = """
#include <ivshmem/ivshmem.h>
#include <stdio.h>
int main(void)
{
	struct ivshmem_peer *peer = NULL;
	int ret = ivshmem_open(&peer, "unix:/nonexistent", 100);

	if (!ret)
		ivshmem_doorbell(peer, ivshmem_get_state(peer, 0), 0);
	puts(ivshmem_error());
	return ret ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A staged installation of the library: its root and pkg-config."""
    stage = tmp_path_factory.mktemp("stage")
    result = run(["make", "-C", ROOT / "tools/lib/ivshmem", "install",
                  f"DESTDIR={stage}", "PREFIX=/opt/ivshmem"], timeout=120)
    assert result.returncode == 0, result.stderr
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(stage),
               PKG_CONFIG_PATH=str(stage / "opt/ivshmem/lib/pkgconfig"))

    def config(*args):
        result = run(["pkg-config", *args, "libivshmem"], env=env)
        assert result.returncode == 0, result.stderr
        return result.stdout.split()
    return stage / "opt/ivshmem", config


@pytest.mark.parametrize("compiler, suffix, std", [
    ("gcc", "c", "c99"), ("gcc", "c", "gnu17"), ("clang", "c", "c11"),
    ("g++", "cc", "c++11"), ("g++", "cc", "c++20"),
])
def test_installed_package_compiles_and_links(package, tmp_path, compiler,
                                              suffix, std):
    prefix, config = package
    source = tmp_path / f"program.{suffix}"
    source.write_text(PROGRAM)
    flags = [f"-std={std}", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror",
             "-pedantic"]
    for kind, options in (("shared", []), ("static", ["-static"])):
        libs = config("--libs", *(["--static"] if options else []))
        program = tmp_path / kind
        result = run([compiler, *flags, *config("--cflags"), source, *options,
                      *libs, "-o", program])
        assert result.returncode == 0, result.stderr
        result = run([program], env={"LD_LIBRARY_PATH": str(prefix / "lib")})
        assert result.returncode == 0 and "no server" in result.stdout


def test_shared_library_exports_the_header_and_nothing_else(package):
    prefix, _ = package
    symbols = {line.split()[-1].split("@")[0] for line in
               run(["nm", "-D", "--defined-only", prefix / "lib/libivshmem.so"])
               .stdout.splitlines()} - {"LIBIVSHMEM_0"}
    header = (prefix / "include/ivshmem/ivshmem.h").read_text()
    assert symbols and all(f"{s}(" in header for s in symbols)
    assert len(symbols) == 10


def test_manual_page_is_installed_and_names_every_function(package):
    prefix, _ = package
    page = (prefix / "share/man/man3/libivshmem.3").read_text()
    for name in ("open", "close", "error", "fd", "vector_fd", "next_event",
                 "wait_event", "set_state", "get_state", "present", "doorbell",
                 "input"):
        assert f".Fn ivshmem_{name}\n" in page or f".Fo ivshmem_{name}\n" in page or \
            f".Fn ivshmem_{name} " in page, name
