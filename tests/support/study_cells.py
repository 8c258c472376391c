"""Results of a study's cells, made up: what they say of the arms is chosen, the rest is plausible."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipelines.study.cells import Cell, CellResult, cells_of
from pipelines.study.config import StudyConfig
from pipelines.study.frozen import Study
from recap.types import Outcome

FIRST_TEST_START = 30_000_000


def made_study(config: StudyConfig, results: Path) -> Study:
    """A frozen study whose runs have no settings."""
    return Study(name="made", config=config, runs={}, folder=results / "made").freeze()


def made_cell(
    study: Study, cell: Cell, rate: float, *, figures: Mapping[str, float] | None = None, start_seed: int = 0
) -> CellResult:
    """A cell in which each start of the study succeeds with probability `rate`."""
    rng = np.random.default_rng([start_seed, cell.seed, *cell.label.encode(), *cell.task.encode()])
    won = rng.random(study.config.starts) < rate
    return CellResult(
        digest=study.digest_of(cell.task, cell.variant),
        task=cell.task,
        arm=cell.arm,
        variant=cell.variant,
        seed=cell.seed,
        iteration=int(cell.arm != "imitation"),
        split="test",
        max_steps=100,
        rate_hz=10.0,
        reset_s=5.0,
        policy_id="p",
        key="k",
        commit="c" * 40,
        dirty=False,
        code="d",
        minutes=2.0,
        shared_minutes=3.0,
        choice={"guidance": 1.0},
        share_positive=None,
        value_figures=dict(figures or {}),
        start_seeds=tuple(FIRST_TEST_START + i for i in range(study.config.starts)),
        outcomes=tuple(Outcome.SUCCESS if one else Outcome.FAILURE for one in won),
        steps=tuple(int(one) for one in rng.integers(20, 100, study.config.starts)),
        inference_s=(0.0,) * study.config.starts,
    )


def made_cells(study: Study, rate: Callable[[Cell], float]) -> list[CellResult]:
    """Every cell of a study, written down as well."""
    made = [made_cell(study, cell, rate(cell)) for cell in cells_of(study)]
    for one in made:
        one.write(study)
    return made
