# SPDX-License-Identifier: GPL-2.0
"""The whole root file system of a guest: busybox, modules, our programs.

Nothing is compressed: unpacking under emulation costs more than reading.
"""

import functools
import lzma
import os
import pathlib
import re
import stat
import tempfile

from . import BUILD, ROOT
from .process import run

KERNELS = BUILD / "kernels"
MODULES = BUILD / "modules"
SELFTESTS = ROOT / "tools/testing/selftests/ivshmem"
STATIC = BUILD / "selftests"

# name -> uid and gid; the agent knows numbers only
USERS = {"root": 0, "nobody": 65534}
GROUPS = {"root": 0, "nogroup": 65534, "ivshmem": 970}

_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
[ ! -x /etc/boot ] || /etc/boot
exec /bin/agent /dev/ttyS1
"""


@functools.cache
def busybox_applets():
    return run(["busybox", "--list"], check=True).stdout.split()


@functools.cache
def static_programs():
    """Build the programs of the guest, once for a session."""
    result = run(["make", "-s", "-C", SELFTESTS], timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@functools.cache
def libraries(program):
    """Path in the guest -> file of the host, for all that it is linked with."""
    env = dict(os.environ, LD_LIBRARY_PATH=str(BUILD / "lib"))
    found = {}
    for line in run(["ldd", program], env=env).stdout.splitlines():
        assert "not found" not in line, f"{program}: {line.strip()}"
        match = re.match(r"\s+(?:(\S+) => )?(/\S+) \(0x", line)
        if not match:
            continue
        path = pathlib.Path(match[2])
        guest = path if match[1] is None else f"/lib/x86_64-linux-gnu/{match[1]}"
        found[str(guest)] = path
    return found


class Kernel:
    """A kernel that scripts/fetch-kernel.sh has unpacked."""

    def __init__(self, kver):
        self.dir = KERNELS / kver
        self.ours = MODULES / kver
        assert (self.dir / "release").exists(), \
            f"no kernel {kver}: run scripts/fetch-kernel.sh {kver}"
        self.release = (self.dir / "release").read_text().strip()
        self._files = {}
        for line in (self.dir / "modules/modules.dep").read_text().splitlines():
            path, deps = line.split(":")
            self._files[self._name(path)] = (path, deps.split())

    @staticmethod
    def _name(path):
        return pathlib.Path(path).name.split(".")[0].replace("-", "_")

    def module(self, name):
        """{path below lib/modules/RELEASE: content} of it and what it needs."""
        name = name.replace("-", "_")
        own = [p for p in self.ours.rglob("*.ko") if self._name(p) == name]
        if own:
            return self._own_module(own[0])
        path, deps = self._files.get(name) or (None, [])
        assert path or self._builtin(name), f"kernel {self.release} has no module {name}"
        return {p.removesuffix(".xz"): self._content(p) for p in [path, *deps] if p}

    def _builtin(self, name):
        text = (self.dir / "modules/modules.builtin").read_text()
        return name in map(self._name, text.splitlines())

    def _own_module(self, path):
        files = {f"updates/{path.name}": path.read_bytes()}
        depends = run(["/sbin/modinfo", "-F", "depends", path], check=True).stdout
        for name in filter(None, depends.strip().split(",")):
            files.update(self.module(name))
        return files

    def _content(self, path):
        data = (self.dir / "modules" / path).read_bytes()
        return lzma.decompress(data) if path.endswith(".xz") else data


class Initramfs:
    """Collects files; write() makes a cpio archive of them, owned by root."""

    def __init__(self, kver):
        self.kernel = Kernel(kver)
        self._entries = {}
        self._modules = {}
        static_programs()
        for name in ("proc", "sys", "dev", "tmp", "run", "root"):
            self.directory(name)
        self.program("/bin/busybox", "/bin/busybox")
        for applet in busybox_applets():
            if applet != "busybox":
                self.symlink(f"/bin/{applet}", "busybox")
        self.symlink("/sbin", "bin")
        self.program(STATIC / "agent", "/bin/agent")
        self.file("/init", _INIT, 0o755)
        self.file("/etc/passwd", "".join(
            f"{n}:x:{i}:{i}::/:/bin/sh\n" for n, i in USERS.items()))
        self.file("/etc/group", "".join(f"{n}:x:{i}:\n" for n, i in GROUPS.items()))

    def _add(self, path, mode, data):
        path = str(path).strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self._entries:
            self._add(parent, stat.S_IFDIR | 0o755, b"")
        self._entries[path] = (mode, data)

    def directory(self, path, mode=0o755):
        self._add(path, stat.S_IFDIR | mode, b"")

    def file(self, path, data, mode=0o644):
        data = data.encode() if isinstance(data, str) else data
        self._add(path, stat.S_IFREG | mode, data)

    def symlink(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, str(target).encode())

    def program(self, host_path, guest_path=None):
        """A program of the host with its libraries; guest_path: else /bin."""
        host_path = pathlib.Path(host_path)
        self.file(guest_path or f"/bin/{host_path.name}", host_path.read_bytes(), 0o755)
        for guest, host in libraries(host_path).items():
            self.file(guest, host.read_bytes(), 0o755)

    def module(self, name):
        """A module, ours or the kernel's, with what it depends on."""
        self._modules.update(self.kernel.module(name))

    def _depmod(self):
        """The lists that modprobe needs, for the modules that are in here."""
        base = f"lib/modules/{self.kernel.release}"
        with tempfile.TemporaryDirectory() as tmp:
            root = pathlib.Path(tmp, base)
            root.mkdir(parents=True)
            for path, data in self._modules.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)
            for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                source = self.kernel.dir / "modules" / name
                (root / name).write_bytes(source.read_bytes())
            run(["/sbin/depmod", "-b", tmp, self.kernel.release], check=True)
            for path in root.rglob("*"):
                if path.is_file() and path.name != "modules.builtin.modinfo":
                    self.file(f"{base}/{path.relative_to(root)}", path.read_bytes())

    @staticmethod
    def _record(number, path, mode, data):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name
        return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, data))

    def write(self, path):
        self._depmod()
        with open(path, "wb") as out:
            for number, (name, (mode, data)) in enumerate(sorted(self._entries.items()), 1):
                out.write(self._record(number, name, mode, data))
            out.write(self._record(0, "TRAILER!!!", 0, b""))
