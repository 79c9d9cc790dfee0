# SPDX-License-Identifier: GPL-2.0
"""The UIO driver in real guests: what /dev/uioN shows, allows and forbids."""

import pytest

from harness import uio
from harness.process import wait_for
from harness.uio import Uio, device_node

pytestmark = pytest.mark.guest
GUEST = {"modules": ["uio_ivshmem"], "programs": [uio.PROGRAM]}

SECTIONS = ["registers", "state_table", "rw_section", "input_sections",
            "output_section"]
READ_ONLY = ["state_table", "input_sections"]
WRITABLE = ["registers", "rw_section", "output_section"]
LAYOUT = ["-l", "1M", "-o", "64K", "-n", "3"]
OUTPUT_BYTES = 0x10000
DRIVER = "/sys/bus/pci/drivers/uio_ivshmem"
BASE_ADDRESS = 0x200000000

VARIANTS = {"msix": {}, "intx": {"msix": False},
            "base-address": {"base_address": BASE_ADDRESS}}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


def attach(guest, socket, id="shm", **properties):
    """Plug a device and open it with all sections mapped: (device, Uio)."""
    device = guest.plug(id, socket, **properties)
    dev = Uio(guest, device_node(guest, device))
    assert dev.opened == "ok"
    dev.map(*WRITABLE)
    dev.map(*READ_ONLY, access="r")
    return device, dev


def wait_state(dev, id, value):
    wait_for(lambda: dev.do("get", "state_table", 4 * id) == value,
             what=f"state {value} of peer {id}")


# What there is

def test_maps_stand_in_the_order_of_the_memory(pair, server):
    a, _ = pair
    device = a.plug("shm", server(*LAYOUT))
    device_node(a, device)
    assert uio.maps(a, device) == SECTIONS


def test_absent_output_sections_leave_no_maps(pair, server):
    a, _ = pair
    device = a.plug("shm", server("-l", "64K"))
    device_node(a, device)
    assert uio.maps(a, device) == ["registers", "state_table", "rw_section"]


def test_absent_rw_section_leaves_no_map(pair, server):
    a, _ = pair
    device = a.plug("shm", server("-l", "64K", "-o", "20K", "-n", "3"))
    device_node(a, device)
    assert uio.maps(a, device) == [s for s in SECTIONS if s != "rw_section"]


def test_who_opens_at_once_finds_all_maps(pair, server):
    a, _ = pair
    socket = server(*LAYOUT)
    for _ in range(5):
        job = a.popen("until test -c /dev/uio0; do :; done; exec 3</dev/uio0; "
                      "ls /sys/class/uio/uio0/maps | wc -l")
        a.plug("shm", socket)
        assert job.wait().out == str(len(SECTIONS))
        a.unplug("shm")


