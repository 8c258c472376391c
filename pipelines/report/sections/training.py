"""How the policies and the value models were trained: loss curves and the sizes behind them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.report.charts import Line, line_chart
from pipelines.report.figures import ValueTraining
from pipelines.report.formats import duration, figure, words
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
{{ chart }}
{% if undrawn %}<p class="note bad">{{ undrawn }} loss values are not positive and finite: they cannot stand on a
logarithmic axis and are not drawn.</p>{% endif %}
<div class="scroll"><table><thead><tr><th>Policy of</th><th class="n">Steps</th><th class="n">Time</th>
<th class="n">Steps per second</th><th class="n">First loss</th><th class="n">Last loss</th>
<th class="n">Parameters</th><th class="n">Episodes</th><th class="n">Frames</th></tr></thead><tbody>
{% for name, t in rows %}
<tr><th scope="row">{{ name }}</th><td class="n">{{ "{:,}".format(t.steps) }}</td>
<td class="n">{{ m.num(t.seconds, duration(t.seconds)) if t.seconds is not none else "n/a" }}</td>
<td class="n">{{ figure(t.steps / t.seconds) if t.seconds else "n/a" }}</td>
<td class="n">{{ m.num(t.loss[0][1], figure(t.loss[0][1])) if t.loss else "n/a" }}</td>
<td class="n">{{ m.num(t.loss[-1][1], figure(t.loss[-1][1])) if t.loss else "n/a" }}</td>
<td class="n">{{ "{:,}".format(t.parameters) }}</td><td class="n">{{ "{:,}".format(t.episodes) }}</td>
<td class="n">{{ "{:,}".format(t.frames) }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if values %}<h3 class="part">Value models</h3>
{{ value_chart }}
{% if value_undrawn %}<p class="note bad">{{ value_undrawn }} loss values of value models are not finite and are not
drawn.</p>{% endif %}
<div class="scroll"><table><thead><tr><th>Iteration</th>
{% for name in columns %}<th class="n">{{ name }}</th>{% endfor %}
<th class="n">Time</th></tr></thead><tbody>
{% for v in values %}<tr><th scope="row">{{ v.index }}</th>
{% for cell in v.cells %}<td class="n">{{ cell }}</td>{% endfor %}
<td class="n">{{ v.time }}</td></tr>{% endfor %}
</tbody></table></div>
<p class="note">Time is that of all folds.</p>
{% endif %}
"""


_FOLD = re.compile(r"fold(\d+)_loss")


def _fold(curve: str) -> str | None:
    """The fold of a curve; None of another curve."""
    if curve == "loss":
        return "0"
    match = _FOLD.fullmatch(curve)
    return match[1] if match else None


def _value_lines(trained: Sequence[tuple[int, ValueTraining]]) -> tuple[list[Line], int]:
    """Loss curves of the latest value models, and how many points cannot be drawn."""
    index, latest = trained[-1]
    curves = {fold: curve for name, curve in latest.loss.items() if (fold := _fold(name)) is not None}
    lines = [
        Line(label=f"iteration {index}, fold {fold}", points=[(s, v) for s, v in curve if math.isfinite(v)])
        for fold, curve in sorted(curves.items())
    ]
    return [line for line in lines if line.points], sum(map(len, curves.values())) - sum(
        len(line.points) for line in lines
    )


def _value_rows(trained: Sequence[tuple[int, ValueTraining]]) -> tuple[list[dict[str, Any]], list[str]]:
    """One row per fold; and the columns' names."""
    found: list[tuple[int, dict[str, str], str]] = []
    for index, training in trained:
        for place, record in enumerate(training.folds):
            shown = {words(path.removeprefix("figures.")): text for path, text in _numbers(record)}
            found.append((index, shown, duration(training.seconds) if place == 0 else ""))
    columns = list(dict.fromkeys(name for _, shown, _ in found for name in shown))
    rows = [{"index": i, "cells": [shown.get(name, "-") for name in columns], "time": time} for i, shown, time in found]
    return rows, columns


def _numbers(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}.")
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int):
            yield before + name, f"{value:,}"
        elif isinstance(value, float):
            yield before + name, figure(value)


def _context(data: ReportData) -> Mapping[str, Any] | str:
    rows = [
        (name, training)
        for i in data.iterations
        for name, training in (("pretraining", i.pretraining), (f"iteration {i.index}", i.training))
        if training is not None
    ]
    if not rows:
        return "No policy has been trained yet."
    drawn = {name: [(s, v) for s, v in t.loss if math.isfinite(v) and v > 0] for name, t in rows}
    lines = [Line(label=name, points=points) for name, points in drawn.items() if points]
    valued = [(i.index, i.value_training) for i in data.iterations if i.value_training is not None]
    value_lines, value_undrawn = _value_lines(valued) if valued else ([], 0)
    value_rows, columns = _value_rows(valued)
    return {
        "values": value_rows,
        "columns": columns,
        "value_undrawn": value_undrawn,
        "value_chart": line_chart(value_lines, x_label="gradient step", y_label="loss") if value_lines else "",
        "rows": rows,
        "undrawn": sum(len(t.loss) for _, t in rows) - sum(len(points) for points in drawn.values()),
        "chart": line_chart(lines, x_label="gradient step", y_label="loss", log_y=True) if lines else "",
    }


SECTION = Section(id="training", order=50, title="Training", template=_TEMPLATE, context=_context)
