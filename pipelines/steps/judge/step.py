"""judge: are the held-out values any good? Figures of every value model, and which bounds the labelling one misses.

Composition only: the figures stand in `value_model/evaluation.py`, the bounds in `value_model/value_health.py`. No
model runs here, so other bounds are a matter of seconds. The advantage step refuses values that are found unfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.facts import TaskFacts, task_context
from pipelines.steps.judge.outputs import JudgedModel, ValueHealth
from recap.config import validate
from recap.errors import ConfigError
from recap.step import Artifact, JsonOutput, StepContext, step
from value_model.evaluation import EvaluationConfig
from value_model.gae import Horizon
from value_model.returns import ReturnConfig
from value_model.value_health import ValueHealthConfig

if TYPE_CHECKING:
    from data.frame_table import FrameTable
    from recap.types import BoolArray
    from value_model.episodes import EpisodeFacts
    from value_model.evaluation import ValueReport


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig:
    """Settings of one judgement of values."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    bounds: ValueHealthConfig = field(default_factory=ValueHealthConfig)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuesFacts(TaskFacts):
    """What the graph says of the values that are worked on."""

    name: str
    """The model whose values label."""
    lookahead: Mapping[str, int]
    """{task: N}, control steps."""
    returns: ReturnConfig
    """What the values were trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeFacts(ValuesFacts):
    """What the graph says of the values that are judged."""

    horizon: Horizon
    """Of the advantages that will be made of them."""
    positive_fraction: float | None = None
    """Of the labels that will be made of them; None: their task's."""


@step(
    name="judge",
    version=4,
    config=JudgeConfig,
    facts=JudgeFacts,
    inputs=("annotations",),
    several=("values",),
    outputs=("value_health",),
    libraries=("numpy",),
    context=task_context("max_steps", "positive_fraction"),
)
def judge(
    ctx: StepContext, config: JudgeConfig, facts: JudgeFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, JsonOutput]:
    """Outputs the figures of every model, and the bounds that the labelling one misses (ValueHealth)."""
    import numpy as np

    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.tasks import TASKS
    from pipelines.experience import episode_facts, seen_by_none
    from value_model.evaluation import flaw_differences
    from value_model.metrics import draws_of
    from value_model.segments import action_segments, usual_gains
    from value_model.value_health import check_values

    tables = {
        name.partition("/")[2]: FrameTable.read(given.path)
        for name, given in inputs.items()
        if name.startswith("values/")
    }
    own = tables[facts.name]
    annotations = Annotations.from_json(inputs["annotations"].json())
    store = EpisodeStore(ctx.workspace.episodes)
    known = episode_facts(store, annotations, own.ids, own.offsets, current=())
    # The truth judges; no model is given it.
    truths = [store.truth(episode) if store.has_truth(episode) else None for episode in known.ids]
    progress = np.concatenate(
        [
            np.full(length, np.nan, dtype=np.float32) if truth is None else truth.progress
            for truth, length in zip(truths, known.lengths, strict=True)
        ]
    )
    usual = {
        task: usual_gains(truth for truth, of in zip(truths, known.tasks, strict=True) if truth and of == task)
        for task in known.task_ids
    }
    segments = [
        None if truth is None else action_segments(truth, usual[task])
        for truth, task in zip(truths, known.tasks, strict=True)
    ]
    shared: dict[str, Any] = {
        "lookahead": facts.lookahead,
        "returns": facts.returns,
        "shares": {
            task: TASKS.get(task).spec.positive_fraction if facts.positive_fraction is None else facts.positive_fraction
            for task in known.task_ids
        },
        "horizon": facts.horizon,
    }
    marks = [annotations.by_id[episode].key_frames for episode in known.ids]
    judged = {"progress": progress, "key_frames": marks, "segments": segments}
    models = {}
    for name, table in tables.items():
        if table.ids != own.ids:
            raise ConfigError(f"{ctx.node}: values of '{name}' are of other episodes than those of '{facts.name}'")
        with draws_of(name):
            reports = _reports(table, known, config.evaluation, judged, shared)
        models[name] = JudgedModel(family=table.facts["family"], tasks=reports)
    health = ValueHealth(
        name=facts.name,
        held_out=seen_by_none(own.facts),
        models=models,
        differences=flaw_differences(
            {name: table.arrays["value"] for name, table in tables.items()},
            facts.name,
            known,
            config.evaluation,
            segments=segments,
            given={name: table.arrays["advantage"] for name, table in tables.items() if "advantage" in table.arrays},
            **shared,
        ),
        problems=tuple(
            problem
            for report in models[facts.name].tasks.values()
            for problem in check_values(report, config.bounds, given="advantage" in own.arrays)
        ),
        enforce=config.bounds.enforce,
    )
    several = len(facts.tasks) > 1
    found = {task: {**report.figures, **health.differences[task]} for task, report in health.own.tasks.items()}
    ctx.journal.metrics(
        {
            f"held_out_{task}_{name}" if several else f"held_out_{name}": figure.value
            for task, figures in found.items()
            for name, figure in figures.items()
            if figure.value is not None
        },
        step=0,
    )
    return {"value_health": JsonOutput.of(health)}


def _reports(
    table: FrameTable,
    known: EpisodeFacts,
    config: EvaluationConfig,
    judged: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> dict[str, ValueReport]:
    """{task: report} of one model."""
    from value_model.evaluation import evaluate_tasks

    given = table.arrays.get("advantage")
    reports = evaluate_tasks(table.arrays["value"], known, config, given=given, **judged, **shared)
    keep = _labelled_again(table, known)
    if not keep.any():
        return reports
    rows = known.rows(keep)
    again = evaluate_tasks(
        table.arrays["value"][rows],
        known.subset(keep),
        config,
        redrawn=table.arrays["redrawn"][rows],
        train_values=table.arrays["seen"][rows],
        given=None if given is None else given[rows],
        **shared,
    )
    for task, report in again.items():
        figures = {name: report.figures[name] for name in ("flip_rate", "mse_return_train", "mse_gap")}
        reports[task] = replace(reports[task], figures={**reports[task].figures, **figures})
    return reports


def _labelled_again(table: FrameTable, known: EpisodeFacts) -> BoolArray:
    """[E] True for the episodes that were also labelled with other noise and by the model that saw them."""
    import numpy as np

    redrawn = table.arrays.get("redrawn")
    if redrawn is None:
        return np.zeros(known.num_episodes, dtype=np.bool_)
    again: BoolArray = np.isfinite(redrawn[table.offsets[:-1]])
    return again