def test_registers_say_who_we_are(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    peer(socket)
    _, dev = attach(a, socket)
    assert dev.register(uio.ID) == 1
    assert dev.register(uio.MAX_PEERS) == 3
    assert dev.register(uio.INT_CONTROL) == 0
    assert dev.register(uio.STATE) == 0


# Who may do what

def test_sections_carry_data_between_guests(pair, server, variant):
    a, b = pair
    socket = server(*LAYOUT)
    _, dev_a = attach(a, socket, **variant)
    _, dev_b = attach(b, socket, **variant)
    dev_a.do("set", "output_section", 0x40, 0x1234)
    dev_b.do("set", "output_section", 0x40, 0x5678)
    for dev in (dev_a, dev_b):
        assert dev.do("get", "input_sections", 0x40) == 0x1234
        assert dev.do("get", "input_sections", OUTPUT_BYTES + 0x40) == 0x5678
    dev_b.do("set", "rw_section", 0x100, 0x9abc)
    assert dev_a.do("get", "rw_section", 0x100) == 0x9abc


@pytest.mark.parametrize("user", ["root", "nobody"])
@pytest.mark.parametrize("section", READ_ONLY)
def test_read_only_section_cannot_become_writable(pair, server, user, section):
    a, _ = pair
    node = device_node(a, a.plug("shm", server(*LAYOUT)))
    a.check(f"chgrp ivshmem {node} && chmod 660 {node}")
    dev = Uio(a, node, user, ["ivshmem"])
    assert dev.opened == "ok"
    assert dev.do("map", section, "rw") == "EACCES"
    assert dev.do("map", section, "r") == "ok"
    assert dev.do("protect", section) == "EACCES"
    assert dev.do("get", section, 0) == 0


@pytest.mark.parametrize("section", WRITABLE)
def test_unprivileged_user_of_the_group_maps_writable_sections(pair, server, section):
    a, _ = pair
    node = device_node(a, a.plug("shm", server(*LAYOUT)))
    a.check(f"chgrp ivshmem {node} && chmod 660 {node}")
    dev = Uio(a, node, "nobody", ["ivshmem"])
    assert dev.do("map", section, "rw") == "ok"
    assert dev.do("set", section, 0, 1) == "ok"


def test_user_without_the_group_cannot_open(pair, server):
    a, _ = pair
    node = device_node(a, a.plug("shm", server(*LAYOUT)))
    a.check(f"chgrp ivshmem {node} && chmod 660 {node}")
    assert Uio(a, node, "nobody").opened == "EACCES"


# Events

def test_event_turns_interrupts_off_until_rearmed(pair, server, peer, variant):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    _, dev = attach(a, socket, **variant)
    dev.enable()
    assert dev.register(uio.INT_CONTROL) == 1
    other.ring(1)
    assert dev.do("read") == 1
    assert dev.register(uio.INT_CONTROL) == 0
    other.ring(1)
    assert dev.do("poll") == "quiet"
    dev.enable()
    assert dev.do("poll") == "quiet"
    other.ring(1)
    assert dev.do("read") == 2


def test_writing_0_disables_interrupts(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    _, dev = attach(a, socket)
    dev.enable()
    dev.enable(0)
    assert dev.register(uio.INT_CONTROL) == 0
    other.ring(1)
    dev.enable()
    other.ring(1)
    assert dev.do("read") == 1


def test_all_vectors_feed_one_event_count(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT, "-V", "4")
    other = peer(socket)
    _, dev = attach(a, socket)
    for count, vector in enumerate([0, 1, 2, 3, 3, 0], 1):
        dev.enable()
        other.ring(1, vector)
        assert dev.do("read") == count


def test_doorbell_reaches_the_addressed_peer_only(pair, server, peer):
    a, b = pair
    socket = server(*LAYOUT, "-V", "2")
    _, dev_a = attach(a, socket)
    _, dev_b = attach(b, socket)
    other = peer(socket)
    dev_a.enable()
    dev_b.enable()
    dev_a.ring(2, 1)
    wait_for(lambda: other.rung(1), what="doorbell of guest a")
    dev_a.ring(1, 1)
    assert dev_b.do("read") == 1
    dev_b.ring(0, 0)
    assert dev_a.do("read") == 1
    assert dev_b.do("poll") == "quiet"
    assert other.rung(0) == 0 and other.rung(1) == 0


def test_doorbells_to_nobody_have_no_effect(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT, "-V", "2")
    other = peer(socket)
    _, dev = attach(a, socket)
    for id, vector in [(0, 2), (0, 0xffff), (2, 0), (3, 0), (0xffff, 0)]:
        dev.ring(id, vector)
    dev.ring(0, 1)
    wait_for(lambda: other.rung(1), what="doorbell after those to nobody")
    assert other.rung(0) == 0


# States

def test_state_is_seen_and_announced_to_all_three_peers(pair, server, peer):
    a, b = pair
    socket = server(*LAYOUT)
    _, dev_a = attach(a, socket)
    _, dev_b = attach(b, socket)
    other = peer(socket)
    dev_b.enable()
    dev_a.set_register(uio.STATE, 7)
    assert dev_b.do("read") == 1
    assert dev_b.do("get", "state_table", 0) == 7
    assert dev_a.register(uio.STATE) == 7
    wait_for(other.rung, what="vector 0 of the host peer")
    assert other.state(0) == 7
    dev_b.enable()
    other.set_state(9)
    assert dev_b.do("read") == 2
    assert dev_b.do("get", "state_table", 8) == 9


def leave_by_close(guest, device, dev):
    dev.close()


def leave_by_kill_of_the_process(guest, device, dev):
    dev.kill()


def leave_by_unbind(guest, device, dev):
    guest.check(f"echo {device.address} > {DRIVER}/unbind")


def leave_by_sysfs_remove(guest, device, dev):
    guest.check(f"echo 1 > {device.sysfs}/remove")


def leave_by_unplug(guest, device, dev):
    guest.unplug(device.id)


def leave_by_reset(guest, device, dev):
    guest.reset()


def leave_by_death_of_the_guest(guest, device, dev):
    guest.kill()


@pytest.mark.parametrize("leave", [
    leave_by_close, leave_by_kill_of_the_process, leave_by_unbind,
    leave_by_sysfs_remove, leave_by_unplug, leave_by_reset,
    leave_by_death_of_the_guest])
def test_others_see_state_0_and_an_event(pair, server, leave):
    a, b = pair
    socket = server(*LAYOUT)
    _, dev_a = attach(a, socket)
    device, dev_b = attach(b, socket)
    dev_b.set_register(uio.STATE, 3)
    wait_state(dev_a, 1, 3)
    dev_a.enable()
    leave(b, device, dev_b)
    assert dev_a.do("read") == 1
    assert dev_a.do("get", "state_table", 4) == 0


def test_state_stays_until_the_last_close(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    device, first = attach(a, socket)
    second = Uio(a, device_node(a, device))
    second.map("registers")
    first.set_register(uio.STATE, 5)
    first.enable()
    first.close()
    assert second.register(uio.STATE) == 5
    assert second.register(uio.INT_CONTROL) == 1
    assert other.state(1) == 5
    second.kill()
    assert other.state(1) == 0
    third = Uio(a, device_node(a, device))
    third.map("registers")
    assert third.register(uio.INT_CONTROL) == 0


def test_guest_binds_again_after_reset(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    device, dev = attach(a, socket)
    dev.set_register(uio.STATE, 1)
    a.reset()
    dev = Uio(a, device_node(a, device))
    dev.map("registers")
    assert dev.register(uio.INT_CONTROL) == 0
    dev.enable()
    other.ring(1)
    assert dev.do("read") == 1


# Devices and drivers that come and go

def remove_by_sysfs(guest, device):
    guest.check(f"echo 1 > {device.sysfs}/remove")


def remove_by_unplug(guest, device):
    guest.unplug(device.id)


def remove_by_unbind(guest, device):
    guest.check(f"echo {device.address} > {DRIVER}/unbind")


REMOVALS = [remove_by_sysfs, remove_by_unplug, remove_by_unbind]


@pytest.mark.parametrize("remove", REMOVALS)
def test_reader_gets_eio_when_the_device_goes(pair, server, remove):
    a, _ = pair
    device, dev = attach(a, server(*LAYOUT))
    dev.enable()
    dev.begin("read")
    remove(a, device)
    assert dev.answer() == "EIO"
    assert dev.do("read") == "EIO"
    assert dev.do("irq", 1) in ("EIO", "EINVAL")  # differs between kernels
    dev.close()


@pytest.mark.parametrize("remove", REMOVALS)
def test_mappings_do_not_outlive_the_device(pair, server, remove):
    a, _ = pair
    device, dev = attach(a, server(*LAYOUT))
    assert dev.do("set", "output_section", 0, 1) == "ok"
    remove(a, device)
    for section in SECTIONS:
        assert dev.do("get", section, 0) == "SIGBUS"
        assert dev.do("map", section, "r") != "ok"
    dev.close()


def test_next_device_is_out_of_reach_of_old_users(pair, server):
    a, _ = pair
    device, old = attach(a, server(*LAYOUT))
    a.unplug(device.id)
    _, new = attach(a, server(*LAYOUT))
    new.set_register(uio.STATE, 4)
    assert old.do("set", "registers", uio.STATE, 1) == "SIGBUS"
    old.close()
    assert new.register(uio.STATE) == 4


def test_removed_device_works_after_rescan(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    device, dev = attach(a, socket)
    a.check(f"echo 1 > {device.sysfs}/remove; echo 1 > /sys/bus/pci/rescan")
    again = Uio(a, device_node(a, device))
    again.enable()
    other.ring(1)
    assert again.do("read") == 1
    dev.close()


def test_bind_and_unbind_in_a_loop_with_users(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT, "-V", "4")
    other = peer(socket)
    device = a.plug("shm", socket)
    for _ in range(10):
        dev = Uio(a, device_node(a, device))
        dev.map("registers", "output_section")
        dev.set_register(uio.STATE, 1)
        a.check(f"echo {device.address} > {DRIVER}/unbind")
        assert other.state(1) == 0
        dev.close()
        a.check(f"echo {device.address} > {DRIVER}/bind")
    _, dev = None, Uio(a, device_node(a, device))
    dev.enable()
    other.ring(1, 3)
    assert dev.do("read") == 1


def test_plug_and_unplug_in_a_loop(pair, server):
    a, _ = pair
    socket = server(*LAYOUT, "-V", "4")
    for _ in range(10):
        device = a.plug("shm", socket)
        dev = Uio(a, device_node(a, device))
        dev.map("output_section")
        a.unplug("shm")
        dev.close()


def test_module_in_use_cannot_be_unloaded(pair, server):
    a, _ = pair
    _, dev = attach(a, server(*LAYOUT))
    assert a.run("rmmod uio_ivshmem").code != 0
    assert a.run("rmmod ivshmem").code != 0
    dev.set_register(uio.STATE, 2)
    assert dev.register(uio.STATE) == 2


def test_module_unloads_and_reloads_with_a_bound_device(pair, server, peer):
    a, _ = pair
    socket = server(*LAYOUT)
    other = peer(socket)
    device, dev = attach(a, socket)
    dev.close()
    a.check("rmmod uio_ivshmem && rmmod ivshmem")
    assert a.run(f"test -e {device.sysfs}/uio").code != 0
    a.check("modprobe uio_ivshmem")
    dev = Uio(a, device_node(a, device))
    dev.enable()
    other.ring(1)
    assert dev.do("read") == 1


def test_several_devices_in_a_guest_are_apart(pair, server, peer):
    a, _ = pair
    sockets = [server(*LAYOUT), server(*LAYOUT)]
    others = [peer(s) for s in sockets]
    devs = [attach(a, s, f"shm{i}")[1] for i, s in enumerate(sockets)]
    for dev in devs:
        dev.enable()
    others[1].ring(1)
    assert devs[1].do("read") == 1
    assert devs[0].do("poll") == "quiet"
    devs[0].set_register(uio.STATE, 6)
    assert others[0].state(1) == 6 and others[1].state(1) == 0


def test_devices_on_one_intx_line_all_hear_their_doorbells(pair, server, peer):
    a, _ = pair
    sockets = [server(*LAYOUT) for _ in range(5)]  # the machine has 4 lines
    others = [peer(s) for s in sockets]
    found = [attach(a, s, f"shm{i}", msix=False) for i, s in enumerate(sockets)]
    lines = [a.check(f"cat {device.sysfs}/irq") for device, _ in found]
    assert len(set(lines)) < len(lines)
    for i, (_, dev) in enumerate(found):
        dev.enable()
        others[i].ring(1)
        assert dev.do("read") >= 1
        assert dev.register(uio.INT_CONTROL) == 0


# Whose device it is

@pytest.mark.parametrize("protocol", ["0x0000", "0x4000", "0x5a5a", "0x7fff"])
def test_protocol_is_bound(pair, server, protocol):
    a, _ = pair
    device = a.plug("shm", server("-P", protocol))
    assert a.check(f"cat {device.sysfs}/class") == "0xff" + protocol[2:]
    device_node(a, device)


@pytest.mark.parametrize("protocol", ["0x8003", "0x8002"])
def test_virtio_back_end_is_bound_and_front_end_is_not(pair, server, protocol):
    a, b = pair
    socket = server("-P", protocol)
    back = a.plug("shm", socket)
    device_node(a, back)
    front = b.plug("shm", socket)
    assert b.check(f"cat {front.sysfs}/class") == "0xff" + protocol[2:]
    assert b.run(f"test -e {front.sysfs}/driver").code != 0


@pytest.mark.parametrize("protocol", ["0x0001", "0x0002", "0x3fff"])
def test_protocol_of_others_is_bound_by_new_id_only(pair, server, protocol):
    a, _ = pair
    device = a.plug("shm", server("-P", protocol))
    assert a.run(f"test -e {device.sysfs}/driver").code != 0
    ids = f"110a 4106 ffffffff ffffffff ff{protocol[2:]} ffffff"
    a.check(f"echo {ids} > {DRIVER}/new_id")
    device_node(a, device)
    a.check(f"echo {ids} > {DRIVER}/remove_id")
