#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a guest of the soak does all the time: `load NAME [ADDRESS]`. It goes on
# whatever happens to its device: an error is tried again, wrong data are told.
#
# On standard output, for rig.py: "begin" starts a round; "ok BYTES" ends one
# whose data were right; "wrong TEXT"; "cut" if a console lost something; "kept
# SLOT MD5" when that is on the disk and flushed.
set -u

load_pause()
{
	usleep 300000
}

# /dev/uioN of the device with that class, if it is there
load_node()
{
	for dir in /sys/bus/pci/devices/*; do
		[ "$(cat "$dir/class" 2>/dev/null)" = "$1" ] || continue
		for uio in "$dir"/uio/uio*; do
			[ ! -e "$uio" ] || { echo "/dev/${uio##*/}" && return; }
		done
	done
	return 1
}

# --- cable: a file over TCP, whose sum comes back; iperf3 the other way --------

PIECE_BYTES=1048576

load_send_round()
{
	dd if=/tmp/data of=/tmp/piece bs=4k skip="$2" count=256 2>/dev/null
	want=$(md5sum </tmp/piece)
	got=$(timeout 5 socat -t 5 - "TCP4:$1:7000,connect-timeout=1" </tmp/piece 2>/dev/null)
	case $got in
	"$want")	echo ok $PIECE_BYTES ;;
	*" "*)		echo "wrong send: $got came, $want went" ;;
	esac
}

load_send()
{
	n=0
	head -c 5m /dev/urandom >/tmp/data
	while :; do
		echo begin
		n=$(((n + 37) % 1024))
		load_send_round "$1" $n
		load_pause
	done
}

load_sum()
{
	exec socat -T 10 TCP4-LISTEN:7000,reuseaddr,fork EXEC:md5sum 2>/dev/null
}

# One connection as long as it moves; a line of iperf3 each time something did
load_iperf()
{
	while :; do
		echo begin
		iperf3 -c "$1" -t 86400 -b 10M -i 0.5 --forceflush --connect-timeout 1000 2>&1 |
			awk -v patience=8 '
			$4 != "sec" { next }
			$5 > 0 {
				size = $6 ~ /^K/ ? 1024 : $6 ~ /^M/ ? 1048576 : 1
				printf "ok %.0f\nbegin\n", $5 * size
				fflush()
				still = 0
				next
			}
			++still == patience { exit }'
		load_pause
	done
}

# It may wait for ever for a client that was killed between two of its steps
load_iperf_server()
{
	while :; do
		timeout 30 iperf3 -s -1 --idle-timeout 4 --rcv-timeout 4000 >/dev/null 2>&1
	done
}

# --- disk: what was flushed stays; fio writes and verifies --------------------

SLOT_BYTES=65536
SLOTS=8			# from FIRST_SLOT on, behind what fio writes
FIRST_SLOT=128

# A node of its own: where a disk in /dev has just gone dd would make a file
load_disk_node()
{
	dev=$(cat /sys/class/block/vd?/dev 2>/dev/null) || return 1
	rm -f "$1"
	mknod "$1" b "${dev%:*}" "${dev#*:}"
}

# 1 = it cannot be read now; a disk that has just gone reads as nothing
load_disk_kept()
{
	dd if=/run/disk of=/run/got bs=$SLOT_BYTES skip=$((FIRST_SLOT + slot)) count=1 \
		iflag=direct 2>/dev/null && [ "$(stat -c %s /run/got)" = $SLOT_BYTES ] || return 1
	cmp -s /run/got /run/kept || echo "wrong disk: slot $slot is not what was flushed"
}

load_disk_keep()
{
	slot=$(((slot + 1) % SLOTS))
	kept=
	head -c $SLOT_BYTES /dev/urandom >/run/kept
	dd if=/run/kept of=/run/disk bs=$SLOT_BYTES seek=$((FIRST_SLOT + slot)) \
		conv=fsync,notrunc 2>/dev/null || return 1
	kept=1
	echo "kept $((FIRST_SLOT + slot)) $(md5sum </run/kept)"
}

