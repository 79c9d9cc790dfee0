#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Installs the Debian packages that the given groups of work need.
#
# Usage: scripts/deps.sh [build|qemu|guest|test|check|kernels|bench]...   (default: all)
#
# Quick and silent when nothing is missing. Only root may install: everybody
# else is told the command.
set -eu

# Modules (Debian's headers name gcc-12; BTF wants pahole) and tools
deps_build="gcc gcc-12 make pkg-config libc6-dev bc libelf-dev libssl-dev
pahole bison flex kmod xz-utils zstd libsystemd-dev liburing-dev"

# The device model is built against the QEMU that is installed
deps_qemu="qemu-system-x86 dpkg-dev gcc make pkg-config python3 ninja-build
meson libglib2.0-dev libpixman-1-dev libfdt-dev"

# Guests: an emulator, a userland for the initramfs, tools to unpack kernels
deps_guest="qemu-system-x86 busybox-static kmod gzip xz-utils zstd make gcc
libc6-dev python3 e2fsprogs iperf3"

# spin searches the models; the sanitizers and libFuzzer are in libclang-rt
deps_test="python3 python3-pytest python3-pytest-timeout g++ clang
libclang-rt-dev spin e2fsprogs fio systemd iproute2 iputils-ping ethtool iperf3
socat"

deps_check="sparse coccinelle cppcheck shellcheck mandoc clang perl python3
python3-pyflakes linux-source-6.12"

# Kernels that are built to test on, as programs or for guests
deps_kernels="linux-source-6.1 linux-source-6.12 gcc make bc bison flex libelf-dev libssl-dev
xz-utils kmod perl python3 libc6-dev"

# Benchmarks: the load, and the plot
deps_bench="fio iperf3 iputils-ping ethtool iproute2 clang gcc libc6-dev make
python3 python3-matplotlib"

deps_usage()
{
	echo "usage: $0 [build|qemu|guest|test|check|kernels|bench]..." >&2
	exit 2
}

deps_packages()
{
	for group; do
		case $group in
		build)	echo "$deps_build" ;;
		qemu)	echo "$deps_qemu" ;;
		guest)	echo "$deps_guest" ;;
		test)	echo "$deps_test" ;;
		check)	echo "$deps_check" ;;
		kernels)	echo "$deps_kernels" ;;
		bench)	echo "$deps_bench" ;;
		*)	deps_usage ;;
		esac
	done | tr -s ' ' '\n' | sort -u
}

deps_missing()
{
	for package; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
			 2>/dev/null) || status=
		[ "$status" = installed ] || echo "$package"
	done
}

deps_install()
{
	# One installation at a time; the lists have no lock with a wait
	exec 9<"$0"
	flock 9
	export DEBIAN_FRONTEND=noninteractive
	printf 'deps: installing %s package(s): %s\n' $# "$*"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	if ! { apt-get -q update &&
	       apt-get -q -y -o DPkg::Lock::Timeout=300 install \
			--no-install-recommends "$@"; } >"$log" 2>&1; then
		cat "$log" >&2
		echo "deps: installation failed" >&2
		exit 1
	fi
}

[ $# -gt 0 ] || set -- build qemu guest test check kernels bench

# A subshell cannot end this script: ask before the pipeline does
for group; do
	case $group in build|qemu|guest|test|check|kernels|bench) ;; *) deps_usage ;; esac
done

# Splitting the lists into words is the intention
# shellcheck disable=SC2046
set -- $(deps_missing $(deps_packages "$@"))
[ $# -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "missing packages; run as root:" >&2
	echo "  apt-get install --no-install-recommends $*" >&2
	exit 1
fi
deps_install "$@"
