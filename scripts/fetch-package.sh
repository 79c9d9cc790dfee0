#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Unpacks a Debian package to build/packages/NAME; nothing is installed.
#
# Usage: scripts/fetch-package.sh NAME
set -eu

[ $# -eq 1 ] || { echo "usage: $0 NAME" >&2; exit 2; }

dir=$(cd "$(dirname "$0")/.." && pwd)/build/packages
mkdir -p "$dir"
exec 9>"$dir/.lock-$1"
flock 9
[ ! -e "$dir/$1" ] || exit 0

rm -rf "$dir/.new-$1"
mkdir "$dir/.new-$1"
cd "$dir/.new-$1"
echo "fetch-package: $1"
fetch="apt-get -qq -o APT::Sandbox::User=root download $1"
# The list of packages may be missing or too old
$fetch 2>/dev/null || { apt-get -qq update && $fetch; }
dpkg-deb -x ./*.deb root
mv root "$dir/$1"
rm -r "$dir/.new-$1"
