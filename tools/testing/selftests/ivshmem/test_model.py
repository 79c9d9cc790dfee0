# SPDX-License-Identifier: GPL-2.0
"""The models of tools/testing/model, searched to the last state.

Each comes with deliberate faults, which the search has to find.
"""

import pytest

from harness import ROOT
from harness.process import run

SCRIPT = ROOT / "tools/testing/model/check.sh"
MODELS = run([SCRIPT, "--list"]).stdout.split()


def search(name):
    result = run([SCRIPT, name], timeout=280)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    print(result.stdout)
    return result.stdout


@pytest.mark.parametrize("model", [m for m in MODELS if "-bug-" not in m])
def test_no_state_of_the_model_breaks_a_rule(model):
    assert "proven" in search(model)


@pytest.mark.parametrize("model", [m for m in MODELS if "-bug-" in m])
def test_deliberate_fault_in_the_model_is_found(model):
    assert "fault found" in search(model)
