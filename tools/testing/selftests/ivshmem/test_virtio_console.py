# SPDX-License-Identifier: GPL-2.0
"""A console over ivshmem in real guests: virtio_console over the transport,
the console back end on the host or in the other guest.
"""

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import socket
import struct
import termios
import time

import pytest

from harness import BIN
from harness.process import limit, listens, wait_for
from harness.virtio_guest import no_task_hangs

USER, PASSWORD = "ada", "ivshmem"
PASSWD = f"root:x:0:0::/:/bin/sh\n{USER}:x:1000:1000::/home:/bin/sh\n"
SHADOW = f"{USER}:$5$shared$9ujdPzabKL8qmF63LUyzX3bMYDCzkDN2YxknhZJjVWB:::::::\n"

pytestmark = pytest.mark.guest
GUEST = {"modules": ["virtio_ivshmem", "virtio_console", "uio_ivshmem"],
         "qemu_args": ["-smp", "2"],
         "programs": [BIN / "virtio-ivshmem-console"],
         "files": {"/etc/passwd": PASSWD, "/etc/shadow": (SHADOW, 0o600)}}

DATA_BYTES = 2 << 20

# Longer than the front end waits for any answer
STOP_S = 7

RINGS = {
    "all-offered": [],
    "no-indirect": ["--no-indirect"],
    "no-event-idx": ["--no-event-idx"],
    "plain": ["--no-packed", "--no-indirect", "--no-event-idx", "--queue-size=8"],
}

# Finds the hvc terminal that has a console behind it, and holds it open: what
# stty sets is forgotten with the last close. Who holds it dies with the console:
# hvc gives the number to the next one, whom an open file would be in the way.
HOLD_RAW = ("for t in /dev/hvc*; do { stty raw -echo <&3 && echo $t && "
            "exec setsid -c sleep 1000 <&3; } 3<>$t; done 2>/dev/null; exit 1")
FIND = "for t in /dev/hvc*; do stty -F $t >/dev/null 2>&1 && echo $t && exit; done; exit 1"


def raw_tty(guest):
    """/dev/hvcN, raw until the end of the test or the console."""
    def attempt():
        job = guest.popen(HOLD_RAW)
        job.wait_for(lambda: b"\n" in job.stdout or job.code is not None)
        return job.stdout.decode().strip()

    return wait_for(attempt, 20, 0.1, f"{guest}: a console")


