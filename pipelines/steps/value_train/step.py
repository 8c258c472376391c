"""value_train: one value model, trained by folds: every episode is later labelled by a model that did not see it.

Composition only: what a value model is stands in `value_model/models`. Nothing of labelling is in the key: other
noise draws, controls or samples train nothing again. Every fold resumes from its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.attempts import play_missing
from pipelines.facts import ComputeFacts, task_context
from pipelines.ledger import Ledger
from pipelines.steps.value_train.outputs import FoldTraining, ValueTraining
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from value_model.returns import ReturnConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTrainConfig:
    """Settings of one training."""

    model: Any
    """The value model family is the one that this configuration belongs to."""
    cross_fit: int = setting(2, minimum=1, maximum=20, help="folds by episode; 1: a model labels what it has seen")
    returns: ReturnConfig = field(default_factory=ReturnConfig)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTrainFacts(ComputeFacts):
    """What the graph says of a training."""

    lookahead: Mapping[str, int]
    """{task: K}, control steps."""
    seed: int = setting(0, minimum=0)
    """Of starting weights and training noise."""


@step(
    name="value_train",
    version=1,
    config=ValueTrainConfig,
    facts=ValueTrainFacts,
    inputs=("experience", "annotations"),
    outputs=("models", "training"),
    libraries=("torch", "diffusers", "transformers", "numpy"),
    context=task_context("prompt", "max_steps", robot=True),
)
def value_train(
    ctx: StepContext, config: ValueTrainConfig, facts: ValueTrainFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Outputs a bundle per fold and the figures of their training (ValueTraining)."""
    from data.annotation import Annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from pipelines.experience import labelled_ids, view_for
    from pipelines.ranks import trained
    from pipelines.steps.value_train.worker import TrainingPlan, ValueTrainer, strata_of, train_fold
    from recap.training.runtime import Runtime
    from value_model.bundle import is_whole
    from value_model.folds import assign_folds
    from value_model.models import family_of

    annotations = Annotations.from_json(inputs["annotations"].json())
    missing = set(annotations.by_id) - set(EpisodeSet.from_json(inputs["experience"].json()))
    if missing:
        raise ConfigError(f"{ctx.node}: annotations of {len(missing)} episodes that are not among the experience")
    ids = labelled_ids(annotations)
    store = EpisodeStore(ctx.workspace.episodes)
    # Packed here once, so that two workers do not wait for each other to do it.
    view_for(store, ids, ctx.workspace.cache, facts.tasks, ctx.journal, model=config.model)
    folds = assign_folds(ids, strata_of(store, annotations, ids), config.cross_fit)
    plan = TrainingPlan(
        config=config,
        facts=facts,
        ids=ids,
        annotations=inputs["annotations"].json(),
        folds=tuple(folds.tolist()),
        episodes=ctx.workspace.episodes,
        cache=ctx.workspace.cache,
        scratch=ctx.scratch,
    )
    family = family_of(config.model)

    def together(fold: int) -> dict[str, Any]:
        row: dict[str, Any] = trained(
            ctx.executor, "value", train_fold, (plan, fold), journal=ctx.journal, settings=facts.runtime
        )
        return row

    rows = play_missing(
        ctx,
        Ledger(ctx.scratch / "trained.jsonl", key="key"),
        {str(fold): fold for fold in range(config.cross_fit)},
        role="value",
        make_worker=ValueTrainer,
        worker_args=(plan, ctx.journal, Runtime.of(facts.runtime.alone())),
        workers=facts.workers,
        unit="folds",
        lost={str(fold) for fold in range(config.cross_fit) if not is_whole(plan.bundle(fold))},
        one_by_one=together if family.networks and facts.runtime.processes > 1 else None,
    )
    training = ValueTraining(
        family=family.name,
        episodes=ids,
        folds=plan.folds,
        trainings=tuple(FoldTraining(fold=row["fold"], figures=row["figures"]) for row in rows.values()),
    )
    return {"models": DirOutput(plan.models), "training": JsonOutput.of(training)}
