# SPDX-License-Identifier: GPL-2.0
"""The device model, without a guest: the test is the CPU, the other peers and
(but for the last part) the server. Numbers are literals on purpose."""

import os
import pathlib
import select
import struct

import pytest

from harness import proto, qtest
from harness.process import run, wait_for

SLOT = 4
REGISTERS, MSIX, SHMEM = 0xf0000000, 0xf0100000, 0xe0000000
ID, MAX_PEERS, INT_CONTROL, DOORBELL, STATE = 0, 4, 8, 0xc, 0x10
MESSAGE = 0x200000          # in RAM: where MSI-X writes of the device land
SIZE, OUTPUT = 0x40000, 0x4000
BASE = 0x80000000           # for base-address: beyond RAM


def eventfd():
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def readable(fd):
    return bool(select.select([fd], [], [], 0)[0])


def taken(fd):
    """How often the eventfd was signalled since the last look."""
    return os.eventfd_read(fd) if readable(fd) else 0


class World:
    """The scripted server, its memory, and all peers but the one under test."""

    def __init__(self, path, id=1, peers=3, vectors=2, size=SIZE, output=OUTPUT,
                 protocol=0x4001):
        self.id, self.peers, self.vectors = id, peers, vectors
        self.output, self.protocol = output, protocol
        self.server = proto.Server(path)
        self.fd, self.shmem = proto.memory(size)
        self.eventfds, self.other_fds = {}, [self.fd]

    @property
    def chardev(self):
        return f"socket,path={self.server.path},id=c{self.id}"

    def say_init(self, **kwargs):
        fields = dict(id=self.id, max_peers=self.peers, vectors=self.vectors,
                      protocol=self.protocol, output_size=self.output)
        self.server.send(proto.init(**{**fields, **kwargs}), [self.fd])

    def say_peer(self, id, vectors=None):
        fds = self.eventfds.setdefault(id, [])
        for vector in range(vectors or self.vectors):
            fds.append(eventfd())
            self.server.send(proto.event_fd(id, vector), [fds[vector]])

    def say_gone(self, id):
        for fd in self.eventfds.pop(id):
            os.close(fd)
        self.server.send(proto.peer_gone(id))

    def welcome(self, others=(0,)):
        self.server.accept()
        self.say_init()
        for id in [*others, self.id]:
            self.say_peer(id)

    def table(self, id):
        return struct.unpack_from("<I", self.shmem, 4 * id)[0]

    def kicks(self):
        """{(peer, vector): count} of what the device signalled to others."""
        return {(i, v): n for i, fds in self.eventfds.items() if i != self.id
                for v, fd in enumerate(fds) if (n := taken(fd))}

    def interrupt(self, vector):
        """Kick the device and wait until it has taken notice."""
        fd = self.eventfds[self.id][vector]
        os.eventfd_write(fd, 1)
        wait_for(lambda: not readable(fd), what="device to take its eventfd")

    def close(self):
        self.server.close()
        self.shmem.close()
        for fd in sum(self.eventfds.values(), self.other_fds):
            os.close(fd)


class Device(qtest.PciDevice):
    """The device under test, with its BARs at fixed addresses."""

    def __init__(self, machine, slot=SLOT, shmem=SHMEM):
        super().__init__(machine, slot)
        self.registers = REGISTERS + 0x10000 * (slot - SLOT)
        self.msix = MSIX + 0x10000 * (slot - SLOT)
        self.shmem = shmem
        self.set_bar(0, self.registers)
        self.set_bar(1, self.msix)
        self.set_bar(2, shmem)
        self.cfg_write(4, 6, 2)

    def reg(self, offset):
        return self.machine.read(self.registers + offset)

    def set_reg(self, offset, value):
        self.machine.write(self.registers + offset, value)

    def mem(self, offset):
        return self.machine.read(self.shmem + offset)

    def set_mem(self, offset, value):
        self.machine.write(self.shmem + offset, value)

    def enable_msix(self, vectors=2):
        for vector in range(vectors):
            entry = self.msix + 16 * vector
            self.machine.write(entry, MESSAGE + 4 * vector)
            self.machine.write(entry + 4, 0)
            self.machine.write(entry + 8, 0x1000 + vector)
            self.machine.write(entry + 12, 0)
        self.cfg_write(self.capability(0x11) + 2, 0x8000, 2)

    def messages(self, vectors=2):
        """The vectors whose MSI-X message arrived since the last look."""
        seen = []
        for vector in range(vectors):
            if self.machine.read(MESSAGE + 4 * vector) == 0x1000 + vector:
                self.machine.write(MESSAGE + 4 * vector, 0)
                seen.append(vector)
        return seen

    def set_oneshot(self, value):
        self.cfg_write(self.capability(9) + 3, value, 1)


@pytest.fixture
def world(tmp_path):
    worlds = []

    def make(**kwargs):
        worlds.append(World(tmp_path / f"server{len(worlds)}.sock", **kwargs))
        return worlds[-1]

    yield make
    for w in worlds:
        w.close()


@pytest.fixture
def machine(processes, tmp_path):
    machines = []

    def make(*args):
        machines.append(qtest.Machine(processes, tmp_path, *args))
        return machines[-1]

    yield make
    for m in machines:
        m.close()


