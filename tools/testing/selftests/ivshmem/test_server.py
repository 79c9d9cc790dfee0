# SPDX-License-Identifier: GPL-2.0
"""ivshmem2-server, against Documentation/ivshmem/server-protocol.rst.

The real server; the clients are scripted and as rude as they like.
"""

import array
import contextlib
import fcntl
import grp
import mmap
import os
import pathlib
import resource
import shutil
import signal
import socket
import stat
import struct
import tempfile

import pytest

from harness import BIN, ROOT
from harness.process import run, wait_for
from harness.proto import EVENT_FD, PEER_GONE, Client

SERVER = BIN / "ivshmem2-server"


class Running:
    """A server in the foreground, its log in a file."""

    def __init__(self, processes, directory, *options, wrapper=(), **kwargs):
        self.path = pathlib.Path(directory) / "sock"
        self.status_path = pathlib.Path(f"{self.path}.status")
        self.log_path = pathlib.Path(directory) / "log"
        with open(self.log_path, "w") as log:
            self.process = processes([*wrapper, SERVER, "-F", "-S", self.path, *options],
                                     stderr=log, **kwargs)
        wait_for(lambda: "State Table" in self.log or self.process.poll() is not None,
                 what="server is listening")
        assert self.process.poll() is None, self.log
        self.pid = self.process.pid

    @property
    def log(self):
        return self.log_path.read_text()

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status(self):
        result = run([SERVER, "--status", "-S", self.path])
        assert result.returncode == 0, result.stderr
        return result.stdout

    def rows(self):
        """The table of --status: a list of words per peer."""
        return [line.split() for line in self.status().split("PROTOCOL", 1)[1].splitlines()[1:]]

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(10)


@pytest.fixture
def start(processes, tmp_path):
    """start(*options) -> Running; each in a directory of its own."""
    count = iter(range(100))

    def go(*options, **kwargs):
        directory = tmp_path / f"server{next(count)}"
        directory.mkdir()
        return Running(processes, directory, *options, **kwargs)

    return go


@pytest.fixture
def connect():
    """connect(server) -> Client, closed at the end."""
    clients = []

    def go(server):
        clients.append(Client(server.path))
        return clients[-1]

    yield go
    for client in clients:
        client.close()


def event(message):
    """(id, vector) of an EVENT_FD message; its descriptor is checked."""
    assert (message.type, message.len, len(message.fds)) == (EVENT_FD, 16, 1), message
    return struct.unpack("<2I", message.body)


def gone(message):
    assert (message.type, message.len, message.fds) == (PEER_GONE, 12, []), message
    return struct.unpack("<I", message.body)[0]


def greeted(client, peers, vectors=1):
    """Read INIT and the eventfds of so many peers: (Init, {(id, vector): fd})."""
    init, _ = client.init()
    fds = {}
    for _ in range(peers * vectors):
        message = client.message()
        fds[event(message)] = message.fds[0]
    return init, fds


def drain(client):
    """Read until there is nothing, close what comes along: False at the end."""
    client.sock.setblocking(False)
    try:
        while True:
            data, anc, _, _ = client.sock.recvmsg(65536, socket.CMSG_SPACE(4 * 253))
            for _, _, payload in anc:
                got = array.array("i")
                got.frombytes(payload)
                for fd in got:
                    os.close(fd)
            if not data:
                return False
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def closed(client):
    return not drain(client)


def refused(*options, code):
    """Run a server that must not start: what it says."""
    result = run([SERVER, "-F", *options], timeout=10)
    assert result.returncode == code, result
    return result.stderr


# -- messages ---------------------------------------------------------------

def test_first_peer_gets_init_and_its_own_vectors_byte_for_byte(start, connect):
    server = start("-n", 3, "-V", 2, "-P", "0x4abc", "-l", "1M", "-o", "64K")
    client = connect(server)
    data, fds = client._read(40)
    assert data == bytes.fromhex(
        "00000000 28000000 02000000 02000000 00000000 03000000 02000000 bc4a0000"
        "0000010000000000")
    assert len(fds) == 1 and os.fstat(fds[0]).st_size == 1 << 20
    for vector in ("00000000", "01000000"):
        data, fds = client._read(16)
        assert data == bytes.fromhex("01000000 10000000 00000000" + vector)
        assert len(fds) == 1
    assert client.quiet()


def test_peer_gone_byte_for_byte(start, connect):
    server = start("-n", 4)
    first, second = connect(server), connect(server)
    greeted(first, 2)
    second.close()
    data, fds = first._read(12)
    assert data == bytes.fromhex("02000000 0c000000 01000000")
    assert fds == []


