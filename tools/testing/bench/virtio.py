# SPDX-License-Identifier: GPL-2.0
"""Virtio over ivshmem against QEMU's virtio-blk-pci and virtio-console-pci.

Guest "front" has all devices at once: those of QEMU; those whose back end is a
process of the host; those whose back end is a process in guest "back". Images
are in memory: no disk is measured.
"""

import json
import os
import pathlib
import tempfile
from subprocess import PIPE

from harness import BIN, BUILD
from harness.guest import Guest, boot_all
from harness.process import listens, run, spawn, wait_for
from harness.uio import device_node

import host
from host import MEMORY_MB, Host
from runner import Case

PCI, HOST, VM = "virtio-pci", "ivshmem, host", "ivshmem, VM"
MEMCPY, POOL = "memcpy", "bounce pool"
NO_LINK = "back end's VM alone"

TOOL = BUILD / "bench/bench-tool"
FIO = pathlib.Path("/usr/bin/fio")
IMAGE_BYTES = 64 << 20
SECTION = "16M"
TRANSFER_TIMEOUT = 60
BLOCK, CONSOLE = 0x8002, 0x8003

# Goals: ratios to what QEMU has
SEQUENTIAL_GOALS = {HOST: 0.6, VM: 0.3}
RANDOM_GOALS = {HOST: 0.8, VM: 0.3}
CONSOLE_GOALS = {HOST: 1.0}

_PCI_DISK, _PCI_CONSOLE = "0000:00:08.0", "0000:00:09.0"


class Links(Host):
    """Servers, back ends and guests; everything ends with the stack."""

    def __init__(self, stack, kver):
        super().__init__(stack)
        self.image = self.dir / "image"
        self.image.write_bytes(os.urandom(IMAGE_BYTES))
        self.front, self.back = self._guests(kver)
        self.disk = None    # of guest "front", served by the host

    def _guests(self, kver):
        front = Guest("bench-front", kver,
                      modules=["virtio_ivshmem", "virtio_pci", "virtio_blk", "virtio_console"],
                      programs=[FIO, TOOL], qemu_args=self._front_args())
        back = Guest("bench-back", kver, modules=["uio_ivshmem"],
                     programs=[BIN / "virtio-ivshmem-block", BIN / "virtio-ivshmem-console",
                               FIO, TOOL],
                     qemu_args=["-m", MEMORY_MB])
        for guest in (front, back):
            self.stack.callback(guest.stop)
        boot_all(front, back)
        back.check("mkdir /image && mount -t tmpfs tmpfs /image && "
                   f"dd if=/dev/urandom of=/image/image bs=1M count={IMAGE_BYTES >> 20}",
                   timeout=60)
        return front, back

    def _front_args(self):
        return ["-m", MEMORY_MB,
                "-drive", f"file={self.image},format=raw,if=none,id=disk,file.locking=off",
                "-device", f"virtio-blk-pci,drive=disk,addr={_PCI_DISK[8:10]}",
                "-device", f"virtio-serial-pci,addr={_PCI_CONSOLE[8:10]}",
                "-chardev", f"socket,path={self.dir}/pci-console,server=on,wait=off,id=hvc",
                "-device", "virtconsole,chardev=hvc"]

    def virtio_server(self, name, protocol):
        return self.server(name, "-P", f"{protocol:#x}", "-l", SECTION, "-V", "4")

    def serve_on_host(self, name, protocol, program, *args):
        """A back end, which has to be the first on its link; sysfs of the front."""
        path = self.virtio_server(name, protocol)
        self.process(name, BIN / program, f"unix:{path}", *args)
        return self._plug_front(name, path)

    def serve_in_vm(self, name, protocol, program, *args):
        path = self.virtio_server(name, protocol)
        node = device_node(self.back, self.back.plug(name, path))
        self.back.popen(f"exec {program} {node} {' '.join(args)} >/tmp/{name}.log 2>&1")
        return self._plug_front(name, path)

    def _plug_front(self, name, path):
        wait_for(lambda: "back end" in run([BIN / "ivshmem2-server", "--status",
                                            "-S", path]).stdout, what=f"back end of {name}")
        return self.front.plug(name, path).sysfs


# Disks

