"""The long-lived worker that labels episodes with the models of a training; every shard is a file of its own."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.attempts import play_missing
from pipelines.ledger import Ledger
from recap.files import write_atomic

if TYPE_CHECKING:
    from recap.protocols import Journal
    from recap.step import StepContext
    from recap.training.config import RuntimeConfig
    from value_model.models import Experience, ValueModel


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPlan:
    """What the workers of one labelling share. Plain and small: it travels to other processes."""

    tasks: tuple[str, ...]
    ids: tuple[str, ...]
    """E episodes, sorted."""
    models: Path
    """A bundle per fold."""
    family: str
    model: Any
    """Settings of the model."""
    runtime: RuntimeConfig
    draws: int
    episodes: Path
    cache: Path
    scratch: Path
    lookahead: tuple[int, ...] = ()
    """[E] K of each episode's task, if the model is to give advantages."""
    prompts: tuple[str, ...] | None = None
    """E instructions that the models are told; None: those of the episodes' tasks."""

    def shard(self, key: str) -> Path:
        """[2 or 3, n] float32: KINDS of the frames of one shard, advantages only of a model that gives them."""
        return self.scratch / "shards" / f"{key.replace('/', '-')}.npy"


KINDS = ("value", "spread", "advantage")
Job = tuple[str, int, tuple[int, ...], int]
"""(key, fold of the model, positions of the episodes, noise seed)."""


class Labeller:
    """Labels one shard per job. Result: its size."""

    def __init__(self, plan: LabelPlan, journal: Journal) -> None:
        import torch

        # As in training: sums on more threads come out in another order, and values would depend on the executor.
        torch.set_num_threads(1)
        self._plan, self._journal = plan, journal
        self._models: dict[int, ValueModel] = {}
        self._data: Experience | None = None

    def run(self, job: Job) -> dict[str, Any]:
        import numpy as np

        from recap.training.runtime import Runtime
        from value_model.models import VALUE_MODELS, GivesAdvantages

        key, fold, episodes, noise_seed = job
        plan = self._plan
        if fold not in self._models:
            family = VALUE_MODELS.get(plan.family)
            self._models[fold] = family.load(plan.models / f"fold-{fold}", **family.at(Runtime.of(plan.runtime)))
        if self._data is None:
            self._data = _data(plan, self._journal)
        model, data = self._models[fold], self._data
        parts = []
        for episode in episodes:
            part = [*model.label(data, episode, draws=plan.draws, noise_seed=noise_seed)]
            if plan.lookahead and isinstance(model, GivesAdvantages):
                part.append(model.advantage(data, episode, lookahead=plan.lookahead[episode]))
            parts.append(np.stack(part))
        shard = np.concatenate(parts, axis=1)
        _write_npy(plan.shard(key), shard)
        return {"key": key, "frames": int(shard.shape[1])}

    def close(self) -> None:
        self._models.clear()
        self._data = None


def _data(plan: LabelPlan, journal: Journal) -> Experience:
    """The experience without its returns; the truth only for a family that says it is a control."""
    from data.episodes import EpisodeStore
    from pipelines.experience import prompts_of, view_for
    from value_model.models import VALUE_MODELS, Experience

    store = EpisodeStore(plan.episodes)
    return Experience(
        packed=view_for(store, plan.ids, plan.cache, plan.tasks, journal, model=plan.model),
        prompts=prompts_of(store.rows(plan.ids)) if plan.prompts is None else plan.prompts,
        truth=(lambda episode: store.truth(episode).progress) if VALUE_MODELS.get(plan.family).privileged else None,
    )


def label_missing(ctx: StepContext, plan: LabelPlan, jobs: Mapping[str, Job], workers: int) -> None:
    """Labels the shards that are not there yet; a killed labelling goes on from those that are."""
    play_missing(
        ctx,
        Ledger(ctx.scratch / "labelled.jsonl", key="key"),
        jobs,
        role="value",
        make_worker=Labeller,
        worker_args=(plan, ctx.journal),
        workers=workers,
        unit="shards",
        lost={key for key in jobs if not plan.shard(key).exists()},
    )


def shards_of(folds: Sequence[int], *, size: int, noise_seed: int) -> dict[str, Job]:
    """{key: job} that labels every episode by the model that did not see it; shards are fixed, whoever takes them.

    Args:
        folds: [E] of each episode.
        size: episodes of a shard.
        noise_seed: of the labelling.
    """
    jobs: dict[str, Job] = {}
    for fold in sorted(set(folds)):
        members = [place for place, own in enumerate(folds) if own == fold]
        for begin in range(0, len(members), size):
            shard = tuple(members[begin : begin + size])
            # Its extent is in its name: a resume with another shard size must not take one for another.
            key = f"value/{noise_seed}/{fold}/{begin}+{len(shard)}"
            jobs[key] = (key, fold, shard, noise_seed)
    return jobs


def gather(plan: LabelPlan, jobs: Mapping[str, Job], kind: str, offsets: Any) -> Any:
    """[2 or 3, N]: KINDS of every frame, from the shards of one kind of job; NaN where none was asked for."""
    import numpy as np

    shards = {key: np.load(plan.shard(key), allow_pickle=False) for key in jobs if key.split("/")[0] == kind}
    table = np.full((len(next(iter(shards.values()))), int(offsets[-1])), np.nan, dtype=np.float32)
    for key, shard in shards.items():
        rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in jobs[key][2]])
        table[:, rows] = shard
    return table


def _write_npy(path: Path, array: Any) -> None:
    """Whole or not at all: a shard that exists was written to its end."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_atomic(path, content.getvalue())
