# SPDX-License-Identifier: GPL-2.0
"""The drivers' KUnit suites in user-mode Linux, which is built on the first run."""

import pytest

from harness import ROOT
from harness.process import run

SCRIPT = ROOT / "scripts" / "kunit.sh"
SUITES = 10


# A cold build takes five minutes of one processor
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kver", ["6.1", "6.12"])
def test_suites_pass_and_kernel_does_not_complain(kver):
    result = run([SCRIPT, kver], timeout=1780)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"kunit: {kver}: {SUITES} suites: " in result.stdout
    assert " 0 failed, 0 skipped" in result.stdout.splitlines()[-1]
    print(result.stdout.splitlines()[-1])
