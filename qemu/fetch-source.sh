#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Usage: fetch-source.sh VERSION DIRECTORY
# Unpack that version of the distribution's source package of QEMU into
# DIRECTORY. Source packages come from where the system gets its packages, but
# through lists of our own beside DIRECTORY: the system's stay untouched.
set -eu

version=$1
directory=$2
state=$directory.apt

# The system's sources with deb replaced by deb-src, in both formats
derive_sources()
{
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		name=$(basename "$file")
		case $file in
		*.list)
			[ ! -r "$file" ] ||
			sed -n 's/^deb\(-src\)\{0,1\}[[:space:]]/deb-src /p' \
				"$file" > "$state/sources/$name" ;;
		*.sources)
			sed 's/^Types:.*/Types: deb-src/' \
				"$file" > "$state/sources/$name" ;;
		esac
	done
}

apt()
{
	apt-get -q -q -o Dir::Etc::sourcelist=/dev/null \
		-o Dir::Etc::sourceparts="$state/sources" \
		-o Dir::State::lists="$state/lists" \
		-o Dir::Cache="$state/cache" \
		-o APT::Sandbox::User="$(id -un)" "$@"
}

rm -rf "$state" "$directory"
mkdir -p "$state/sources" "$state/lists/partial" "$state/cache"
derive_sources

echo "  APT     source lists"
apt update || echo "$0: not all lists could be fetched, trying without" >&2
echo "  APT     source of qemu $version"
cd "$state"
if ! apt --download-only source "qemu=$version"; then
	echo "$0: no source of qemu $version: upgrade qemu-system-x86, or unpack" >&2
	echo "the source somewhere and run: make qemu QEMU_SRC=directory" >&2
	exit 1
fi
echo "  UNPACK  qemu $version"
dpkg-source --no-check -x ./qemu_*.dsc tree > unpack.log
mv tree "$directory"
rm -rf "$state"
