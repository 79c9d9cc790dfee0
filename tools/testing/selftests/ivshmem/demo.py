#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make demo: a server, two guests with different kernels, one screen.

Everything shown is what the programs print, and each step is checked: the
exit code is 0 only if all of it happened.
"""

import contextlib
import pathlib
import re
import sys
import tempfile
import threading
import time

from harness import BIN, uio
from harness.guest import Guest, GuestDied
from harness.process import listens, reap, spawn, wait_for
from harness.uio import device_node

SERVER = ["ivshmem2-server", "-F", "-l", "1M", "-o", "256K", "-V", "2"]
# The first at a virtio link is the back end
VIRTIO_SERVER = ["ivshmem2-server", "-F", "-l", "4M", "-V", "3", "-P"]
BLOCK, CONSOLE = "0x8002", "0x8003"
NET_SERVER = ["ivshmem2-server", "-F", "-l", "16M", "-o", "4M", "-V", "2", "-P", "0x0001"]
ADDRESS = {"a": "10.9.8.1", "b": "10.9.8.2"}
KERNELS = {"a": "6.1", "b": "6.12"}
MODULES = {"a": ["uio_ivshmem", "ivshmem-net", "virtio_ivshmem", "virtio_blk",
                 "virtio_console", "ext4", "crc32c_generic"],
           "b": ["uio_ivshmem", "ivshmem-net"]}
PROGRAMS = {"a": ["/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/bin/iperf3"],
            "b": [BIN / "virtio-ivshmem-block", BIN / "virtio-ivshmem-console",
                  "/usr/bin/iperf3"]}
GREETING = "hello, neighbour"
SHOWN_STATE = 42


class Failed(Exception):
    """A step did not show what it must."""


class Progress:
    """Seconds that pass, on a terminal; one plain line elsewhere."""

    def __init__(self, text):
        self.text = text
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.tick, daemon=True)

    def __enter__(self):
        self.start = time.monotonic()
        if sys.stdout.isatty():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.thread.is_alive():
            self.thread.join()
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        print(f"{clear}{self.text}: {time.monotonic() - self.start:.0f} s", flush=True)

    def tick(self):
        while not self.done.wait(0.2):
            print(f"\r{self.text} ... {time.monotonic() - self.start:.0f} s",
                  end="", flush=True)


def step(text):
    print(f"\n== {text}", flush=True)


def show(text):
    for line in text.splitlines():
        if line.strip():
            print(f"   {line}", flush=True)


def expect(pattern, text):
    if not re.search(pattern, text, re.MULTILINE):
        raise Failed(f"expected /{pattern}/, got:\n{text}")


class Screen:
    """One guest as it is shown: a prompt, a command, what it prints."""

    def __init__(self, guest, node):
        self.guest = guest
        self.node = node

    def prompt(self, user, command):
        name = self.guest.name.removeprefix("demo-")
        print(f"{user}@{name}-{self.guest.kver}$ {command}", flush=True)

    def run(self, command, pattern, code=0, user="nobody"):
        """Run and show it; exit code and output must be as expected."""
        self.prompt(user, command)
        result = self.guest.run(command, user=user, groups=["ivshmem"])
        text = "\n".join(filter(None, [result.out, result.err]))
        show(text)
        if result.code != code:
            raise Failed(f"{command}: exit code {result.code}, not {code}")
        expect(pattern, text)

    def start(self, command, ready=None, user="nobody"):
        """The same in the background, until its output says it is ready."""
        self.prompt(user, f"{command} &")
        job = self.guest.popen(f"exec {command}", user, ["ivshmem"])
        if ready:
            job.wait_output(re.compile(ready))
        return job


def await_line(job, pattern):
    """Wait for a line of a background job and show it."""
    job.wait_output(re.compile(pattern))
    line = next(l for l in job.stdout.decode().splitlines() if re.search(pattern, l))
    show(line)


def show_devices(a, b):
    step("Both guests have a device, bound by uio_ivshmem")
    for screen in (a, b):
        expect("^" + re.escape(screen.guest.kver), screen.guest.check("uname -r"))
        screen.run("ivshmem list", f"uio_ivshmem +{screen.node}$")
    a.run(f"ivshmem info {a.node}", "peer 0 of 2")
    b.run(f"ivshmem info {b.node} | grep peer", "peer 1 of 2")


def show_sections(a, b):
    step("A user without privileges writes its output section, the other reads it")
    a.run(f"ivshmem write -d '{GREETING}' {a.node} output", "^$")
    b.run(f"ivshmem read -n {len(GREETING)} {b.node} input:0", f"^{GREETING}$")

    step("Nobody else can write there: the tool refuses, and so does the kernel")
    b.run(f"ivshmem write -d 'not yours' {b.node} input:0", "read only", code=1)
    b.run(f"echo map input_sections rw | uio-probe {b.node} | tail -n 1", "^EACCES$")
    b.run(f"ivshmem read -n {len(GREETING)} {b.node} input:0", f"^{GREETING}$")


def show_ping(a, b):
    step("Doorbells: how long there and back, under emulation")
    pong = b.start(f"ivshmem pong {b.node}", "^PONG")
    a.run(f"ivshmem ping -c 3 {a.node} 1", r"3 transmitted, 3 received, 0% loss")
    pong.kill(2)
    pong.wait()


def show_states(a, b):
    step("A change of state is seen by the other side at once")
    watch = b.start(f"ivshmem watch {b.node}")
    # it prints nothing before the first event: what shows that it listens is
    # the device, which has interrupts enabled for it
    probe = uio.Uio(b.guest, b.node)
    probe.map("registers")
    wait_for(lambda: probe.register(uio.INT_CONTROL) == 1, what="ivshmem watch")
    probe.close()
    a.start(f"ivshmem state {a.node} {SHOWN_STATE}", "^peer 0 state")
    await_line(watch, f"peer 0 state 0(x0)? -> {SHOWN_STATE:#x}$")
    b.run(f"ivshmem info {b.node} | grep 'peer 0'", f"state {SHOWN_STATE:#x}")
    return watch


def show_disk(a, b, node):
    step("Guest b serves a disk to guest a, from a process without privileges")
    command = f"virtio-ivshmem-block {node} /tmp/disk"
    b.guest.check("truncate -s 32M /tmp/disk && chown nobody /tmp/disk")
    back_end = b.start(command)
    a.guest.wait_for("test -b /dev/vda")
    a.guest.check("mkdir -p /mnt")
    a.run("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && df -h /mnt | tail -n 1",
          "/dev/vda", user="root")
    a.run("dd if=/dev/urandom of=/mnt/file bs=1M count=8 2> /dev/null && sync && md5sum /mnt/file",
          "^[0-9a-f]{32} ", user="root")
    before = a.guest.check("md5sum /mnt/file")

    step("The back end is killed under I/O and comes back; the file system is fine")
    load = a.start("sh -c 'while cat /dev/vda; do :; done > /dev/null'", user="root")
    b.prompt("nobody", "kill -9 %1")
    back_end.kill(9)
    show(load.wait().err)
    a.guest.check("umount /mnt")
    a.guest.wait_for("! test -b /dev/vda")
    b.start(command)
    a.guest.wait_for("test -b /dev/vda")
    a.run("e2fsck -p /dev/vda && e2fsck -fn /dev/vda 2>&1 | tail -n 1", "vda: .* files",
          user="root")
    a.run("mount /dev/vda /mnt && md5sum /mnt/file", f"^{before}$", user="root")
    a.guest.check("umount /mnt")


def show_console(a, b, node):
    step("A shell of guest a on /dev/hvc0, used in guest b")
    command = f"virtio-ivshmem-console -e none {node}"
    b.prompt("nobody", command)
    console = b.guest.popen(f"exec {command}", "nobody", ["ivshmem"])
    a.guest.wait_for("test -c /dev/hvc0")
    shell = a.start("setsid sh -c 'exec sh -i < /dev/hvc0 > /dev/hvc0 2>&1'",
                    user="root")
    console.wait_output("#")
    console.write("echo this is $(uname -r)\n")
    await_line(console, f"(?m)^this is {re.escape(a.guest.kver)}")
    shell.kill()
    console.kill(15)
    console.wait()


def net_up(screen, device):
    """Configure the interface and return its name."""
    name = screen.guest.wait_for(f"ls {device.sysfs}/net")
    address = ADDRESS[screen.guest.name.removeprefix("demo-")]
    screen.run(f"ip addr add {address}/24 dev {name} && ip link set {name} up", "^$",
               user="root")
    return name


def show_net(a, b, devices):
    step("A cable between the guests")
    net_up(a, devices[0])
    name = net_up(b, devices[1])
    a.guest.wait_for(f"ping -c 1 -W 1 {ADDRESS['b']}")
    a.run(f"ping -c 3 {ADDRESS['b']}", "3 packets received, 0% packet loss", user="root")
    server = b.start("iperf3 -s --forceflush", "Server listening", user="root")
    a.run(f"iperf3 -c {ADDRESS['b']} -t 2 | grep -e sender -e receiver", "receiver",
          user="root")
    server.kill()

    step("One end goes down and up: the link comes back by itself")
    b.run(f"ip link set {name} down && ip link set {name} up", "^$", user="root")
    a.guest.wait_for(f"ping -c 1 -W 1 {ADDRESS['b']}")
    a.run("dmesg | grep -o 'link .*' | tail -n 2", "link up", user="root")


def show_death(a, b, watch):
    step(f"Guest a dies: kill -9 {a.guest.process.pid}; its neighbour notices")
    a.guest.kill()
    await_line(watch, f"peer 0 state {SHOWN_STATE:#x} -> 0(x0)?$")
    for screen in (a, b):
        screen.guest.assert_clean()


def start_server(stack, directory, command):
    print(f"host$ {' '.join(command)} &")
    directory = pathlib.Path(tempfile.mkdtemp(dir=directory))
    socket = directory / "socket"
    log = directory / "log"
    with open(log, "w") as stderr:
        server = spawn([BIN / command[0], *command[1:], "-S", socket], stderr=stderr)
    stack.callback(reap, server)
    wait_for(lambda: listens(socket) or server.poll() is not None, what="server")
    if server.poll() is not None:
        raise Failed(f"the server did not start: {log.read_text()}")
    return socket


def start_guests(stack):
    guests = [Guest(f"demo-{name}", kver, modules=MODULES[name],
                    programs=[BIN / "ivshmem", uio.PROGRAM, *PROGRAMS[name]])
              for name, kver in KERNELS.items()]
    for guest in guests:
        stack.callback(guest.stop)
        guest.start()
    for guest in guests:
        guest.wait_boot()
    return guests


def plug_uio(guest, socket, id):
    """Returns the node, which gets what the udev rule gives it."""
    node = device_node(guest, guest.plug(id, socket))
    guest.check(f"chgrp ivshmem {node} && chmod 660 {node}")
    return node


def plug_virtio(a, b, socket, id):
    """The back end's guest first; returns its node."""
    node = plug_uio(b, socket, id)
    a.plug(id, socket)
    return node


def demo(stack):
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ivshmem-"))
    socket = start_server(stack, directory, SERVER)
    disk = start_server(stack, directory, VIRTIO_SERVER + [BLOCK])
    console = start_server(stack, directory, VIRTIO_SERVER + [CONSOLE])
    net = start_server(stack, directory, NET_SERVER)
    with Progress(f"Booting guests with Linux {' and '.join(KERNELS.values())}"):
        guests = start_guests(stack)
    a, b = (Screen(guest, plug_uio(guest, socket, "shm")) for guest in guests)
    show_devices(a, b)
    show_sections(a, b)
    show_ping(a, b)
    show_disk(a, b, plug_virtio(*guests, disk, "disk"))
    show_console(a, b, plug_virtio(*guests, console, "console"))
    show_net(a, b, [guest.plug("net", net) for guest in guests])
    watch = show_states(a, b)
    show_death(a, b, watch)


def main():
    start = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            demo(stack)
    except (Failed, GuestDied, TimeoutError, AssertionError, OSError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\nAll of it as expected, in {time.monotonic() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
