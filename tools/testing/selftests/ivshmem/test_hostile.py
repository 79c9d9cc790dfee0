# SPDX-License-Identifier: GPL-2.0
"""make hostile, each target for a moment; TIME=seconds in the environment: so
long for each.
"""

import os
import re
import shutil
import sys

import pytest

from harness import ROOT
from harness.process import run

HOSTILE = ROOT / "tools/testing/hostile"
sys.path.insert(0, str(HOSTILE))

from targets import TARGETS  # noqa: E402

SECONDS = int(os.environ.get("TIME") or 3)
KVER = (os.environ.get("KVERS") or "6.12").split()[-1]
LINE = re.compile(r"^hostile: (\S+) +seed 1 +\d+ s +(\d+) mutations +(\d+) recoveries "
                  r"\(longest +\d+ ms\), answers +\d+ ms, worst +\d+ ms, at rest +\d+ ms: ok$")


def hostile(*words):
    return run([HOSTILE / "hostile.py", *words], timeout=200 + SECONDS)


def cannot_run(name):
    return name == "net" and (os.geteuid() or not os.access("/dev/net/tun", os.W_OK) or
                              not shutil.which("ip"))


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.guest] if target.modules else [])
    for name, target in TARGETS.items()])
def test_victim_stands_it_and_works_with_the_next_one(name):
    if cannot_run(name):
        pytest.skip("needs root, /dev/net/tun and ip")
    result = hostile("--time", SECONDS, "--seed", 1, "--kver", KVER, name)
    assert result.returncode == 0, result.stdout + result.stderr
    target, mutations, recoveries = LINE.match(result.stdout).groups()
    assert target == name and int(mutations) > 100 and int(recoveries) > 0
    print(result.stdout)


def test_target_that_is_none_is_a_usage_error():
    result = hostile("nobody")
    assert result.returncode == 2 and "there are: net, " in result.stderr