@pytest.fixture
def plug(world, machine):
    """(world, device): a machine with the device in SLOT, set up."""
    def make(options="", others=(0,), **kwargs):
        w = world(**kwargs)
        m = machine("-chardev", w.chardev, "-device",
                    f"ivshmem,id=dev,chardev=c{w.id},addr={SLOT}{options}")
        w.welcome(others)
        return w, Device(m.ready())

    return make


# What the guest sees in config space

@pytest.mark.parametrize("protocol, interface, sub_class", [
    (0x0000, 0x00, 0x00), (0x0001, 0x01, 0x00), (0xc003, 0x03, 0xc0)])
def test_header_has_the_protocol_in_its_class(plug, protocol, interface, sub_class):
    _, dev = plug(protocol=protocol)
    dev.cfg_write(4, 0, 2)
    assert dev.cfg_bytes(0, 0x0c) == bytes(
        [0x0a, 0x11, 0x06, 0x41, 0, 0, 0x10, 0, 0, interface, sub_class, 0xff])
    assert dev.cfg_read(0x0e, 1) == 0
    assert dev.cfg_read(0x3d, 1) == 0


def test_command_register_takes_four_bits_only(plug):
    _, dev = plug()
    dev.cfg_write(4, 0xffff, 2)
    assert dev.cfg_read(4, 2) == 0x0407
    dev.cfg_write(6, 0xffff, 2)
    assert dev.cfg_read(6, 2) == 0x0010


def test_vendor_capability_has_the_sizes_and_one_writable_bit(plug):
    _, dev = plug()
    cap = dev.capability(9)
    for offset in range(2, 0x18):
        dev.cfg_write(cap + offset, 0xff, 1)
    # 0x40000 - 0x1000 - 3 * 0x4000 = 0x33000
    assert dev.cfg_bytes(cap + 2, 0x16).hex() == (
        "1801" "00100000" "0030030000000000" "0040000000000000")


def test_bars_are_registers_msix_and_prefetchable_memory(plug):
    _, dev = plug()
    assert dev.bar_mask(0) == 0xfffff000
    assert dev.bar_mask(1) == 0xfffff000
    assert dev.bar_mask(2) == 0x100000000 - SIZE | 0xc
    assert dev.bar_mask(3) == 0xffffffff
    assert [dev.bar_mask(i) for i in (4, 5)] == [0, 0]
    cap = dev.capability(0x11)
    assert dev.cfg_read(cap + 2, 2) == 1        # two vectors
    assert dev.cfg_read(cap + 4) & 7 == 1 and dev.cfg_read(cap + 8) & 7 == 1


def test_many_vectors_have_room_in_the_msix_table(plug):
    _, dev = plug(vectors=300, others=())
    cap = dev.capability(0x11)
    assert dev.cfg_read(cap + 2, 2) == 299
    assert dev.bar_mask(1) == 0xffffe000


# Registers

def test_registers_have_their_values_after_reset(plug):
    _, dev = plug(id=2, peers=5)
    assert [dev.reg(o) for o in range(0, 0x18, 4)] == [2, 5, 0, 0, 0, 0]


def test_other_registers_and_other_widths_have_no_effect(plug):
    w, dev = plug()
    dev.set_reg(STATE, 0x11223344)
    w.kicks()
    for offset in (ID, MAX_PEERS, 0x14, 0x20, 0xffc):
        dev.set_reg(offset, 0xffffffff)
    assert [dev.reg(o) for o in (ID, MAX_PEERS, 0x14, 0x20, 0xffc)] == [1, 3, 0, 0, 0]
    for size, offset in ((1, STATE), (2, STATE), (1, INT_CONTROL), (2, DOORBELL)):
        dev.machine.write(REGISTERS + offset, 1, size)
    dev.machine.write(REGISTERS + STATE + 2, 0, 4)
    assert (dev.reg(STATE), dev.reg(INT_CONTROL), w.kicks()) == (0x11223344, 0, {})
    assert dev.machine.read(REGISTERS + STATE, 1) == 0


def test_interrupt_control_keeps_bit_0_only(plug):
    _, dev = plug()
    dev.set_reg(INT_CONTROL, 0xffffffff)
    assert dev.reg(INT_CONTROL) == 1
    dev.set_reg(INT_CONTROL, 0xfffffffe)
    assert dev.reg(INT_CONTROL) == 0


# Sections

@pytest.mark.parametrize("own", [0, 1, 2])
def test_only_the_own_output_and_rw_section_are_writable(plug, own):
    others = [i for i in range(3) if i != own]
    w, dev = plug(id=own, others=others)
    outputs = 0x34000
    expected = {0x8: False, 0xffc: False, 0x1000: True, 0x33ffc: True}
    for id in range(3):
        expected[outputs + id * OUTPUT] = id == own
        expected[outputs + id * OUTPUT + OUTPUT - 4] = id == own
    for offset in expected:
        struct.pack_into("<I", w.shmem, offset, 0xa0000000 | offset)
    assert {o: dev.mem(o) for o in expected} == {o: 0xa0000000 | o for o in expected}
    for offset in expected:
        dev.set_mem(offset, 0x55555555)
    changed = {o: struct.unpack_from("<I", w.shmem, o)[0] == 0x55555555 for o in expected}
    assert changed == expected