def test_new_peer_hears_of_the_others_first_and_of_itself_last(start, connect):
    server = start("-n", 4, "-V", 3)
    a = connect(server)
    greeted(a, 1, 3)
    b = connect(server)
    greeted(b, 2, 3)
    assert [event(a.message()) for _ in range(3)] == [(1, 0), (1, 1), (1, 2)]
    c = connect(server)
    assert c.init()[0].id == 2
    assert [event(c.message()) for _ in range(9)] == [
        (peer, vector) for peer in (0, 1, 2) for vector in (0, 1, 2)]
    for other in (a, b):
        assert [event(other.message()) for _ in range(3)] == [(2, 0), (2, 1), (2, 2)]
        assert other.quiet(0.05)


def test_eventfds_lead_to_the_peer_and_vector_they_are_named_for(start, connect):
    server = start("-n", 3, "-V", 2)
    a, b = connect(server), connect(server)
    _, at_a = greeted(a, 2, 2)
    _, at_b = greeted(b, 2, 2)
    for peer, mine, theirs in ((0, at_a, at_b), (1, at_b, at_a)):
        for vector in (0, 1):
            os.write(theirs[peer, vector], struct.pack("=Q", 7 + vector))
            assert struct.unpack("=Q", os.read(mine[peer, vector], 8)) == (7 + vector,)
    with pytest.raises(BlockingIOError):
        os.read(at_a[0, 0], 8)


def test_memory_is_shared_by_all_peers(start, connect):
    server = start("-l", "64K")
    a, b = connect(server), connect(server)
    _, fd_a = a.init()
    _, fd_b = b.init()
    with mmap.mmap(fd_a, 65536) as at_a, mmap.mmap(fd_b, 65536) as at_b:
        at_a[5000:5005] = b"hello"
        assert at_b[5000:5005] == b"hello"


# -- ids and roles ----------------------------------------------------------

def test_lowest_free_id_is_given_first(start, connect):
    server = start("-n", 5)
    clients = [connect(server) for _ in range(5)]
    assert [c.init()[0].id for c in clients] == [0, 1, 2, 3, 4]
    clients[3].close()
    clients[1].close()
    assert [connect(server).init()[0].id for _ in range(2)] == [1, 3]


def test_full_house_closes_the_connection_and_bothers_nobody(start, connect):
    server = start("-n", 2)
    a, b = connect(server), connect(server)
    greeted(a, 2)
    greeted(b, 2)
    with pytest.raises((EOFError, ConnectionResetError)):
        connect(server).message()
    assert a.quiet(0.05) and b.quiet(0.05)
    b.close()
    assert gone(a.message()) == 1
    assert connect(server).init()[0].id == 1


@pytest.mark.parametrize("asked", ["0x8003", "0xc003"])
def test_virtio_peer_0_is_the_back_end_and_peer_1_the_front_end(start, connect, asked):
    server = start("-P", asked)
    assert [connect(server).init()[0].protocol for _ in range(2)] == [0xc003, 0x8003]
    assert [row[3:6] for row in server.rows()] == [["0xc003", "back", "end"],
                                                   ["0x8003", "front", "end"]]


@pytest.mark.parametrize("protocol", [0, 1, 0x4000, 0x7fff])
def test_other_protocols_are_the_same_for_all_peers(start, connect, protocol):
    server = start("-P", protocol, "-n", 3)
    assert [connect(server).init()[0].protocol for _ in range(3)] == [protocol] * 3


# -- peers that leave -------------------------------------------------------

def test_state_is_cleared_before_the_others_hear_that_a_peer_is_gone(start, connect):
    server = start("-n", 4)
    a, b, c = (connect(server) for _ in range(3))
    _, fd = a.init()
    for _ in range(3):
        a.message()
    greeted(b, 3)
    greeted(c, 3)
    with mmap.mmap(fd, 4096) as table:
        table[0:16] = struct.pack("<4I", 0x11111111, 0x22222222, 0x33333333, 0x44444444)
        b.close()
        assert gone(a.message()) == 1 and gone(c.message()) == 1
        assert struct.unpack("<4I", table[0:16]) == (0x11111111, 0, 0x33333333, 0x44444444)


def test_state_of_the_last_of_65536_peers_has_its_place(start, connect):
    server = start("-n", 65536, "-l", "1M")
    init, _ = connect(server).init()
    assert init.max_peers == 65536
    assert "State Table 262144, R/W section 786432" in server.status()


def rude_bytes(client):
    client.sock.sendall(b"hello")


def rude_half_close(client):
    client.sock.shutdown(socket.SHUT_WR)


