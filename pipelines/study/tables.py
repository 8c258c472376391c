"""The tables of a study, from its cells alone: no workspace, no training, no simulator.

Owns which figures there are and the Markdown; the maths is recap/twolevel.py, what the figures say of the claims
pipelines/study/claims.py. The same cells give the same text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pipelines.study.cells import CellResult, cells_of
from pipelines.study.claims import PAIRS, claims
from pipelines.study.config import IMITATION, STANDARD
from pipelines.study.figures import Figures, Measured
from pipelines.study.frozen import Study
from pipelines.study.predictors import predictor_lines
from recap.stats import Estimate

DIFFERENCES = (*PAIRS, ("flaw", IMITATION), ("outcome", IMITATION))
"""(first, second) of the differences that every variant is asked for."""
FEW_SEEDS = 5
"""Up to that many training seeds the resamples of seeds repeat each other, and an interval tends to be too narrow."""

Shown = Callable[[Estimate], str]


def tables_of(study: Study, results: Sequence[CellResult]) -> str:
    """All tables and sentences, as Markdown."""
    parts = [_head(study, results)]
    for variant in (STANDARD, *study.config.variants):
        figures = Figures(study.config, results, variant)
        if figures.arms:
            parts += _of_variant(figures, variant)
            parts.append("\n".join(["What holds:", "", *(f"- {line}" for line in claims(figures))]))
    parts.append("## Which value figure predicts what the policy gains")
    parts.append("\n".join(predictor_lines(results)))
    return "\n\n".join(parts) + "\n"


def _of_variant(figures: Figures, variant: str) -> list[str]:
    tasks = (*figures.config.tasks, "")
    pairs = [pair for pair in DIFFERENCES if set(pair) <= set(figures.arms)]
    pairs += [(arm, IMITATION) for arm in figures.arms if arm != IMITATION and (arm, IMITATION) not in pairs]
    if IMITATION not in figures.arms:
        pairs = [pair for pair in pairs if IMITATION not in pair]
    named = [f"{first} - {second}" for first, second in pairs]
    return [
        f"## Variant {variant}",
        _table("success", tasks, figures.arms, lambda arm, task: figures.success(arm, task), _percent),
        _table(
            "difference, points",
            tasks,
            named,
            lambda name, task: figures.success_difference(*pairs[named.index(name)], task),
            _points,
        ),
        _table("successes per hour", tasks[:-1], figures.arms, lambda arm, task: figures.throughput(arm, task), _rate),
        _table(
            "throughput, change",
            tasks,
            named,
            lambda name, task: figures.throughput_change(*pairs[named.index(name)], task),
            _percent_change,
        ),
    ]


def _head(study: Study, results: Sequence[CellResult]) -> str:
    planned = sum(1 for _ in cells_of(study))
    commits = sorted({f"{one.commit[:12] or 'none'}{'+' if one.dirty else ''}" for one in results})
    codes = sorted({one.code[:12] for one in results})
    lines = [
        f"Study `{study.name}`: {len(results)} of {planned} cells, "
        f"{study.config.starts} starts each (simulated). Made by `recap study tables {study.name}`.",
        "",
        "Intervals: 95 % percentiles of 10,000 two-level bootstrap resamples, training seeds first, then the starts "
        "within each, the same for both arms of a difference. Pooled: the mean over tasks, each with equal weight. "
        "In brackets behind an interval: training seeds per task. Throughput: successes per hour of all attempts, a "
        "failure at its time limit, the reset of the scene included; its pooled change is the mean of the tasks' "
        "relative changes. An interval without width means that nothing differed, not that all is known. Starts are "
        "drawn anew within each seed: where arms differ from start to start, intervals over few seeds are too narrow "
        "(docs/study.md).",
    ]
    if len(results) < planned:
        lines += ["", f"**Incomplete**: {planned - len(results)} cells are missing (`recap study list {study.name}`)."]
    if results and min(map(study.config.seeds_of, study.config.arms)) <= FEW_SEEDS:
        lines += [
            "",
            f"Few seeds: with {FEW_SEEDS} trainings or fewer an interval of this kind tends to be too narrow, and one "
            "training says nothing of how trainings differ.",
        ]
    if len(commits) > 1 or len(codes) > 1:
        lines += [
            "",
            f"The cells were evaluated at commits {', '.join(commits)} and of {len(codes)} states of the steps' code.",
        ]
    elif results:
        lines += ["", f"All cells were evaluated at commit {commits[0]} and one state of the steps' code."]
    for variant in (STANDARD, *study.config.variants):
        if unlike := Figures(study.config, results, variant).unlike:
            told = f"**Arms learned from different episodes**, variant {variant}: {', '.join(unlike)}."
            lines += ["", f"{told} Their differences are not those of their labels alone."]
    minutes = sum(one.minutes for one in results)
    lines += ["", f"Minutes of the cells' own steps: {minutes:.0f} in all, {_longest(results)}."]
    return "\n".join(lines)


def _longest(results: Sequence[CellResult]) -> str:
    if not results:
        return "no cell"
    longest = max(results, key=lambda one: (one.minutes, str(one.cell)))
    return f"the longest {longest.minutes:.1f} ({longest.cell})"


def _table(
    corner: str,
    tasks: Sequence[str],
    rows: Iterable[str],
    figure: Callable[[str, str], Measured | None],
    shown: Shown,
) -> str:
    """Rows by tasks; the task "" is all of them pooled."""
    header = [corner, *(task or "pooled" for task in tasks)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in rows:
        cells = [figure(row, task) for task in tasks]
        texts = ["-" if one is None else f"{shown(one.estimate)} ({one.seeds_text})" for one in cells]
        lines.append(f"| {' | '.join([row, *texts])} |")
    return "\n".join(lines)


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _points(one: Estimate) -> str:
    return f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def _percent_change(one: Estimate) -> str:
    return f"{100 * one.value:+.0f} % [{100 * one.low:+.0f}, {100 * one.high:+.0f}]"


def _rate(one: Estimate) -> str:
    return f"{one.value:.1f} [{one.low:.1f}, {one.high:.1f}]"
