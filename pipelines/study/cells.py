"""One cell of a study: an arm at a task, a training seed and a variant, with all that a table needs of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.study.config import STANDARD
from pipelines.study.frozen import Study, lines_of
from recap.config import from_json, to_json
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.types import Attempt, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Which cell."""

    task: str
    arm: str
    variant: str
    seed: int

    @property
    def label(self) -> str:
        """Arm and variant in one word, e.g. "viva" or "viva@without_corrections"."""
        return self.arm if self.variant == STANDARD else f"{self.arm}@{self.variant}"

    def __str__(self) -> str:
        return f"{self.task}/{self.label}/seed-{self.seed}"

    def file(self, study: Study) -> Path:
        """Where its result lies, or would lie."""
        return study.folder / f"{self}.json"


def cells_of(study: Study) -> Iterator[Cell]:
    """Every cell of a study, what the claims rest on first; within a training seed all tasks and arms."""
    config = study.config
    for variant in (STANDARD, *config.variants):
        for seed in range(config.seeds):
            for task in config.tasks:
                for arm in config.arms_of(variant, seed):
                    yield Cell(task=task, arm=arm, variant=variant, seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """What came of a cell. Attempts stand in columns, one entry per start.

    Raises:
        ConfigError: columns of different lengths, or none in them.
    """

    digest: str
    """Of the study."""
    task: str
    arm: str
    variant: str
    seed: int
    """Of the trainings."""
    iteration: int
    split: str
    max_steps: int
    """T_max, control steps."""
    rate_hz: float
    reset_s: float
    policy_id: str
    key: str
    """Of the evaluation's step."""
    commit: str
    """Git commit that the evaluation ran from; "" outside a checkout."""
    dirty: bool
    """Whether files differed from it."""
    code: str
    """sha256 (hex) over the code of all steps."""
    minutes: float
    """Of the steps that no other arm of the run rests on, and of its value model; repeated attempts included."""
    shared_minutes: float
    """Of those that other arms rest on as well."""
    choice: Mapping[str, Any]
    """The chosen checkpoint, and how it acts."""
    share_positive: float | None
    """Of all frames that the policy learned from; None: it learned without labels."""
    value_figures: Mapping[str, float]
    """What was found of the arm's own value model on held-out episodes, where it has one."""
    start_seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    steps: tuple[int, ...]
    """Control steps used."""
    inference_s: tuple[float, ...]
    """Seconds of inference beyond the control period."""
    renderer: str | None = None
    """Image backend of its attempts; None in cells of before, as below."""
    experience: str | None = None
    """Identity of the set of episodes that the policy learned from."""

    def __post_init__(self) -> None:
        counts = {len(column) for column in (self.start_seeds, self.outcomes, self.steps, self.inference_s)}
        if len(counts) != 1 or 0 in counts or len(set(self.start_seeds)) != len(self.start_seeds):
            raise ConfigError(f"cell {self.cell}: expected one outcome, step count and time for each start")

    @property
    def cell(self) -> Cell:
        """Which it is of."""
        return Cell(task=self.task, arm=self.arm, variant=self.variant, seed=self.seed)

    @property
    def attempts(self) -> list[Attempt]:
        """In the order of their starts."""
        rows = sorted(zip(self.start_seeds, self.outcomes, self.steps, self.inference_s, strict=True))
        return [
            Attempt(start_seed=start, outcome=outcome, steps=steps, inference_s=late)
            for start, outcome, steps, late in rows
        ]

    def write(self, study: Study) -> None:
        """Puts it into the study's folder, whole or not at all."""
        write_atomic(self.cell.file(study), lines_of(to_json(self)))


def read_cell(study: Study, cell: Cell) -> CellResult | None:
    """What came of a cell; None if it is not there.

    Raises:
        ConfigError: the file cannot be read, or is of another cell or of a study with other settings.
    """
    file = cell.file(study)
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_bytes())
        digest = content["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is not the result of a cell: {error!r}", hint=f"move it away, then recap study run {study.name}"
        ) from error
    expected = study.digest_of(cell.task, cell.variant)
    if digest != expected:
        raise ConfigError(
            f"{file} is a cell of other settings: its study has digest {digest[:12]}, '{study.name}' as it is frozen "
            f"has {expected[:12]}",
            hint=f"move it away, then recap study run {study.name}",
        )
    found = from_json(CellResult, content)
    if found.cell != cell:
        raise ConfigError(
            f"{file} holds cell {found.cell}, expected {cell}", hint=f"move it away, then recap study run {study.name}"
        )
    return found


def read_cells(study: Study) -> list[CellResult]:
    """Every cell that is there, in the order of the study.

    Raises:
        ConfigError: one of other settings, or a file that is no cell of the study.
    """
    found = [result for cell in cells_of(study) if (result := read_cell(study, cell)) is not None]
    strays = set(study.folder.glob("*/*/*.json")) - {result.cell.file(study) for result in found}
    if strays:
        raise ConfigError(
            f"{min(strays)} is no cell of study '{study.name}'", hint=f"move it away, then recap study run {study.name}"
        )
    return found