def rude_descriptor(client):
    socket.send_fds(client.sock, [b"x"], [0] * 50)


def rude_close(client):
    greeted(client, 2)
    client.close()


def rude_close_with_unread_messages(client):
    client.close()


@pytest.mark.parametrize("rude", [rude_bytes, rude_half_close, rude_descriptor, rude_close,
                                  rude_close_with_unread_messages])
def test_rude_client_loses_its_own_connection_only(start, connect, rude):
    server = start("-n", 3)
    good = connect(server)
    greeted(good, 1)
    bad = connect(server)
    assert event(good.message()) == (1, 0)
    before = server.fds()
    rude(bad)
    assert gone(good.message()) == 1
    assert connect(server).init()[0].id == 1
    assert event(good.message()) == (1, 0)
    if rude in (rude_bytes, rude_half_close, rude_descriptor):
        wait_for(lambda: closed(bad), what="rude client is dropped")
    assert server.fds() == before


def test_client_that_does_not_read_hears_in_the_end_who_is_there(start, connect):
    """Others that come and go, as fast as they can, do not cost it its place."""
    server = start("-n", 3, "-V", 2)
    slow, good = connect(server), connect(server)
    greeted(good, 2, 2)
    fds = server.fds()
    for _ in range(500):
        guest = Client(server.path)
        with contextlib.suppress(EOFError):     # the one before may not be gone yet
            guest.init()
        guest.close()
        assert drain(good)
    wait_for(lambda: [row[0] for row in server.rows()] == ["0", "1"], what="end of the guests")
    assert server.fds() <= fds + 4
    waiting, = [int(row[-1]) for row in server.rows() if row[0] == "0"]
    assert 0 < waiting <= 1 + 2 + 3 * (2 + 1)
    connect(server)
    assert slow.init()[0].id == 0
    there = {}
    while there != {0: 2, 1: 2, 2: 2} or not slow.quiet(0.1):
        message = slow.message()
        if message.type == PEER_GONE:
            there.pop(gone(message), None)
        else:
            id, vector = event(message)
            assert vector == there.get(id, 0)
            there[id] = vector + 1


def test_greeting_of_a_full_link_fits_the_queue_of_one_who_reads_late(start, connect):
    server = start("-n", 3, "-V", 1024)
    late = [connect(server) for _ in range(3)]
    for client in late:
        init, _ = client.init()
        seen = [event(client.message()) for _ in range(3 * 1024)]
        assert sorted(seen) == [(p, v) for p in range(3) for v in range(1024)]
        assert [v for p, v in seen if p == init.id] == list(range(1024))


# -- many -------------------------------------------------------------------

def test_200_clients_at_once(start):
    server = start("-n", 256)
    clients = []
    try:
        for _ in range(200):
            clients.append(Client(server.path))
        ids = []
        for client in clients:
            init, fd = client.init()
            ids.append(init.id)
        assert ids == list(range(200))
        for client in clients:
            drain(client)
        last = Client(server.path)
        clients.append(last)
        assert greeted(last, 201)[0].id == 200
        clients.pop(0).close()
        assert gone(last.message()) == 0
    finally:
        for client in clients:
            client.close()


def test_200_connections_one_after_the_other_leave_nothing_behind(start, connect):
    server = start("-n", 4, "-V", 4)
    watcher = connect(server)
    greeted(watcher, 1, 4)
    before = server.fds()
    for _ in range(200):
        guest = Client(server.path)
        assert guest.init()[0].id == 1
        guest.close()
        while (message := watcher.message()).type != PEER_GONE:
            assert event(message)[0] == 1       # or none, if it left that early
        assert gone(message) == 1
        watcher.fds, done = [], watcher.fds
        for fd in done:
            os.close(fd)
    assert server.fds() == before


def test_more_than_1024_descriptors(start, connect):
    server = start("-n", 4, "-V", 512)
    clients = [connect(server) for _ in range(4)]
    views = [greeted(client, 4, 512)[1] for client in clients]
    assert server.fds() > 2048
    os.write(views[0][3, 511], struct.pack("=Q", 1))
    assert struct.unpack("=Q", os.read(views[3][3, 511], 8)) == (1,)


def test_too_few_descriptors_for_two_peers_is_an_error_with_numbers(tmp_path):
    result = run(["prlimit", "--nofile=1000:1000", SERVER, "-F", "-S", tmp_path / "s",
                  "-V", 1024])
    assert result.returncode == 1
    assert "2 peers with 1024 vectors need 2082 open files, the limit is 1000" in result.stderr


