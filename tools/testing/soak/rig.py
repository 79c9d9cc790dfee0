# SPDX-License-Identifier: GPL-2.0
"""What soaks: two guests, a server for each link, the devices, and the loads.

    link     guest a                        guest b
    net      a file over TCP -------------> its sum
             iperf3 server <--------------- iperf3
    disk     fio, and slots that are flushed
             (the back end is a process of the host)
    console  back end, checks <------------ numbered lines
    uio      ping <-----------------------> pong

The rig knows how to take each part away and to put it back; when and how often
is for who uses it. recovered() is the judge.
"""

import hashlib
import pathlib
import tempfile
import time
from subprocess import DEVNULL

from harness import BIN
from harness.guest import Guest, GuestDied
from harness.net import PROGRAMS, End
from harness.process import listens, reap, run, spawn, wait_for

HERE = pathlib.Path(__file__).resolve().parent

MEMORY_MB = 384
IMAGE_BYTES = 17 << 20
SLOT_BYTES = 64 << 10

# For all loads to have a round that began afterwards, on a busy machine
RECOVERY_S = 90
# Longer than any stop of a peer
HUNG_TASK_S = 20

MODULES = ["uio_ivshmem", "ivshmem_net", "virtio_ivshmem", "virtio_blk", "virtio_console"]
TOOLS = [pathlib.Path("/usr/bin/fio"), BIN / "ivshmem", BIN / "virtio-ivshmem-console"]

LINKS = {
    "net": ["-P", "0x0001", "-l", "16M", "-o", "4M", "-V", "4"],
    "disk": ["-P", "0x8002", "-l", "4M", "-V", "2"],
    "console": ["-P", "0x8003", "-l", "4M", "-V", "3"],
    "uio": ["-P", "0", "-l", "1M", "-o", "256K", "-V", "2"],
}

# Who has which device: the one with id 0 of a virtio link first
PLUGS = {"net": "ab", "disk": "a", "console": "ab", "uio": "ab"}

# Of each guest; those in ROUNDS say how they are
LOADS = {"a": ["send 10.0.0.2", "iperf_server", "disk", "fio", "console", "ping"],
         "b": ["sum", "iperf 10.0.0.1", "flood", "pong"]}
ROUNDS = {"send", "iperf", "disk", "fio", "console", "ping"}


class Wrong(Exception):
    """Data are not what they have to be."""


class Load:
    """`load NAME` in a guest, as long as that lives, and how it does."""

    def __init__(self, guest, words):
        self.guest = guest
        self.words = words
        self.name = words.split()[0]
        self.job = None
        self.rest = b""
        self.begun = self.done = self.rounds = self.bytes = self.cuts = 0
        self.mark = 0
        self.kept = None

    def start(self):
        self.job = self.guest.popen(f"exec load {self.words}")
        self.rest = b""
        self.kept = None

    def poll(self):
        """Take in what it has said since the last time."""
        with self.guest.changed:
            data, self.job.stdout = self.rest + self.job.stdout, b""
        *lines, self.rest = data.split(b"\n")
        for line in lines:
            self.said(line.decode(errors="replace"))
        if self.job.code is not None:
            raise Wrong(f"{self.name}: ended: {self.job.stderr.decode(errors='replace')}")

    def said(self, line):
        word, *rest = line.split()
        if word == "begin":
            self.begun += 1
        elif word == "ok":
            self.done = self.begun
            self.rounds += 1
            self.bytes += int(rest[0])
        elif word == "cut":
            self.cuts += 1
        elif word == "kept":
            self.kept = int(rest[0]), rest[1]
        else:
            raise Wrong(line)

    def set_mark(self):
        self.poll()
        self.mark = self.begun

    def well(self):
        """Whether a round has ended that began after the mark."""
        self.poll()
        return self.done > self.mark


