#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Searches the models exhaustively with spin. One that is right has no error;
# one with a deliberate fault (bug-*) has to show it, or the model proves
# nothing. Runs all; `check.sh NAME...` runs the named ones, --list names them.
#
# A trail is kept of an error that was not expected:
#   cd build/model/NAME && spin -k *.trail -t -p -DFLAGS MODEL.pml
set -eu

model_dir=$(cd "$(dirname "$0")" && pwd)
model_out=$model_dir/../../../build/model
model_all="net-link net-link-liveness net-link-bug-reset
net-ring net-ring-bug-look net-ring-bug-barrier
virtio virtio-liveness virtio-bug-reset virtio-bug-early virtio-bug-look"

# name -> file, and what spin is to define
model_file()
{
	echo "$model_dir/${1%%-liveness}" | sed 's/-bug-[a-z]*$//;s/$/.pml/'
}

model_flags()
{
	case $1 in
	*-bug-*)	echo "-DBUG_$(echo "${1##*-bug-}" | tr '[:lower:]' '[:upper:]')" ;;
	net-link-liveness) echo "-DONE_STEP -DEVENTS=1" ;;
	*-liveness)	echo "-DONE_STEP" ;;
	esac
}

# In the current directory; the report of the search is in ./report
model_search()
{
	cc_flags=-DSAFETY
	search="-E -m1000000"
	case $1 in
	*-liveness)
		cc_flags=-DNFAIR=3
		search="$search -a -f" ;;
	esac
	# The words of the lists are meant to be split
	# shellcheck disable=SC2046
	spin -a $(model_flags "$1") "$(model_file "$1")" >spin.log
	${CC:-cc} -O1 -w "$cc_flags" -o pan pan.c
	# shellcheck disable=SC2086
	timeout 300 ./pan $search >report 2>&1
}

model_errors()
{
	sed -n 's/.*errors: \([0-9]*\)$/\1/p' report
}

model_states()
{
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' report
}

model_complete()
{
	! grep -qE 'too small|out of memory|not completed|aborted' report
}

model_judge()
{
	case $1 in
	*-bug-*)
		[ "$(model_errors)" = 1 ] && echo "fault found" && return
		echo "FAULT NOT FOUND" ;;
	*)
		[ "$(model_errors)" = 0 ] && model_complete && echo "proven" && return
		echo "WRONG" ;;
	esac
	return 1
}

model_check()
{
	rm -rf "${model_out:?}/$1"
	mkdir -p "$model_out/$1"
	cd "$model_out/$1"
	model_search "$1" || true
	verdict=$(model_judge "$1") && ok=0 || ok=1
	printf 'model: %-22s %-12s %10s states\n' "$1" "$verdict" "$(model_states)"
	[ "$ok" -eq 0 ] || cat spin.log report
	return "$ok"
}

if [ "${1-}" = --list ]; then
	echo "$model_all"
	exit
fi
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $model_all
failed=
for name; do
	(model_check "$name") || failed="$failed $name"
done
[ -z "$failed" ] || { echo "model: failed:$failed" >&2; exit 1; }