load_disk()
{
	slot=0
	kept=
	while :; do
		echo begin
		load_disk_node /run/disk && { [ ! "$kept" ] || load_disk_kept; } &&
			load_disk_keep && echo ok $SLOT_BYTES
		load_pause
	done
}

# Field 47 of a line of fio is how much it has written so far, in KiB
load_fio()
{
	while :; do
		echo begin
		load_disk_node /run/fio-disk &&
			fio --name=soak --filename=/run/fio-disk --allow_file_create=0 --thread \
				--size=4m --bsrange=4k-64k --rw=randwrite --rate=2m,2m \
				--direct=1 --ioengine=psync --verify=crc32c --verify_backlog=8 \
				--verify_fatal=1 --time_based --runtime=86400 \
				--minimal --status-interval=500ms 2>&1 |
			awk -F ';' '
			/verify/ { print "wrong fio: " $0; fflush() }
			NF > 47 && $47 > last {
				printf "ok %.0f\nbegin\n", ($47 - last) * 1024
				fflush()
				last = $47
			}'
		load_pause
	done
}

# --- console: numbered lines, as fast as they are taken for a while -------------

LINES_A_ROUND=500

load_lines()
{
	awk -v count=$LINES_A_ROUND 'BEGIN {
		printf "\nbegin\n"
		for (n = 0; n < count; n++)
			printf "%07d %055d\n", n, n
	}'
}

# Raw as long as it is held open
load_flood()
{
	load_lines >/run/lines
	while :; do
		for tty in /dev/hvc*; do
			{ stty raw -echo <&3 && cat /run/lines >&3; } 3<>"$tty"
		done 2>/dev/null
		load_pause
	done
}

# A line that is none is what was left when the writer lost its console, and it
# then begins anew
load_check()
{
	awk -v count=$LINES_A_ROUND '
	function expected() { return sprintf("%07d %055d", n, n) }
	function say(text) { print text; fflush() }
	$0 == "begin" {
		if (n)
			say("cut")
		n = 0
		broken = ""
		on = 1
		say("begin")
		next
	}
	broken != "" { say("wrong console: " broken) }
	$0 == "" { next }
	on && $0 == expected() {
		if (++n == count) {
			say("ok " 64 * count)
			n = on = 0
		}
		next
	}
	{ broken = $0 }'
}

load_console()
{
	while :; do
		node=$(load_node 0xffc003) &&
			virtio-ivshmem-console -e none -w 4 "$node" 2>/run/console | load_check
		load_pause
	done
}

# --- uio: doorbells there and back, and a word in either section ------------

PINGS=20

load_peer()
{
	case $(ivshmem info "$1" | grep -o 'peer [01] of 2') in
	"peer 0 of 2")	echo 1 ;;
	"peer 1 of 2")	echo 0 ;;
	*)		return 1 ;;
	esac
}

load_ping()
{
	while :; do
		echo begin
		node=$(load_node 0xff0000) && peer=$(load_peer "$node") &&
			ivshmem ping -q -c $PINGS -i 0 "$node" "$peer" 2>/dev/null |
			grep -q " $PINGS received" && echo ok $((16 * PINGS))
		load_pause
	done
}

load_pong()
{
	while :; do
		node=$(load_node 0xff0000) && ivshmem pong "$node" >/dev/null 2>&1
		load_pause
	done
}

load_say()
{
	node=$(load_node 0xff0000) && ivshmem write -d "$1" "$node" output
}

load_hear()
{
	node=$(load_node 0xff0000) && peer=$(load_peer "$node") &&
		[ "$(ivshmem read -n ${#1} "$node" "input:$peer")" = "$1" ]
}

name=$1
shift
case $name in
send|sum|iperf|iperf_server|disk|fio|flood|console|lines|check|ping|pong|say|hear)
	"load_$name" "$@" ;;
*)
	echo "load: no load '$name'" >&2
	exit 2 ;;
esac
