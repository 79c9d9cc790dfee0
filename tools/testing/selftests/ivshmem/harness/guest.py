# SPDX-License-Identifier: GPL-2.0
"""Guests: a kernel in QEMU, its devices, and commands that run inside.

    with Guest("a", "6.1", modules=["uio_ivshmem"]) as guest:
        guest.plug("iv0", socket)
        print(guest.check("ls /sys/class/uio"))

The agent (agent.c) runs the commands; frames go over the second serial port.
The console, the first one, is kept below build/logs. A guest whose kernel
warns or panics dies at once, and every wait for it ends with GuestDied.
"""

import contextlib
import functools
import os
import pathlib
import re
import shlex
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections import namedtuple

from . import BUILD, checks
from .initramfs import GROUPS, STATIC, USERS, Initramfs
from .process import limit, listens, reap, run, spawn, wait_for
from .qmp import Qmp, QmpError

LOGS = BUILD / "logs"
BOOT_TIMEOUT = 120
MEMORY_MB = 256
CHECKS_MEMORY_MB = 1024     # the checks want as much as they watch

# Where ivshmem devices are plugged: these slots of the PCI bus are free
_FIRST_SLOT = 0x10

# maxcpus: with one possible CPU TCG leaves out the barriers towards other
# processes. -erms, -fsrm: rep movsb is slow under TCG. -cx16: TCG of QEMU 7.2 now
# and then leaves garbage in the flags after a cmpxchg16b. q35 boots slower.
_MACHINE = ["-nodefaults", "-no-user-config", "-display", "none", "-M", "pc",
            "-cpu", "max,-erms,-fsrm,-cx16", "-smp", "1,maxcpus=2", "-m", str(MEMORY_MB),
            "-action", "reboot=shutdown"]

_CMDLINE = ["console=ttyS0", "panic_on_warn=1", "oops=panic", "panic=-1",
            "tsc=reliable", "clocksource=tsc", "nokaslr", "mitigations=off",
            "no_timer_check", "loglevel=5", "rdinit=/init", "raid=noautodetect"]

# A kernel that checks itself is slow, which is no finding
_CHECKS_CMDLINE = ["rcupdate.rcu_cpu_stall_timeout=300", "watchdog_thresh=60"]

# Data races want two processors. One of 100 accesses of our modules on average is
# watched, and for long: emulated processors are slow and do not always run.
_KCSAN_CMDLINE = ["kcsan.skip_watch=200", "kcsan.udelay_task=1000",
                  "kcsan.udelay_interrupt=500"]
_KCSAN_MACHINE = ["-smp", "2"]

# What must not stand in a log; the command line itself names panic_on_warn
_TROUBLE = re.compile(r"WARNING:|\bBUG\b|Oops|KASAN|KCSAN|UBSAN|Call Trace|"
                      r"Kernel panic|possible (circular|recursive) locking|"
                      r"inconsistent lock state|suspicious RCU usage|"
                      r"hung_task|blocked for more than|soft lockup|"
                      r"rcu: INFO|refcount_t:|DEBUG_LOCKS|"
                      r"conflicting memory types|map pfn expected")

# Modules that hold each other go in as many turns as there are
_UNLOAD = """
while [ "$(cut -d' ' -f1 /proc/modules)" != "$before" ]; do
	before=$(cut -d' ' -f1 /proc/modules)
	for module in $before; do rmmod $module 2>/dev/null; done
done
cat /proc/modules >&2
[ -z "$before" ]
"""

# kmemleak wants an object to be 5 s old, and unchanged between two scans
_FIND_LEAKS = """
sleep 6
echo scan > /sys/kernel/debug/kmemleak
echo scan > /sys/kernel/debug/kmemleak
cat /sys/kernel/debug/kmemleak
"""

_HEADER = struct.Struct("<ccHI")
_MAGIC = b"\xa5"
_HELLO = _HEADER.pack(_MAGIC, b"H", 0, 0)
_STDIN_BYTES = 8192


@functools.cache
def tsc_khz():
    """What the TSC counts: a guest measures it wrong if the machine is busy."""
    return int(run([STATIC / "tsc-khz"], check=True).stdout)


