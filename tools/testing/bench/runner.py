# SPDX-License-Identifier: GPL-2.0
"""Runs cases and keeps their figures; knows nothing of what is measured.

A case is measured with several subjects, one of which the others are compared
with. The subjects take turns, run by run, so that whatever disturbs the
machine for a while disturbs all of them. Cases that have a function in common
are measured together: each takes its own figure from what the function returns.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Case:
    """subjects: {name: function that measures once}; versus: the subject that
    the others are compared with; goals: {name: least ratio, or the largest if
    less is better}; figure: what it is of that which a function returns.
    """
    name: str
    unit: str
    versus: str
    subjects: dict
    goals: dict = field(default_factory=dict)
    less_is_better: bool = False
    figure: Callable = lambda measured: measured


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


def _functions(cases):
    """What is to be called for the cases, each once, in the order of subjects."""
    return list(dict.fromkeys(f for case in cases for f in case.subjects.values()))


def _groups(cases):
    """The cases, in lists of those that have functions in common."""
    groups = []
    for case in cases:
        functions = set(case.subjects.values())
        group = next((g for g in groups if functions.intersection(_functions(g))), None)
        if group is None:
            groups.append([case])
        else:
            group.append(case)
    return groups


def _measure(cases, plan):
    order = _functions(cases)
    measured = {function: [] for function in order}
    if not plan.quick:
        for function in order:
            function()      # the first one warms up caches
    for _ in range(plan.runs):
        for function in order:
            measured[function].append(function())
        order.append(order.pop(0))
    return [Figure(case, subject, [case.figure(m) for m in measured[function]])
            for case in cases for subject, function in case.subjects.items()]


def run(cases, plan, figures):
    """Append the figures of all cases: those so far are there if one fails."""
    groups = _groups(cases)
    for number, group in enumerate(groups, 1):
        start = time.monotonic()
        figures += _measure(group, plan)
        names = "; ".join(case.name for case in group)
        progress(f"[{number}/{len(groups)}] {names}: {time.monotonic() - start:.0f} s")


def ratio(figure, figures):
    """To the median of the subject it is compared with; None for that one."""
    if figure.subject == figure.case.versus:
        return None
    base = next(f for f in figures
                if f.case is figure.case and f.subject == figure.case.versus)
    return figure.median / base.median
