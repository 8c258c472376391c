"""The page of a comparison: one HTML file that needs no other, and its tables beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data.annotation import Annotations
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.compare.charts import intervals_chart
from pipelines.compare.entries import base_of
from pipelines.compare.figures import Compared, compare, judge_again, over_horizons
from pipelines.compare.graph import Judged
from pipelines.compare.pictures import Picture, pictures
from pipelines.compare.source import Episodes
from pipelines.compare.table import state_of, write_tables
from pipelines.config import RunConfig
from pipelines.report.charts import line_chart
from pipelines.report.write import page_environment, page_style
from pipelines.steps.judge.outputs import ValueHealth
from recap.config import to_json
from recap.files import write_atomic
from recap.graph import Node
from recap.runner import RunSummary
from recap.texts import escaped
from recap.types import Outcome
from recap.workspace import Workspace

Group = Sequence[Sequence[Compared]]


def write_comparison(
    workspace: Workspace,
    judged: Judged,
    config: RunConfig,
    episodes: Episodes,
    summary: RunSummary,
    command: str,
    out: Path,
) -> Path:
    """Writes `compare.html`, `compare.json` and `compare.csv` into `out`; returns the page's path."""
    nodes = {node.name: node for node in judged.graph.order()}
    evaluation = config.judge.evaluation
    rows: list[Compared] = []
    for names in (judged.judges, judged.unseen_judges):
        if names:
            made = [judge_again(workspace, nodes[name], summary) for name in names]
            rows += compare(made, list(judged.entries), confidence=evaluation.confidence, seed=evaluation.seed)
    horizons = over_horizons({steps: [_health(summary, name) for name in at] for steps, at in judged.horizons.items()})
    missing: list[str] = []
    shown = _pictures(workspace, judged, episodes, nodes, summary, missing)
    named = [name for name, entry in judged.entries.items() if not entry.ablates]
    base = base_of(judged.entries)
    varied = [base, *(name for name, entry in judged.entries.items() if entry.ablates)] if base else []
    facts: dict[str, Any] = {
        "state": state_of(judged, summary),
        "episodes": episodes.told,
        "assumed_successes": episodes.assumed,
        "seeds": list(judged.seeds),
        "folds": config.cross_fit,
        "held_out": all(_health(summary, name).held_out for name in judged.judges),
        "unseen": judged.unseen,
        "command": command,
        "models": {
            name: {"settings": to_json(entry.model), "K": entry.lookahead} for name, entry in judged.entries.items()
        },
        "horizons": [{"task": task, "figure": name, "models": dict(lines)} for (task, name), lines in horizons.items()],
        "horizons_without": list(judged.gives_advantages),
    }
    out.mkdir(parents=True, exist_ok=True)
    text = (
        page_environment()
        .get_template("compare.html")
        .render(
            style=page_style(),
            name=summary.run_name,
            facts=facts,
            confidence=evaluation.confidence,
            generated=time.time(),
            groups=[(task, task == judged.unseen, _table(rows, task, list(judged.entries))) for task in _tasks(rows)],
            models=list(judged.entries),
            named=[(task, _charts(rows, task, named)) for task in _tasks(rows)],
            ablations=[(task, _charts(_against(rows, base), task, varied)) for task in _tasks(rows)] if base else [],
            horizons=[(task, _lines(lines, name)) for (task, name), lines in horizons.items()],
            pictures=shown,
            missing=missing,
            command=command,
        )
    )
    page = out / "compare.html"
    write_atomic(page, escaped(text).encode(), durable=False)
    # Last, for `state` says that all of it was written.
    write_tables(rows, facts, out)
    return page


def _health(summary: RunSummary, node: str) -> ValueHealth:
    return summary.outputs[node]["value_health"].read(ValueHealth)


def _tasks(rows: Sequence[Compared]) -> list[str]:
    return list(dict.fromkeys(row.task for row in rows))


def _table(rows: Sequence[Compared], task: str, models: Sequence[str]) -> list[tuple[str, list[Compared]]]:
    """[(figure, a cell per model)] of a task."""
    own = {(row.figure, row.model): row for row in rows if row.task == task}
    names = dict.fromkeys(name for name, _ in own)
    return [(name, [own[name, model] for model in models]) for name in names]


def _charts(rows: Sequence[Compared], task: str, models: Sequence[str]) -> list[Markup]:
    """One chart for every figure that has an interval and differs among the models."""
    charts = []
    for _, cells in _table(rows, task, models):
        known = [cell for cell in cells if cell.value is not None]
        if known and any(cell.low is not None for cell in known) and len({cell.value for cell in known}) > 1:
            charts.append(intervals_chart(known))
    return charts


def _against(rows: Sequence[Compared], base: str | None) -> list[Compared]:
    """Ablations stand beside what they vary; colours of differences are of the first model only where that is it."""
    first = rows[0].model if rows else None
    if base == first:
        return list(rows)
    return [replace(row, difference=None, difference_low=None, difference_high=None) for row in rows]


def _lines(lines: Mapping[str, Sequence[tuple[float, float]]], name: str) -> Markup:
    drawn: Any = {model: tuple(points) for model, points in lines.items()}
    return line_chart(drawn, x_label="look-ahead N, control steps", y_label=name.replace("_", " "))


def _pictures(
    workspace: Workspace,
    judged: Judged,
    episodes: Episodes,
    nodes: Mapping[str, Node],
    summary: RunSummary,
    missing: list[str],
) -> list[Picture]:
    store = EpisodeStore(workspace.episodes)
    both = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE}
    made = []
    for judges, values, wanted in (
        (judged.judges, judged.values, both),
        (judged.unseen_judges, judged.unseen_values, {"unseen": Outcome.SUCCESS}),
    ):
        if judges:
            ref = nodes[judges[0]].inputs["annotations"]
            made += pictures(
                store,
                Annotations.from_json(summary.outputs[ref.node][ref.output].json()),
                {
                    model: [FrameTable.read(summary.outputs[node]["values"].path) for node in seeds]
                    for model, seeds in values.items()
                },
                iteration=episodes.iteration,
                wanted=wanted,
                missing=missing,
            )
    return made
