"""health: are the held-out values any good? Figures of the value model beside its controls, and which bounds they miss.

Composition only: the figures stand in `value_model/evaluation.py`, the bounds in `value_model/value_health.py`. No
model runs here, so other bounds are a matter of seconds. The advantage step refuses values that are found unfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.world import task_world
from recap.config import validate
from recap.step import Artifact, JsonOutput, StepContext, step
from value_model.evaluation import EvaluationConfig
from value_model.returns import ReturnConfig
from value_model.value_health import ValueHealthConfig

if TYPE_CHECKING:
    from data.frame_table import FrameTable
    from recap.types import FloatArray
    from value_model.episodes import EpisodeFacts
    from value_model.evaluation import ValueReport


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthConfig:
    """Settings of one judgement of values."""

    task: str
    """Task id."""
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    """The return that the value model was trained on."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    bounds: ValueHealthConfig = field(default_factory=ValueHealthConfig)

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="health",
    version=1,
    config=HealthConfig,
    inputs=("values", "annotations"),
    outputs=("value_health",),
    libraries=("numpy",),
    code=("value_model", "data.frame_table", "pipelines.experience"),
    world=task_world("max_steps", "positive_fraction"),
)
def health(ctx: StepContext, config: HealthConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the report of the model and of its controls, and the bounds that the model misses, in words."""
    import numpy as np

    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.task_list import task_ids
    from pipelines.experience import episode_facts, seen_by_none
    from value_model.value_health import check_values

    table = FrameTable.read(inputs["values"].path)
    annotations = Annotations.from_json(inputs["annotations"].json())
    store = EpisodeStore(ctx.workspace.episodes)
    facts = episode_facts(store, annotations, table.ids, table.offsets, current=())
    # The truth judges; no model is given it.
    progress = np.concatenate(
        [
            store.truth(episode).progress if store.has_truth(episode) else np.full(length, np.nan, dtype=np.float32)
            for episode, length in zip(facts.ids, facts.lengths, strict=True)
        ]
    )
    reports = _judge(table, annotations, facts, progress, config)
    own, several = reports["model"], len(task_ids(config.task)) > 1
    problems = [problem for report in own.values() for problem in check_values(report, config.bounds)]
    ctx.journal.metrics(
        {
            f"held_out_{task}_{name}" if several else f"held_out_{name}": figure.value
            for task, report in own.items()
            for name, figure in report.figures.items()
            if figure.value is not None
        },
        step=0,
    )
    as_json = {name: {task: report.to_json() for task, report in tasks.items()} for name, tasks in reports.items()}
    return {
        "value_health": JsonOutput(
            {
                "model": table.facts["model"],
                "held_out": seen_by_none(table.facts),
                "tasks": as_json["model"],
                "controls": {name: tasks for name, tasks in as_json.items() if name != "model"},
                "problems": problems,
                "enforce": config.bounds.enforce,
            }
        )
    }


def _judge(
    table: FrameTable, annotations: Any, facts: EpisodeFacts, progress: FloatArray, config: HealthConfig
) -> dict[str, dict[str, ValueReport]]:
    """{model or control: {task: report}}."""
    from dataclasses import replace

    from data.tasks import TASKS
    from value_model.evaluation import evaluate_tasks

    shared: dict[str, Any] = {
        "lookahead": table.facts["lookahead"],
        "returns": config.returns,
        "shares": {task: TASKS.get(task).spec.positive_fraction for task in facts.task_ids},
    }
    marks = [annotations.by_id[episode].key_frames for episode in facts.ids]
    names = {"model": "value", **{name: name for name in table.facts["controls"]}}
    reports = {
        name: evaluate_tasks(
            table.arrays[array], facts, config.evaluation, progress=progress, key_frames=marks, **shared
        )
        for name, array in names.items()
    }
    keep = _labelled_again(table, facts)
    if not keep.any():
        return reports
    rows = facts.rows(keep)
    again = evaluate_tasks(
        table.arrays["value"][rows],
        facts.subset(keep),
        config.evaluation,
        redrawn=table.arrays["redrawn"][rows],
        train_values=table.arrays["seen"][rows],
        **shared,
    )
    for task, report in again.items():
        figures = {name: report.figures[name] for name in ("flip_rate", "mse_return_train", "mse_gap")}
        whole = reports["model"][task]
        reports["model"][task] = replace(whole, figures={**whole.figures, **figures})
    return reports


def _labelled_again(table: FrameTable, facts: EpisodeFacts) -> Any:
    """[E] True for the episodes that were also labelled with other noise and by the model that saw them."""
    import numpy as np

    redrawn = table.arrays.get("redrawn")
    if redrawn is None:
        return np.zeros(facts.num_episodes, dtype=np.bool_)
    return np.isfinite(redrawn[table.offsets[:-1]])