class Rig:
    """kvers: those of the guests a and b; everything ends with the stack."""

    def __init__(self, stack, name, kvers):
        self.stack = stack
        self.dir = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ivshmem-soak-")))
        self.image = self.dir / "image"
        self.image.write_bytes(bytes(IMAGE_BYTES))
        self.servers = {}
        self.back_end = None
        self.ends = {}          # guest's letter -> its end of the cable
        self.guests = {letter: self._guest(f"{name}-{letter}", kver)
                       for letter, kver in zip("ab", kvers)}
        self.loads = [Load(self.guests[letter], words)
                      for letter in "ab" for words in LOADS[letter]]
        self.watched = [load for load in self.loads if load.name in ROUNDS]

    def _guest(self, name, kver):
        guest = Guest(name, kver, modules=MODULES, programs=[*PROGRAMS, *TOOLS],
                      files={"/bin/load": ((HERE / "load.sh").read_text(), 0o755)},
                      qemu_args=["-m", MEMORY_MB])
        self.stack.callback(guest.stop)
        return guest

    def start(self):
        """Boot, plug, load; back when all of it works."""
        for guest in self.guests.values():
            guest.start()
        for guest in self.guests.values():
            guest.wait_boot()
            guest.check(f"echo {HUNG_TASK_S} >/proc/sys/kernel/hung_task_timeout_secs")
        for guest in self.guests.values():
            self.stack.enter_context(guest.frozen())
        for link in LINKS:
            self.start_server(link)
        for letter in "ab":
            self.settle(letter)
        return self.recovered()

    # Processes of the host

    def start_server(self, link):
        path = self.dir / link
        self.servers[link] = process = spawn(
            [BIN / "ivshmem2-server", "-F", "-S", path, *LINKS[link]], stderr=DEVNULL)
        self.stack.callback(reap, process)
        wait_for(lambda: listens(path), what=f"server of {link}")
        if link == "disk":
            self.start_back_end()

    def start_back_end(self):
        path = self.dir / "disk"
        self.back_end = spawn([BIN / "virtio-ivshmem-block", f"unix:{path}", self.image],
                              stderr=DEVNULL)
        self.stack.callback(reap, self.back_end)
        wait_for(lambda: "back end" in run([BIN / "ivshmem2-server", "--status", "-S",
                                            path]).stdout, what="back end of the disk")

    def stop_server(self, link):
        """SIGKILL"""
        self._kill(self.servers.pop(link))
        if link == "disk":
            self.stop_back_end()

    def stop_back_end(self):
        self._kill(self.back_end)
        self.back_end = None

    @staticmethod
    def _kill(process):
        process.kill()
        reap(process)

    # Devices

    def plug(self, link, letter):
        guest, path = self.guests[letter], self.dir / link
        if link == "net":
            end = self.ends[letter] = End(guest, path, "ab".index(letter))
            end.up()
        else:
            guest.plug(link, path)

    def unplug(self, link, letter):
        if link == "net":
            self.guests[letter].unplug(self.ends[letter].device.id)
        else:
            self.guests[letter].unplug(link)

    # Guests

    def settle(self, letter):
        """Give a guest that has just booted its devices and loads."""
        for link, letters in PLUGS.items():
            if letter in letters:
                self.plug(link, letter)
        self.start_loads(letter)

    def start_loads(self, letter):
        for load in self.loads:
            if load.guest is self.guests[letter]:
                load.start()

    def net_up(self, letter):
        """Find the interface, which may be another one now, and set it up."""
        self.ends[letter].find()
        self.ends[letter].up()

    # Health

    def kept(self):
        """With guest a dead: what it had flushed last is in the image."""
        disk = next(load for load in self.loads if load.name == "disk")
        if not disk.kept:
            return
        slot, md5 = disk.kept
        with open(self.image, "rb") as image:
            image.seek(slot * SLOT_BYTES)
            found = hashlib.md5(image.read(SLOT_BYTES)).hexdigest()
        if found != md5:
            raise Wrong(f"disk: slot {slot} of the image is not what was flushed")

    def alive(self):
        for guest in self.guests.values():
            if not guest.alive():
                raise GuestDied(f"{guest} is gone\n{guest.log_tail()}")
        for link, server in self.servers.items():
            if server.poll() is not None:
                raise Wrong(f"server of {link}: exit {server.returncode}")
        if self.back_end.poll() is not None:
            raise Wrong(f"back end of the disk: exit {self.back_end.returncode}")

    def recovered(self):
        """Wait until all loads work again; the seconds that it took."""
        start = time.monotonic()
        for load in self.watched:
            load.set_mark()
        try:
            wait_for(lambda: self.alive() or all([load.well() for load in self.watched]),
                     RECOVERY_S)
        except TimeoutError:
            names = ", ".join(load.name for load in self.watched if not load.well())
            raise Wrong(f"not well within {RECOVERY_S} s: {names}\n{self.describe()}") from None
        seconds = time.monotonic() - start
        self.exchange()
        for guest in self.guests.values():
            guest.assert_clean()
        return seconds

    def exchange(self):
        """A word from either guest, which the other one has to find."""
        words = {letter: f"{letter}{time.monotonic_ns():x}" for letter in "ab"}
        for does, at in ("say", {"a": "a", "b": "b"}), ("hear", {"a": "b", "b": "a"}):
            jobs = [guest.popen(f"exec load {does} {words[at[letter]]}")
                    for letter, guest in self.guests.items()]
            for job in jobs:
                if job.wait().code:
                    raise Wrong(f"uio: {job.guest}: {job.command}: {job.stderr.decode()}")

    def rest(self, seconds):
        """Let it run: nothing may be lost where nothing happens."""
        cuts = [load.cuts for load in self.watched]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.alive()
            for load, before in zip(self.watched, cuts):
                load.poll()
                if load.cuts != before:
                    raise Wrong(f"{load.name}: something was lost")
            time.sleep(0.02)

    def describe(self):
        """All that is to be seen, for whoever has to find out what went wrong."""
        texts = []
        for letter, guest in self.guests.items():
            texts += [f"{guest}:", guest.run("ps; dmesg | tail -n 20; ls /dev/hvc* /dev/vd* "
                                             "/dev/uio*; cat /run/fio /tmp/iperf").out,
                      self.ends[letter].describe()]
        return "\n".join(texts)
