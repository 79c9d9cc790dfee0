# SPDX-License-Identifier: GPL-2.0
"""A console device of several ports over ivshmem in real guests. Our own
console has one port, so the back end is one of a few lines, here: terminals and
plain ports, added and removed over the control queues.
"""

import collections
import hashlib
import os
import struct
import time

import pytest

from harness.process import wait_for
from harness.virtio_backend import BackEnd
from harness.virtio_guest import no_task_hangs

pytestmark = pytest.mark.guest
GUEST = {"modules": ["virtio_ivshmem", "virtio_console"], "qemu_args": ["-smp", "2"]}

SIZE, MULTIPORT = 1 << 0, 1 << 1
(DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN,
 PORT_NAME) = range(8)

CONTROL_IN, CONTROL_OUT = 2, 3
DATA_BYTES = 256 << 10


def queues_of(port):
    """To the guest, from the guest; the control queues come after port 0's."""
    return (2 * port + 2, 2 * port + 3) if port else (0, 1)


class Ports(BackEnd):
    """Port 0 is a terminal, the others have names."""

    names = ["", "org.example.one", "org.example.two"]
    queues = 2 * len(names) + 2
    queue_size = 16
    features = SIZE | MULTIPORT
    config = struct.pack("<HHII", 0, 0, len(names), 0)
    is_stopped = False

    def reset(self):
        super().reset()
        self.empty = [collections.deque() for _ in range(self.queues)]
        self.todo = [collections.deque() for _ in range(self.queues)]
        self.output = [b""] * len(self.names)
        self.heard = []

    # For tests

    def say(self, port, event, value=1, data=b""):
        self.todo[CONTROL_IN].append(struct.pack("<IHH", port, event, value) + data)

    def send(self, port, data):
        self.todo[queues_of(port)[0]].extend(data[i:i + 4096]
                                             for i in range(0, len(data), 4096))

    def hears(self, port, event, value=1, count=1):
        wait_for(lambda: self.error or self.heard.count((port, event, value)) >= count,
                 what=f"event {event} of port {port}")

    # The device

    def serve(self):
        if self.is_stopped:
            time.sleep(0.001)
            return
        super().serve()
        for index, todo in enumerate(self.todo):
            while todo and self.empty[index]:
                head, segments = self.empty[index].popleft()
                self.push(self.queue[index], head, self.give(segments, todo.popleft()))

    def serve_buffer(self, queue, head, segments):
        if queue.index % 2 == 0:
            self.empty[queue.index].append((head, segments))
            return
        data = self.taken(segments)
        if queue.index == CONTROL_OUT:
            self.control(*struct.unpack_from("<IHH", data))
        else:
            self.output[max(queue.index // 2 - 1, 0)] += data
        self.push(queue, head, 0)

    def control(self, port, event, value):
        self.heard.append((port, event, value))
        if event == DEVICE_READY:
            for port in range(len(self.names)):
                self.say(port, PORT_ADD)
        elif event == PORT_READY:
            self.say(port, PORT_OPEN)
            if self.names[port]:
                self.say(port, PORT_NAME, 1, self.names[port].encode())
            else:
                self.say(port, CONSOLE_PORT)


class Device:
    """What the guest has of it."""

    def __init__(self, front):
        self.guest = front.guest
        self.number = front.wait()[len("virtio"):]

    def node(self, port):
        """/dev/vportNpM, once the port has its name, which is the last it gets."""
        node = f"/dev/vport{self.number}p{port}"
        name = f"/sys/class/virtio-ports/{node[5:]}/name"
        self.guest.wait_for(f"[ -c {node} ] && [ $(cat {name}) = {Ports.names[port]} ]")
        return node

    def terminal(self):
        return self.guest.wait_for("for t in /dev/hvc*; do stty -F $t >/dev/null 2>&1 && "
                                   "echo $t && exit; done; exit 1")


@pytest.fixture
def serve(link):
    """serve(link=) -> a back end, at last closed if it is not yet."""
    backs = []

    def start(link, back_end=Ports):
        backs.append(back_end(link.socket).start())
        return backs[-1]

    yield start
    for back in backs:
        back.close()


@pytest.fixture
def ports(guest, link, serve):
    """(Link, Front, Device, back end)"""
    this = link("console", vectors=9)
    front = this.plug(guest)
    back = serve(this)
    return this, front, Device(front), back


def data_go_both_ways(device, back, port):
    node = device.node(port)
    before = len(back.output[port])
    opened = back.heard.count((port, PORT_OPEN, 1))
    device.guest.check(f"echo from the guest >{node}")
    wait_for(lambda: back.output[port][before:] == b"from the guest\n", what="output")
    job = device.guest.popen(f"head -n1 <{node}")
    back.hears(port, PORT_OPEN, 1, opened + 2)
    back.send(port, b"from the host\n")
    assert job.wait().out == "from the host"


@pytest.mark.parametrize("vectors, msix", [(9, True), (2, True), (1, False)],
                         ids=["own", "shared", "intx"])
def test_ports_have_names_and_carry_data_both_ways(guest, link, serve, vectors, msix):
    this = link("console", vectors=vectors)
    front = this.plug(guest, msix=msix)
    back = serve(this)
    device = Device(front)
    for port in 1, 2:
        data_go_both_ways(device, back, port)
    assert len(back.output[0]) == 0


def test_terminal_among_the_ports_works(ports):
    _, _, device, back = ports
    tty, guest = device.terminal(), device.guest
    guest.check(f"echo over there >{tty}")
    wait_for(lambda: b"over there" in back.output[0], what="output")
    hold = guest.popen(f"exec 3<>{tty}; stty raw -echo <&3; echo; head -n1 <&3; sleep 1000")
    hold.wait_output("\n")
    back.send(0, b"over here\n")
    hold.wait_output("over here")
    # Not every kernel agrees on which comes first
    back.say(0, RESIZE, 0, struct.pack("<HH", 61, 61))
    guest.wait_for(f"[ \"$(stty size <{tty})\" = '61 61' ]")


def test_much_data_on_all_ports_at_once_come_through_intact(ports):
    _, _, device, back = ports
    guest = device.guest
    data = [os.urandom(DATA_BYTES) for _ in range(2)]
    guest.check(f"head -c {DATA_BYTES} /dev/urandom >/tmp/data")
    jobs = []
    for port in 1, 2:
        jobs.append(guest.popen(f"exec 3<>{device.node(port)}; cat /tmp/data >&3 & "
                                f"head -c {DATA_BYTES} <&3 | sha256sum; wait"))
        back.hears(port, PORT_OPEN)
        back.send(port, data[port - 1])
    for job, sent in zip(jobs, data):
        assert job.wait(60).out.split()[0] == hashlib.sha256(sent).hexdigest()
    expected = guest.check("sha256sum </tmp/data").split()[0]
    for port in 1, 2:
        wait_for(lambda: len(back.output[port]) == DATA_BYTES, what="output")
        assert hashlib.sha256(back.output[port]).hexdigest() == expected


def test_port_is_removed_and_added_again(ports):
    _, _, device, back = ports
    node = device.node(2)
    reader = device.guest.popen(f"cat {node}")
    back.hears(2, PORT_OPEN)
    back.say(2, PORT_REMOVE)
    device.guest.wait_for(f"! test -e {node}")
    reader.wait()
    data_go_both_ways(device, back, 1)
    back.say(2, PORT_ADD)
    data_go_both_ways(device, back, 2)


def test_what_is_sent_to_a_back_end_that_stopped_comes_later(ports):
    _, _, device, back = ports
    node, tty, guest = device.node(1), device.terminal(), device.guest
    data_go_both_ways(device, back, 1)
    heard, output = len(back.heard), len(back.output[1])
    back.is_stopped = True
    guest.check(f"echo one >{node} && echo two >{node} && echo three >{tty}")
    back.is_stopped = False
    wait_for(lambda: back.output[1][output:] == b"one\ntwo\n", what="output")
    wait_for(lambda: b"three" in back.output[0], what="output")
    wait_for(lambda: back.heard[heard:] == 2 * [(1, PORT_OPEN, 1), (1, PORT_OPEN, 0)],
             what="what was done")


def test_flood_does_not_wait_for_a_back_end_that_stopped(ports):
    _, front, device, back = ports
    node, guest = device.node(1), device.guest
    back.is_stopped = True
    job = guest.popen(f"while cat /bin/busybox >{node}; do :; done")
    guest.wait_for("dmesg | grep 'does not take what it is sent'")
    job.wait()
    back.is_stopped = False
    device = Device(front)
    for port in 1, 2:
        data_go_both_ways(device, back, port)
    no_task_hangs(guest)


def test_death_of_the_back_end_removes_all_and_another_brings_it_back(ports, serve):
    link, front, device, back = ports
    guest = device.guest
    for _ in range(3):
        readers = [guest.popen(f"cat {device.node(port)}") for port in (1, 2)]
        shell = guest.popen(f"t={device.terminal()}; exec setsid -c sh -i <$t >$t 2>&1")
        for port in 1, 2:
            back.hears(port, PORT_OPEN)
        wait_for(lambda: b"# " in back.output[0], what="prompt")
        back.close()
        front.wait_gone()
        for job in (*readers, shell):
            job.wait()
        guest.wait_for("! ls /dev/vport* /sys/class/virtio-ports/vport*")
        no_task_hangs(guest)
        back = serve(link)
        device = Device(front)
        for port in 1, 2:
            data_go_both_ways(device, back, port)


def test_back_end_can_die_under_a_flood_of_ports(ports, serve):
    link, front, device, back = ports
    guest = device.guest
    guest.popen("while :; do for p in /dev/vport*p[12]; do [ -c $p ] && "
                "cat /bin/busybox >$p 2>/dev/null & done; wait; usleep 10000; done")
    for _ in range(5):
        wait_for(lambda: len(back.output[1]) > 50000 < len(back.output[2]), 20,
                 what="output")
        back.close()
        front.wait_gone()
        back = serve(link)
        device = Device(front)
    no_task_hangs(guest)