def test_layout_without_output_sections_has_all_in_the_rw_section(plug):
    w, dev = plug(output=0)
    dev.set_mem(SIZE - 4, 0x1234)
    dev.set_mem(0, 0x1234)
    assert struct.unpack_from("<I", w.shmem, SIZE - 4)[0] == 0x1234
    assert w.table(0) == 0


def test_layout_without_rw_section(plug):
    w, dev = plug(peers=3, output=0x1000, size=0x4000)
    dev.set_mem(0x2000, 7)
    dev.set_mem(0x1000, 7)
    dev.set_mem(0x3000, 7)
    assert [struct.unpack_from("<I", w.shmem, o)[0]
            for o in (0x1000, 0x2000, 0x3000)] == [0, 7, 0]


def test_state_table_of_many_peers_takes_more_than_a_page(plug):
    _, dev = plug(peers=1025, output=0)
    assert dev.cfg_read(dev.capability(9) + 4) == 0x2000


def boot_sector(stores):
    """A disk whose boot sector stores (address, value) pairs and halts."""
    enter = bytes.fromhex("fa 31c0 8ed8"        # cli; ds = 0
                          "0f0116 187c"         # lgdt
                          "0f20c0 0c01 0f22c0"  # protected mode
                          "ea 407c 0800")       # to 0x7c40, 32 bit
    gdt = struct.pack("<HI3Q", 23, 0x7c20, 0, 0x00cf9a000000ffff, 0x00cf92000000ffff)
    code = bytes.fromhex("66b81000 8ed8")       # ds = flat
    for address, value in stores:
        code += struct.pack("<2s2I", b"\xc7\x05", address, value)
    sector = enter.ljust(0x18, b"\0") + gdt[:6].ljust(8, b"\0") + gdt[6:]
    return (sector.ljust(0x40, b"\0") + code + b"\xf4\xeb\xfd").ljust(510, b"\0") + b"\x55\xaa"


def test_protection_holds_for_the_cpu_as_well(world, machine, tmp_path):
    offsets = {0x8: False, 0x1000: True, 0x34000: False, 0x38000: True, 0x3c000: False}
    done = 0x33ffc
    disk = tmp_path / "disk"
    disk.write_bytes(boot_sector([(BASE + o, 0x55555555) for o in [*offsets, done]])
                     .ljust(1 << 20, b"\0"))
    w = world()
    m = machine("-chardev", w.chardev, "-device",
                f"ivshmem,chardev=c1,base-address={BASE:#x}",
                "-drive", f"file={disk},format=raw,if=ide")
    w.welcome()
    m.ready().qmp("cont")

    def word(offset):
        return struct.unpack_from("<I", w.shmem, offset)[0]

    wait_for(lambda: word(done) == 0x55555555, timeout=30, what="guest program")
    assert {o: word(o) == 0x55555555 for o in offsets} == offsets


def test_firmware_assigns_the_bars(world, machine):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1,id=dev")
    w.welcome()
    m.ready().qmp("cont")
    w.shmem[0x1000] = 0x42

    def bars():
        """{BAR: address}; config space is the firmware's while it runs."""
        devices = m.qmp("query-pci")[0]["devices"]
        regions = next(d["regions"] for d in devices if d["qdev_id"] == "dev")
        return {r["bar"]: r["address"] for r in regions if r["address"] > 0}

    wait_for(lambda: set(bars()) == {0, 1, 2}, timeout=30, what="firmware")
    wait_for(lambda: m.read(bars()[0]) == 1, what="memory decoding")
    assert m.read(bars()[2] + 0x1000) == 0x42


# Doorbell

@pytest.mark.parametrize("ioeventfd", ["on", "off"])
def test_doorbell_reaches_the_named_vector_of_the_named_peer(plug, ioeventfd):
    w, dev = plug(f",ioeventfd={ioeventfd}", others=(0, 2))
    for id, vector in ((0, 0), (0, 1), (2, 1)):
        dev.set_reg(DOORBELL, id << 16 | vector)
        assert w.kicks() == {(id, vector): 1}


@pytest.mark.parametrize("ioeventfd", ["on", "off"])
@pytest.mark.parametrize("value", [0x00020000, 0x00000002, 0x00030000,
                                   0xffff0000, 0xffffffff, 0x0000ffff])
def test_doorbell_to_nobody_has_no_effect(plug, ioeventfd, value):
    w, dev = plug(f",ioeventfd={ioeventfd}")
    dev.set_reg(DOORBELL, value)
    assert w.kicks() == {}
    assert dev.reg(DOORBELL) == 0


def test_doorbell_to_itself_interrupts_the_device(plug):
    w, dev = plug()
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    dev.set_reg(DOORBELL, 1 << 16 | 1)
    wait_for(lambda: dev.messages() == [1], what="message of vector 1")


def test_more_doorbells_than_ioeventfds_all_ring(plug):
    w, dev = plug(vectors=400, others=(0,))
    for vector in (0, 250, 399):
        dev.set_reg(DOORBELL, vector)
    assert w.kicks() == {(0, 0): 1, (0, 250): 1, (0, 399): 1}
    dev.set_reg(INT_CONTROL, 1)
    dev.set_reg(DOORBELL, 1 << 16 | 399)
    wait_for(lambda: not readable(w.eventfds[1][399]), what="own eventfd")


# State

