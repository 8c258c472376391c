"""The sections about what is learned: values, advantages, labels, the training of models and the choice among them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.report.charts import histogram_chart, line_chart
from pipelines.report.formats import duration, figure, percent, words
from pipelines.report.model import AdvantageShare, Curve, ReportData, ValueFacts, ValueTraining
from pipelines.report.strip_chart import shared_ends, strip_chart

Context = Mapping[str, Any] | str | None

_SOURCES = ("detector", "imported", "human")
_FOLD = re.compile(r"fold(\d+)_loss")
_NAMES = {
    "flaw_auc_matched": ("flaw AUC in one situation", "clean above flawed actions, by advantage; 0.5 is chance"),
    "flaw_auc": ("flaw AUC over all situations", "also told by lateness alone; 0.5 is chance"),
    "flaw_auc_demos": ("flaw AUC on demonstrations", "0.5 is chance"),
    "flaw_auc_rollouts": ("flaw AUC on the policy's own actions", "0.5 is chance"),
    "flaw_auc_return": ("flaw AUC of the episode's bare return", "knows no value; the same for every model"),
    "flaw_auc_return_matched": ("the same in one situation", "knows no value; the same for every model"),
    "skill": ("squared error saved against the mean return", "1 is perfect, 0 says nothing"),
    "value_std": ("standard deviation of values", ""),
    "value_spread": ("spread of values over that of returns", "near 0: collapsed"),
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

_ORDER = {name: place for place, name in enumerate(_NAMES)}


def values(data: ReportData) -> Context:
    """What the value model saw in attempts: its curve under the film, the marked errors, and the labels made of it."""
    strips = [strip for strip in data.strips if strip.film.rows and strip.film.steps]
    if not strips:
        none = "No value model has been trained yet, or no attempt with its values can be shown."
        return none if data.plans("value_label") else None
    ends = shared_ends(strips)
    lookaheads = [i.advantage.lookahead for i in data.iterations if i.advantage is not None]
    return {
        "strips": [(strip, strip_chart(strip, ends)) for strip in strips],
        "human": any(bool(np.any(s.intervened)) for s in strips if s.source != "demo"),
        "banded": any(s.advantage is not None for s in strips),
        "forced": any(s.forced is not None and bool(np.any(s.forced)) for s in strips),
        "lookahead": lookaheads[-1] if lookaheads else None,
        "held_out": all(s.held_out for s in strips),
    }


def advantages(data: ReportData) -> Context:
    """Advantages per source, the threshold through them, and the share of frames that they make positive."""
    labelled = [(i.index, i.advantage) for i in data.iterations if i.advantage is not None]
    if not labelled:
        return "No advantage has been computed yet." if data.plans("advantage") else None
    index, latest = labelled[-1]
    numbers = [
        {**({} if facts.threshold is None else {"threshold": facts.threshold}), **facts.health} for _, facts in labelled
    ]
    return {
        "index": index,
        "a": latest,
        "histograms": [(h, histogram_chart(h, latest)) for h in latest.histograms if h.frames],
        "rows": [row for number, facts in reversed(labelled) for row in _shares(number, facts.shares)],
        "indices": [number for number, _ in labelled],
        "figures": [
            (words(name), [found.get(name) for found in numbers])
            for name in dict.fromkeys(name for found in numbers for name in found)
        ],
    }


def _shares(index: int, shares: Sequence[AdvantageShare]) -> list[dict[str, Any]]:
    """A row per source, and one of all if there are several."""
    shown = [share for share in shares if share.frames]
    rows = [(s.source, "-" if s.iteration is None else f"iteration {s.iteration}", [s], False) for s in shown]
    if len(shown) > 1:
        rows.append(("all", "-", shown, True))
    return [
        {
            "index": index,
            "source": source,
            "recorded": recorded,
            "episodes": sum(s.episodes for s in parts),
            "frames": sum(s.frames for s in parts),
            "positive": sum(s.positive for s in parts),
            "forced": percent(sum(s.forced for s in parts) / sum(s.frames for s in parts))
            if any(s.forced for s in parts)
            else "-",
            "total": total,
        }
        for source, recorded, parts, total in rows
    ]


def value_health(data: ReportData) -> Context:
    """What the value model is worth on episodes it did not see, beside controls that see no picture."""
    judged = [(i.index, i.value) for i in reversed(data.iterations) if i.value is not None]
    if not judged:
        return "No value model has been judged yet." if data.plans("judge") else None
    _, latest = judged[0]
    return {
        "tables": [(index, _health(facts)) for index, facts in judged],
        "many": len(judged) > 1,
        "held_out": latest.held_out,
        "controls": [name for name in latest.figures if name != latest.model],
    }


def _health(facts: ValueFacts) -> dict[str, Any]:
    rows = []
    found = dict.fromkeys(name for column in facts.figures.values() for name in column)
    for key in sorted(found, key=lambda name: _ORDER.get(name, len(_ORDER))):
        cells = [column.get(key) for column in facts.figures.values()]
        name, hint = _NAMES.get(key, (words(key), ""))
        note = ", ".join(part for part in (hint, cells[0].note if cells[0] else "") if part)
        rows.append({"name": name, "hint": key, "note": note, "cells": cells})
    return {
        "models": list(facts.figures),
        "rows": rows,
        "problems": facts.problems,
        "differences": [(name.replace("_", " "), found) for name, found in facts.differences.items()],
    }


def labels(data: ReportData) -> Context:
    """Who said how the episodes ended."""
    rows = [(i.index, i.labels) for i in data.iterations if i.labels is not None]
    if not rows:
        return "No episode has been labelled yet." if data.plans("annotate") else None
    return {"rows": rows, "sources": list(dict.fromkeys([*_SOURCES, *(s for _, found in rows for s in found.sources)]))}


def selection(data: ReportData) -> Context:
    """Which checkpoint and way of acting each iteration went on with, and how the others did."""
    rows = [(i.index, i.selection) for i in data.iterations if i.selection is not None]
    if not rows:
        return "No checkpoint has been chosen yet." if data.plans("checkpoint_selection") else None
    tried = any(candidate.attempts for _, found in rows for candidate in found.candidates)
    return {"rows": rows, "tried": tried, "splits": sorted({found.split for _, found in rows})}


def training(data: ReportData) -> Context:
    """How the policies and the value models were trained: loss curves and the sizes behind them."""
    rows = [
        (name, found)
        for i in data.iterations
        for name, found in (("pretraining", i.pretraining), (f"iteration {i.index}", i.training))
        if found is not None
    ]
    if not rows:
        return "No policy has been trained yet."
    chart, undrawn = _losses({name: found.loss for name, found in rows}, log_y=True)
    valued = [(i.index, i.value_training) for i in data.iterations if i.value_training is not None]
    value_chart, value_undrawn = _losses(_value_losses(*valued[-1]) if valued else {}, log_y=False)
    columns = list(dict.fromkeys(name for _, found in valued for fold in found.folds for name in fold))
    return {
        "rows": rows,
        "chart": chart,
        "undrawn": undrawn,
        "values": [
            {
                "index": index,
                "cells": [_cell(fold.get(name)) for name in columns],
                "time": duration(found.seconds) if place == 0 else "",
            }
            for index, found in valued
            for place, fold in enumerate(found.folds)
        ],
        "columns": [words(name) for name in columns],
        "value_chart": value_chart,
        "value_undrawn": value_undrawn,
    }


def _losses(curves: Mapping[str, Curve], *, log_y: bool) -> tuple[str, int]:
    """The chart of what can be drawn; and how many points cannot."""
    drawn = {
        name: tuple((s, v) for s, v in curve if math.isfinite(v) and (v > 0 or not log_y))
        for name, curve in curves.items()
    }
    undrawn = sum(map(len, curves.values())) - sum(map(len, drawn.values()))
    chart = line_chart(drawn, x_label="gradient step", y_label="loss", log_y=log_y) if any(drawn.values()) else ""
    return chart, undrawn


def _value_losses(index: int, found: ValueTraining) -> dict[str, Curve]:
    """The loss of each fold of the model that labels."""
    folds = {}
    for name, curve in found.loss.items():
        match = _FOLD.fullmatch(name)
        if match or name == "loss":
            folds[match[1] if match else "0"] = curve
    return {f"iteration {index}, fold {fold}": folds[fold] for fold in sorted(folds)}


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else figure(value)
