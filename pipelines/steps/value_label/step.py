"""value_label: values of every frame, by the model of the fold that did not see its episode.

Composition only. Nothing trains here: other draws, noise or samples are a labelling of their own. A killed labelling
goes on from its finished shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.facts import ComputeFacts, task_context
from pipelines.steps.value_train.outputs import ValueTraining
from recap.config import setting, validate
from recap.step import Artifact, DirOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueLabelConfig:
    """Settings of one labelling."""

    draws: int = setting(1, minimum=1, maximum=1000, help="noise draws per frame, averaged")
    sample: int = setting(24, minimum=0, help="episodes labelled again with other noise and by the model that saw them")
    shard_episodes: int = setting(16, minimum=1, semantic=False, help="episodes labelled per job")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueLabelFacts(ComputeFacts):
    """What the graph says of a labelling."""

    model: Any
    """Settings of the model, which say how its pictures are packed."""
    noise_seed: int = setting(0, minimum=0)
    """Of the labelling noise."""
    again: bool = True
    """Label the sample again; False for a model that only stands beside."""
    lookahead: Mapping[str, int] = field(default_factory=dict)
    """{task: K}, control steps, of the advantages of a model that gives them; of any other no look-ahead is asked."""


@step(
    name="value_label",
    version=1,
    config=ValueLabelConfig,
    facts=ValueLabelFacts,
    inputs=("models", "training"),
    outputs=("values",),
    libraries=("torch", "diffusers", "transformers", "numpy"),
    context=task_context("prompt", "max_steps", robot=True),
)
def value_label(
    ctx: StepContext, config: ValueLabelConfig, facts: ValueLabelFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Outputs a table with, per frame, `value` and its `spread` over noise draws.

    `advantage` is there of a model that gives advantages itself, and takes the place of the difference of its values.
    NaN outside the sampled episodes are `redrawn` (other noise) and `seen` (by a model that saw the episode).
    """
    import numpy as np

    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from pipelines.experience import view_for
    from pipelines.steps.value_label.worker import KINDS, Job, LabelPlan, gather, label_missing, shards_of

    training = inputs["training"].read(ValueTraining)
    ids = training.episodes
    store = EpisodeStore(ctx.workspace.episodes)
    view = view_for(store, ids, ctx.workspace.cache, facts.tasks, ctx.journal, model=facts.model)
    plan = LabelPlan(
        tasks=facts.tasks,
        ids=ids,
        models=inputs["models"].path,
        family=training.family,
        model=facts.model,
        runtime=facts.runtime,
        draws=config.draws,
        lookahead=tuple(facts.lookahead[row.task] for row in store.rows(ids)) if facts.lookahead else (),
        episodes=ctx.workspace.episodes,
        cache=ctx.workspace.cache,
        scratch=ctx.scratch,
    )
    jobs: dict[str, Job] = shards_of(training.folds, size=config.shard_episodes, noise_seed=facts.noise_seed)
    again = facts.again and training.cross_fit > 1 and config.sample > 0
    for episode in _spread_evenly(len(ids), config.sample) if again else ():
        fold = training.folds[episode]
        jobs[f"redrawn/{episode}"] = (f"redrawn/{episode}", fold, (episode,), facts.noise_seed + 1)
        seen = (fold + 1) % training.cross_fit
        jobs[f"seen/{episode}"] = (f"seen/{episode}", seen, (episode,), facts.noise_seed)
    label_missing(ctx, plan, jobs, facts.workers)
    arrays: dict[str, Any] = dict(zip(KINDS, gather(plan, jobs, "value", view.offsets), strict=False))
    for kind in ("redrawn", "seen") if again else ():
        arrays[kind] = gather(plan, jobs, kind, view.offsets)[0]
    out = ctx.out / "values"
    FrameTable(
        ids=ids,
        offsets=np.asarray(view.offsets),
        arrays=arrays,
        facts={"family": training.family, "folds": list(training.folds), "draws": config.draws},
    ).write(out)
    return {"values": DirOutput(out)}


def _spread_evenly(count: int, wanted: int) -> list[int]:
    """`wanted` positions, or all, spread evenly over `count` of them."""
    import numpy as np

    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64).tolist()))
