# SPDX-License-Identifier: GPL-2.0
"""The static gates of scripts/check.sh, a test each."""

import pytest

from harness import ROOT
from harness.process import run

SCRIPT = ROOT / "scripts" / "check.sh"
GATES = run([SCRIPT, "--list"]).stdout.split()


@pytest.mark.parametrize("gate", GATES)
def test_static_gate_has_no_finding(gate):
    result = run([SCRIPT, gate], timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
