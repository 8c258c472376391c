"""The long-lived workers of the value model: one trains folds, one labels episodes.

Both compose the layers below (episode store, packed frames, annotations, a value model family) and leave their results
as files, so that a killed step finds what was finished. Heavy imports happen in the process that needs them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.steps.value import ValueConfig
    from recap.protocols import Journal
    from recap.types import IntArray
    from value_model.models import ValueData, ValueModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuePlan:
    """What the workers of one value step share. Plain and small: it travels to other processes."""

    config: ValueConfig
    ids: tuple[str, ...]
    """E labelled episodes, sorted."""
    annotations: Mapping[str, Any]
    """JSON of the annotations."""
    folds: tuple[int, ...]
    """[E] the fold whose model does not see the episode."""
    episodes: Path
    """Root of the episode store."""
    cache: Path
    """Where packed frames lie."""
    scratch: Path
    """Of the step: models and shards lie here until they are committed."""

    def model_dir(self, name: str, fold: int) -> Path:
        """Bundle of the model that did not see `fold`."""
        return self.scratch / "models" / name / f"fold-{fold}"

    def shard(self, key: str) -> Path:
        """[2, n] float32: value and spread of the frames of one shard."""
        return self.scratch / "shards" / f"{key.replace('/', '-')}.npy"


def value_data(plan: ValuePlan, journal: Journal, *, privileged: bool) -> ValueData:
    """The experience with its returns; the truth only for a family that says it is a control."""
    import numpy as np

    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from pipelines.experience import episode_facts, pack, picture_size, prompts_of
    from value_model.models import ValueData
    from value_model.returns import returns

    store = EpisodeStore(plan.episodes)
    size = picture_size(store, plan.ids, plan.config.task, plan.config.models.values())
    packed = pack(store, plan.ids, plan.cache, plan.config.task, journal, image_size=size)
    facts = episode_facts(
        store, Annotations.from_json(plan.annotations), packed.episode_ids, packed.offsets, current=()
    )
    target = returns(
        facts.offsets, facts.success, facts.max_steps, plan.config.returns, ids=facts.ids, aborted=facts.aborted
    )
    return ValueData(
        packed=packed,
        returns=target,
        prompts=prompts_of(store.rows(plan.ids)),
        max_steps=facts.max_steps,
        lookahead=np.full(facts.num_episodes, plan.config.lookahead),
        truth=(lambda episode: store.truth(episode).progress) if privileged else None,
    )


class _FoldJournal:
    """The journal as one of several trainings of a node may use it: only the first reports progress and loss."""

    def __init__(self, journal: Journal, prefix: str) -> None:
        self._journal, self._prefix = journal, prefix

    def progress(self, done: int, total: int, unit: str) -> None:
        if not self._prefix:
            self._journal.progress(done, total, unit)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self._journal.metrics({f"{self._prefix}{name}": value for name, value in values.items()}, step=step)


class ValueTrainer:
    """Trains one fold of one model per job. Job: (key, model name, fold). Result: its figures."""

    def __init__(self, plan: ValuePlan, journal: Journal) -> None:
        self._plan, self._journal = plan, journal
        self._data: dict[bool, ValueData] = {}

    def run(self, job: tuple[str, str, int]) -> dict[str, Any]:
        import numpy as np

        from data.sim.seeds import derive
        from value_model.models import family_of

        key, name, fold = job
        plan, config = self._plan, self._plan.config
        model = config.models[name]
        family = family_of(model)
        if family.privileged not in self._data:
            self._data[family.privileged] = value_data(plan, self._journal, privileged=family.privileged)
        folds = np.array(plan.folds, dtype=np.int64)
        seen = np.flatnonzero(folds != fold) if config.cross_fit > 1 else np.arange(len(folds))
        out = plan.model_dir(name, fold)
        shutil.rmtree(out, ignore_errors=True)  # a killed attempt may have left it half written
        first = name == "model" and fold == 0
        figures = family.train(
            model,
            self._data[family.privileged],
            seen,
            # Not seed + fold: the next seed's first fold would then be this one's second.
            seed=derive("value fold", config.seed, fold) % 2**31,
            scratch=plan.scratch / "fit" / name / f"fold-{fold}",
            out=out,
            journal=_FoldJournal(self._journal, "" if first else f"{name}_fold{fold}_"),
            data_identity=f"{_root(plan)}/{config.cross_fit}/{fold}",
        )
        return {"key": key, "name": name, "fold": fold, "family": family.name, "figures": figures}

    def close(self) -> None:
        self._data.clear()


class Labeller:
    """Labels one shard per job. Job: (key, model name, fold of the model, episodes, noise seed). Result: its size."""

    def __init__(self, plan: ValuePlan, journal: Journal) -> None:
        import torch

        # As in training: sums on more threads come out in another order, and values would depend on the executor.
        torch.set_num_threads(1)
        self._plan, self._journal = plan, journal
        self._models: dict[tuple[str, int], ValueModel] = {}
        self._data: dict[bool, ValueData] = {}

    def run(self, job: tuple[str, str, int, Sequence[int], int]) -> dict[str, Any]:
        import numpy as np

        from value_model.models import family_of, load_value_model

        key, name, fold, episodes, noise_seed = job
        plan = self._plan
        if (name, fold) not in self._models:
            self._models[name, fold] = load_value_model(plan.model_dir(name, fold))
        privileged = family_of(plan.config.models[name]).privileged
        if privileged not in self._data:
            self._data[privileged] = value_data(plan, self._journal, privileged=privileged)
        model, data = self._models[name, fold], self._data[privileged]
        parts = [model.label(data, episode, draws=plan.config.draws, noise_seed=noise_seed) for episode in episodes]
        shard = np.stack([np.concatenate([part[which] for part in parts]) for which in (0, 1)])
        _write_npy(plan.shard(key), shard)
        return {"key": key, "frames": int(shard.shape[1])}

    def close(self) -> None:
        self._models.clear()
        self._data.clear()


def shards_of(
    folds: IntArray, *, size: int, name: str, noise_seed: int
) -> dict[str, tuple[str, str, int, tuple[int, ...], int]]:
    """{key: job} that labels every episode by the model that did not see it; shards are fixed, whoever takes them."""
    import numpy as np

    jobs = {}
    for fold in sorted(set(folds.tolist())):
        members = np.flatnonzero(folds == fold).tolist()
        for begin in range(0, len(members), size):
            shard = tuple(members[begin : begin + size])
            # Its extent is in its name: a resume with another shard size must not take one for another.
            key = f"{name}/{noise_seed}/{fold}/{begin}+{len(shard)}"
            jobs[key] = (key, name, fold, shard, noise_seed)
    return jobs


def _root(plan: ValuePlan) -> str:
    from data.episode_set import EpisodeSet
    from recap.hashing import canonical_json, sha256_hex

    outcomes = {episode: plan.annotations["annotations"][episode]["outcome"] for episode in plan.ids}
    return sha256_hex(canonical_json([EpisodeSet.of(plan.ids).root, outcomes]))


def _write_npy(path: Path, array: Any) -> None:
    """Whole or not at all: a shard that exists was written to its end."""
    import numpy as np

    from recap.workspace import sync_dir

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_dir(path.parent)


def make_value_trainer(*args: Any) -> ValueTrainer:
    """A ValueTrainer; arguments as its constructor's."""
    return ValueTrainer(*args)


def make_labeller(*args: Any) -> Labeller:
    """A Labeller; arguments as its constructor's."""
    return Labeller(*args)
