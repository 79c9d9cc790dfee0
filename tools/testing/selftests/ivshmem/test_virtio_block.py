# SPDX-License-Identifier: GPL-2.0
"""A disk over ivshmem in real guests: virtio_blk over the transport, the block
back end on the host or in the other guest, and the death of either.
"""

import hashlib
import json
import os
import signal

import pytest

from harness import BIN
from harness.process import wait_for
from harness.virtio_guest import no_task_hangs

# Writes and verifies, on whichever disk there is, until /run/stop exists.
# Errors of a disk that goes away are fine, wrong data are not. Not libaio: to
# it the end of a disk that is gone is a read of nothing, which fio verifies.
STRESS = """#!/bin/sh
until [ -e /run/stop ]; do
	disk=$(ls $1/virtio*/block 2>/dev/null) || { usleep 20000; continue; }
	fio --name=stress --filename=/dev/$disk --allow_file_create=0 --thread \\
		--numjobs=4 --size=1m --offset_increment=1m --io_size=16m \\
		--bsrange=4k-64k --rw=randwrite --direct=1 --ioengine=psync \\
		--verify=crc32c --verify_backlog=8 --verify_fatal=1 --minimal > /run/fio 2>&1
	if grep -q verify /run/fio; then
		cat /run/fio
		exit 1
	fi
done
"""

# Writes record after record; says the number of each that was flushed. Over a
# node of its own: dd makes a file where a disk in /dev has just gone.
RECORDS = """#!/bin/sh
n=0
while [ $n -lt 8000 ]; do
	dev=$(cat $1/virtio*/block/*/dev 2>/dev/null) || { usleep 20000; continue; }
	rm -f /run/disk
	mknod /run/disk b ${dev%:*} ${dev#*:}
	printf 'record %d\\n' $n | dd of=/run/disk bs=512 seek=$((8192 + n)) \\
		conv=sync,fsync,notrunc 2>/dev/null && echo $n
	n=$((n + 1))
done
"""

FSCK = "/sbin/fsck.ext4"
pytestmark = pytest.mark.guest
GUEST = {"modules": ["virtio_ivshmem", "virtio_blk", "uio_ivshmem"], "packed": ["ext4", "crc32c_generic"],
         "programs": ["/usr/bin/fio", "/sbin/mkfs.ext4", FSCK,
                      BIN / "virtio-ivshmem-block"],
         "files": {"/bin/stress": (STRESS, 0o755), "/bin/records": (RECORDS, 0o755)},
         "qemu_args": ["-m", "512", "-smp", "2"]}

IMAGE_BYTES = 16 << 20
RECORDS_AT = 8192 * 512

RINGS = {
    "all-offered": [],
    "no-indirect": ["--no-indirect"],
    "no-event-idx": ["--no-event-idx"],
    "split-only": ["--no-packed"],
    "plain": ["--no-packed", "--no-indirect", "--no-event-idx", "--queue-size=16"],
}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    with open(path, "wb") as file:
        file.truncate(IMAGE_BYTES)
    return path


def fio(guest, disk, *options, timeout=60):
    """Write and read back what fio can recognize; wrong data fail."""
    guest.check(f"fio --name=verify --filename={disk} --allow_file_create=0 --thread "
                "--direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 "
                f"--minimal {' '.join(options)} >/dev/null", timeout=timeout)


def smoke(guest, disk):
    fio(guest, disk, "--size=2m --bsrange=512-64k --rw=randwrite --iodepth=16")


def moves(image):
    """Wait until the image is written to; then I/O is in full swing."""
    before = image.stat().st_mtime_ns
    wait_for(lambda: image.stat().st_mtime_ns != before, what="write to the image")


class Stress:
    """The script above, from now until stop()."""

    def __init__(self, front):
        self.guest = front.guest
        self.guest.check("rm -f /run/stop")
        self.job = self.guest.popen(f"exec stress {front.sysfs}")

    def stop(self):
        self.guest.check("touch /run/stop")
        self.guest.wait_for("! pidof fio", timeout=60)
        result = self.job.wait()
        assert result.code == 0, result.out


# There, and right

