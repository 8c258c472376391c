"""Which figure of a value model tells beforehand what its labels bring the policy: rank correlations over cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.study.cells import CellResult
from pipelines.study.config import IMITATION
from recap.stats import Estimate, is_success
from recap.twolevel import rank_correlation


def predictor_lines(results: Sequence[CellResult]) -> list[str]:
    """A Markdown table, the strongest first; a sentence where there are too few cells."""
    rows = correlations(results)
    if not rows:
        return [
            "Not enough cells of value models beside imitation of the same training seed: 3 seeds or tasks at least."
        ]
    return [
        "Spearman's rank correlation of the figure (on held-out episodes) with success minus imitation's, over cells "
        "of arms that have a value model. Cells of one task and training seed share their imitation and are resampled "
        "together. Lower is better of errors, so that theirs is expected below 0. Each interval stands alone: among "
        f"{len(rows)} figures one or two leave 0 outside by chance.",
        "",
        "| figure | rank correlation with the gain | cells |",
        "|---|---|---|",
        *(f"| {name} | {one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}] | {count} |" for name, one, count in rows),
    ]


def correlations(results: Sequence[CellResult]) -> list[tuple[str, Estimate, int]]:
    """(figure, rho with the policy's gain, cells) of every figure that differs among at least 3 (task, seed)s."""
    imitation = {(one.task, one.seed): _rate(one) for one in results if one.arm == IMITATION}
    cells = [one for one in results if one.value_figures and (one.task, one.seed) in imitation]
    found = []
    for name in sorted({name for one in cells for name in one.value_figures}):
        having = [one for one in cells if name in one.value_figures]
        figures = [one.value_figures[name] for one in having]
        gains = [_rate(one) - imitation[one.task, one.seed] for one in having]
        groups = [f"{one.task} {one.seed}" for one in having]
        if len(set(groups)) >= 3 and len(set(figures)) > 1 and len(set(gains)) > 1:
            found.append((name, rank_correlation(figures, gains, groups), len(having)))
    return sorted(found, key=lambda row: (-abs(row[1].value), row[0]))


def _rate(one: CellResult) -> float:
    return float(np.mean([is_success(attempt) for attempt in one.attempts]))
