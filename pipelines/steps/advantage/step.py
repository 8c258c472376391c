"""advantage: from values to labels. N-step advantages, a threshold per task, one positive-or-negative per frame.

Composition only: the maths and the label health that fails the step stand in `value_model`. No model runs here, so
another threshold is a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.facts import task_context
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.steps.judge.step import ValuesFacts
from recap.config import validate
from recap.errors import HealthError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from value_model.advantage import LabelConfig
from value_model.gae import N_STEP
from value_model.health import LabelHealthConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageConfig:
    """Settings of one labelling."""

    label: LabelConfig = field(default_factory=LabelConfig)
    health: LabelHealthConfig = field(default_factory=LabelHealthConfig)

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="advantage",
    version=3,
    config=AdvantageConfig,
    facts=ValuesFacts,
    inputs=("values", "value_health", "annotations", "episodes"),
    outputs=("labels", "health"),
    libraries=("numpy",),
    context=task_context("max_steps", "positive_fraction"),
)
def advantage(
    ctx: StepContext, config: AdvantageConfig, facts: ValuesFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Labels every frame of all experience; `episodes` are those of this iteration, which set the threshold.

    Outputs the labels per frame, and their health (LabelHealth).

    Raises:
        HealthError: values not fit to label with, or labels not fit to be trained on; with what to do next.
    """
    from data.annotation import Annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.tasks import TASKS
    from pipelines.experience import episode_facts
    from value_model.advantage import make_labels
    from value_model.health import check_labels
    from value_model.value_health import refuse_unfit

    judged = inputs["value_health"].read(ValueHealth)
    if judged.enforce:
        refuse_unfit(judged.problems)
    table = FrameTable.read(inputs["values"].path)
    known = episode_facts(
        EpisodeStore(ctx.workspace.episodes),
        Annotations.from_json(inputs["annotations"].json()),
        table.ids,
        table.offsets,
        current=EpisodeSet.from_json(inputs["episodes"].json()),
    )
    without = sorted(set(facts.tasks) - set(known.task_ids))
    if without:
        raise HealthError(
            f"{ctx.node}: no labelled episode of task {', '.join(without)}: a policy trained now would not learn it",
            hint="recap annotate --all",
        )
    value = table.arrays["value"]
    labels = make_labels(
        value,
        known,
        config.label,
        lookahead=facts.lookahead,
        returns=facts.returns,
        shares={task: TASKS.get(task).spec.positive_fraction for task in known.task_ids},
    )
    health = check_labels(value, labels, known, config.health)
    out = ctx.out / "labels"
    FrameTable(
        ids=table.ids,
        offsets=table.offsets,
        arrays={
            "advantage": labels.advantage,
            "positive": labels.positive,
            "forced": labels.forced,
            "returns": labels.returns,
            "value": value,
        },
        facts={
            "thresholds": dict(labels.thresholds),
            "positive_fraction": dict(labels.shares),
            "lookahead": dict(facts.lookahead) if config.label.horizon == N_STEP else {},
            "horizon": config.label.looks.words,
            "family": table.facts["family"],
        },
    ).write(out)
    return {"labels": DirOutput(out), "health": JsonOutput.of(health)}