@pytest.mark.parametrize("first", ["back", "front"])
def test_disk_is_there_whoever_starts_first(guest, link, image, first):
    disk = link("block")
    if first == "back":
        disk.serve(image)
        front = disk.plug(guest)
    else:
        front = disk.plug(guest)
        assert guest.run("ls /sys/bus/virtio/devices").out == ""
        disk.serve(image)
    assert guest.check(f"cat /sys/class/block/{front.disk()[5:]}/size") == str(
        IMAGE_BYTES // 512)


def test_disk_has_the_contents_of_the_image(guest, link, image):
    content = os.urandom(IMAGE_BYTES)
    image.write_bytes(content)
    link_ = link("block")
    link_.serve(image, "--serial=number-1")
    name = link_.plug(guest).disk()
    sums = guest.check(f"sha256sum {name}; cat /sys/class/block/{name[5:]}/serial").split()
    assert sums == [hashlib.sha256(content).hexdigest(), name, "number-1"]
    guest.check(f"dd if={name} of={name} bs=1M count=1 seek=3 conv=fsync,notrunc")
    assert image.read_bytes() == content[:3 << 20] + content[:1 << 20] + content[4 << 20:]


def test_read_only_disk_is_not_written(guest, link, image):
    disk = link("block")
    disk.serve("--read-only", image)
    name = disk.plug(guest).disk()
    assert guest.run(f"dd if=/dev/zero of={name} bs=512 count=1").code != 0
    assert guest.check(f"cat /sys/class/block/{name[5:]}/ro") == "1"


def test_capacity_follows_the_image(guest, link, image):
    disk = link("block")
    back = disk.serve(image)
    name = disk.plug(guest).disk()
    os.truncate(image, 2 * IMAGE_BYTES)
    back.signal(signal.SIGHUP)
    guest.wait_for(f"[ $(cat /sys/class/block/{name[5:]}/size) = {2 * IMAGE_BYTES // 512} ]")


# Rings, vectors, sections

@pytest.mark.parametrize("ring", RINGS)
def test_every_kind_of_ring_carries_data(guest, link, image, ring):
    disk = link("block", vectors=2)
    disk.serve(*RINGS[ring], image)
    smoke(guest, disk.plug(guest).disk())


@pytest.mark.parametrize("vectors, properties, names", [
    (3, {}, ["virtio{}-req.0", "virtio{}-req.1"]),
    (2, {}, []),
    (1, {}, []),
    (1, {"msix": False}, []),
], ids=["own", "shared", "single", "intx"])
def test_queues_share_what_vectors_there_are(guest, link, image, vectors, properties,
                                             names):
    disk = link("block", vectors=vectors)
    disk.serve("--queues=2", image)
    front = disk.plug(guest, **properties)
    name = front.disk()
    number = front.wait()[len("virtio"):]
    assert front.interrupts() == {front.address,
                                  *(n.format(number) for n in names)}
    assert guest.check(f"ls /sys/class/block/{name[5:]}/mq").split() == ["0", "1"]
    fio(guest, name, "--size=1m --bsrange=512-64k --rw=randwrite --iodepth=8 --numjobs=2 "
        "--offset_increment=1m")


@pytest.mark.parametrize("size, depth", [("64K", 1), ("256M", 32)])
def test_section_of_any_size_will_do(guest, link, image, size, depth):
    disk = link("block", size=size)
    disk.serve(image)
    front = disk.plug(guest)
    fio(guest, front.disk(),
        f"--size=4m --bsrange=4k-1m --rw=randwrite --iodepth={depth}")
    assert front.pool("used") <= front.pool("peak") <= front.pool("size")


@pytest.mark.parametrize("ring", ["all-offered", "no-indirect"])
def test_full_pool_only_slows_down(guest, link, image, ring):
    disk = link("block", size="64K")
    disk.serve(*RINGS[ring], image)
    front = disk.plug(guest)
    fio(guest, front.disk(), "--size=4m --bs=32k --rw=randwrite --iodepth=64")


@pytest.mark.parametrize("kb", [4, 16])
def test_full_pool_is_shared_by_the_queues(guest, link, image, kb):
    """Who finds it full tries again on its next completion or after 3 ms: a
    lottery at each moment, and none that one queue loses all the time.
    """
    disk = link("block", size="64K", vectors=3)
    disk.serve("--queues=2", image)
    front = disk.plug(guest)
    name, failures = front.disk(), front.pool("failures")
    jobs = [f"--name=cpu{cpu} --cpus_allowed={cpu}" for cpu in (0, 1)]
    out = guest.check(f"fio --filename={name} --allow_file_create=0 --thread --direct=1 "
                      f"--ioengine=libaio --iodepth=32 --rw=randwrite --bs={kb}k --size=8m "
                      f"--io_size={8192 * kb}k --exitall --output-format=json "
                      f"{' '.join(jobs)}", timeout=60)
    assert front.pool("failures") > failures
    counts = [job["write"]["total_ios"] for job in json.loads(out)["jobs"]]
    assert max(counts) == 8192 and 5 * min(counts) >= max(counts), counts


def test_several_disks_do_not_mix(guest, link, tmp_path):
    names = []
    for i in range(3):
        image = tmp_path / f"image{i}"
        image.write_bytes(bytes([i + 1]) * (1 << 20))
        disk = link("block", vectors=i + 1)
        disk.serve(image)
        names.append(disk.plug(guest, f"disk{i}").disk())
    assert len(set(names)) == 3
    sums = guest.check("sha256sum " + " ".join(names)).split()[::2]
    assert sums == [hashlib.sha256(bytes([i + 1]) * (1 << 20)).hexdigest()
                    for i in range(3)]


# Death of the back end

def test_back_end_killed_20_times_under_load(guest, link, image):
    disk = link("block", vectors=2)
    disk.serve(image)
    front = disk.plug(guest)
    load = Stress(front)
    for _ in range(20):
        moves(image)
        disk.back.kill()
        disk.serve(image)
    moves(image)
    load.stop()
    no_task_hangs(guest)
    smoke(guest, front.disk())


def test_flushed_data_survive_every_kill(guest, link, image):
    disk = link("block")
    disk.serve(image)
    front = disk.plug(guest)
    front.disk()
    job = guest.popen(f"exec records {front.sysfs}")
    for _ in range(8):
        count = job.stdout.count(b"\n")
        job.wait_for(lambda: job.stdout.count(b"\n") >= count + 5)
        disk.back.kill()
        disk.serve(image)
    flushed = [int(n) for n in job.stdout.split(b"\n")[:-1]]
    name = front.disk()
    job.kill()
    seen = guest.run(f"dd if={name} bs=512 skip={RECORDS_AT // 512} count={max(flushed) + 1}")
    for content in (image.read_bytes()[RECORDS_AT:], seen.stdout):
        for n in flushed:
            assert content[512 * n:512 * n + 512].rstrip(b"\0") == b"record %d\n" % n


def test_device_goes_and_comes_back_while_nobody_uses_it(guest, link, image):
    disk = link("block")
    disk.serve(image)
    front = disk.plug(guest)
    for _ in range(3):
        front.disk()
        disk.back.kill()
        front.wait_gone()
        disk.serve(image)
    front.disk()


def test_file_system_survives_its_disk(guest, link, image):
    disk = link("block")
    disk.serve(image)
    front = disk.plug(guest)
    name = front.disk()
    guest.check(f"modprobe ext4 && mkdir -p /mnt && mkfs.ext4 -q {name}", timeout=60)
    guest.check(f"mount -t ext4 {name} /mnt && cp /bin/busybox /mnt && umount /mnt && "
                f"mount -t ext4 {name} /mnt && cmp /bin/busybox /mnt/busybox")
    guest.check("dd if=/bin/fio of=/mnt/fio bs=64k count=8 conv=fsync")
    load = guest.popen("while dd if=/dev/zero of=/mnt/zero bs=64k count=32; do :; done")
    moves(image)
    disk.back.kill()
    load.wait()
    guest.check("umount /mnt || umount /mnt", timeout=30)
    no_task_hangs(guest)
    front.wait_gone()
    disk.serve(image)
    name = front.disk()
    assert guest.run(f"fsck.ext4 -p {name}", timeout=60).code in (0, 1)
    guest.check(f"fsck.ext4 -fn {name}", timeout=60)
    guest.check(f"mount -t ext4 {name} /mnt")
    guest.check("cmp /bin/busybox /mnt/busybox; cmp -n 524288 /bin/fio /mnt/fio; "
                "umount /mnt")


# Death of the front end

def test_guest_killed_10_times_under_load(guest, link, image):
    disk = link("block")
    back = disk.serve(image)
    with guest.frozen():
        for _ in range(10):
            Stress(disk.plug(guest))
            moves(image)
            guest.kill()
            guest.boot()
        smoke(guest, disk.plug(guest).disk())
    assert back.alive()


def test_back_end_in_the_other_guest(pair, link):
    a, b = pair
    disk = link("block", vectors=2)
    make_image = "dd if=/dev/zero of=/tmp/image bs=1M count=8"
    b.check(make_image)
    device = disk.plug_back(b)
    disk.serve_in(b, device, "/tmp/image")
    front = disk.plug(a)
    smoke(a, front.disk())
    load = Stress(front)
    for _ in range(3):
        b.wait_for("x=$(stat -c %y /tmp/image); usleep 50000; "
                   "[ \"$x\" != \"$(stat -c %y /tmp/image)\" ]")
        disk.back.kill()
        disk.serve_in(b, device, "/tmp/image")
    front.disk()
    b.kill()
    front.wait_gone()
    no_task_hangs(a)
    b.boot()
    b.check(make_image)
    disk.serve_in(b, disk.plug_back(b), "/tmp/image")
    front.disk()
    load.stop()
    smoke(a, front.disk())


# Leaving in the middle

def leaves_and_returns(guest, disk, image, leave, come_back):
    front = disk.plug(guest)
    load = Stress(front)
    moves(image)
    leave(front)
    no_task_hangs(guest)
    come_back(front)
    moves(image)
    load.stop()
    smoke(guest, front.disk())


def test_module_can_be_removed_under_load(guest, link, image):
    disk = link("block", vectors=2)
    disk.serve(image)
    leaves_and_returns(guest, disk, image,
                       lambda _: guest.check("rmmod virtio_ivshmem"),
                       lambda _: guest.check("modprobe virtio_ivshmem"))


def test_driver_can_be_unbound_under_load(guest, link, image):
    disk = link("block")
    disk.serve(image)
    leaves_and_returns(guest, disk, image,
                       lambda front: front.driver("unbind"),
                       lambda front: front.driver("bind"))


def test_device_can_be_unplugged_under_load(guest, link, image):
    disk = link("block")
    disk.serve(image)
    leaves_and_returns(guest, disk, image,
                       lambda front: guest.unplug(front.id),
                       lambda front: disk.plug(guest))


def test_driver_can_be_unbound_without_a_back_end(guest, link, image):
    disk = link("block")
    front = disk.plug(guest)
    front.driver("unbind")
    front.driver("bind")
    disk.serve(image)
    front.disk()
