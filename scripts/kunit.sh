#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs the KUnit suites in user-mode Linux, built of Debian's kernel source
# with the drivers in its tree, KASAN and lockdep on.
#
# Usage: scripts/kunit.sh 6.1|6.12 [SUITE]      (SUITE may have wildcards)
#
# Leaves in build/kunit/KVER
#   source      Debian's source
#   linux       what is built of it
#   build.log   what the compiler said
#   test.log    what the kernel said, all cases
# What was built is kept, so that only the first run takes minutes.
set -eu

ku_root=$(cd "$(dirname "$0")/.." && pwd)
# A hang ends the run: all suites take seconds
ku_limit_s=180

ku_usage()
{
	echo "usage: $0 6.1|6.12 [suite]" >&2
	exit 2
}

ku_die()
{
	echo "kunit: $ku_kver: $*" >&2
	exit 1
}

# Two lines make ivshmem/ part of the tree
ku_unpack()
{
	[ ! -e source ] || return 0
	rm -rf source.new
	mkdir source.new
	echo "kunit: unpacking the source of $ku_kver"
	tar -C source.new --strip-components=1 -xf \
		"/usr/src/linux-source-$ku_kver.tar.xz"
	echo 'source "ivshmem/Kconfig"' >>source.new/Kconfig
	echo 'obj-y += ivshmem/' >>source.new/Kbuild
	mv source.new source
}

# Links to each file and not one to the directory: modules that were built
# beside the sources would be taken for what is to be linked here.
ku_link()
{
	tree=$PWD/source/ivshmem
	mkdir -p "$tree"
	find "$tree" -xtype l -delete
	(cd "$ku_root" && find Kbuild Kconfig compat include drivers \
		tools/testing/kunit ! -name '*.mod.c' \
		\( -name '*.[ch]' -o -name 'K*' -o -name Makefile \) -print) |
	while read -r file; do
		mkdir -p "$(dirname "$tree/$file")"
		[ -e "$tree/$file" ] || ln -s "$ku_root/$file" "$tree/$file"
	done
}

ku_make()
{
	make -C source O="$PWD/linux" ARCH=um W= "-j$(nproc)" "$@"
}

ku_configure()
{
	config=$ku_root/tools/testing/kunit/kunitconfig
	mkdir -p linux
	cmp -s "$config" linux/kunitconfig && [ -e linux/.config ] && return
	ku_make KCONFIG_ALLCONFIG="$config" allnoconfig >build.log 2>&1 ||
		{ cat build.log; ku_die "cannot configure"; }
	# A symbol that this kernel lacks, or whose dependencies are not met
	grep '^CONFIG' "$config" | grep -vxFf linux/.config &&
		ku_die "the kernel cannot be configured like this"
	cp "$config" linux/kunitconfig
}

ku_build()
{
	[ -e linux/linux ] || echo "kunit: building $ku_kver, this takes minutes"
	if ! ku_make linux >build.log 2>&1; then
		grep -E -A 8 'error|Error' build.log | tail -n 60
		ku_die "build failed, see build.log"
	fi
	! grep -A 4 'ivshmem/.*warning:' build.log || ku_die "warnings"
}

ku_run()
{
	# The kernel ends itself after the last suite
	timeout -k 10 "$ku_limit_s" linux/linux mem=256M "uml_dir=$PWD/uml" \
		con0=fd:0,fd:1 con=null kunit.enable=1 kunit_shutdown=halt \
		kunit.stats_enabled=2 "kunit.filter_glob=$1" \
		</dev/null >test.log 2>&1 || true
}

# One line a suite; what failed, in full. Fails if anything did, or if the
# kernel complained, or did not come to the end.
ku_report()
{
	awk -v kver="$ku_kver" -f "$ku_root/tools/testing/kunit/report.awk" test.log
}

case ${1-} in
6.1|6.12) ku_kver=$1 ;;
*) ku_usage ;;
esac
[ $# -le 2 ] || ku_usage

mkdir -p "$ku_root/build/kunit/$ku_kver"
cd "$ku_root/build/kunit/$ku_kver"
exec 9>.lock
flock 9
ku_unpack
ku_link
ku_configure
ku_build
ku_run "${2-*}"
ku_report
