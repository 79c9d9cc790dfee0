# SPDX-License-Identifier: GPL-2.0
"""What the tests stand on: processes, the wire protocols, guests."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[5]
BUILD = ROOT / "build"
BIN = BUILD / "bin"

# The kernels of this run: KVERS="6.1" in the environment leaves out the others
KVERS = (os.environ.get("KVERS") or "6.1 6.12").split()


def checks(kver):
    """What scripts/build-debug-kernel.sh built into it: "debug", "kcsan" or ""."""
    return kver.partition("-")[2]