def test_state_goes_to_the_table_and_tells_the_others_once(plug):
    w, dev = plug(others=(0, 2))
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    dev.set_reg(STATE, 0xcafe0001)
    w.interrupt(1)
    assert dev.messages() == [1]
    assert dev.reg(STATE) == 0xcafe0001
    assert w.table(1) == dev.mem(4) == 0xcafe0001
    assert w.kicks() == {(0, 0): 1, (2, 0): 1}
    dev.set_reg(STATE, 0xcafe0001)
    assert w.kicks() == {}
    dev.set_reg(STATE, 0)
    assert (w.table(1), w.kicks()) == (0, {(0, 0): 1, (2, 0): 1})


@pytest.mark.parametrize("state", [0, 7])
def test_state_that_another_process_overwrote_is_that_of_the_next_write(plug, state):
    w, dev = plug()
    dev.set_reg(STATE, state)
    w.kicks()
    struct.pack_into("<I", w.shmem, 4, 99)
    dev.set_reg(STATE, state)
    assert (w.table(1), w.kicks()) == (state, {(0, 0): 1})


def test_a_stale_table_entry_is_cleared_when_the_device_appears(world, machine):
    w = world()
    struct.pack_into("<I", w.shmem, 4, 99)
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.welcome()
    m.ready()
    assert w.table(1) == 0


def test_reset_clears_state_interrupt_control_and_oneshot(plug):
    w, dev = plug()
    dev.set_reg(STATE, 3)
    dev.set_reg(INT_CONTROL, 1)
    dev.set_oneshot(1)
    w.kicks()
    dev.machine.qmp("system_reset")
    dev.machine.wait_event("RESET")
    assert w.kicks() == {(0, 0): 1}
    assert w.table(1) == 0
    dev = Device(dev.machine)
    assert (dev.reg(STATE), dev.reg(INT_CONTROL)) == (0, 0)
    assert dev.cfg_read(dev.capability(9) + 3, 1) == 0


# Interrupts

def test_events_are_delivered_while_interrupt_control_is_set(plug):
    w, dev = plug()
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    for vector in (0, 1, 1):
        w.interrupt(vector)
        assert dev.messages() == [vector]
    assert dev.reg(INT_CONTROL) == 1


def test_events_while_disabled_are_dropped_not_latched(plug):
    w, dev = plug()
    dev.enable_msix()
    w.interrupt(0)
    w.interrupt(1)
    assert dev.messages() == []
    dev.set_reg(INT_CONTROL, 1)
    assert dev.messages() == []
    w.interrupt(1)
    assert dev.messages() == [1]


def test_oneshot_clears_interrupt_control_at_each_delivery(plug):
    w, dev = plug()
    dev.enable_msix()
    dev.set_oneshot(1)
    assert dev.cfg_read(dev.capability(9) + 3, 1) == 1
    for vector in (1, 0):
        dev.set_reg(INT_CONTROL, 1)
        w.interrupt(vector)
        assert dev.reg(INT_CONTROL) == 0
        assert dev.messages() == [vector]
        w.interrupt(vector)
        assert dev.messages() == []


def test_masked_vector_drops_its_events_and_keeps_oneshot_armed(plug):
    w, dev = plug()
    dev.enable_msix()
    dev.set_oneshot(1)
    dev.set_reg(INT_CONTROL, 1)
    pba = dev.cfg_read(dev.capability(0x11) + 8) & ~7
    dev.machine.write(MSIX + 12, 1)
    w.interrupt(0)
    assert dev.machine.read(MSIX + pba, 8) == 0
    dev.machine.write(MSIX + 12, 0)
    assert dev.messages() == []
    assert dev.reg(INT_CONTROL) == 1
    w.interrupt(0)
    assert dev.messages() == [0]


@pytest.mark.parametrize("control", [0x0000, 0xc000])
def test_disabled_or_masked_msix_drops_events(plug, control):
    w, dev = plug()
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    dev.cfg_write(dev.capability(0x11) + 2, control, 2)
    w.interrupt(0)
    dev.cfg_write(dev.capability(0x11) + 2, 0x8000, 2)
    assert dev.messages() == []


def test_intx_is_a_pulse_of_pin_a_and_no_msix_is_offered(plug):
    w, dev = plug(",msix=off")
    assert dev.cfg_read(0x3d, 1) == 1
    assert dev.capability(0x11) is None
    assert dev.bar_mask(1) == 0
    dev.machine.outb(0x4d1, 0)
    for pin in range(4):                        # all pins to line 10
        bridge = qtest.PciDevice(dev.machine, 1)
        bridge.cfg_write(0x60 + pin, 10, 1)
    dev.machine.command("irq_intercept_in ioapic")
    w.interrupt(0)
    assert dev.machine.read(REGISTERS) == 1 and dev.machine.irqs == []
    dev.set_reg(INT_CONTROL, 1)
    w.interrupt(0)
    assert dev.cfg_read(6, 2) == 0x0010
    assert dev.machine.irqs == [("raise", 10), ("lower", 10)]


def test_intx_honours_oneshot_its_disable_bit_and_vector_0_only(plug):
    w, dev = plug(",msix=off")
    dev.set_oneshot(1)
    dev.set_reg(INT_CONTROL, 1)
    os.eventfd_write(w.eventfds[1][1], 1)
    wait_for(lambda: not readable(w.eventfds[1][1]), what="vector 1 to be taken")
    assert dev.reg(INT_CONTROL) == 1
    dev.cfg_write(4, 0x406, 2)
    w.interrupt(0)
    assert dev.reg(INT_CONTROL) == 1
    dev.cfg_write(4, 6, 2)
    w.interrupt(0)
    assert dev.reg(INT_CONTROL) == 0


