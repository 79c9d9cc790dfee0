# SPDX-License-Identifier: GPL-2.0
"""Who is attacked, and by whom. A target sets up a victim with real traffic and
the program `hostile` beside it; recover() brings an honest party and waits until
the victim works with it.
"""

import itertools
import os
import pathlib
import shutil
import tempfile
import time
from subprocess import DEVNULL, PIPE

from harness import BIN, BUILD, ROOT
from harness.guest import Guest
from harness.net import PROGRAMS, End
from harness.peer import Peer
from harness.process import listens, reap, run, spawn, wait_for
from harness.qmp import QmpError

HOSTILE = BUILD / "test/hostile"
LOAD = ROOT / "tools/testing/soak/load.sh"

IMAGE_BYTES = 17 << 20
RECOVERY_S = 60
HUNG_TASK_S = 20


class Failed(Exception):
    """The victim is not as it should be."""


class Target:
    """Everything ends with the stack."""

    modules = ()
    programs = ()

    def __init__(self, stack, kver):
        self.stack = stack
        self.dir = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ivshmem-hostile-")))
        self.proxy = self.dir / "proxy"
        self.guest = self.boot(kver) if self.modules else None
        self.hostile = None
        self.setup()

    def boot(self, kver):
        guest = Guest(f"hostile-{self.name}", kver, modules=self.modules,
                      programs=self.programs, files={"/bin/load": (LOAD.read_text(), 0o755)},
                      qemu_args=["-m", 384, "-smp", 2])
        self.stack.callback(guest.stop)
        guest.boot()
        guest.check(f"echo {HUNG_TASK_S} >/proc/sys/kernel/hung_task_timeout_secs")
        return guest

    # Processes

    def spawn(self, *argv, **kwargs):
        kwargs = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL, **kwargs}
        process = spawn(argv, **kwargs)
        self.stack.callback(reap, process)
        return process

    def server(self, *options, name="server"):
        path = self.dir / name
        process = self.spawn(BIN / "ivshmem2-server", "-F", "-S", path, *options)
        wait_for(lambda: listens(path), what="socket of the server")
        return path, process

    def start_hostile(self, *words):
        self.hostile = self.spawn(HOSTILE, *words, stdin=PIPE, stdout=PIPE, stderr=None)

    def start_proxy(self, server):
        self.start_hostile("memory", server, self.proxy)
        wait_for(lambda: listens(self.proxy), what="socket of the hostile peer")

    def alive(self, process, what):
        if process.poll() is not None:
            raise Failed(f"{what}: exit {process.returncode}")

    # What an attack is made of

    def begin(self, seed, ms):
        self.hostile.stdin.write(f"{seed} {ms}\n".encode())
        self.hostile.stdin.flush()

    def attacked(self):
        """Something to do meanwhile."""
        time.sleep(0.05)

    def answer(self):
        """One command."""
        self.guest.check("true", timeout=RECOVERY_S)

    def healthy(self):
        """Nobody has complained."""
        self.guest.assert_clean()


class Net(Target):
    """ivshmem-net in a guest; at the other end ivshmem-tap, with its own traffic."""

    name = "net"
    modules = ("ivshmem_net",)
    programs = PROGRAMS
    address = "10.0.0.2"

    def setup(self):
        if os.geteuid() or not os.access("/dev/net/tun", os.W_OK) or not shutil.which("ip"):
            raise Failed("needs root, /dev/net/tun and ip")
        path, _ = self.server("-P", "1", "-l", "4M", "-o", "1M", "-V", "3")
        self.start_proxy(path)
        self.namespace()
        self.end = End(self.guest, path, 0)
        self.end.up()
        self.tap = None
        self.recover()
        self.spawn(*self.inside, "ping", "-q", "-i", "0.002", self.end.address)
        self.spawn(*self.inside, "iperf3", "-s")
        self.guest.popen(f"exec /bin/ping -q -i 0.01 {self.address}")
        self.guest.popen(f"while :; do timeout 6 iperf3 -c {self.address} -t 3 -b 20M --bidir "
                         "--connect-timeout 500; usleep 100000; done >/dev/null 2>&1")

    def namespace(self):
        name = f"ivn-hostile-{os.getpid()}"
        self.inside = ["ip", "netns", "exec", name]
        run(["ip", "netns", "add", name], check=True)
        self.stack.callback(run, ["ip", "netns", "delete", name])
        for words in ("link set lo up", "tuntap add dev tap0 mode tap",
                      f"address add {self.address}/24 dev tap0", "link set tap0 up"):
            run(["ip", "-n", name, *words.split()], check=True)

    def recover(self):
        if self.tap:
            reap(self.tap)
        self.tap = self.spawn(*self.inside, BIN / "ivshmem-tap", "-i", "tap0",
                              f"unix:{self.proxy}")
        self.guest.wait_for(f"/bin/ping -c 1 -W 0.5 {self.address}", timeout=RECOVERY_S)


