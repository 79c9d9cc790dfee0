# SPDX-License-Identifier: GPL-2.0
"""`make install` puts everything where the system looks for it."""

import subprocess

import pytest

from harness import ROOT
from harness.process import run

FILES = ["usr/bin/ivshmem", "usr/bin/ivshmem2-server", "usr/bin/ivshmem-tap",
         "usr/include/ivshmem/ivshmem.h",
         "usr/lib/libivshmem.a", "usr/lib/libivshmem.so",
         "usr/lib/pkgconfig/libivshmem.pc",
         "usr/lib/systemd/system/ivshmem2-server.service",
         "usr/lib/systemd/system/ivshmem2-server@.service",
         "usr/lib/systemd/system/ivshmem-tap@.service",
         "usr/lib/sysusers.d/ivshmem.conf",
         "usr/lib/udev/rules.d/60-ivshmem.rules",
         "usr/bin/virtio-ivshmem-block", "usr/bin/virtio-ivshmem-console",
         "usr/lib/systemd/system/virtio-ivshmem-block@.service",
         "usr/lib/systemd/system/virtio-ivshmem-console@.service",
         "usr/share/man/man1/virtio-ivshmem-block.1",
         "usr/share/man/man1/virtio-ivshmem-console.1",
         "usr/share/man/man1/ivshmem.1",
         "usr/share/man/man1/ivshmem2-server.1",
         "usr/share/man/man1/ivshmem-tap.1",
         "usr/share/man/man3/libivshmem.3"]
MODULES = ["ivshmem.ko", "uio_ivshmem.ko", "virtio_ivshmem.ko", "ivshmem-net.ko"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The source as a user has it, installed into a stage."""
    source = tmp_path_factory.mktemp("source")
    stage = tmp_path_factory.mktemp("stage")
    archive = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
                             capture_output=True).stdout
    subprocess.run(["xargs", "-0", "cp", "--parents", "-t", source], cwd=ROOT,
                   input=archive, check=True)
    result = run(["make", "-C", source, "install", f"DESTDIR={stage}", "PREFIX=/usr",
                  f"KERNELDIR={ROOT}/build/kernels/6.1/headers"], timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return stage


@pytest.mark.parametrize("path", FILES)
def test_install_puts_file(stage, path):
    assert (stage / path).is_file()


@pytest.mark.parametrize("name", MODULES)
def test_install_puts_module_where_modprobe_finds_it(stage, name):
    release = (ROOT / "build/kernels/6.1/release").read_text().strip()
    assert list((stage / "lib/modules" / release).rglob(name))


def test_installed_programs_start(stage):
    for program in "ivshmem", "ivshmem2-server", "ivshmem-tap":
        result = run([stage / "usr/bin" / program, "--help"])
        assert result.returncode == 0 and "sage" in result.stdout


def test_installed_unit_names_the_installed_server(stage):
    unit = (stage / "usr/lib/systemd/system/ivshmem2-server.service").read_text()
    assert "ExecStart=/usr/bin/ivshmem2-server" in unit


@pytest.mark.parametrize("unit", ["ivshmem-tap@cable0", "virtio-ivshmem-block@disk0",
                                  "virtio-ivshmem-console@vm0"])
def test_installed_unit_is_one_for_systemd(stage, tmp_path, unit):
    name = unit.partition("@")[0]
    text = (stage / f"usr/lib/systemd/system/{name}@.service").read_text()
    assert f"ExecStart=/usr/bin/{name}" in text
    file = tmp_path / f"{unit}.service"
    file.write_text(text.replace("/usr/bin", f"{stage}/usr/bin"))
    result = run(["systemd-analyze", "verify", "--man=no", file])
    assert result.returncode == 0 and not result.stderr, result.stderr


def test_missing_headers_are_named_with_the_way_out():
    result = run(["make", "-C", ROOT, "modules", "KVER=0.0-nowhere"])
    assert result.returncode == 2
    assert "linux-headers-0.0-nowhere" in result.stderr
