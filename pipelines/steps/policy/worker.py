"""The training of a policy, as the long-lived trainer runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it travels to a process that may not have torch yet
    from pipelines.steps.policy.outputs import PolicyTraining
    from pipelines.steps.policy.step import PolicyConfig, PolicyFacts
    from recap.protocols import BatchSource, Journal
    from recap.training.runtime import Runtime


def train_policy(
    config: PolicyConfig,
    facts: PolicyFacts,
    experience: Mapping[str, Any],
    labels: Path | None,
    base: Path | None,
    episodes: Path,
    cache: Path,
    scratch: Path,
    out: Path,
    journal: Journal,
    runtime: Runtime,
) -> PolicyTraining:
    """Packs the episodes, takes their statistics, trains, and writes the candidates to `out`; returns its figures.

    Args:
        config: settings of the policy step.
        facts: tasks, condition and seed.
        experience: JSON of the EpisodeSet to learn from; with labels, those of its episodes that have any.
        labels: frame table with `positive`, `advantage`, `forced` and `value`, or None.
        base: candidates of the training whose last weights are the start, or None: from scratch.
        episodes: the episode store.
        cache: where the packed frames go.
        scratch: keeps checkpoints between attempts.
        out: the folder of candidates to make.
        journal: told how it goes.
        runtime: where to compute; with several ranks every one of them calls this.
    """
    import numpy as np

    from data.batches import TrainingBatches
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.normalise import stats_of_store
    from data.task_list import tasks_of
    from pipelines.experience import view_at, wordings_of
    from pipelines.steps.policy.outputs import PolicyTraining
    from policy.conditioning import POSITIVE, ConditionedBatches, PromptedBatches, WeightedBatches
    from policy.models import candidates, family_of
    from policy.teaching import MEMBERS, Labels, Lesson

    tasks = tasks_of(facts.tasks)
    robot = tasks[0].robot
    store = EpisodeStore(episodes)
    table = None if labels is None else FrameTable.read(labels)
    ids = EpisodeSet.from_json(experience)
    if table is not None:
        ids = EpisodeSet.of(set(ids) & set(table.ids))
    model = config.model
    family = family_of(model)
    with runtime.first_rank_first():
        packed = view_at(store, ids.ids, cache, facts.tasks, journal, image_size=family.image_size(model))
    rows, lesson = store.rows(packed.episode_ids), Lesson()
    if table is not None:
        table.check_same_frames(packed.episode_ids, packed.offsets, where="labels of the policy's experience")
        arrays = {name: table.arrays[name] for name in ("advantage", "positive", "forced", "value")}
        task_of = np.unique([row.task for row in rows], return_inverse=True)[1]
        known = Labels(**arrays, task=np.repeat(task_of, np.diff(packed.offsets)))
        lesson = MEMBERS[config.conditioning](known, config.temperature, config.value_bins)
    relative = family.relative_dims(model, robot)
    batches: BatchSource = TrainingBatches(
        packed,
        chunk=model.chunk,
        batch_size=model.batch_size,
        seed=facts.seed,
        relative_dims=relative,
        rows=lesson.rows,
    )
    wordings = wordings_of(rows)
    prompts = tuple(dict.fromkeys([*(task.spec.prompt for task in tasks), *sorted(wordings)]))
    if len(prompts) > 1:
        batches = PromptedBatches(batches, prompts, wordings)
    if lesson.weight is not None:
        batches = WeightedBatches(batches, lesson.weight)
    told = config.told and facts.condition != "none"
    conditioned = ConditionedBatches(
        batches, lesson.positive, level=lesson.level, dropout=config.dropout if told else 1.0, seed=facts.seed
    )
    stats = stats_of_store(store, ids, chunk=model.chunk, relative_dims=relative)
    figures = family.train(
        model,
        conditioned,
        stats.to_json(),
        prompts=prompts,
        robot=robot,
        cameras=robot.camera_names,
        scratch=scratch,
        out=out,
        journal=journal,
        data_identity=f"{ids.root}+{conditioned.identity}+{lesson.identity}",
        base=None if base is None else candidates(base)[-1][1],
        condition=POSITIVE if told else "",
        seed=facts.seed,
        **family.at(runtime),
    )
    return PolicyTraining(
        episodes=len(ids),
        frames=packed.num_frames,
        positive_fraction=None if table is None else float(table.arrays["positive"].mean()),
        figures=figures,
    )
