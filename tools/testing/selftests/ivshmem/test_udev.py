# SPDX-License-Identifier: GPL-2.0
"""With udev and our rule: plug a device, and an unprivileged user has it."""

import pytest

from harness import BUILD, ROOT, uio
from harness.process import run
from harness.uio import Uio

UDEV = BUILD / "packages/udev"
RULES = [UDEV / "lib/udev/rules.d/50-udev-default.rules",
         UDEV / "lib/udev/rules.d/75-net-description.rules",
         UDEV / "lib/udev/rules.d/80-drivers.rules",
         UDEV / "lib/udev/rules.d/80-net-setup-link.rules",
         ROOT / "tools/ivshmem/60-ivshmem.rules"]
LINK = UDEV / "lib/systemd/network/99-default.link"


def add_udev(fs):
    result = run([ROOT / "scripts/fetch-package.sh", "udev"], timeout=120)
    assert result.returncode == 0, result.stderr
    fs.program(UDEV / "bin/udevadm")
    fs.symlink("/lib/systemd/systemd-udevd", "/bin/udevadm")
    for rules in RULES:
        fs.file(f"/lib/udev/rules.d/{rules.name}", rules.read_bytes())
    fs.file("/lib/systemd/network/99-default.link", LINK.read_bytes())
    fs.file("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    fs.file("/etc/boot", "#!/bin/sh\n/lib/systemd/systemd-udevd --daemon\n", 0o755)


pytestmark = pytest.mark.guest
GUEST = {"packed": ["uio_ivshmem", "ivshmem_net"], "programs": [uio.PROGRAM], "setup": add_udev}


def stable_path(device):
    return f"/dev/ivshmem/{device.address}"


def node_behind(guest, path):
    return guest.wait_for(f"test -e {path} && readlink -f {path}")


def test_driver_is_loaded_when_a_device_is_plugged(guest, server):
    guest.run("rmmod uio_ivshmem ivshmem")
    device = guest.plug("shm", server())
    guest.wait_for(f"test -e {stable_path(device)}")
    assert "uio_ivshmem" in guest.check("lsmod")


@pytest.mark.parametrize("protocol", ["0x4711", "0x8003"])
def test_driver_is_loaded_for_its_other_protocols(guest, server, protocol):
    guest.run("rmmod uio_ivshmem ivshmem")
    device = guest.plug("shm", server("-P", protocol))
    guest.wait_for(f"test -e {stable_path(device)}")


def test_group_of_the_rule_may_use_the_device(guest, server):
    device = guest.plug("shm", server("-o", "64K"))
    node = node_behind(guest, stable_path(device))
    guest.check("udevadm settle")
    assert guest.check(f"stat -c '%a %U %G' {node}") == "660 root ivshmem"
    dev = Uio(guest, stable_path(device), "nobody", ["ivshmem"])
    assert dev.opened == "ok"
    assert dev.do("map", "output_section", "rw") == "ok"
    assert dev.do("map", "state_table", "rw") == "EACCES"
    assert Uio(guest, stable_path(device), "nobody").opened == "EACCES"


def test_path_goes_with_the_device(guest, server):
    device = guest.plug("shm", server())
    guest.wait_for(f"test -e {stable_path(device)}")
    guest.unplug("shm")
    guest.wait_for(f"! test -e {stable_path(device)}")


def test_each_device_has_its_own_path(guest, server):
    devices = [guest.plug(f"shm{i}", server()) for i in range(2)]
    nodes = {node_behind(guest, stable_path(d)) for d in devices}
    assert len(nodes) == 2


def test_network_interface_has_a_name_and_an_address_that_stay(guest, server):
    """The name ends with the port: n, "iv", and the id of the peer."""
    sockets = server("-P", "1", "-o", "1M"), server("-P", "1", "-o", "1M")
    seen = []
    for _ in range(2):
        devices = [guest.plug(f"net{i}", path) for i, path in enumerate(sockets)]
        seen.append([])
        for device in devices:
            name = guest.wait_for(f"ls {device.sysfs}/net | grep niv0$")
            guest.check("udevadm settle")
            seen[-1].append((name, guest.check(f"cat {device.sysfs}/net/{name}/address")))
        for i in range(2):
            guest.unplug(f"net{i}")
        guest.run("rmmod ivshmem_net")
    assert seen[0] == seen[1]
    assert len({name for name, _ in seen[0]}) == len({mac for _, mac in seen[0]}) == 2