def fio(guest, disk, rw, size, depth, seconds, extra="--direct=1 --ioengine=libaio"):
    """One run of fio: what its JSON has of the job."""
    out = guest.check(
        f"fio --name=bench --filename={disk} --thread "
        f"--rw={rw} --bs={size} --iodepth={depth} --time_based --runtime={seconds} "
        f"--randrepeat=0 --output-format=json {extra}", timeout=60 + seconds)
    return json.loads(out[out.index("{"):])["jobs"][0]["read" if "read" in rw else "write"]


def find_disk(guest, sysfs):
    return "/dev/" + guest.wait_for(f"basename $(ls -d {sysfs}/virtio[0-9]*/block/* "
                                    f"{sysfs}/virtio-*/virtio*/block/* 2>/dev/null | grep .)")


def image_case(links, disk, rw, seconds):
    """What a back end in a VM cannot exceed: the image there, without a link."""
    return Case(f"limit of the VM, sequential {rw}", "MB/s", PCI, {
        PCI: lambda: fio(links.front, disk, rw, "1M", 4, seconds)["bw_bytes"] / 1e6,
        NO_LINK: lambda: fio(links.back, "/image/image", rw, "1M", 1, seconds,
                             f"--ioengine=psync --size={IMAGE_BYTES}")["bw_bytes"] / 1e6})


def block_cases(links, seconds):
    name = "virtio-ivshmem-block"
    disks = {PCI: f"/sys/bus/pci/devices/{_PCI_DISK}",
             HOST: links.serve_on_host("block-host", BLOCK, name, links.image),
             VM: links.serve_in_vm("block-vm", BLOCK, name, "/image/image")}
    disks = {s: find_disk(links.front, path) for s, path in disks.items()}
    links.disk = disks[HOST]

    def case(what, rw, size, depth, unit, key, scale, goals):
        return Case(f"{what}, depth {depth}", unit, PCI, {
            subject: lambda disk=disk: fio(links.front, disk, rw, size, depth,
                                           seconds)[key] / scale
            for subject, disk in disks.items()}, goals)

    for depth in (1, 4):
        for rw in ("read", "write"):
            yield case(f"sequential {rw} 1 MiB", rw, "1M", depth, "MB/s", "bw_bytes", 1e6,
                       SEQUENTIAL_GOALS)
    for rw in ("read", "write"):
        yield image_case(links, disks[PCI], rw, seconds)
    for depth, goals in ((1, {}), (32, RANDOM_GOALS)):
        for rw in ("read", "write"):
            yield case(f"random {rw} 4 KiB", f"rand{rw}", "4k", depth, "IOPS", "iops", 1,
                       goals)


# Consoles

class HostEnd:
    """bench-tool on the host; GuestEnd is the same in a guest."""

    def __init__(self, command):
        self.out = tempfile.TemporaryFile()
        self.process = spawn(command.split(), stdin=PIPE, stdout=self.out)

    def _lines(self):
        return os.pread(self.out.fileno(), 4096, 0).decode().split()

    def wait_output(self, text):
        wait_for(lambda: text in self._lines(), what=f"bench-tool: {text}")

    def rate(self):
        self.process.stdin.close()
        assert self.process.wait(TRANSFER_TIMEOUT) == 0
        return float(self._lines()[-1])


class GuestEnd:
    def __init__(self, guest, command):
        self.job = guest.popen(command)

    def wait_output(self, text):
        self.job.wait_output(text)

    def rate(self):
        self.job.close_stdin()
        result = self.job.wait(TRANSFER_TIMEOUT)
        assert result.code == 0, result.err
        return float(result.out.split()[-1])


def transfer(receiver, sender):
    """MB/s, as the receiver sees it; both are functions that start an end."""
    end = receiver()
    end.wait_output("ready")
    other = sender()
    rate = end.rate()
    other.wait_output("ready")
    other.rate()
    return rate / 1e6


def find_console(guest, sysfs):
    port = guest.wait_for(f"basename $(ls -d {sysfs}/virtio[0-9]*/virtio-ports/* "
                          f"{sysfs}/virtio-*/virtio*/virtio-ports/* 2>/dev/null | grep .)")
    # the driver counts terminals from 1, and hvc from 0; none of them ever goes
    number = int(guest.check(
        f"sed -n 's/^console_vtermno: //p' /sys/kernel/debug/virtio-ports/{port}"))
    return f"/dev/hvc{number - 1}"