class Terminal:
    """The host's end of the console, over --listen."""

    def __init__(self, path):
        self.path = path
        wait_for(lambda: listens(path), what="socket of the console")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.text = b""

    def read(self, timeout=0.05):
        """What came within the time; b"" if nothing did."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return b""
        return self.sock.recv(1 << 16)

    def expect(self, pattern, timeout=20):
        """Read on until the pattern matches; the match, which is taken out."""
        deadline = time.monotonic() + limit(timeout)
        while not (match := re.search(pattern.encode(), self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} not in {self.text!r}"
            self.text += self.read()
        self.text = self.text[match.end():]
        return match

    def send(self, text):
        self.sock.sendall(text.encode())

    def close(self):
        self.sock.close()


class Pty(Terminal):
    """The same over --pty."""

    def __init__(self, path):
        wait_for(path.exists, what="link to the pseudo terminal")
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.text = b""

    def read(self, timeout=0.05):
        if not select.select([self.fd], [], [], timeout)[0]:
            return b""
        return os.read(self.fd, 1 << 16)

    def send(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)


@pytest.fixture
def console(link, tmp_path):
    """console(guest, *options): plug it, serve it: (Link, Front, Terminal)"""
    terminals = []
    path = tmp_path / "console"

    def start(guest, *options, **kwargs):
        lk = link("console", **kwargs)
        lk.serve(f"--listen=unix:{path}", *options)
        front = lk.plug(guest)
        terminals.append(Terminal(path))
        return lk, front, terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def receive(terminal, size, timeout=60):
    data, deadline = b"", time.monotonic() + limit(timeout)
    while len(data) < size:
        assert time.monotonic() < deadline, f"{len(data)} of {size} bytes came"
        data += terminal.read(1)
    return data


def echo_works(guest, terminal, tty):
    guest.check(f"echo over there >{tty}")
    terminal.expect("over there\n")
    job = guest.popen(f"head -n1 <{tty}")
    terminal.send("over here\n")
    result = job.wait()
    assert result.out == "over here", result.err


# Data

@pytest.mark.parametrize("first", ["back", "front"])
def test_console_is_there_whoever_starts_first(guest, link, tmp_path, first):
    lk = link("console")
    path = f"--listen=unix:{tmp_path}/console"
    if first == "back":
        lk.serve(path)
        lk.plug(guest)
    else:
        lk.plug(guest)
        lk.serve(path)
    tty = raw_tty(guest)
    terminal = Terminal(tmp_path / "console")
    echo_works(guest, terminal, tty)
    terminal.close()


@pytest.mark.parametrize("ring", RINGS)
def test_output_comes_through_intact(guest, console, ring):
    _, _, terminal = console(guest, *RINGS[ring], vectors=3)
    tty = raw_tty(guest)
    guest.check(f"head -c {DATA_BYTES} /dev/urandom >/tmp/data")
    job = guest.popen(f"cat /tmp/data >{tty}")
    data = receive(terminal, DATA_BYTES)
    job.wait()
    assert guest.check("sha256sum </tmp/data").split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("ring", RINGS)
def test_input_comes_through_intact(guest, console, ring):
    _, _, terminal = console(guest, *RINGS[ring], vectors=2)
    tty = raw_tty(guest)
    data = os.urandom(DATA_BYTES // 8)
    job = guest.popen(f"head -c {len(data)} <{tty} | sha256sum")
    terminal.sock.settimeout(60)
    terminal.sock.sendall(data)
    assert job.wait(60).out.split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", ["64K", "256M"])
def test_section_of_any_size_will_do(guest, console, size):
    _, _, terminal = console(guest, size=size)
    tty = raw_tty(guest)
    echo_works(guest, terminal, tty)
    job = guest.popen(f"cat /bin/busybox >{tty}")
    size = int(guest.check("stat -c %s /bin/busybox"))
    assert receive(terminal, size)[:4] == b"\x7fELF"
    job.wait()


@pytest.mark.parametrize("vectors, msix", [(3, True), (2, True), (1, True), (1, False)])
def test_queues_share_what_vectors_there_are(guest, link, tmp_path, vectors, msix):
    lk = link("console", vectors=vectors)
    lk.serve(f"--listen=unix:{tmp_path}/console")
    front = lk.plug(guest, msix=msix)
    tty = raw_tty(guest)
    names = {f"{front.wait()}-{queue}" for queue in ("input", "output")}
    assert front.interrupts() == {front.address} | (names if vectors == 3 else set())
    terminal = Terminal(tmp_path / "console")
    echo_works(guest, terminal, tty)
    terminal.close()


# A terminal to work at

def vi_and_less_work(terminal, prompt, text):
    terminal.send(f"vi {text}\r")
    terminal.expect(f"- {text}")        # the status line, not the echo
    terminal.send("ihello from vi\x1b")
    terminal.expect("hello from vi")
    terminal.send(":wq\r")
    terminal.expect(prompt)
    terminal.send(f"cat {text}; seq 100 | less\r")
    terminal.expect("hello from vi\r\n")
    terminal.expect("22")
    terminal.send("G")
    terminal.expect("100")
    terminal.send("q")
    terminal.expect(prompt)


def test_shell_vi_and_less_are_usable(guest, console):
    _, _, terminal = console(guest, "--size=80x24")
    tty = guest.wait_for(FIND)
    guest.popen(f"TERM=vt100 exec setsid -c sh -i <{tty} >{tty} 2>&1")
    terminal.expect("# ")
    terminal.send("echo $((6 * 7)); tty\n")
    terminal.expect("42\r\n" + tty)
    terminal.send("stty size\n")
    terminal.expect("24 80\r\n")
    terminal.send("echo $((6 * 8)); sleep 100\n")
    terminal.expect("48\r\n")         # what was typed is echoed before it runs
    terminal.send("\x03")
    terminal.expect("# ")
    vi_and_less_work(terminal, "# ", "/tmp/text")
    terminal.send("exit\n")


def log_in(terminal):
    terminal.expect("login: ")
    terminal.send(f"{USER}\r")
    terminal.expect("Password: ")
    terminal.send(f"{PASSWORD}\r")
    terminal.expect(r"\$ ")


def test_login_works_again_and_again(guest, link, tmp_path):
    guest.check(f"mkdir /home && chown {USER} /home")
    lk = link("console")
    path = tmp_path / "pty"

    def serve():
        lk.serve(f"--pty={path}", "--size=80x24")
        return Pty(path)

    terminal = serve()
    front = lk.plug(guest)
    guest.wait_for(FIND)
    guest.popen("while :; do getty 0 hvc0 vt100; usleep 100000; done")

    terminal.expect("login: ")
    terminal.send(f"{USER}\r")
    terminal.expect("Password: ")
    terminal.send("a guess\r")
    terminal.expect("Login incorrect")

    log_in(terminal)
    terminal.send("id -un; tty; stty size; echo $TERM\r")
    terminal.expect(f"{USER}\r\n/dev/hvc0\r\n24 80\r\nvt100\r\n")
    vi_and_less_work(terminal, r"\$ ", "letter")
    terminal.send("exit\r")
    log_in(terminal)
    terminal.send("cat letter; exit\r")
    terminal.expect("hello from vi\r\n")

    terminal.expect("login: ")
    for in_vi in False, True:
        terminal.close()
        lk.back.kill()
        front.wait_gone()
        guest.wait_for("! pidof vi")
        terminal = serve()
        log_in(terminal)
        if not in_vi:
            terminal.send("vi letter\r")
            terminal.expect("- letter")
    terminal.send("cat letter\r")
    terminal.expect("hello from vi\r\n")
    terminal.close()


# Deaths

def test_back_end_killed_20_times_under_a_flood(guest, link, tmp_path):
    lk = link("console", vectors=3)
    log = tmp_path / "output"

    def serve():
        lk.serve(f"--listen=unix:{tmp_path}/console", f"--log={log}")

    def flows():
        before = log.stat().st_size if log.exists() else 0
        wait_for(lambda: log.exists() and log.stat().st_size > before + 100000,
                 what="output")

    serve()
    lk.plug(guest)
    raw_tty(guest)
    guest.popen("while :; do for t in /dev/hvc*; do stty raw -F $t 2>/dev/null && "
                "cat /bin/busybox >$t 2>/dev/null; done; usleep 10000; done")
    for _ in range(20):
        flows()
        lk.back.kill()
        serve()
    flows()
    no_task_hangs(guest)


@pytest.mark.parametrize("then", ["goes on", "dies"])
def test_back_end_that_stops_costs_neither_time_nor_console(guest, console, then):
    lk, front, terminal = console(guest, vectors=3)
    tty = raw_tty(guest)
    device = front.wait()
    guest.check(f"head -c {DATA_BYTES} /dev/urandom >/tmp/data")
    lk.back.signal(signal.SIGSTOP)
    job = guest.popen(f"cat /tmp/data >{tty}")
    over = time.monotonic() + STOP_S
    while time.monotonic() < over:
        guest.check("true")
    assert job.code is None
    assert front.wait() == device
    if then == "dies":
        lk.back.kill()
        front.wait_gone()
        lk.serve(f"--listen=unix:{terminal.path}")
        terminal = Terminal(terminal.path)
        echo_works(guest, terminal, raw_tty(guest))
        terminal.close()
        return
    lk.back.signal(signal.SIGCONT)
    data = receive(terminal, DATA_BYTES)
    job.wait()
    assert guest.check("sha256sum </tmp/data").split()[0] == hashlib.sha256(data).hexdigest()
    assert front.wait() == device
    echo_works(guest, terminal, tty)


def test_guest_killed_10_times_under_a_flood(guest, link, tmp_path):
    lk = link("console")
    back = lk.serve(f"--listen=unix:{tmp_path}/console")
    terminal = Terminal(tmp_path / "console")
    with guest.frozen():
        for _ in range(10):
            lk.plug(guest)
            tty = raw_tty(guest)
            guest.popen(f"cat /bin/busybox /bin/busybox >{tty}")
            receive(terminal, 100000)
            guest.kill()
            guest.boot()
        while terminal.read(0.2):
            pass
        lk.plug(guest)
        echo_works(guest, terminal, raw_tty(guest))
    assert back.alive()
    terminal.close()


def test_shell_ends_with_its_console_and_another_can_start(guest, console, tmp_path):
    lk, front, terminal = console(guest)
    tty = guest.wait_for(FIND)
    guest.popen(f"exec setsid -c sh -i <{tty} >{tty} 2>&1")
    terminal.expect("# ")
    lk.back.kill()
    front.wait_gone()
    guest.wait_for("! ps | grep -v grep | grep -q 'sh -i'")
    lk.serve(f"--listen=unix:{tmp_path}/console")
    terminal = Terminal(tmp_path / "console")
    echo_works(guest, terminal, raw_tty(guest))
    terminal.close()


def test_back_end_in_the_other_guest(pair, link):
    a, b = pair
    lk = link("console", vectors=3)
    device = lk.plug_back(b)
    lk.serve_in(b, device, "--listen=unix:/tmp/console", "--log=/tmp/log")
    lk.plug(a)
    tty = raw_tty(a)
    a.check(f"cat /bin/busybox >{tty}", timeout=60)
    b.wait_for("cmp /bin/busybox /tmp/log")
    flood = f"while :; do t={tty}; cat /bin/busybox >$t 2>/dev/null || usleep 10000; done"
    a.popen(flood)
    b.kill()
    no_task_hangs(a)
    b.boot()
    lk.serve_in(b, lk.plug_back(b), "--listen=unix:/tmp/console", "--log=/tmp/log")
    b.wait_for("test -s /tmp/log")


LEAVES = {
    "module": (lambda guest, front: guest.check("rmmod virtio_ivshmem"),
               lambda guest, front, lk: guest.check("modprobe virtio_ivshmem")),
    "driver": (lambda guest, front: front.driver("unbind"),
               lambda guest, front, lk: front.driver("bind")),
    "device": (lambda guest, front: guest.unplug(front.id),
               lambda guest, front, lk: lk.plug(guest)),
}


@pytest.mark.parametrize("what", LEAVES)
def test_front_end_can_leave_under_a_flood(guest, console, what):
    lk, front, terminal = console(guest)
    tty = raw_tty(guest)
    job = guest.popen(f"while cat /bin/busybox; do :; done >{tty} 2>/dev/null")
    receive(terminal, 100000)
    leave, come_back = LEAVES[what]
    leave(guest, front)
    job.kill()
    no_task_hangs(guest)
    while terminal.read(0.2):
        pass
    come_back(guest, front, lk)
    echo_works(guest, terminal, raw_tty(guest))


def test_window_size_is_known_before_the_first_output(guest, console, tmp_path):
    lk, front, _ = console(guest, "--size=80x24")
    guest.wait_for(f"[ \"$(stty size <{raw_tty(guest)})\" = '24 80' ]")
    lk.back.kill()
    front.wait_gone()
    lk.serve(f"--listen=unix:{tmp_path}/console", "--size=132x50")
    guest.wait_for(f"[ \"$(stty size <{raw_tty(guest)})\" = '50 132' ]")


def test_window_size_changes_reach_the_guest(guest, link, tmp_path):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 30, 90, 0, 0))
    lk = link("console")
    back = lk.serve(stdin=slave, stdout=slave)
    lk.plug(guest)
    tty = raw_tty(guest)      # hvc tells open terminals only
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0))
    back.signal(signal.SIGWINCH)
    guest.wait_for(f"[ \"$(stty size <{tty})\" = '50 132' ]")
    os.close(slave)
    os.close(master)
