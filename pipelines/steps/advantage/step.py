"""advantage: the labels of an arm. From values N-step advantages and a threshold per task, or a rule without values.

Composition only: the maths, the rules and the label health that fails the step stand in `value_model`. No model runs
here, so another threshold or another arm is a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.facts import TaskFacts, task_context
from pipelines.steps.judge.outputs import ValueHealth
from recap.config import setting, validate
from recap.errors import HealthError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from value_model.advantage import LabelConfig
from value_model.gae import N_STEP
from value_model.health import LabelHealthConfig
from value_model.returns import ReturnConfig

if TYPE_CHECKING:
    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from recap.types import BoolArray


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageConfig:
    """Settings of one labelling."""

    label: LabelConfig = field(default_factory=LabelConfig)
    health: LabelHealthConfig = field(default_factory=LabelHealthConfig)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmFacts(TaskFacts):
    """What the graph says of the arm that labels."""

    name: str
    """A value model of the run, or one of value_model.arms.ARMS."""
    rule: str
    """The entry of ARMS; "" of a value model: its advantage decides."""
    lookahead: Mapping[str, int]
    """{task: N}, control steps."""
    returns: ReturnConfig
    """What values were trained on."""
    seed: int = setting(0, minimum=0)
    """Of an arm that draws."""
    plugin: str = ""
    """Fingerprint of the rule's code where a plug-in brings it."""


@step(
    name="advantage",
    version=4,
    config=AdvantageConfig,
    facts=ArmFacts,
    inputs=("annotations", "episodes"),
    optional=("values", "value_health", "main"),
    outputs=("labels", "health"),
    libraries=("numpy",),
    context=task_context("max_steps", "positive_fraction"),
)
def advantage(
    ctx: StepContext, config: AdvantageConfig, facts: ArmFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Labels every frame of all experience; `episodes` are those of this iteration, which set the threshold.

    `values` with their `value_health` are given to arms that read them, `main` (labels of the run's main arm) to one
    beside it that permutes those. Outputs the labels per frame, and their health (LabelHealth). Without values,
    advantage and value are NaN.

    Raises:
        HealthError: values not fit to label with, or labels not fit to be trained on; with what to do next.
        ConfigError: a privileged arm, and episodes without the simulator's truth.
    """
    import numpy as np

    from data.annotation import Annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.tasks import TASKS
    from pipelines.experience import episode_facts
    from value_model.advantage import make_labels
    from value_model.arms import ARMS, BY_ADVANTAGE, Known, bare_labels, make_marks
    from value_model.health import check_labels, check_marks
    from value_model.value_health import refuse_unfit

    labeller = ARMS.get(facts.rule) if facts.rule else BY_ADVANTAGE
    if "value_health" in inputs:
        judged = inputs["value_health"].read(ValueHealth)
        if judged.enforce:
            refuse_unfit(judged.problems)
    store = EpisodeStore(ctx.workspace.episodes)
    annotations = Annotations.from_json(inputs["annotations"].json())
    table = FrameTable.read(inputs["values"].path) if labeller.values else _all_frames(store, annotations, facts.name)
    known = episode_facts(
        store, annotations, table.ids, table.offsets, current=EpisodeSet.from_json(inputs["episodes"].json())
    )
    without = sorted(set(facts.tasks) - set(known.task_ids))
    if without:
        raise HealthError(
            f"{ctx.node}: no labelled episode of task {', '.join(without)}: a policy trained now would not learn it",
            hint="recap annotate --all",
        )
    own = config.label.positive_fraction
    shares = {task: TASKS.get(task).spec.positive_fraction if own is None else own for task in known.task_ids}
    value = table.arrays["value"]
    scored = (
        make_labels(
            value,
            known,
            config.label,
            lookahead=facts.lookahead,
            returns=facts.returns,
            shares=shares,
            given=table.arrays.get("advantage"),
        )
        if labeller.values
        else bare_labels(known, config.label, facts.returns)
    )
    labels = make_marks(
        labeller,
        Known(
            facts=known,
            labels=scored,
            shares=shares,
            lookahead=known.per_task(facts.lookahead, "look-ahead"),
            seed=facts.seed,
            main=_marks_of(inputs["main"], table) if "main" in inputs else None,
            truth=lambda episode: store.truth(episode) if store.has_truth(episode) else None,
        ),
        arm=facts.name,
    )
    health = (
        check_labels(value, labels, known, config.health)
        if labeller.values
        else check_marks(labels, known, config.health, constant=labeller.constant)
    )
    ctx.journal.metrics({"positive_fraction": float(np.mean(labels.positive[known.usable]))}, step=0)
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


def _all_frames(store: EpisodeStore, annotations: Annotations, arm: str) -> FrameTable:
    """The frames that a value model would have values of, without any."""
    import numpy as np

    from data.frame_table import FrameTable
    from pipelines.experience import labelled_ids

    ids = labelled_ids(annotations)
    offsets = np.cumsum([0, *(row.length for row in store.rows(ids))], dtype=np.int64)
    nothing = np.full(int(offsets[-1]), np.nan, dtype=np.float32)
    return FrameTable(ids=ids, offsets=offsets, arrays={"value": nothing}, facts={"family": arm})


def _marks_of(main: Artifact, table: FrameTable) -> BoolArray:
    from data.frame_table import FrameTable

    labels = FrameTable.read(main.path)
    labels.check_same_frames(table.ids, table.offsets, where="labels of the main arm")
    positive: BoolArray = labels.arrays["positive"]
    return positive