def console_cases(links, sizes):
    name = "virtio-ivshmem-console"
    path = links.dir / "host-console"
    sysfs = {PCI: f"/sys/bus/pci/devices/{_PCI_CONSOLE}",
             HOST: links.serve_on_host("console-host", CONSOLE, name, f"--listen=unix:{path}"),
             VM: links.serve_in_vm("console-vm", CONSOLE, name, "--listen=unix:/tmp/console")}
    ttys = {s: find_console(links.front, p) for s, p in sysfs.items()}
    wait_for(lambda: listens(path), what="console of the host")

    def outer(subject, verb, size):
        """The end that is not in guest "front"."""
        if subject == VM:
            return GuestEnd(links.back, f"bench-tool {verb} {size} unix:/tmp/console")
        where = path if subject == HOST else links.dir / "pci-console"
        return HostEnd(f"{TOOL} {verb} {size} unix:{where}")

    def inner(subject, verb, size):
        return GuestEnd(links.front, f"bench-tool {verb} {size} {ttys[subject]}")

    def measure(subject, receiver, sender, size):
        return lambda: transfer(lambda: receiver(subject, "receive", size),
                                lambda: sender(subject, "send", size))

    yield Case("console, output of the guest", "MB/s", PCI,
               {s: measure(s, outer, inner, sizes[0]) for s in ttys}, CONSOLE_GOALS)
    yield Case("console, input of the guest", "MB/s", PCI,
               {s: measure(s, inner, outer, sizes[1]) for s in ttys}, CONSOLE_GOALS)


# The pool

class Tracer:
    """How long the guest's kernel spends in map and unmap of the pool."""

    def __init__(self, guest):
        self.guest = guest
        self.guest.check("mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; "
                         "cd /sys/kernel/tracing && echo 0 >tracing_on && "
                         "echo vi_pool_map vi_pool_unmap >set_ftrace_filter && "
                         "echo 32768 >buffer_size_kb")

    def seconds(self, work):
        """(seconds in the pool, what work returns)."""
        at = "cd /sys/kernel/tracing && "
        self.guest.check(at + "echo function_graph >current_tracer && echo >trace && "
                              "echo 1 >tracing_on")
        result = work()
        self.guest.check(at + "echo 0 >tracing_on")
        total = self.guest.check(
            at + "awk '/vi_pool_/ { for (i = 2; i < NF; i++) if ($i == \"us\") "
                 "us += $(i - 1) } END { print us }' trace", timeout=60)
        self.guest.check(at + "echo nop >current_tracer")
        return float(total) / 1e6, result


def pool_cases(links, seconds):
    """Bytes that fio moves over the seconds that the pool takes for them, which
    the kernel's function graph tells. fio's buffers are huge pages, so that
    pieces are as long as they get, and tracing their few calls weighs little.
    """
    guest = links.front
    tracer = Tracer(guest)
    guest.check("echo 16 >/proc/sys/vm/nr_hugepages")
    disk = links.disk

    def pool(rw):
        spent, job = tracer.seconds(lambda: fio(guest, disk, rw, "1M", 4, seconds,
                                                "--direct=1 --ioengine=libaio --mem=mmaphuge"))
        return job["io_bytes"] / spent / 1e6

    def memcpy():
        return float(guest.check("bench-tool copy")) / 1e6

    for rw in ("read", "write"):
        yield Case(f"copying in the guest, sequential {rw}", "MB/s", MEMCPY,
                   {MEMCPY: memcpy, POOL: lambda rw=rw: pool(rw)})


def facts(links, plan):
    guests, machine, runs = host.facts(links.front, plan)
    return [guests,
            f"{machine}; sections of {SECTION}iB; images of {IMAGE_BYTES >> 20} MiB "
            "in memory (tmpfs)",
            f"fio libaio, direct; {runs}"]


def setup(stack, plan, kver):
    host.build_tools()
    links = Links(stack, kver)
    seconds = 1 if plan.quick else 2
    sizes = (1 << 20, 1 << 18) if plan.quick else (16 << 20, 16 << 20)
    cases = [*block_cases(links, seconds), *console_cases(links, sizes),
             *pool_cases(links, seconds)]
    return facts(links, plan), cases
