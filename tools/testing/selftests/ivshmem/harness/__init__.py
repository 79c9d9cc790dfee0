# SPDX-License-Identifier: GPL-2.0
"""What the tests stand on: processes, the wire protocols, guests."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[5]
BUILD = ROOT / "build"
BIN = BUILD / "bin"
