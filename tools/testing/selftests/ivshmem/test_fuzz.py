# SPDX-License-Identifier: GPL-2.0
"""The fuzzers of tools/testing/fuzz, each for a moment, on its corpus.

TIME=seconds in the environment: so long for each. make fuzz goes on for longer.
"""

import os
import re

import pytest

from harness import ROOT
from harness.process import run

FUZZ = ROOT / "tools/testing/fuzz"
TARGETS = run([FUZZ / "run.sh", "--list"]).stdout.split()
SECONDS = int(os.environ.get("TIME") or 2)


@pytest.fixture(scope="module")
def built():
    result = run(["make", "-C", FUZZ], timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_nonsense_is_refused_without_harm(built, target):
    result = run([FUZZ / "run.sh", target], timeout=SECONDS + 90,
                 env=dict(os.environ, TIME=str(SECONDS)))
    assert result.returncode == 0, result.stdout + result.stderr
    executions = int(re.search(r"(\d+) executions", result.stdout).group(1))
    assert executions > len(list((FUZZ / "corpus" / target).iterdir()))
    print(result.stdout)