# Peers come and go

def test_peer_that_arrives_later_can_be_rung(plug):
    w, dev = plug()
    w.say_peer(2)
    wait_for(lambda: (dev.set_reg(DOORBELL, 2 << 16 | 1), w.kicks())[1]
             == {(2, 1): 1}, what="new peer")


def test_peer_gone_interrupts_vector_0_and_silences_its_doorbell(plug):
    w, dev = plug(others=(0, 2))
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    kept = [os.dup(fd) for fd in w.eventfds[2]]
    w.say_gone(2)
    wait_for(lambda: dev.messages() == [0], what="vector 0")
    for vector in (0, 1):
        dev.set_reg(DOORBELL, 2 << 16 | vector)
    assert [taken(fd) for fd in kept] == [0, 0]
    dev.set_reg(DOORBELL, 1)
    assert w.kicks() == {(0, 1): 1}
    for fd in kept:
        os.close(fd)
    w.say_peer(2)
    wait_for(lambda: (dev.set_reg(DOORBELL, 2 << 16), w.kicks())[1] == {(2, 0): 1},
             what="peer to be back")


def test_peer_gone_is_dropped_while_interrupts_are_off(plug):
    w, dev = plug()
    dev.enable_msix()
    w.say_gone(0)
    w.interrupt(1)
    dev.set_reg(INT_CONTROL, 1)
    assert dev.messages() == []


# The device comes and goes

def open_fds(process, name="eventfd"):
    """How many of that name QEMU has."""
    directory = f"/proc/{child_of(process)}/fd"
    count = 0
    for fd in os.listdir(directory):
        try:
            count += name in os.readlink(f"{directory}/{fd}")
        except FileNotFoundError:
            pass                        # closed since
    return count


