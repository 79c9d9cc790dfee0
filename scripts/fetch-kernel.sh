#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unpacks a Debian kernel and its headers below build/kernels/KVER; nothing is
# installed on the host.
#
# Usage: scripts/fetch-kernel.sh 6.1|6.12
#
# Leaves in build/kernels/KVER
#   vmlinuz   the kernel as it is packaged
#   vmlinux   the same, uncompressed: boots faster in an emulator
#   modules   the modules of that kernel, with modules.dep
#   headers   KERNELDIR for building modules
#   release   what uname -r says in that kernel
#   root      the packages, unpacked
# What is there is kept: remove the directory to get a newer kernel.
set -eu

fk_dir=$(cd "$(dirname "$0")/.." && pwd)/build/kernels

fk_usage()
{
	echo "usage: $0 6.1|6.12" >&2
	exit 2
}

fk_say()
{
	echo "fetch-kernel: $*"
}

fk_die()
{
	echo "fetch-kernel: $*" >&2
	exit 1
}

# The packages that $1 depends on and whose names match $2
fk_depends()
{
	apt-cache depends "$1" 2>/dev/null |
		sed -n "s/^ *Depends: \($2\)\$/\1/p"
}

# The release (uname -r) that both metapackages agree on, empty if they do not
fk_release()
{
	image=$(fk_depends "$1" 'linux-image-.*' | head -n 1)
	headers=$(fk_depends "$2" 'linux-headers-.*' | head -n 1)
	image=${image#linux-image-}
	image=${image%-unsigned}
	[ -n "$image" ] && [ "$image" = "${headers#linux-headers-}" ] &&
		echo "$image"
}

fk_packages()
{
	echo "linux-image-$1" "linux-headers-$1"
	fk_depends "linux-headers-$1" 'linux-\(headers\|kbuild\)-.*'
}

fk_update()
{
	[ "$(id -u)" -eq 0 ] ||
		fk_die "the package lists are too old; run apt-get update as root"
	fk_say "updating the package lists"
	apt-get -qq update
}

# Resolve and download into the current directory
fk_download()
{
	release=$(fk_release "$fk_image" "$fk_headers") || return 1
	fk_say "downloading linux-image-$release and its headers"
	# shellcheck disable=SC2046
	apt-get -qq -o APT::Sandbox::User=root download $(fk_packages "$release")
}

# The headers name their place below /usr/src: let them find it themselves
fk_relocate()
{
	# make expands this, not the shell
	# shellcheck disable=SC2016
	for makefile in root/usr/src/linux-headers-*/Makefile; do
		sed -i 's,^include /usr/src/,include $(dir $(lastword $(MAKEFILE_LIST)))../,' \
			"$makefile"
	done
	rm -f root/lib/modules/*/build root/lib/modules/*/source
}

# A little endian number of $3 bytes at offset $2 of file $1
fk_number()
{
	od -An -j "$2" -N "$3" -t "u$3" "$1" | tr -d ' '
}

# The payload of a bzImage: Documentation/arch/x86/boot.rst of the kernel. Its
# last 4 bytes are a size that the compressor knows nothing of.
fk_uncompress()
{
	setup=$(($(fk_number "$1" 497 1) * 512 + 512))
	start=$((setup + $(fk_number "$1" 584 4)))
	length=$(($(fk_number "$1" 588 4) - 4))
	tail -c "+$((start + 1))" "$1" | head -c "$length" >payload
	magic=$(fk_number payload 0 4)
	case $magic in
	1484404733)	xz -dc <payload ;;
	4247762216)	zstd -dc <payload ;;
	*)		gzip -dc <payload ;;
	esac
	rm payload
}

fk_unpack()
{
	for package in *.deb; do
		fk_say "unpacking ${package%%_*}"
		dpkg-deb -x "$package" root
		rm "$package"
	done
	fk_relocate
	fk_say "listing the dependencies of the modules"
	depmod -b root "$release"
	ln -s "root/boot/vmlinuz-$release" vmlinuz
	fk_uncompress vmlinuz >vmlinux
	ln -s "root/lib/modules/$release" modules
	ln -s "root/usr/src/linux-headers-$release" headers
	echo "$release" >release
}

case $#:${1-} in
1:6.1)	fk_image=linux-image-amd64 fk_headers=linux-headers-amd64 ;;
1:6.12)	fk_image=linux-image-6.12-amd64 fk_headers=linux-headers-6.12-amd64 ;;
*)	fk_usage ;;
esac
kver=$1
PATH=$PATH:/usr/sbin:/sbin

[ ! -e "$fk_dir/$kver/release" ] || exit 0
mkdir -p "$fk_dir"
exec 9>"$fk_dir/.lock-$kver"
flock 9
[ ! -e "$fk_dir/$kver/release" ] || exit 0

# What an interrupted run left; the lock says that no other one is at work
rm -rf "$fk_dir/.new-$kver" "${fk_dir:?}/$kver"
mkdir "$fk_dir/.new-$kver"
cd "$fk_dir/.new-$kver"
if ! fk_download; then
	fk_update
	fk_download || fk_die "cannot get kernel $kver from the package sources"
fi
fk_unpack
cd "$fk_dir"
mv ".new-$kver" "$kver"
fk_say "kernel $release is in build/kernels/$kver"
