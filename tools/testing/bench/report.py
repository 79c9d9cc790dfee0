# SPDX-License-Identifier: GPL-2.0
"""Figures as JSON, as a table, and as a plot."""

import json

from runner import ratio


def _records(figures):
    return [{"case": f.case.name, "unit": f.case.unit, "subject": f.subject,
             "median": f.median, "min": min(f.values), "max": max(f.values),
             "runs": len(f.values),
             "better": "less" if f.case.less_is_better else "more",
             "versus": None if f.subject == f.case.versus else f.case.versus,
             "ratio": ratio(f, figures)} for f in figures]


def write_json(path, figures):
    path.write_text(json.dumps(_records(figures), indent=1) + "\n")


def _number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _verdict(figure, figures):
    if figure.goal is None:
        return ""
    times = ratio(figure, figures)
    if figure.case.less_is_better:
        sign, met = "<=", times <= figure.goal
    else:
        sign, met = ">=", times >= figure.goal
    return f"{sign} {figure.goal:g}x {'pass' if met else 'FAIL'}"


def _row(figure, figures):
    times = ratio(figure, figures)
    first = figure is next(f for f in figures if f.case is figure.case)
    return [figure.case.name if first else "", figure.case.unit if first else "",
            figure.subject, _number(figure.median), _number(min(figure.values)),
            _number(max(figure.values)), "" if times is None else f"{times:.2f}x",
            _verdict(figure, figures)]


def table(facts, figures):
    """Text: the facts, then a row for each figure."""
    rows = [["case", "unit", "subject", "median", "min", "max", "ratio", "goal"]]
    rows += [_row(f, figures) for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"# {fact}" for fact in facts]
    for row in rows:
        cells = [text.rjust(width) if 3 <= i <= 6 else text.ljust(width)
                 for i, (text, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _label(figure):
    less = " (less is better)" if figure.case.less_is_better else ""
    return f"{figure.case.name}{less}, {figure.subject}"


def write_plot(path, facts, figures):
    """Bars of ratios; a mark where the goal is, a line at 1."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    compared = [f for f in figures if f.subject != f.case.versus]
    labels = [_label(f) for f in compared]
    shapes, axes = pyplot.subplots(figsize=(9, 1.5 + 0.3 * len(compared)))
    axes.barh(labels, [ratio(f, figures) for f in compared], color="#4878a8")
    for i, figure in enumerate(compared):
        if figure.goal is not None:
            axes.plot([figure.goal] * 2, [i - 0.4, i + 0.4], color="#c03030")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times what it is compared with; red: goal\n" + "\n".join(facts),
                    fontsize=7)
    axes.tick_params(labelsize=8)
    shapes.savefig(path, bbox_inches="tight")
