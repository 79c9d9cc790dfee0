#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Builds the kernel that `make check-vm DEBUG=` boots: Debian's linux-source with
# tools/testing/guest.config and a set of checks. Installs nothing.
#
# Usage: scripts/build-debug-kernel.sh 6.1|6.12 debug|kcsan
#
#   debug     tools/testing/debug.config: KASAN, lockdep, kmemleak and more
#   kcsan     tools/testing/kcsan.config: data races
#
# Leaves in build/kernels/KVER-CHECKS what fetch-kernel.sh leaves in KVER, but for
# vmlinuz, which nobody boots. What is there is kept: remove the directory to
# build again.
set -eu

cd "$(dirname "$0")/.."
[ $# -eq 2 ] || {
	echo "usage: $0 6.1|6.12 debug|kcsan" >&2
	exit 2
}
bdk_kver=$1
bdk_checks=$2
bdk_dir=build/kernels/$bdk_kver-$bdk_checks
bdk_archive=/usr/src/linux-source-$bdk_kver.tar.xz
PATH=$PATH:/usr/sbin:/sbin

bdk_die()
{
	echo "build-debug-kernel: $*" >&2
	exit 1
}

# Quiet, but for what failed. What PVH enters, and calls, is not to be
# instrumented: KASAN has no shadow yet. Nor is what unwinds the stack at each
# allocation, which would take most of the time. And for KCSAN nothing is at all:
# it watches some accesses of many, which are to be those of our modules.
bdk_make()
{
	make -C "$bdk_dir/source" -s -j"$(nproc)" KASAN_SANITIZE_enlighten.o=n \
		KASAN_SANITIZE_string.o=n KASAN_SANITIZE_unwind_frame.o=n \
		KCSAN_SANITIZE=n "$@" \
		>>"$bdk_dir/log" 2>&1 || {
		tail -n 30 "$bdk_dir/log" >&2
		bdk_die "make $* failed, see $bdk_dir/log"
	}
}

# Everything that was asked for has to be there: a dependency that is missing
# drops an option without a word
bdk_configure()
{
	configs="$PWD/tools/testing/guest.config $PWD/tools/testing/$bdk_checks.config"
	bdk_make tinyconfig
	# shellcheck disable=SC2086
	(cd "$bdk_dir/source" &&
	 scripts/kconfig/merge_config.sh -m .config $configs) >>"$bdk_dir/log" 2>&1
	bdk_make olddefconfig
	missing=
	# shellcheck disable=SC2013,SC2086
	for option in $(sed -n 's/^\(CONFIG_[A-Z0-9_]*=[ym]\)$/\1/p' $configs); do
		grep -qx "$option" "$bdk_dir/source/.config" ||
			missing="$missing $option"
	done
	[ -z "$missing" ] || bdk_die "not to be had in this kernel:$missing"
}

bdk_install()
{
	bdk_make INSTALL_MOD_PATH="$PWD/$bdk_dir/root" modules_install
	release=$(cat "$bdk_dir/source/include/config/kernel.release")
	rm -f "$bdk_dir/root/lib/modules/$release/build" \
		"$bdk_dir/root/lib/modules/$release/source"
	ln -sfn "root/lib/modules/$release" "$bdk_dir/modules"
	ln -sfn source "$bdk_dir/headers"
	ln -sfn source/vmlinux "$bdk_dir/vmlinux"
	echo "$release" >"$bdk_dir/release"
}

[ ! -e "$bdk_dir/release" ] || exit 0
[ -e "$bdk_archive" ] || bdk_die "install linux-source-$bdk_kver"
[ -e "tools/testing/$bdk_checks.config" ] || bdk_die "no checks $bdk_checks"
mkdir -p "$bdk_dir"
echo "Building a kernel $bdk_kver that checks itself: some minutes"
if [ ! -e "$bdk_dir/source" ]; then
	rm -rf "$bdk_dir/unpacked"
	mkdir "$bdk_dir/unpacked"
	tar -C "$bdk_dir/unpacked" --strip-components=1 -xf "$bdk_archive"
	mv "$bdk_dir/unpacked" "$bdk_dir/source"
fi
bdk_configure
bdk_make vmlinux modules
bdk_install
