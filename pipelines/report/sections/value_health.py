"""What the value model is worth on episodes it did not see, beside controls that see no picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.report.figures import ValueFacts
from pipelines.report.formats import figure, words
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
{% for index, v in tables %}
{% if many %}<details{% if loop.first %} open{% endif %}><summary>Iteration {{ index }}</summary>{% endif %}
{{ m.problems(v.problems) }}
<div class="scroll"><table class="health"><thead><tr><th>Held-out figure, iteration {{ index }}</th>
{% for name in v.models %}<th class="n">{{ name }}</th>{% endfor %}<th>Taken from</th></tr></thead><tbody>
{% for row in v.rows %}
<tr><th scope="row"{% if row.hint %} title="{{ row.hint }}"{% endif %}>{{ row.name }}</th>
{% for c in row.cells %}<td class="n">{% if c.value is none %}<span class="sub">{{ c.text }}</span>{% else %}
{% if loop.first %}<b>{{ m.num(c.value, c.text) }}</b>{% else %}{{ m.num(c.value, c.text) }}{% endif %}
{% if c.interval %}<br><span class="sub">{{ c.interval }}</span>{% endif %}{% endif %}</td>{% endfor %}
<td class="sub">{{ row.note }}</td></tr>
{% endfor %}</tbody></table></div>
{% if many %}</details>{% endif %}
{% endfor %}
<p class="note">{% if held_out %}Every figure is of episodes that the model was not trained on{% else %}These figures
are of episodes that the model was trained on (no cross-fitting): they flatter it{% endif %}. Below a figure: its 95 %
interval over episodes, where one could be had.
{% if controls %}Controls, which see no picture: {{ controls | join(", ") }}. A value model that is not above them has
learned nothing from pictures. {% endif %}True progress is the simulator's record; it
judges and trains nothing.</p>
"""

_NAMES = {
    "value_std": ("standard deviation of values", ""),
    "constant_share": ("episodes of constant value", "lower is better"),
    "outside_share": ("frames outside [-1, 0]", "lower is better"),
    "mse_return": ("squared error against the return", "lower is better"),
    "spearman_time_median": ("rank correlation with time, median", "on successes; higher is better"),
    "spearman_time_mean": ("rank correlation with time, mean", "on successes; higher is better"),
    "pearson_time_median": ("correlation with time, median", "on successes; higher is better"),
    "pearson_time_mean": ("correlation with time, mean", "on successes; higher is better"),
    "pearson_progress": ("correlation with true progress", "per episode; higher is better"),
    "difference_correlation": ("value gain against true progress gain", "correlation; higher is better"),
    "oracle_auc": ("agreement with oracle labels (AUC)", "0.5 is chance"),
    "auc_25": ("success against failure at 25 % (AUC)", "of the median success length; 0.5 is chance"),
    "auc_50": ("success against failure at 50 % (AUC)", "of the median success length; 0.5 is chance"),
    "auc_75": ("success against failure at 75 % (AUC)", "of the median success length; 0.5 is chance"),
    "mdr": ("milestones detected", "share with rising value; higher is better"),
    "err_dr": ("errors detected", "share with falling value; higher is better"),
    "ms": ("milestone score", "relative rise of value"),
    "es": ("error score", "relative fall of value"),
    "flip_rate": ("labels that flip with the noise", "lower is better"),
    "mse_return_train": ("squared error on seen episodes", ""),
    "mse_gap": ("held-out minus seen squared error", "near 0 is better"),
}


def _leaves(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(name, number or {"value", "low", "high", ...}) of each figure, however deep."""
    for name, value in record.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping) and "value" not in value:
            yield from _leaves(value, f"{path}, ")
        elif isinstance(value, (int, float, Mapping)) and not isinstance(value, bool):
            yield path, value


def _cell(found: Any) -> dict[str, Any]:
    if found is None:
        return {"value": None, "text": "-"}
    if not isinstance(found, Mapping):
        return {"value": found, "text": figure(found), "interval": ""}
    value, low, high = found["value"], found.get("low"), found.get("high")
    if value is None:
        return {"value": None, "text": "n/a"}
    interval = "" if low is None or high is None else f"{figure(low)} to {figure(high)}"
    return {"value": value, "text": figure(value), "interval": interval}


def _table(facts: ValueFacts) -> dict[str, Any]:
    columns = {model: dict(_leaves(record)) for model, record in facts.figures.items()}
    rows = []
    for key in dict.fromkeys(name for column in columns.values() for name in column):
        cells = [column.get(key) for column in columns.values()]
        name, hint = _NAMES.get(key, (words(key), ""))
        first = cells[0] if isinstance(cells[0], Mapping) else {}
        note = ", ".join(part for part in (hint, str(first.get("note", ""))) if part)
        rows.append({"name": name, "hint": key, "note": note, "cells": [_cell(cell) for cell in cells]})
    return {"models": list(columns), "rows": rows, "problems": facts.problems}


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    judged = [(i.index, i.value) for i in reversed(data.iterations) if i.value is not None]
    if not judged:
        return "No value model has been judged yet." if data.plans("judge") else None
    _, latest = judged[0]
    return {
        "tables": [(index, _table(facts)) for index, facts in judged],
        "many": len(judged) > 1,
        "held_out": latest.held_out,
        "controls": [name for name in latest.figures if name != latest.model],
    }


SECTION = Section(id="value-health", order=29, title="Value model health", template=_TEMPLATE, context=_context)