class Virtio(Target):
    """A front end in a guest and a back end of the host: either is the victim, and
    the other one is honest, but for what is written in its name."""

    device = None
    modules = ("virtio_ivshmem", "virtio_blk", "virtio_console")
    programs = (pathlib.Path("/usr/bin/fio"),)

    def setup(self):
        self.words = itertools.count()
        self.log = self.dir / "log"
        self.log.touch()
        self.image = self.dir / "image"
        self.image.write_bytes(bytes(IMAGE_BYTES))
        self.path, _ = self.server("-P", {"block": "0x8002", "console": "0x8003"}[self.device],
                                   "-l", "4M", "-V", "3")
        self.start_proxy(self.path)
        self.back = None
        self.start_back_end()
        self.front = self.guest.plug(self.device, self.front_path())
        self.wait_works()
        for load in {"block": ("disk", "fio"), "console": ("flood",)}[self.device]:
            self.guest.popen(f"exec load {load} >/dev/null 2>&1")

    def start_back_end(self):
        if self.back:
            self.back.kill()
            reap(self.back)
        argv = {"block": [self.image], "console": ["-e", "none", f"--log={self.log}"]}
        self.back = self.spawn(BIN / f"virtio-ivshmem-{self.device}",
                               f"unix:{self.back_path()}", *argv[self.device], stdin=PIPE)
        wait_for(lambda: "back end" in run([BIN / "ivshmem2-server", "--status", "-S",
                                            self.path]).stdout, what="back end")

    def wait_works(self):
        {"block": self.wait_disk, "console": self.wait_console}[self.device]()

    def wait_disk(self):
        self.guest.wait_for("for d in /dev/vd?; do test -b $d && "
                            "dd if=$d of=/dev/null bs=64k count=16 iflag=direct || exit 1; done",
                            timeout=RECOVERY_S)

    def wait_console(self):
        word = f"word-{next(self.words)}."

        def heard():
            self.guest.run(f"for t in /dev/hvc*; do echo {word} >$t; done")
            with open(self.log, "rb") as log:
                log.seek(max(0, self.log.stat().st_size - (1 << 16)))
                return word.encode() in log.read()

        wait_for(heard, RECOVERY_S, what="output of the console")


class Front(Virtio):
    """The front end is the victim."""

    def back_path(self):
        return self.proxy

    def front_path(self):
        return self.path

    def recover(self):
        self.start_back_end()
        self.wait_works()


class Back(Virtio):
    """The back end is the victim; and it has to be the same one all the time."""

    def back_path(self):
        return self.path

    def front_path(self):
        return self.proxy

    def recover(self):
        for what in "unbind", "bind":
            self.guest.check(f"echo {self.front.address} >"
                             f"/sys/bus/pci/drivers/virtio_ivshmem/{what}", timeout=RECOVERY_S)
        self.wait_works()

    def healthy(self):
        self.alive(self.back, "back end")
        super().healthy()


class FrontBlock(Front):
    name, device = "front-block", "block"


class FrontConsole(Front):
    name, device = "front-console", "console"


class Block(Back):
    name, device = "block", "block"


class Console(Back):
    name, device = "console", "console"


class Server(Target):
    """The server; a command is a client that comes, is greeted, and goes."""

    name = "server"

    def setup(self):
        self.path, self.process = self.server("-n", "16", "-l", "1M", "-V", "2")
        self.pair = [Peer(self.path) for _ in "ab"]
        for peer in self.pair:
            self.stack.callback(peer.close)
        self.start_hostile("clients", self.path)

    def answer(self):
        wait_for(self.greeted, RECOVERY_S, 0.001, "a place at the server")

    def greeted(self):
        """False where many wait, or all ids are taken: both is so for a moment."""
        try:
            with Peer(self.path):
                return True
        except (BlockingIOError, EOFError):
            return False

    def recover(self):
        status = [BIN / "ivshmem2-server", "--status", "-S", self.path]
        wait_for(lambda: " 2 of 16" in run(status).stdout, what="end of the clients")
        a, b = self.pair
        wait_for(lambda: a.others() == [b.id], what="the peer alone")
        b.rung()
        a.bell(b.id)
        wait_for(b.rung, what="doorbell")

    def healthy(self):
        self.alive(self.process, "server")


class Device(Target):
    """The device in QEMU, plugged and unplugged at a server that lies."""

    name = "device"
    modules = ("uio_ivshmem", "ivshmem_net", "virtio_ivshmem")

    def setup(self):
        self.honest, _ = self.server("-l", "1M", "-o", "256K", "-V", "2")
        self.start_hostile("server", self.proxy)
        wait_for(lambda: listens(self.proxy), what="socket of the hostile server")
        self.plugs = self.refused = 0

    def attacked(self):
        self.plugs += 1
        try:
            self.guest.plug("liar", self.proxy)
        except QmpError:
            self.refused += 1
            return
        self.guest.check("cat /sys/bus/pci/devices/*/class")
        self.guest.unplug("liar", timeout=RECOVERY_S)

    def recover(self):
        device = self.guest.plug("honest", self.honest)
        self.guest.wait_for(f"ls {device.sysfs}/uio")
        self.guest.unplug("honest")


TARGETS = {cls.name: cls
           for cls in (Net, FrontBlock, FrontConsole, Block, Console, Server, Device)}