class GuestDied(Exception):
    """The guest ended while somebody waited for it."""


class Result(namedtuple("Result", "code stdout stderr")):
    """How a command ended: exit code, and its output as bytes."""

    @property
    def out(self):
        return self.stdout.decode(errors="replace").strip()

    @property
    def err(self):
        return self.stderr.decode(errors="replace").strip()


class Job:
    """A command that runs in a guest."""

    def __init__(self, guest, number, command):
        self.guest = guest
        self.number = number
        self.command = command
        self.stdout = b""
        self.stderr = b""
        self.code = None
        self.dead = False
        self._acks = 0

    def frame(self, kind, payload):
        """The reader thread got a frame of ours; it holds the lock."""
        if kind == b"O":
            self.stdout += payload
        elif kind == b"E":
            self.stderr += payload
        elif kind == b"A":
            self._acks += 1
        elif kind == b"X":
            self.code, = struct.unpack("<I", payload)

    def wait_for(self, predicate, timeout=40, what=None):
        """Wait until the predicate, which reads this job, is true; its value."""
        what = what or self.command
        timeout = limit(timeout)
        with self.guest.changed:
            done = self.guest.changed.wait_for(
                lambda: predicate() or self.dead, timeout)
        if self.dead:
            raise GuestDied(f"{self.guest}: died during: {what}\n{self.guest.log_tail()}")
        if not done:
            raise TimeoutError(f"{self.guest}: not within {timeout} s: {what}\n"
                               f"so far: {self.stdout!r} {self.stderr!r}")
        return done

    def wait(self, timeout=20):
        """Its Result; a job that takes longer is killed, TimeoutError."""
        try:
            self.wait_for(lambda: self.code is not None, timeout)
        except TimeoutError:
            self.kill()
            raise
        self.guest.retire(self)
        return Result(self.code, self.stdout, self.stderr)

    def wait_output(self, text, timeout=20):
        """Wait until the text (str, or compiled regex) stands in stdout."""
        match = text.search if hasattr(text, "search") else \
            lambda out: text in out
        return self.wait_for(lambda: match(self.stdout.decode(errors="replace")),
                             timeout, f"{self.command}: output {text!r}")

    def write(self, data, timeout=20):
        """To its standard input; returns when the guest has taken it."""
        data = data.encode() if isinstance(data, str) else data
        for start in range(0, len(data), _STDIN_BYTES):
            self._stdin(data[start:start + _STDIN_BYTES], timeout)

    def close_stdin(self, timeout=20):
        self._stdin(b"", timeout)

    def _stdin(self, data, timeout):
        wanted = self._acks + 1
        self.guest.send(self.number, b"I", data)
        self.wait_for(lambda: self._acks >= wanted, timeout,
                      f"standard input of {self.command}")

    def kill(self, signal=9):
        """Signal its process group."""
        self.guest.send(self.number, b"K", struct.pack("<I", signal))


class _Device:
    """What plug() made: id, PCI address in the guest."""

    def __init__(self, id, address):
        self.id = id
        self.address = address

    @property
    def sysfs(self):
        return f"/sys/bus/pci/devices/{self.address}"


