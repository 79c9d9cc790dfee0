#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs the fuzzers, built by make, one after the other: TIME=seconds for all of
# them, 60 if it is not set. `run.sh NAME...` runs the named ones, --list names
# them. Exits 1 if there is a find.
#
# What is interesting is kept in build/fuzz/corpus and is where the next run
# begins, beside the corpus here. A find is build/fuzz/NAME-crash-*, or -leak,
# -timeout, -oom; to see it again: build/fuzz/bin/NAME FILE
set -eu

fuzz_dir=$(cd "$(dirname "$0")" && pwd)
fuzz_out=$(cd "$fuzz_dir/../../.." && pwd)/build/fuzz
fuzz_interrupted=72	# exit status of libFuzzer
fuzz_all="layout net-ring virtio server lib qemu-client"

fuzz_stat()
{
	sed -n "s/^stat::$2: *//p" "$fuzz_out/$1.log"
}

# The log goes to build/fuzz/NAME.log
fuzz_run()
{
	name=$1
	seconds=$2
	mkdir -p "$fuzz_out/corpus/$name"
	timeout -s KILL $((seconds + 60)) "$fuzz_out/bin/$name" \
		-max_total_time="$seconds" -max_len=1024 -len_control=0 \
		-timeout=30 -print_final_stats=1 -artifact_prefix="$fuzz_out/$name-" \
		"$fuzz_out/corpus/$name" "$fuzz_dir/corpus/$name" \
		>"$fuzz_out/$name.log" 2>&1
}

fuzz_report()
{
	status=0
	fuzz_run "$1" "$2" || status=$?
	finds=$((status != 0 && status != fuzz_interrupted))
	printf 'fuzz: %-12s %3u s %10s executions, %u finds\n' "$1" "$2" \
		"$(fuzz_stat "$1" number_of_executed_units)" "$finds"
	[ "$status" -ne "$fuzz_interrupted" ] || exit 130
	[ "$finds" -ne 0 ] || return 0
	grep -E 'WRONG|ERROR|runtime error|Test unit written' "$fuzz_out/$1.log" ||
		tail -n 20 "$fuzz_out/$1.log"
	return 1
}

if [ "${1-}" = --list ]; then
	echo "$fuzz_all"
	exit
fi
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $fuzz_all
for name; do
	case " $fuzz_all " in
	*" $name "*) ;;
	*) echo "fuzz: no target '$name'; there are: $fuzz_all" >&2; exit 2 ;;
	esac
done
seconds=$((${TIME:-60} / $#))
[ "$seconds" -gt 0 ] || seconds=1
failed=
for name; do
	fuzz_report "$name" "$seconds" || failed="$failed $name"
done
[ -z "$failed" ] || { echo "fuzz: finds:$failed" >&2; exit 1; }
