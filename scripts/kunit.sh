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
#
# COVERAGE=1 in the environment: a kernel of its own, linux-coverage, which
# counts the lines of the drivers that run, and a table of them at the end.
set -eu

ku_root=$(cd "$(dirname "$0")/.." && pwd)
# A hang ends the run: all suites take seconds
ku_limit_s=180
# Count in our files alone. The run-time library and the kernel both have a
# mangle_path(), which the library does not call.
ku_gcov="-fprofile-arcs -ftest-coverage -fprofile-filter-files=ivshmem/"
ku_gcov="$ku_gcov -Wl,--allow-multiple-definition"

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
	make -C source O="$PWD/$ku_linux" ARCH=um W= GCOV_OPT="$ku_gcov" \
		"-j$(nproc)" "$@"
}

# KASAN would count as well, and slow the counting down
ku_config()
{
	if [ -n "${COVERAGE-}" ]; then
		grep -v '^CONFIG_KASAN=' "$ku_root/tools/testing/kunit/kunitconfig"
		cat "$ku_root/tools/testing/kunit/coverage.config"
	else
		cat "$ku_root/tools/testing/kunit/kunitconfig"
	fi
}

ku_configure()
{
	mkdir -p "$ku_linux"
	ku_config >"$ku_linux/kunitconfig.new"
	cmp -s "$ku_linux/kunitconfig.new" "$ku_linux/kunitconfig" &&
		[ -e "$ku_linux/.config" ] && return
	ku_make KCONFIG_ALLCONFIG="$PWD/$ku_linux/kunitconfig.new" allnoconfig \
		>build.log 2>&1 || { cat build.log; ku_die "cannot configure"; }
	# A symbol that this kernel lacks, or whose dependencies are not met
	grep '^CONFIG' "$ku_linux/kunitconfig.new" | grep -vxFf "$ku_linux/.config" &&
		ku_die "the kernel cannot be configured like this"
	mv "$ku_linux/kunitconfig.new" "$ku_linux/kunitconfig"
}

ku_build()
{
	[ -e "$ku_linux/linux" ] || echo "kunit: building $ku_kver, this takes minutes"
	if ! ku_make linux >build.log 2>&1; then
		grep -E -A 8 'error|Error' build.log | tail -n 60
		ku_die "build failed, see build.log"
	fi
	! grep -A 4 'ivshmem/.*warning:' build.log || ku_die "warnings"
}

ku_run()
{
	# The kernel ends itself after the last suite
	timeout -k 10 "$ku_limit_s" "$ku_linux/linux" mem=256M "uml_dir=$PWD/uml" \
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

# The kernel's linker script forgets destructors with a priority, such as those
# that write the counts
ku_patch_coverage()
{
	script=source/arch/um/include/asm/common.lds.S
	grep -q 'fini_array\.\*' "$script" ||
		sed -i 's/^\t\*(\.fini_array)$/\t*(.fini_array.*)\n&/' "$script"
}

# The counts of this run alone; the kernel writes them where it was built
ku_forget_coverage()
{
	find "$ku_linux/ivshmem" -name '*.gcda' -delete
}

ku_report_coverage()
{
	/usr/bin/python3 "$ku_root/tools/testing/kunit/coverage.py" \
		"$PWD/$ku_linux/ivshmem" "$ku_root"
}

case ${1-} in
6.1|6.12) ku_kver=$1 ;;
*) ku_usage ;;
esac
[ $# -le 2 ] || ku_usage
ku_linux=linux${COVERAGE:+-coverage}

mkdir -p "$ku_root/build/kunit/$ku_kver"
cd "$ku_root/build/kunit/$ku_kver"
exec 9>.lock
flock 9
ku_unpack
ku_link
ku_configure
[ -z "${COVERAGE-}" ] || ku_patch_coverage
ku_build
[ -z "${COVERAGE-}" ] || ku_forget_coverage
ku_run "${2-*}"
ku_report
[ -z "${COVERAGE-}" ] || ku_report_coverage
