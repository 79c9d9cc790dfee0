#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The static gates: every finding is an error. Runs all of them and says which
# failed; `scripts/check.sh NAME...` runs the named ones, --list names them.
set -eu

cd "$(dirname "$0")/.."
export check_dir=build/check
mkdir -p "$check_dir"

check_files()
{
	git ls-files --cached --others --exclude-standard -- "$@"
}

# The kernel's own scripts, from Debian's source package
check_kernel_scripts()
{
	[ -e "$check_dir/scripts/coccinelle" ] && return
	rm -rf "$check_dir/scripts" "$check_dir/scripts.new"
	mkdir "$check_dir/scripts.new"
	tar -C "$check_dir/scripts.new" --strip-components=2 --wildcards \
		-xf /usr/src/linux-source-6.12.tar.xz \
		'linux-source-6.12/scripts/checkpatch.pl' \
		'linux-source-6.12/scripts/spelling.txt' \
		'linux-source-6.12/scripts/const_structs.checkpatch' \
		'linux-source-6.12/scripts/kernel-doc' \
		'linux-source-6.12/scripts/coccinelle' &&
		mv "$check_dir/scripts.new" "$check_dir/scripts"
}

check_checkpatch()
{
	check_kernel_scripts
	# shellcheck disable=SC2046
	# Macros that generate functions name their argument more than once
	perl "$check_dir/scripts/checkpatch.pl" --strict --no-tree --terse \
		--ignore MACRO_ARG_REUSE \
		--show-types --no-summary -f \
		$(check_files 'drivers/*.[ch]' 'compat/*.h' 'include/*.h' \
			'tools/testing/kunit/*.[ch]')
}

check_kernel_doc()
{
	check_kernel_scripts
	# shellcheck disable=SC2046
	perl "$check_dir/scripts/kernel-doc" -none -Wall -Werror \
		$(check_files 'drivers/*.[ch]' 'compat/*.h' 'include/*.h' 'tools/lib/*.h' \
			'tools/testing/kunit/*.[ch]')
}

# As the kernel's coccicheck does it, one process for each semantic patch. Left
# out are two whose scripts are in OCaml and want its compiler: badzero, which
# sparse does as well, and check_bq27xxx_data, for a driver that is not ours.
check_coccinelle()
{
	check_kernel_scripts || return
	found=$check_dir/coccinelle.found
	# shellcheck disable=SC2046,SC2016
	find "$check_dir/scripts/coccinelle" -name '*.cocci' \
		! -name badzero.cocci ! -name check_bq27xxx_data.cocci -print0 |
		xargs -0 -P "$(nproc)" -I '{}' sh -c '
			patch=$1
			shift
			spatch -D report --no-show-diff --very-quiet \
				--cocci-file "$patch" \
				$(sed -n "s/.*Options://p" "$patch") \
				-I include -I include/uapi "$@" 2>"$patch.err" ||
				{ cat "$patch.err"; false; }' sh '{}' \
		$(check_files 'drivers/*.[ch]' 'compat/*.h' 'include/*.h') >"$found"
	cat "$found"
	[ ! -s "$found" ]
}

# W=1 and sparse, from nothing, so that every warning shows
check_modules()
{
	kver=$1
	tree=$check_dir/modules-$kver
	rm -rf "$tree"
	mkdir -p "$tree"
	check_files Kbuild Kconfig compat include drivers |
		xargs cp --parents -t "$tree"
	make -s -C "build/kernels/$kver/headers" M="$PWD/$tree" W=1 C=2 \
		CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$tree/log" 2>&1 || true
	cat "$tree/log"
	[ ! -s "$tree/log" ]
}

check_modules_6_1()
{
	check_modules 6.1
}

check_modules_6_12()
{
	check_modules 6.12
}

# All of user space with the other compiler; gcc builds it for real
check_clang()
{
	make -s tools CC=clang BUILD="$PWD/$check_dir/clang" 2>&1
}

# What is not for us: declarations stand at the head of a function, as in the
# kernel; members of a union may be there for its size; memory without a file
# has the descriptor -1; readdir() is safe, each has a stream of its own;
# getgrnam() is called before there are threads; usleep() will do for tests.
check_cppcheck()
{
	# shellcheck disable=SC2046
	cppcheck --quiet --error-exitcode=1 --inline-suppr -j "$(nproc)" \
		--enable=warning,style,performance \
		--suppress=variableScope --suppress=unusedStructMember \
		--suppress=invalidFunctionArg --suppress=readdirCalled \
		--suppress=getgrnamCalled --suppress=usleepCalled \
		--std=c11 --library=posix -D_GNU_SOURCE \
		-DIVSHMEM_VERSION='""' '-DG_GNUC_PRINTF(f, a)=' \
		-Iinclude -Iinclude/uapi -Idrivers/net -Itools/lib -Itools/testing/ring \
		$(check_files 'tools/*.c' 'qemu/*.c' | grep -v /kunit/)
}

check_shellcheck()
{
	# shellcheck disable=SC2046
	shellcheck $(check_files | xargs grep -lE '^#!/bin/(ba)?sh')
}

check_man()
{
	# shellcheck disable=SC2046
	mandoc -T lint -W warning $(check_files 'Documentation/man/*')
}

check_python()
{
	# shellcheck disable=SC2046
	/usr/bin/python3 -m pyflakes $(check_files '*.py')
}

check_all="checkpatch kernel_doc coccinelle modules_6_1 modules_6_12 clang cppcheck \
shellcheck man python"

if [ "${1-}" = --list ]; then
	echo "$check_all"
	exit
fi
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $check_all
for name; do
	case " $check_all " in
	*" $name "*) ;;
	*) echo "check: no gate '$name'; there are: $check_all" >&2; exit 2 ;;
	esac
done
failed=
for name; do
	if "check_$name" >"$check_dir/$name.log" 2>&1; then
		echo "check: $name: ok"
	else
		cat "$check_dir/$name.log"
		echo "check: $name: FAILED"
		failed="$failed $name"
	fi
done
[ -z "$failed" ] || { echo "check: failed:$failed" >&2; exit 1; }