def child_of(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
        return int(f.read().split()[0])


def wait_for_unmapping(machine):
    maps = pathlib.Path(f"/proc/{child_of(machine.process)}/maps")
    wait_for(lambda: "ivshmem-test" not in maps.read_text(), what="unmapping")


def test_hot_unplug_tells_the_others_and_leaves_nothing(world, machine):
    w = world(vectors=5)
    m = machine("-chardev", w.chardev).ready()
    w.server.accept()
    before = open_fds(m.process)
    w.say_init()
    w.say_peer(0)
    w.say_peer(1)
    m.qmp("device_add", driver="ivshmem", id="dev", chardev="c1", addr=f"{SLOT}")
    assert open_fds(m.process) == before + 10
    dev = Device(m)
    dev.set_reg(STATE, 5)
    w.kicks()
    m.qmp("device_del", id="dev")
    m.eject(SLOT)
    m.wait_event("DEVICE_DELETED")
    assert w.kicks() == {(0, 0): 1}
    assert w.table(1) == 0
    assert w.server.conn.recv(1) == b""
    assert open_fds(m.process) == before
    wait_for_unmapping(m)


def test_device_added_again_and_again_works_each_time(world, machine):
    m = machine().ready()
    for turn in range(3):
        w = world(id=turn)
        m.qmp("chardev-add", id="c", backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": w.server.path}}, "server": False}})
        w.welcome(others=[1 if turn == 0 else 0])
        m.qmp("device_add", driver="ivshmem", id="dev", chardev="c", addr=f"{SLOT}")
        assert Device(m).reg(ID) == turn
        m.qmp("device_del", id="dev")
        m.eject(SLOT)
        m.wait_event("DEVICE_DELETED")
        m.qmp("chardev-remove", id="c")


def test_two_devices_in_one_machine_are_independent(world, machine):
    a, b = world(id=0), world(id=1)
    m = machine("-chardev", a.chardev, "-device", f"ivshmem,chardev=c0,addr={SLOT}",
                "-chardev", b.chardev, "-device", f"ivshmem,chardev=c1,addr={SLOT + 1}")
    a.welcome(others=[1])
    b.welcome(others=[0])
    m.ready()
    first, second = Device(m), Device(m, SLOT + 1, SHMEM + 0x1000000)
    first.set_reg(STATE, 1)
    second.set_reg(STATE, 2)
    assert (a.table(0), a.table(1), b.table(0), b.table(1)) == (1, 0, 0, 2)
    assert (a.kicks(), b.kicks()) == ({(1, 0): 1}, {(0, 0): 1})


# Base address

def test_base_address_replaces_bar_2(plug):
    w, dev = plug(f",base-address={BASE:#x}")
    assert (dev.bar_mask(2), dev.bar_mask(3)) == (0, 0)
    cap = dev.capability(9)
    assert dev.cfg_read(cap + 2, 1) == 0x20
    assert dev.cfg_bytes(cap + 0x18, 8).hex() == "0000008000000000"
    dev.shmem = BASE
    dev.set_mem(0x1000, 0x77)
    dev.set_mem(0, 0x77)
    assert (dev.mem(0x1000), dev.mem(0)) == (0x77, 0)
    assert w.shmem[0x1000] == 0x77


def test_base_address_is_free_after_unplug(plug):
    w, dev = plug(f",base-address={BASE:#x}")
    struct.pack_into("<I", w.shmem, 0x1000, 0x77)
    assert dev.machine.read(BASE + 0x1000) == 0x77
    dev.machine.qmp("device_del", id="dev")
    dev.machine.eject(SLOT)
    dev.machine.wait_event("DEVICE_DELETED")
    assert dev.machine.read(BASE + 0x1000) != 0x77


@pytest.mark.parametrize("address, complaint", [
    (0x100000, "overlaps"),             # in RAM
    (0x3ff0000, "overlaps"),            # across the end of RAM
    (0xfee00000, "overlaps"),           # the local APIC
    (0x80000800, "not the address of a page"),
    (0xfffffffffffff000, "not the address of a page"),
])
def test_bad_base_address_is_an_error(world, machine, address, complaint):
    w = world()
    m = machine("-chardev", w.chardev, "-device",
                f"ivshmem,chardev=c1,base-address={address:#x}")
    w.welcome()
    assert m.process.wait(20) == 1
    assert complaint in m.log()


# Bad servers

def bad_messages(w):
    """{name: (bytes, fds)}: what no client may believe, after INIT."""
    fds = [os.memfd_create("not-an-eventfd"), *os.pipe(), eventfd()]
    w.other_fds += fds
    regular, pipe, _, good = fds
    header = struct.Struct("<2I")
    return {
        "event_fd-peer": (proto.event_fd(w.peers, 0), [good]),
        "event_fd-order": (proto.event_fd(2, 1), [good]),
        "event_fd-again": (proto.event_fd(0, 0), [good]),
        "event_fd-vector": (proto.event_fd(0, w.vectors), [good]),
        "event_fd-no-fd": (proto.event_fd(2, 0), []),
        "event_fd-file": (proto.event_fd(2, 0), [regular]),
        "event_fd-pipe": (proto.event_fd(2, 0), [pipe]),
        "peer_gone-self": (proto.peer_gone(w.id), []),
        "peer_gone-range": (proto.peer_gone(w.peers), []),
        "second-init": (proto.init(id=w.id, max_peers=w.peers), [w.fd]),
        "len-0": (header.pack(2, 0), []),
        "len-7": (header.pack(9, 7), []),
        "len-short": (header.pack(1, 15) + bytes(7), []),
        "len-huge": (header.pack(2, 0xffffffff), []),
    }


BAD = {     # and what is said about each
    "event_fd-peer": "EVENT_FD for peer 3 of 3",
    "event_fd-order": "EVENT_FD for vector 1 of peer 2 where 0 of 2",
    "event_fd-again": "EVENT_FD for vector 0 of peer 0 where 2 of 2",
    "event_fd-vector": "EVENT_FD for vector 2 of peer 0 where 2 of 2",
    "event_fd-no-fd": "EVENT_FD without an eventfd",
    "event_fd-file": "EVENT_FD without an eventfd",
    "event_fd-pipe": "EVENT_FD without an eventfd",
    "peer_gone-self": "PEER_GONE for peer 1 of 3 to peer 1",
    "peer_gone-range": "PEER_GONE for peer 3 of 3",
    "second-init": "second INIT",
    "len-0": "message of type 2 has a length of 0 bytes",
    "len-7": "message of type 9 has a length of 7 bytes",
    "len-short": "message of type 1 has a length of 15 bytes",
    "len-huge": "message of type 2 has a length of 4294967295 bytes",
}


def start_and_fail(m):
    """The complaint of a QEMU that must not start."""
    assert m.process.wait(20) == 1, m.log()
    assert "server at chardev 'c1'" in m.log()
    return m.log()


@pytest.mark.parametrize("name", BAD)
def test_bad_message_in_the_set_up_stops_the_start(world, machine, name):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.say_init()
    w.say_peer(0)
    w.server.send(*bad_messages(w)[name])
    assert BAD[name] in start_and_fail(m)


@pytest.mark.parametrize("name", BAD)
def test_bad_message_at_run_time_warns_once_and_the_device_goes_on(plug, name):
    w, dev = plug()
    dev.enable_msix()
    for _ in range(2):
        w.server.send(*bad_messages(w)[name])
    wait_for(lambda: "going on with the peers" in dev.machine.log(), what="warning")
    assert BAD[name] in dev.machine.log()
    dev.set_reg(INT_CONTROL, 1)
    dev.set_reg(DOORBELL, 1)
    assert w.kicks() == {(0, 1): 1}
    w.interrupt(1)
    assert dev.messages() == [1]
    assert dev.machine.log().count("warning:") == 1


@pytest.mark.parametrize("fields, complaint", [
    (dict(version=1), "versions 2..1"),
    (dict(version=3, compatible=3), "versions 3..3"),
    (dict(max_peers=1), "not 2..65536"),
    (dict(max_peers=65537), "not 2..65536"),
    (dict(id=3), "not below"),
    (dict(vectors=0), "not 1..1024"),
    (dict(vectors=1025), "not 1..1024"),
    (dict(protocol=0x10000), "16 bits"),
    (dict(output_size=0x800), "multiple of the page size"),
    (dict(output_size=0x40000), "too small"),
    (dict(output_size=(1 << 64) - 0x1000), "too small"),
])
def test_bad_init_stops_the_start(world, machine, fields, complaint):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.say_init(**fields)
    assert complaint in start_and_fail(m)


@pytest.mark.parametrize("size", [0, 0x3000, 0x800])
def test_memory_of_a_bad_size_stops_the_start(world, machine, size):
    w = world(output=0)
    os.ftruncate(w.fd, size)
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.say_init()
    assert "shared memory" in start_and_fail(m)


@pytest.mark.parametrize("first", [proto.event_fd(0, 0), proto.peer_gone(0),
                                   struct.pack("<2I", 7, 8), b"HTTP/1.1 400 Bad"])
def test_server_that_does_not_begin_with_init_stops_the_start(world, machine, first):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.server.send(first)
    start_and_fail(m)


def test_init_without_memory_stops_the_start(world, machine):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.server.send(proto.init(id=1, max_peers=3))
    assert "without the shared memory" in start_and_fail(m)


@pytest.mark.parametrize("half", [False, True])
def test_server_that_hangs_up_stops_the_start(world, machine, half):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    if half:
        w.say_init()
    w.server.drop()
    assert "closed" in start_and_fail(m)


def test_silent_server_stops_the_start_after_a_while(world, machine):
    w = world()
    m = machine("-chardev", w.chardev, "-device", "ivshmem,chardev=c1")
    w.server.accept()
    w.say_init()
    assert "no complete answer within 5000 ms" in start_and_fail(m)


@pytest.mark.parametrize("half", [False, True])
def test_silent_server_holds_up_a_running_machine_less_than_a_second(world, machine, half):
    w = world()
    m = machine("-chardev", w.chardev).ready()
    w.server.accept()
    if half:
        w.say_init()
    reply = m.qmp_reply("device_add", driver="ivshmem", chardev="c1")
    assert "no complete answer within 800 ms" in reply["error"]["desc"]


@pytest.mark.parametrize("args, complaint", [
    (["-device", "ivshmem"], "'chardev' is not set"),
    (["-chardev", "null,id=c", "-device", "ivshmem,chardev=c"], "not a UNIX socket"),
    (["-chardev", "file,path=/dev/null,id=c", "-device", "ivshmem,chardev=c"],
     "not a UNIX socket"),
])
def test_missing_or_unfit_chardev_is_an_error(machine, args, complaint):
    m = machine(*args)
    assert m.process.wait(20) == 1
    assert complaint in m.log()


def test_failed_hot_plug_leaves_the_machine_as_it_was(world, machine):
    w = world()
    m = machine("-chardev", w.chardev).ready()
    w.server.accept()
    before = open_fds(m.process)
    w.say_init()
    w.say_peer(0)
    w.server.send(proto.event_fd(9, 0), [w.eventfds[0][0]])
    reply = m.qmp_reply("device_add", driver="ivshmem", chardev="c1")
    assert "EVENT_FD for peer 9" in reply["error"]["desc"]
    assert open_fds(m.process) == before
    wait_for_unmapping(m)
    assert m.qmp("query-status")["status"] == "prelaunch"


def test_device_outlives_its_server(plug):
    w, dev = plug()
    dev.enable_msix()
    dev.set_reg(INT_CONTROL, 1)
    w.server.drop()
    wait_for(lambda: "going on with the peers" in dev.machine.log(), what="warning")
    dev.set_reg(STATE, 4)
    assert (w.table(1), w.kicks()) == (4, {(0, 0): 1})
    w.interrupt(0)
    assert dev.messages() == [0]


# The stream

def test_messages_may_arrive_byte_by_byte(world, machine):
    w = world(vectors=1)
    m = machine("-chardev", w.chardev, "-device", f"ivshmem,chardev=c1,addr={SLOT}")
    w.server.accept()
    w.eventfds = {0: [eventfd()], 1: [eventfd()]}
    for data, fd in ((proto.init(id=1, max_peers=3, output_size=OUTPUT), w.fd),
                     (proto.event_fd(0, 0), w.eventfds[0][0]),
                     (proto.event_fd(1, 0), w.eventfds[1][0])):
        for i in range(len(data)):
            w.server.send(data[i:i + 1], [fd] if i == 0 else [])
    dev = Device(m.ready())
    dev.set_reg(DOORBELL, 0)
    assert w.kicks() == {(0, 0): 1}


def longer(data, extra):
    kind, length = struct.unpack_from("<2I", data)
    return struct.pack("<2I", kind, length + extra) + data[8:] + b"\xee" * extra


def test_longer_and_unknown_messages_and_surplus_fds_are_skipped(world, machine):
    w = world(vectors=1)
    m = machine("-chardev", w.chardev, "-device", f"ivshmem,chardev=c1,addr={SLOT}")
    w.server.accept()
    w.eventfds = {i: [eventfd()] for i in range(3)}
    send = w.server.send
    send(longer(proto.init(id=1, max_peers=3, output_size=OUTPUT), 100), [w.fd])
    send(struct.pack("<2I", 77, 8))
    send(struct.pack("<4I", 78, 16, 1, 2), [w.fd])
    send(longer(proto.event_fd(0, 0), 1), [w.eventfds[0][0], w.fd, w.fd])
    send(proto.event_fd(1, 0), w.eventfds[1])
    dev = Device(m.ready())
    before = open_fds(m.process)
    send(struct.pack("<2I", 77, 4096) + bytes(4088), w.eventfds[2])
    send(longer(proto.peer_gone(0), 4), w.eventfds[2])
    wait_for(lambda: open_fds(m.process) == before - 1, what="peer to go")
    send(proto.event_fd(2, 0), w.eventfds[2])
    wait_for(lambda: (dev.set_reg(DOORBELL, 2 << 16), w.kicks())[1] == {(2, 0): 1},
             what="new peer")
    assert open_fds(m.process, "ivshmem-test") == 0
    assert "warning" not in m.log()


# Migration

@pytest.mark.parametrize("id, master, allowed", [
    (0, "auto", True), (1, "auto", False), (1, "on", True), (0, "off", False)])
def test_only_the_master_migrates(plug, tmp_path, id, master, allowed):
    w, dev = plug(f",master={master}", id=id, others=(1 - id,))
    reply = dev.machine.qmp_reply("migrate", uri=f"exec:cat > {tmp_path}/state")
    assert ("return" in reply) == allowed, reply
    if not allowed:
        assert "not the master" in reply["error"]["desc"]


def migrate(machine, uri):
    machine.qmp("migrate", uri=uri)
    wait_for(lambda: machine.qmp("query-migrate").get("status") == "completed",
             what="migration")


def test_migration_brings_memory_and_registers(plug, world, machine, tmp_path):
    w, dev = plug(id=0, others=(1,))
    dev.set_reg(STATE, 0x99)
    dev.set_reg(INT_CONTROL, 1)
    dev.set_oneshot(1)
    dev.set_mem(0x34000, 0x5eed)
    migrate(dev.machine, f"exec:cat > {tmp_path}/state")

    w = world(id=0)
    m = machine("-chardev", w.chardev, "-device",
                f"ivshmem,id=dev,chardev=c0,addr={SLOT}",
                "-incoming", f"exec:cat {tmp_path}/state")
    w.welcome(others=[1])
    m.ready()
    wait_for(lambda: m.qmp("query-status")["status"] != "inmigrate", what="arrival")
    dev = Device(m)
    assert (dev.reg(STATE), dev.reg(INT_CONTROL), dev.mem(0x34000)) == (0x99, 1, 0x5eed)
    assert dev.cfg_read(dev.capability(9) + 3, 1) == 1
    assert (w.table(0), w.kicks()) == (0x99, {(1, 0): 1})


# Two machines

def check_pair(a, b):
    """Two fresh devices, peers 0 and 1, without a R/W section to speak of."""
    for dev in (a, b):
        dev.enable_msix()
        dev.set_reg(INT_CONTROL, 1)
    b.set_reg(STATE, 2)
    wait_for(lambda: 0 in a.messages(), what="state interrupt")
    assert a.mem(4) == 2
    output = a.cfg_read(a.capability(9) + 0x10)
    first = SIZE - 2 * output
    a.set_mem(first, 0x1111)
    a.set_mem(first + output, 0x2222)
    assert (b.mem(first), b.mem(first + output)) == (0x1111, 0)
    a.set_reg(DOORBELL, 1 << 16 | 1)
    wait_for(lambda: 1 in b.messages(), what="doorbell")


def test_two_machines_see_and_interrupt_each_other(world, machine):
    a, b = world(id=0, peers=2), world(id=1, peers=2)
    b.fd = a.fd
    fds = {i: [eventfd(), eventfd()] for i in (0, 1)}
    machines = []
    for w, order in ((a, (1, 0)), (b, (0, 1))):
        machines.append(machine(
            "-chardev", w.chardev, "-device", f"ivshmem,chardev=c{w.id},addr={SLOT}"))
        w.server.accept()
        w.say_init()
        for id in order:
            for vector in (0, 1):
                w.server.send(proto.event_fd(id, vector), [fds[id][vector]])
    check_pair(*[Device(m.ready()) for m in machines])
    for fd in sum(fds.values(), []):
        os.close(fd)


def test_two_machines_at_the_real_server(server, machine):
    path = server("-l", "256K", "-o", "16K", "-n", "2", "-V", "2")
    devices = []
    for id in (0, 1):
        m = machine("-chardev", f"socket,path={path},id=c", "-device",
                    f"ivshmem,chardev=c,addr={SLOT}")
        devices.append(Device(m.ready()))
        assert devices[-1].reg(ID) == id
    check_pair(*devices)


def test_full_real_server_stops_the_start_of_one_more(server, machine):
    path = server("-n", "2")
    args = ["-chardev", f"socket,path={path},id=c", "-device", "ivshmem,chardev=c"]
    for _ in range(2):
        machine(*args).ready()
    m = machine(*args)
    assert m.process.wait(20) == 1
    assert "no free peer id" in m.log()


# The wrapper

def test_programs_that_qemu_starts_are_not_preloaded(machine, tmp_path):
    m = machine().ready()
    migrate(m, f"exec:env > {tmp_path}/env; cat > {tmp_path}/state")
    assert "PRELOAD" not in (tmp_path / "env").read_text()


def test_wrapper_refuses_a_qemu_of_another_version(tmp_path):
    other = tmp_path / "qemu"
    other.write_text("#!/bin/sh\necho 'QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-3)'\n")
    other.chmod(0o755)
    result = run([qtest.QEMU, "-version"], env={**os.environ, "QEMU_BINARY": str(other)})
    assert result.returncode == 1
    assert "built for another QEMU" in result.stderr and "6.2.0" in result.stderr