class Guest:
    """One virtual machine. Constructed it is off; boot() or `with` starts it.

    modules: loaded at boot, ours or the kernel's, with their dependencies;
    packed: in the initramfs, but not loaded; programs: of the host;
    files: {path: content or (content, mode)}; setup: a last word on the
    Initramfs, called with it; qemu_args: appended to QEMU's command line.
    """

    def __init__(self, name, kver, modules=(), packed=(), programs=(), files=None,
                 setup=None, qemu_args=()):
        self.name = name
        self.kver = kver
        self.modules = list(modules)
        self.packed = list(packed)
        self.programs = list(programs)
        self.files = dict(files or {})
        self.setup = setup
        self.qemu_args = [str(a) for a in qemu_args]
        self.changed = threading.Condition()
        self.log = LOGS / f"{name}-{kver}.log"
        self.process = None
        self.qmp = None
        self._dir = None
        self._frozen = None
        self._agent = None
        self._reader = None
        self._jobs = {}
        self._count = 0
        self._hellos = 0
        self._devices = {}
        self._log_start = 0

    def __str__(self):
        return f"guest {self.name} ({self.kver})"

    # Life

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def boot(self):
        self.start()
        self.wait_boot()

    def start(self):
        """Start QEMU; wait_boot() waits for the guest in it."""
        assert not self.alive(), f"{self} runs already"
        self.qmp = self._agent = self._reader = None
        self._dir = pathlib.Path(tempfile.mkdtemp(prefix="ivshmem-"))
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a" if self.process else "w") as log:
            self._log_start = log.tell()
        self._write_initramfs()
        with open(self.log, "a") as log:
            self.process = spawn(self._argv(), stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
        self._connect()

    def wait_boot(self):
        if self._frozen:
            wait_for(lambda: self.qmp.command("query-status")["status"] == "running",
                     BOOT_TIMEOUT, what=f"{self}: to go on")
        else:
            self._wait_hello(1)

    def stop(self):
        """End QEMU and forget everything but the log."""
        if self.process:
            self.kill()
        if self._dir:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def kill(self):
        """SIGKILL: the guest has no time to say good-bye."""
        self.process.kill()
        reap(self.process)
        if self._reader:
            self._reader.join()
        for channel in (self._agent, self.qmp):
            if channel:
                channel.close()
        self._devices.clear()

    def restart(self):
        """Another boot of the same guest, whether it lives or not."""
        self.stop()
        self.boot()

    def reset(self):
        """The reset button: devices stay plugged, all jobs are lost."""
        hellos = self._hellos
        self.qmp.command("set-action", reboot="reset")
        self._in_sync = False
        self.qmp.command("system_reset")
        self.qmp.wait_event("RESET")
        self._lose_jobs()
        self._wait_hello(hellos + 1)
        self.qmp.command("set-action", reboot="shutdown")

    @contextlib.contextmanager
    def frozen(self):
        """Inside, a boot goes on from now, which takes a second.

        No device may be plugged now.
        """
        file = tempfile.NamedTemporaryFile(prefix="ivshmem-frozen-")
        self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.qmp.command("migrate", uri=f"exec:cat > {file.name}")
        wait_for(lambda: self.qmp.command("query-migrate")["status"] == "completed",
                 BOOT_TIMEOUT, what=f"{self}: to freeze")
        self.kill()
        self._frozen = file.name
        try:
            self.boot()
            yield
        finally:
            self._frozen = None
            file.close()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def _write_initramfs(self):
        fs = Initramfs(self.kver)
        for name in self.modules + self.packed:
            fs.module(name)
        for program in self.programs:
            fs.program(program)
        for path, data in self.files.items():
            fs.file(path, *(data if isinstance(data, tuple) else (data,)))
        if self.modules:
            fs.file("/etc/boot", "#!/bin/sh\nmodprobe -a " + " ".join(self.modules) + "\n",
                    0o755)
        if self.setup:
            self.setup(fs)
        fs.write(self._dir / "initramfs")

    def _argv(self):
        kernel = BUILD / "kernels" / self.kver / "vmlinux"
        preferred = BUILD / "qemu-system-x86_64-ivshmem"
        qemu = os.environ.get("QEMU") or (
            preferred if preferred.exists() else "qemu-system-x86_64")
        accel = os.environ.get("ACCEL", "tcg")
        kcsan = checks(self.kver) == "kcsan"
        cmdline = [*_CMDLINE, *([f"tsc_early_khz={tsc_khz()}"] if accel == "tcg" else []),
                   *(_CHECKS_CMDLINE if checks(self.kver) else []),
                   *(_KCSAN_CMDLINE if kcsan else [])]
        return [qemu, "-accel", accel, *_MACHINE,
                "-kernel", kernel, "-initrd", self._dir / "initramfs",
                "-append", " ".join(cmdline),
                "-chardev", f"file,id=console,path={self.log},append=on",
                "-device", "isa-serial,chardev=console",
                "-chardev", f"socket,id=agent,path={self._dir}/agent,server=on,wait=off",
                "-device", "isa-serial,chardev=agent",
                "-qmp", f"unix:{self._dir}/qmp,server=on,wait=off",
                *(["-incoming", f"exec:cat {self._frozen}"] if self._frozen else []),
                *self.qemu_args,
                *(["-m", str(CHECKS_MEMORY_MB)] if checks(self.kver) else []),
                *(_KCSAN_MACHINE if kcsan else [])]

    def _connect(self):
        sockets = [self._dir / "qmp", self._dir / "agent"]
        wait_for(lambda: all(map(listens, sockets)) or not self.alive(),
                 what=f"{self}: sockets of QEMU")
        if not self.alive():
            raise GuestDied(f"{self}: QEMU did not start\n{self.log_tail()}")
        self.qmp = Qmp(self._dir / "qmp")
        self._agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._agent.connect(str(self._dir / "agent"))
        self._jobs = {}
        self._hellos = 0
        # A reset cuts a frame: wait for a HELLO
        self._in_sync = self._frozen is not None
        self._reader = threading.Thread(target=self._read_frames, daemon=True)
        self._reader.start()

    def _wait_hello(self, count):
        with self.changed:
            up = self.changed.wait_for(
                lambda: self._hellos >= count or not self._reader.is_alive() or
                not self.alive(), limit(BOOT_TIMEOUT))
        if self._hellos < count:
            why = "is not up in time" if not up else "died during boot"
            raise GuestDied(f"{self}: {why}\n{self.log_tail()}")

    # Frames

    def _read_frames(self):
        data = b""
        try:
            while part := self._agent.recv(65536):
                data = self._split(data + part)
        except OSError:
            pass
        self._lose_jobs()

    def _split(self, data):
        """Dispatch the whole frames; what is left of the data."""
        if not self._in_sync:
            start = data.find(_HELLO)
            if start < 0:
                return data[1 - len(_HELLO):]
            data = data[start:]
            self._in_sync = True
        while len(data) >= _HEADER.size:
            _, kind, number, length = _HEADER.unpack_from(data)
            if len(data) < _HEADER.size + length:
                break
            payload = data[_HEADER.size:_HEADER.size + length]
            data = data[_HEADER.size + length:]
            with self.changed:
                if kind == b"H":
                    self._hellos += 1
                elif number in self._jobs:
                    self._jobs[number].frame(kind, payload)
                self.changed.notify_all()
        return data

    def _lose_jobs(self):
        with self.changed:
            for job in self._jobs.values():
                job.dead = job.code is None
            self._jobs = {}
            self.changed.notify_all()

    def send(self, number, kind, payload):
        try:
            self._agent.sendall(_HEADER.pack(_MAGIC, kind, number, len(payload)) + payload)
        except OSError as error:
            raise GuestDied(f"{self}: {error}\n{self.log_tail()}") from error

    # Commands

    def popen(self, command, user="root", groups=()):
        """Start a command line of /bin/sh; its Job."""
        ids = [GROUPS[g] for g in groups]
        uid = USERS[user]
        with self.changed:
            self._count = self._count % 65535 + 1
            number = self._count
            job = self._jobs[number] = Job(self, number, command)
            job.dead = not self._reader.is_alive()
        if not job.dead:
            self.send(number, b"R", struct.pack(f"<{3 + len(ids)}I", uid, uid, len(ids), *ids)
                      + command.encode())
        return job

    def run(self, command, timeout=20, user="root", groups=(), stdin=None):
        """Run to the end; Result, whatever the exit code."""
        job = self.popen(command, user, groups)
        if stdin is not None:
            job.write(stdin, timeout)
        job.close_stdin(timeout)
        return job.wait(timeout)

    def retire(self, job):
        """A job that is over is only its holder's."""
        with self.changed:
            self._jobs.pop(job.number, None)

    def check(self, command, **kwargs):
        """run() that must exit with 0; its standard output, stripped."""
        result = self.run(command, **kwargs)
        assert result.code == 0, f"{self}: {command}: exit {result.code}\n" \
                                 f"{result.out}\n{result.err}"
        return result.out

    def wait_for(self, command, timeout=40, **kwargs):
        """Repeat a command until it exits with 0; its standard output."""
        return wait_for(lambda: (r := self.run(command, **kwargs)).code == 0 and
                        (r.out or True), timeout, what=f"{self}: {command}")

    def put(self, path, data, mode=0o644):
        self.check(f"cat >{shlex.quote(path)} && chmod {mode:o} {shlex.quote(path)}",
                   stdin=data, timeout=60)

    def get(self, path):
        result = self.run(f"cat {shlex.quote(path)}", timeout=60)
        assert result.code == 0, f"{self}: {path}: {result.err}"
        return result.stdout

    # Devices

    def plug(self, id, path, **properties):
        """Hot plug an ivshmem device that is a client of the server at path."""
        slot = _FIRST_SLOT + len(self._devices)
        while slot in self._devices.values():
            slot += 1
        backend = {"type": "socket", "data": {
            "server": False,
            "addr": {"type": "unix", "data": {"path": str(path)}}}}
        self.qmp.command("chardev-add", id=f"{id}-chardev", backend=backend)
        try:
            self.qmp.command("device_add", driver="ivshmem", id=id, bus="pci.0",
                             addr=f"{slot:#x}", chardev=f"{id}-chardev",
                             **{k.replace("_", "-"): v for k, v in properties.items()})
        except Exception:
            self.qmp.command("chardev-remove", id=f"{id}-chardev")
            raise
        self._devices[id] = slot
        device = _Device(id, f"0000:00:{slot:02x}.0")
        self.wait_for(f"test -e {device.sysfs}")
        return device

    def unplug(self, id, timeout=20):
        """Ask the guest to give the device up, wait until it is gone."""
        self.qmp.command("device_del", id=id)
        self.qmp.wait_event("DEVICE_DELETED", timeout, device=id)
        self.forget(id)

    def forget(self, id):
        """Free the name and the slot of a device that is gone."""
        self.qmp.command("chardev-remove", id=f"{id}-chardev")
        del self._devices[id]

    def clear(self):
        """Back to how it booted: no jobs, no devices; off if that fails."""
        if not self.alive():
            return
        try:
            with self.changed:
                jobs = [j for j in self._jobs.values() if j.code is None]
            for job in jobs:
                job.kill()
                job.wait()
            for id in list(self._devices):
                self.unplug(id)
        except (GuestDied, OSError, EOFError, QmpError):
            self.stop()

    # Health

    def dmesg(self):
        """The kernel's log since boot or the last assert_clean()."""
        return self.check("dmesg")

    def console(self):
        """What the console said since the last start()."""
        with open(self.log, errors="replace") as log:
            log.seek(self._log_start)
            return log.read()

    def log_tail(self, lines=30):
        return "\n".join([f"--- end of {self.log}:", *self.console().splitlines()[-lines:]])

    def assert_clean(self):
        """No warning, oops, lock or memory report, in life or after death.

        Empties the kernel's log: to carry all of it over each time is slow.
        """
        texts = {"console": self.console()}
        if self.alive() and self._reader.is_alive():
            texts["dmesg"] = self.check("dmesg -c")
        for where, text in texts.items():
            found = [line for line in text.splitlines() if _TROUBLE.search(line)]
            assert not found, f"{self}: {where}: " + "\n".join(found[:20])

    def assert_no_leaks(self):
        """Unload all modules: nothing that they allocated is left, of itself or
        of others. Only for a kernel with kmemleak; devices are gone before.
        """
        self.check(_UNLOAD, timeout=60)
        found = self.check(_FIND_LEAKS, timeout=60)
        assert not found, f"{self}: leaks after unload\n{found}"
        self.assert_clean()


def boot_all(*guests):
    """Boot guests side by side; all are stopped if one does not come up."""
    try:
        for guest in guests:
            guest.start()
        for guest in guests:
            guest.wait_boot()
    except BaseException:
        for guest in guests:
            guest.stop()
        raise
