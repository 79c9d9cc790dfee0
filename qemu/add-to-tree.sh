#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Usage: add-to-tree.sh DIRECTORY
# Make the device part of the QEMU sources (7.2 or later) in DIRECTORY, to be
# built as any other device. Once more on the same tree updates the files.
set -eu

[ -f "${1-}/hw/misc/meson.build" ] || {
	echo "usage: $0 DIRECTORY, with the sources of QEMU" >&2
	exit 2
}
tree=$1
here=$(cd "$(dirname "$0")" && pwd)

# Add our lines to the end of QEMU's file of that name, once
extend()
{
	grep -qi ivshmem2 "$tree/hw/misc/$1" ||
		grep -v SPDX "$here/hw/misc/$1" >> "$tree/hw/misc/$1"
}

cp "$here"/hw/misc/*.[ch] "$here"/compat/*.h "$tree/hw/misc/"
cp "$here/../include/uapi/linux/ivshmem.h" \
   "$here/../include/uapi/linux/ivshmem_server.h" \
   "$here/../include/linux/ivshmem-layout.h" "$tree/linux-headers/linux/"
extend Kconfig
extend meson.build
extend trace-events

# The list of sources had another name before 8.1
if grep -q '^softmmu_ss' "$tree/hw/misc/meson.build"; then
	sed -i '/IVSHMEM2/s/^system_ss/softmmu_ss/' "$tree/hw/misc/meson.build"
fi
