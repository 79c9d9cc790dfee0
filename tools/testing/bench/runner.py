# SPDX-License-Identifier: GPL-2.0
"""Runs cases and keeps their figures; knows nothing of what is measured.

A case is measured with several subjects, one of which the others are compared
with. The subjects take turns, run by run, so that whatever disturbs the
machine for a while disturbs all of them.
"""

import statistics
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Case:
    """subjects: {name: function that measures once and returns the figure},
    more is better; versus: the subject that the others are compared with;
    goals: {name: least ratio}.
    """
    name: str
    unit: str
    versus: str
    subjects: dict
    goals: dict = field(default_factory=dict)


@dataclass
class Plan:
    """How often and how long; a module of cases decides what long means."""
    runs: int = 5
    quick: bool = False


@dataclass
class Figure:
    case: Case
    subject: str
    values: list

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def goal(self):
        return self.case.goals.get(self.subject)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def _measure(case, plan):
    values = {subject: [] for subject in case.subjects}
    order = list(case.subjects)
    if not plan.quick:
        for subject in order:
            case.subjects[subject]()    # the first one warms up caches
    for _ in range(plan.runs):
        for subject in order:
            values[subject].append(case.subjects[subject]())
        order.append(order.pop(0))
    return [Figure(case, subject, values[subject]) for subject in case.subjects]


def run(cases, plan, figures):
    """Append the figures of all cases: those so far are there if one fails."""
    for number, case in enumerate(cases, 1):
        start = time.monotonic()
        figures += _measure(case, plan)
        progress(f"[{number}/{len(cases)}] {case.name}: {time.monotonic() - start:.0f} s")


def ratio(figure, figures):
    """To the median of the subject it is compared with; None for that one."""
    if figure.subject == figure.case.versus:
        return None
    base = next(f for f in figures
                if f.case is figure.case and f.subject == figure.case.versus)
    return figure.median / base.median
