"""label_unseen: a trained value model on episodes of another task, told the instruction that it was trained on.

Nothing is trained. The model is that of the first fold: no episode was seen by any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.facts import ComputeFacts, task_context
from pipelines.steps.value_train.outputs import ValueTraining
from recap.config import setting
from recap.step import Artifact, DirOutput, Output, StepContext, step

_EPISODES_PER_JOB = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelUnseenFacts(ComputeFacts):
    """What the graph says of a labelling. `tasks` are those of the episodes."""

    model: Any
    """Settings of the model, which say how its pictures are packed."""
    prompt: str
    """Instruction that the model is told: it knows no other."""
    lookahead: Mapping[str, int] = field(default_factory=dict)
    """{task: K}, control steps, of the advantages of a model that gives them; of any other no look-ahead is asked."""
    draws: int = setting(1, minimum=1)
    """Noise draws per frame, averaged."""
    noise_seed: int = setting(0, minimum=0)
    """Of the labelling noise."""


@step(
    name="label_unseen",
    version=1,
    config=None,
    facts=LabelUnseenFacts,
    inputs=("models", "training", "episodes"),
    outputs=("values",),
    libraries=("torch", "diffusers", "transformers", "numpy"),
    context=task_context("max_steps", robot=True),
)
def label_unseen(
    ctx: StepContext, config: None, facts: LabelUnseenFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Outputs a table with, per frame, `value`, its `spread` over noise draws, and `advantage` if a model gives it."""
    import numpy as np

    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from pipelines.experience import view_for
    from pipelines.steps.value_label.worker import KINDS, LabelPlan, gather, label_missing, shards_of

    del config
    ids = tuple(sorted(EpisodeSet.from_json(inputs["episodes"].json())))
    family = inputs["training"].read(ValueTraining).family
    store = EpisodeStore(ctx.workspace.episodes)
    view = view_for(store, ids, ctx.workspace.cache, facts.tasks, ctx.journal, model=facts.model)
    plan = LabelPlan(
        tasks=facts.tasks,
        ids=ids,
        models=inputs["models"].path,
        family=family,
        model=facts.model,
        runtime=facts.runtime,
        draws=facts.draws,
        episodes=ctx.workspace.episodes,
        cache=ctx.workspace.cache,
        scratch=ctx.scratch,
        lookahead=tuple(facts.lookahead[row.task] for row in store.rows(ids)) if facts.lookahead else (),
        prompts=(facts.prompt,) * len(ids),
    )
    jobs = shards_of((0,) * len(ids), size=_EPISODES_PER_JOB, noise_seed=facts.noise_seed)
    label_missing(ctx, plan, jobs, facts.workers)
    out = ctx.out / "values"
    FrameTable(
        ids=ids,
        offsets=np.asarray(view.offsets),
        arrays=dict(zip(KINDS, gather(plan, jobs, "value", view.offsets), strict=False)),
        facts={"family": family, "told": facts.prompt},
    ).write(out)
    return {"values": DirOutput(out)}
