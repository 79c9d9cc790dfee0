# SPDX-License-Identifier: GPL-2.0
"""The pure function from a vendor capability to a layout."""

import pytest

from harness import BIN, ROOT
from harness.process import run


def layout_cases():
    run(["make", "-s", "-C", ROOT / "tools/testing/layout"], check=True)
    result = run([BIN / "layout-test"])
    assert result.stdout, result.stderr
    return [line.split(": ", 1) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("verdict,case", layout_cases(),
                         ids=lambda text: text.replace(" ", "-"))
def test_layout(verdict, case):
    assert verdict == "ok", case


def test_layout_program_ends_without_a_sanitizer_report():
    result = run([BIN / "layout-test"])
    assert result.returncode == 0 and not result.stderr, result.stderr
