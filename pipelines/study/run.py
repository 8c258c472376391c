"""Runs the cells of a study, one after another, and writes down what came of each.

The cells of one (task, training seed, variant) come out of one run in one workspace, so that demonstrations, starting
weights, rollouts and values are made once. Of its graph only what a cell needs is brought up to date before the cell is
written, and it may be stopped after any cell. A workspace has one writer: side by side run different tasks or seeds, in
workspaces of their own.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.preflight.ahead import check_ahead
from pipelines.run import running
from pipelines.study.arms import run_settings, runs_of
from pipelines.study.cells import Cell, cells_of, read_cell
from pipelines.study.frozen import Study
from pipelines.study.outcome import CellRun, result_of
from recap.errors import StepFailed, UnknownName
from recap.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which cells of a study to run. None or (): all."""

    tasks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    max_minutes: float | None = None
    """No cell is begun after that."""
    executor: str = "local"

    def cells(self, study: Study) -> list[Cell]:
        """Those of the study, in its order.

        Raises:
            UnknownName: a task, seed, arm or variant that it does not have.
        """
        cells = list(cells_of(study))
        for kind, asked, known in (
            ("task of the study", self.tasks, {cell.task for cell in cells}),
            ("training seed of the study", map(str, self.seeds), {str(cell.seed) for cell in cells}),
            ("arm of the study", self.arms, {cell.arm for cell in cells}),
            ("variant of the study", self.variants, {cell.variant for cell in cells}),
        ):
            for one in asked:
                if one not in known:
                    raise UnknownName.among(kind, one, known)
        return [
            cell
            for cell in cells
            if (not self.tasks or cell.task in self.tasks)
            and (not self.seeds or cell.seed in self.seeds)
            and (not self.arms or cell.arm in self.arms)
            and (not self.variants or cell.variant in self.variants)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What a call left behind."""

    written: tuple[str, ...]
    """Cells that were run."""
    skipped: int
    """Cells that were there."""
    left: int
    """Cells for which no time was left."""


@dataclass(slots=True)
class _Failures:
    """A RunObserver that keeps which nodes failed, so that no other cell tries them again."""

    nodes: dict[str, str] = field(default_factory=dict)
    """{node: error}."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "step_failed":
            self.nodes[event["node"]] = event["error"]


def run_study(root: Path, name: str, results: Path, asked: Asked, say: Say) -> Done:
    """Runs the cells asked for that are not there yet.

    Args:
        root: workspace; made if absent.
        name: of the study.
        results: folder that holds a folder per study.
        asked: which cells, and for how long.
        say: prints one line for a person.

    Raises:
        ConfigError: the study was frozen with other settings, or a cell that is there is of another study.
        StepFailed: cells failed; those that could be run were.
        WorkspaceLocked: another run writes the workspace.
    """
    began = time.monotonic()
    current = Study.current(name, results)
    wanted = asked.cells(current)
    study = current.freeze()
    missing = [cell for cell in wanted if read_cell(study, cell) is None]
    written: list[str] = []
    failed: dict[str, str] = {}

    def time_is_up() -> bool:
        return asked.max_minutes is not None and time.monotonic() - began >= 60 * asked.max_minutes

    for cells in _runs(study, missing):
        if time_is_up():
            break
        for cell, error in _run(root, study, cells, asked, say, time_is_up):
            if error:
                failed[str(cell)] = error
                say(f"FAILED {cell}: {error}")
            else:
                written.append(str(cell))
                say(f"cell {cell}  ->  {cell.file(study)}")
    if failed:
        first, why = next(iter(failed.items()))
        raise StepFailed(
            f"{len(failed)} of {len(missing)} cells failed, {len(written)} were written; {first}: {why}",
            hint=again_of(root, name, results, asked),
        )
    return Done(written=tuple(written), skipped=len(wanted) - len(missing), left=len(missing) - len(written))


def _runs(study: Study, cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cells by the run that they come out of, in the order of the cells."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.variant, cell.seed, cell.task), []).append(cell)
    for (variant, _, _), group in groups.items():
        by_arm = {cell.arm: cell for cell in group}
        for arms in runs_of(study.config, variant, list(by_arm)):
            yield [by_arm[arm] for arm in arms]


def _run(
    root: Path, study: Study, cells: Sequence[Cell], asked: Asked, say: Say, time_is_up: Callable[[], bool]
) -> Iterator[tuple[Cell, str]]:
    """(cell, why it failed or "") of each cell of one run, as it is written."""
    first = cells[0]
    arms_of_runs = runs_of(study.config, first.variant, study.config.arms_of(first.variant, first.seed))
    everyone = next(arms for arms in arms_of_runs if first.arm in arms)
    parts = [study.name, first.task, first.variant, *(everyone if len(arms_of_runs) > 1 else ()), f"seed{first.seed}"]

    def settings(asked_arms: Sequence[str]) -> Invocation:
        made = run_settings(
            study.config,
            first.task,
            first.variant,
            everyone=everyone,
            asked=asked_arms,
            seed=first.seed,
            name="-".join(parts),
        )
        return replace(made, executor=asked.executor)

    invocation = settings([cell.arm for cell in cells])
    config, whole = invocation.config(), settings(everyone).config()
    config = check_ahead(config, root, say)
    graph = build_graph(config)
    workspace = Workspace.open(root)
    failures = _Failures()
    runs = [CellRun.of(cell, config, whole, everyone) for cell in cells]
    again = again_of(root, study.name, study.folder.parent, asked)
    with running(workspace, config, invocation, say, again=again, observers=[failures]) as (runner, _):
        done: list[str] = []
        for run in runs:
            if time_is_up():
                return
            blocked = sorted(failures.nodes.keys() & run.needs)
            if blocked:
                yield run.cell, f"{blocked[0]} failed before: {failures.nodes[blocked[0]]}"
                continue
            try:
                summary = runner.run(graph.up_to([*done, run.nodes.evaluate]), invocation.name)
            except StepFailed as error:
                yield run.cell, error.message
                continue
            done.append(run.nodes.evaluate)
            result_of(run, study, workspace, summary).write(study)
            yield run.cell, ""


def again_of(root: Path, name: str, results: Path, asked: Asked) -> str:
    """The command that goes on with what was asked for."""
    words = ["recap", "study", "run", name, "--results", str(results), "--workspace", str(root)]
    given = {"task": asked.tasks, "seed": asked.seeds, "arm": asked.arms, "variant": asked.variants}
    for option, values in given.items():
        words += [part for value in values for part in (f"--{option}", str(value))]
    words += ["--executor", asked.executor] if asked.executor != "local" else []
    words += ["--max-minutes", f"{asked.max_minutes:g}"] if asked.max_minutes else []
    return shlex.join(words)