def test_peer_that_finds_no_descriptors_left_is_refused_alone(start, connect):
    server = start("-n", 100, "-V", 10, wrapper=("prlimit", "--nofile=100:100"))
    assert "100 peers with 10 vectors need 1132 open files, the limit is 100" in server.log
    clients = []
    while "Too many open files" not in server.log:
        clients.append(connect(server))
        try:
            clients[-1].init()
        except (EOFError, ConnectionResetError):
            clients.pop()
            break
    assert 6 <= len(clients) <= 8
    clients.pop(0).close()
    assert gone_of(clients[0]) == 0
    assert connect(server).init()[0].id == 0


def gone_of(client):
    """Skip to the next PEER_GONE."""
    while True:
        message = client.message()
        if message.type == PEER_GONE:
            return gone(message)


def test_connections_wait_while_accept_has_no_descriptor(start, connect):
    server = start("-n", 4)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.fds(), hard))
    client = connect(server)
    wait_for(lambda: "accept: Too many open files" in server.log, what="accept fails")
    assert client.quiet(0.5)
    assert server.log.count("accept:") < 10, "the server spins"
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert client.init()[0].id == 0


def test_descriptors_in_flight_to_idle_clients_only_delay_the_others(processes, connect):
    if os.geteuid():
        pytest.skip("needs root to start the server as a user with a limit")
    directory = tempfile.mkdtemp()
    try:
        os.chmod(directory, 0o777)
        binary = shutil.copy(SERVER, directory)
        who = {"user": 65534, "group": 65534, "extra_groups": []}
        path, log = pathlib.Path(directory, "sock"), pathlib.Path(directory, "log")
        with open(log, "w") as stderr:
            processes(["prlimit", "--nofile=64:64", binary, "-F", "-S", path, "-n", 16],
                      stderr=stderr, **who)
        wait_for(pathlib.Path(f"{path}.status").exists, what="socket")
        server = type("Server", (), {"path": path})
        clients = []
        while "has to wait" not in log.read_text():
            assert len(clients) < 16, "the kernel has no limit"
            clients.append(connect(server))
            wait_for(lambda: not clients[-1].quiet(0) or "has to wait" in log.read_text(),
                     what="the server has served the last one")
        for i, client in enumerate(clients):
            assert greeted(client, len(clients))[0].id == i
    finally:
        shutil.rmtree(directory)


# -- the socket -------------------------------------------------------------

def test_socket_left_by_a_killed_server_is_replaced(processes, start, connect):
    server = start()
    server.end(signal.SIGKILL)
    assert server.path.is_socket() and server.status_path.is_socket()
    again = Running(processes, server.path.parent)
    assert connect(again).init()[0].id == 0
    assert "peers     1 of 2" in again.status()


def test_second_server_on_a_live_socket_is_refused_unnoticed(start, connect):
    server = start()
    client = connect(server)
    greeted(client, 1)
    before = server.log
    assert "another server is listening" in refused("-S", server.path, code=1)
    assert client.quiet()
    assert server.log == before
    assert server.status() and connect(server).init()[0].id == 1


def test_second_server_is_refused_without_a_status_socket_too(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(tmp_path / "s"))
        other.listen(1)
        assert "another server is listening" in refused("-S", tmp_path / "s", code=1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(tmp_path / "s"))


def test_of_many_servers_that_find_the_same_stale_socket_one_wins(processes, start, connect):
    server = start()
    server.end(signal.SIGKILL)
    with open(server.log_path, "w") as log:
        many = [processes([SERVER, "-F", "-n", 16, "-S", server.path], stderr=log)
                for _ in range(8)]
    wait_for(lambda: sum(p.poll() is not None for p in many) == 7, what="all but one give up")
    assert sorted(p.poll() or 0 for p in many) == [0] + [1] * 7
    greeted(connect(server), 1)
    assert server.status()


def test_server_takes_no_socket_while_another_is_about_to(tmp_path):
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        assert "lock on the directory of" in refused("-S", tmp_path / "s", code=1)
        assert os.listdir(tmp_path) == []
    finally:
        os.close(directory)


def test_file_that_is_no_socket_is_never_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert f"{path} exists and is not a socket" in refused("-S", path, code=1)
    assert path.read_text() == "data"
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert f"{link} exists and is not a socket" in refused("-S", link, code=1)
    assert link.is_symlink()


def test_directory_that_is_not_there_is_named(tmp_path):
    assert "No such file or directory" in refused("-S", tmp_path / "no" / "s", code=1)


def test_socket_is_private_by_default(start):
    server = start()
    for path in (server.path, server.status_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_socket_mode_and_group(start):
    group = grp.getgrgid(os.getegid()) if os.geteuid() else grp.getgrnam("daemon")
    server = start("--socket-mode", "0660", "--socket-group", group.gr_name)
    for path in (server.path, server.status_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == group.gr_gid


# -- the end ----------------------------------------------------------------

@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_the_server_and_removes_its_files(start, connect, how):
    name = f"ivshmem-test-{os.getpid()}"
    server = start("-M", name)
    client = connect(server)
    greeted(client, 1)
    assert server.end(how) == 0
    assert os.listdir(server.path.parent) == ["log"]
    assert not os.path.exists(f"/dev/shm/{name}")
    assert closed(client)


def test_end_leaves_the_state_table_and_says_nothing_of_peers(start, connect):
    server = start()
    client = connect(server)
    _, fd = client.init()
    client.message()
    with mmap.mmap(fd, 4096) as table:
        table[0:4] = b"\x05\0\0\0"
        server.end()
        with pytest.raises(EOFError):
            client.message()
        assert table[0:4] == b"\x05\0\0\0"


def test_socket_of_a_successor_is_not_removed(processes, start, connect):
    server = start()
    server.path.unlink()
    server.status_path.unlink()
    successor = Running(processes, server.path.parent)
    server.end()
    assert connect(successor).init()[0].id == 0


# -- the pidfile ------------------------------------------------------------

def test_pidfile_holds_the_pid_and_is_removed(start, tmp_path):
    pidfile = tmp_path / "pid"
    server = start("-p", pidfile)
    assert pidfile.read_text() == f"{server.pid}\n"
    server.end()
    assert not pidfile.exists()


def test_pidfile_of_a_running_server_is_refused_and_a_stale_one_is_not(start, tmp_path):
    pidfile = tmp_path / "pid"
    pidfile.write_text("999999999999999999999999\n")
    server = start("-p", pidfile)
    assert pidfile.read_text() == f"{server.pid}\n"
    assert f"pidfile {pidfile}: its server is running" in refused(
        "-p", pidfile, "-S", tmp_path / "other", code=1)
    assert pidfile.read_text() == f"{server.pid}\n"
    server.end(signal.SIGKILL)
    again = start("-p", pidfile)
    assert pidfile.read_text() == f"{again.pid}\n"


# -- the memory -------------------------------------------------------------

def test_memfd_can_be_resized_and_sealed_by_nobody(start, connect):
    _, fd = connect(start("-l", "1M")).init()
    for size in (4096, 2 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.ftruncate(fd, 1 << 20)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_posix_object_is_private_has_the_size_and_is_the_memory(start, connect):
    name = f"ivshmem-test-{os.getpid()}"
    server = start("-M", name, "-l", "1M")
    path = pathlib.Path("/dev/shm", name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == 1 << 20
    _, fd = connect(server).init()
    assert os.fstat(fd).st_ino == path.stat().st_ino


def test_posix_object_of_a_live_server_is_refused_and_a_stale_one_replaced(start, connect):
    name = f"ivshmem-test-{os.getpid()}"
    server = start("-M", name)
    _, old = connect(server).init()
    fcntl.flock(old, fcntl.LOCK_UN)
    assert f"shared memory {name}: another server uses it" in refused(
        "-M", name, "-S", server.path.with_name("other"), code=1)
    server.end(signal.SIGKILL)
    again = start("-M", name)
    assert "replaced what a dead server left" in again.log
    _, new = connect(again).init()
    assert os.fstat(new).st_ino != os.fstat(old).st_ino
    assert again.end() == 0


def test_posix_object_of_somebody_else_is_left_alone(tmp_path):
    if os.geteuid():
        pytest.skip("needs root to make an object of somebody else")
    path = pathlib.Path(f"/dev/shm/ivshmem-test-{os.getpid()}")
    path.write_text("data")
    try:
        os.chown(path, 65534, 65534)
        assert "belongs to uid 65534" in refused("-M", path.name, "-S", tmp_path / "s", code=1)
        assert path.read_text() == "data"
    finally:
        path.unlink()


def test_file_in_a_directory_has_no_name(start, connect, tmp_path):
    directory = tmp_path / "memory"
    directory.mkdir()
    _, fd = connect(start("-m", directory, "-l", "1M")).init()
    assert os.listdir(directory) == []
    assert os.fstat(fd).st_size == 1 << 20
    assert os.fstat(fd).st_dev == directory.stat().st_dev
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600


def test_directory_of_the_memory_that_is_not_there_is_named(tmp_path):
    assert f"cannot create {tmp_path}/no/ivshmem" in refused(
        "-m", tmp_path / "no", "-S", tmp_path / "s", code=1)


def test_client_that_cuts_the_memory_short_does_not_reach_the_server(start, connect, tmp_path):
    server = start("-m", tmp_path, "-n", 3)
    watcher, bad = connect(server), connect(server)
    greeted(watcher, 2)
    os.ftruncate(bad.init()[1], 0)
    assert server.rows()[1][5] == "-"
    bad.close()
    assert gone(watcher.message()) == 1
    assert connect(server).init()[0].id == 1
    assert "State Table entry of peer 1: memory is not there" in server.log


def test_huge_pages_that_are_not_there_are_an_error_at_start(tmp_path):
    free = [l for l in open("/proc/meminfo") if l.startswith("HugePages_Free")]
    if os.geteuid() or not free:
        pytest.skip("needs root and hugetlbfs in the kernel")
    result = run(["unshare", "-m", "sh", "-c",
                  'mount -t hugetlbfs -o size=4M none "$0" && exec "$@"', tmp_path,
                  SERVER, "-F", "-S", f"{tmp_path}.sock", "-m", tmp_path, "-l", "64M"])
    assert result.returncode == 1
    assert "32 huge pages of 2097152 bytes: " in result.stderr


# -- the command line -------------------------------------------------------

@pytest.mark.parametrize("options, layout", [
    ((), (4 << 20, 4096, (4 << 20) - 4096, 2, 0)),
    (("-l", "64k"), (65536, 4096, 61440, 2, 0)),
    (("-l", "0x100000"), (1 << 20, 4096, (1 << 20) - 4096, 2, 0)),
    (("-l", "0x10K"), (16384, 4096, 12288, 2, 0)),
    (("-l", "2M", "-o", "512K"), (2 << 20, 4096, (1 << 20) - 4096, 2, 524288)),
    (("--size=1G", "--output-size=4m", "--peers=3"),
     (1 << 30, 4096, (1 << 30) - 4096 - (12 << 20), 3, 4 << 20)),
    (("-l", "16K", "-o", "4096", "-n", "3"), (16384, 4096, 0, 3, 4096)),
    (("-l", "64K", "-n", "1025"), (65536, 8192, 57344, 1025, 0)),
])
def test_sizes_of_the_sections(start, options, layout):
    server = start(*options)
    line = "memory    {} bytes (memfd): State Table {}, R/W section {}, output sections {} x {}\n"
    assert line.format(*layout) in server.status()
    assert "rounded" not in server.log


def test_size_is_rounded_up_to_a_power_of_two_and_says_so(start, connect):
    server = start("-l", "3M")
    assert "size 3145728 is rounded up to 4194304 bytes" in server.log
    assert os.fstat(connect(server).init()[1]).st_size == 4 << 20


@pytest.mark.parametrize("options, code, says", [
    (("-n", "1"), 2, "number of peers '1' is not in 2..65536"),
    (("-n", "65537"), 2, "number of peers '65537' is not in 2..65536"),
    (("-n", "2x"), 2, "number of peers '2x' is not in 2..65536"),
    (("-n", ""), 2, "number of peers '' is not in 2..65536"),
    (("-n", "-3"), 2, "number of peers '-3' is not in 2..65536"),
    (("-n", "4294967298"), 2, "number of peers '4294967298' is not in 2..65536"),
    (("-V", "0"), 2, "number of vectors '0' is not in 1..1024"),
    (("-V", "1025"), 2, "number of vectors '1025' is not in 1..1024"),
    (("-P", "0x10000"), 2, "protocol '0x10000' is not in 0..65535"),
    (("-P", "virtio"), 2, "protocol 'virtio' is not in 0..65535"),
    (("-P", "0x8003", "-n", "3"), 2, "protocol 0x8003 is virtio: it has 2 peers, not 3"),
    (("-l", "0"), 2, "size 0 leaves no shared memory"),
    (("-l", "4T"), 2, "size '4T' is not a size with K, M or G"),
    (("-l", "4MB"), 2, "size '4MB' is not a size with K, M or G"),
    (("-l", "-1"), 2, "size '-1' is not a size"),
    (("-l", " 1M"), 2, "size ' 1M' is not a size"),
    (("-l", "99999999999999999999"), 2, "size '99999999999999999999' is not a size"),
    (("-l", "0xffffffffffffffff"), 2, "is more than 4611686018427387904 bytes"),
    (("-l", "17179869184G"), 2, "'17179869184G' is more than 4611686018427387904 bytes"),
    (("-o", "5000"), 1,
     "output section size 5000 is not a multiple of the page size 4096"),
    (("-o", "2M"), 1, "a State Table of 4096 bytes and 2 output sections of 2097152 bytes "
                      "do not fit into 4194304 bytes"),
    (("-o", "4294967296G"), 1, "2 output sections of 4611686018427387904 bytes do not fit"),
    (("-o", "4294967296G", "-n", "4"), 1,
     "4 output sections of 4611686018427387904 bytes do not fit"),
    (("-l", "64K", "-n", "65536"), 1, "a State Table of 262144 bytes and 65536 output "
                                      "sections of 0 bytes do not fit into 65536 bytes"),
    (("-M", "a", "-m", "b"), 2, "not both"),
    (("-M", ""), 2, "shared memory name is empty"),
    (("-M", "a/b"), 1, "shared memory a/b: Invalid argument"),
    (("-m", ""), 2, "shared memory directory is empty"),
    (("-p", ""), 2, "pidfile is empty"),
    (("-S", ""), 2, "socket is empty"),
    (("-S", "x" * 101), 2, "socket path of 101 bytes is longer than 100"),
    (("--socket-mode", "8"), 2, "socket mode '8' is not an octal number in 0..777"),
    (("--socket-mode", "1777"), 2, "socket mode '1777' is not an octal number in 0..777"),
    (("--socket-group", "no such group"), 2, "socket group 'no such group' is not known"),
    (("-p", "/no/such/pidfile"), 1, "pidfile /no/such/pidfile: No such file or directory"),
    (("-l",), 2, "option '-l' needs a value"),
    (("--size",), 2, "option '--size' needs a value"),
    (("-x",), 2, "option '-x' is not known"),
    (("--foreground", "-xF"), 2, "option '-x' is not known"),
    (("--verbose=1",), 2, "option '--verbose=1' is not known, ambiguous, or takes no value"),
    (("-Fx",), 2, "option '-x' is not known"),
    (("--nonsense",), 2, "option '--nonsense' is not known"),
    (("--so=1",), 2, "option '--so=1' is not known, ambiguous"),
    (("--status=1",), 2, "takes no value"),
    (("extra",), 2, "argument 'extra' is too much"),
])
def test_bad_option_is_refused_in_words(tmp_path, options, code, says):
    said = refused("-S", tmp_path / "s", *options, code=code)
    assert says in said
    assert ("Try 'ivshmem2-server --help'." in said) == (code == 2)
    assert os.listdir(tmp_path) == []


def test_longest_path_of_a_socket_leaves_room_for_the_status_socket(processes, tmp_path):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "x" * (100 - len(directory) - 1))
        processes([SERVER, "-F", "-S", path])
        wait_for(pathlib.Path(f"{path}.status").exists, what="sockets")
        assert sorted(os.listdir(directory)) == [path.name, path.name + ".status"]


def test_historic_command_line_still_works(processes, connect, tmp_path):
    name = f"ivshmem-test-{os.getpid()}"
    path = tmp_path / "sock"
    processes([SERVER, "-v", "-F", "-p", tmp_path / "pid", "-S", path, "-M", name,
               "-l", "1M", "-o", "16K", "-n", "3", "-V", "2", "-P", "1"])
    wait_for(pathlib.Path(f"{path}.status").exists, what="socket")
    init, _ = connect(type("Server", (), {"path": path})).init()
    assert init == (2, 2, 0, 3, 2, 1, 16384)


def test_help_and_version():
    for option in ("-h", "--help"):
        result = run([SERVER, option])
        assert (result.returncode, result.stderr) == (0, "")
        for letter in "vFpSMmlonVPh":
            assert f"  -{letter}, --" in result.stdout
    result = run([SERVER, "--version"])
    version = (ROOT / "VERSION").read_text().strip()
    assert (result.returncode, result.stdout) == (0, f"ivshmem2-server {version}\n")


# -- status -----------------------------------------------------------------

def test_status_shows_who_is_there_in_which_role_and_state(start, connect):
    server = start("-n", 4, "-V", 2, "-P", 1)
    assert server.rows() == []
    a, b = connect(server), connect(server)
    greeted(a, 2, 2)
    _, fd = b.init()
    with mmap.mmap(fd, 4096) as table:
        table[4:8] = struct.pack("<I", 3)
        report = server.status()
    assert f"socket    {server.path}\n" in report
    assert f"server    pid {server.pid}, version" in report
    assert "peers     2 of 4, 2 vectors each\n" in report
    me = [str(os.getpid()), str(os.getuid()), "0x0001", "Ethernet"]
    assert server.rows() == [["0", *me, "0x00000000", "0"], ["1", *me, "0x00000003", "0"]]


def test_status_takes_no_id(start, connect):
    server = start("-n", 2)
    for _ in range(5):
        server.status()
    assert [connect(server).init()[0].id for _ in range(2)] == [0, 1]


def test_status_without_a_server_fails(tmp_path):
    result = run([SERVER, "--status", "-S", tmp_path / "none"])
    assert (result.returncode, result.stdout) == (1, "")
    assert f"no server at {tmp_path}/none: No such file or directory" in result.stderr


def test_status_clients_that_say_or_read_nothing_hold_nothing(start, connect):
    server = start()
    before = server.fds()
    idle = []
    for _ in range(50):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(server.status_path))
        idle.append(sock)
    assert connect(server).init()[0].id == 0
    wait_for(lambda: server.fds() == before + 2, what="only the peer is left")
    for sock in idle:
        sock.close()


def test_sigusr1_logs_the_status(start, connect):
    server = start("-P", "0x8002")
    greeted(connect(server), 1)
    server.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "back end" in server.log, what="status in the log")
    assert "ivshmem2-server: peers     1 of 2, 1 vectors each\n" in server.log


def test_verbose_logs_each_connection_and_quiet_does_not(start, connect):
    loud, quiet = start("-v"), start()
    for server in (loud, quiet):
        client = connect(server)
        greeted(client, 1)
        client.close()
        wait_for(lambda: not server.rows(), what="peer left")
    assert f"peer 0: here (pid {os.getpid()}, uid {os.getuid()})\n" in loud.log
    assert "peer 0: gone\n" in loud.log
    assert "peer 0" not in quiet.log


def test_rude_clients_cannot_flood_the_log(start):
    server = start()
    for _ in range(100):
        client = Client(server.path)
        client.sock.sendall(b"x")
        wait_for(lambda: closed(client), what="rude client is dropped")
        client.close()
    assert server.log.count("it sent data") == 20


# -- a daemon ---------------------------------------------------------------

@pytest.fixture
def daemon(tmp_path):
    """daemon(*options) -> (result of the caller, pid); ended at the end."""
    pidfile = tmp_path / "pid"

    def go(*options):
        result = run([SERVER, "-S", tmp_path / "sock", "-p", pidfile, *options])
        return result, int(pidfile.read_text()) if result.returncode == 0 else None

    yield go
    if pidfile.exists():
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        wait_for(lambda: not pidfile.exists(), what="daemon ends")


def test_daemon_listens_before_its_caller_returns(daemon, connect, tmp_path):
    result, pid = daemon()
    assert result.returncode == 0
    server = type("Server", (), {"path": tmp_path / "sock"})
    assert connect(server).init()[0].id == 0
    assert os.getsid(pid) == pid != os.getsid(0)
    for fd in (0, 1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: os.listdir(tmp_path) == [], what="daemon removes its files")


def test_daemon_that_cannot_start_says_so_to_its_caller(daemon, tmp_path):
    (tmp_path / "sock").write_text("data")
    result, _ = daemon()
    assert result.returncode == 1
    assert "exists and is not a socket" in result.stderr
    assert os.listdir(tmp_path) == ["sock"]


# -- systemd ----------------------------------------------------------------

def test_systemd_is_told_when_the_server_is_ready_and_when_it_stops(start, connect, tmp_path):
    if "libsystemd" not in run(["ldd", SERVER]).stdout:
        pytest.skip("built without libsystemd")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(10)
        notify.bind(str(tmp_path / "notify"))
        server = start(env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notify.recv(4096) == b"READY=1\nSTATUS=0 of 2 peers"
        client = connect(server)
        assert notify.recv(4096) == b"STATUS=1 of 2 peers"
        client.close()
        assert notify.recv(4096) == b"STATUS=0 of 2 peers"
        server.end()
        assert notify.recv(4096) == b"STOPPING=1"


def test_journal_gets_priorities(tmp_path):
    with open(tmp_path / "journal", "w") as journal:
        st = os.fstat(journal.fileno())
        run([SERVER, "-F", "-S", tmp_path / "no" / "s"], stderr=journal, capture_output=False,
            env={**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"})
    assert (tmp_path / "journal").read_text().startswith("<3>")


def test_unit_files_pass_systemd_analyze(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (ROOT / "tools/ivshmem/ivshmem2-server.service").read_text()
    for name in ("ivshmem2-server", "ivshmem2-server@"):
        (tmp_path / f"{name}.service").write_text(text.replace("@BINDIR@", str(BIN)))
    result = run(["systemd-analyze", "verify", "--man=no",
                  tmp_path / "ivshmem2-server.service",
                  tmp_path / "ivshmem2-server@link0.service"])
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
