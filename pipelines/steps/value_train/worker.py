"""The long-lived worker that trains folds of a value model. Heavy imports happen in the process that needs them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from pipelines.steps.value_train.step import ValueTrainConfig, ValueTrainFacts
    from recap.protocols import Journal
    from recap.training.runtime import Runtime
    from value_model.models import ValueData


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What the workers of one training share. Plain and small: it travels to other processes."""

    config: ValueTrainConfig
    facts: ValueTrainFacts
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
    """Of the step: bundles lie here until they are committed."""

    @property
    def models(self) -> Path:
        """The bundles, one folder per fold."""
        return self.scratch / "models"

    def bundle(self, fold: int) -> Path:
        """Of the model that did not see `fold`."""
        return self.models / f"fold-{fold}"


def strata_of(store: EpisodeStore, annotations: Annotations, ids: Sequence[str]) -> list[str]:
    """[E] what every fold gets its part of: task, source and outcome."""
    return [f"{row.task}/{row.source.value}/{annotations.by_id[row.id].outcome.value}" for row in store.rows(ids)]


def training_data(plan: TrainingPlan, journal: Journal) -> ValueData:
    """The experience with its returns; the truth only for a family that says it is a control."""
    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from pipelines.experience import episode_facts, prompts_of, view_for
    from value_model.models import ValueData, family_of
    from value_model.returns import returns

    store = EpisodeStore(plan.episodes)
    view = view_for(store, plan.ids, plan.cache, plan.facts.tasks, journal, model=plan.config.model)
    facts = episode_facts(store, Annotations.from_json(plan.annotations), view.episode_ids, view.offsets, current=())
    target = returns(
        facts.offsets, facts.success, facts.max_steps, plan.config.returns, ids=facts.ids, aborted=facts.aborted
    )
    return ValueData(
        packed=view,
        returns=target,
        prompts=prompts_of(store.rows(plan.ids)),
        lookahead=facts.per_task(plan.facts.lookahead, "look-ahead"),
        success=facts.success,
        truth=(lambda episode: store.truth(episode).progress) if family_of(plan.config.model).privileged else None,
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
    """Trains one fold per job. Job: fold. Result: its figures."""

    def __init__(self, plan: TrainingPlan, journal: Journal, runtime: Runtime) -> None:
        self._plan, self._journal, self._runtime = plan, journal, runtime
        self._data: ValueData | None = None

    def run(self, job: int) -> dict[str, Any]:
        import numpy as np

        from data.sim.seeds import derive
        from value_model.models import family_of

        plan, config, fold = self._plan, self._plan.config, job
        if self._data is None:
            self._data = training_data(plan, self._journal)
        folds = np.array(plan.folds, dtype=np.int64)
        seen = np.flatnonzero(folds != fold) if config.cross_fit > 1 else np.arange(len(folds))
        out = plan.bundle(fold)
        if self._runtime.rank == 0:
            shutil.rmtree(out, ignore_errors=True)  # a killed attempt may have left it half written
        family = family_of(config.model)
        figures = family.train(
            config.model,
            self._data,
            seen,
            # Not seed + fold: the next seed's first fold would then be this one's second.
            seed=derive("value fold", plan.facts.seed, fold) % 2**31,
            scratch=plan.scratch / "fit" / f"fold-{fold}",
            out=out,
            journal=_FoldJournal(self._journal, "" if fold == 0 else f"fold{fold}_"),
            data_identity=f"{_root(plan)}/{config.cross_fit}/{fold}",
            **family.at(self._runtime),
        )
        return {"key": str(fold), "fold": fold, "figures": figures}

    def close(self) -> None:
        self._data = None


def train_fold(plan: TrainingPlan, fold: int, journal: Journal, runtime: Runtime) -> dict[str, Any]:
    """One fold as one of several processes trains it; see ValueTrainer."""
    return ValueTrainer(plan, journal, runtime).run(fold)


def _root(plan: TrainingPlan) -> str:
    from data.episode_set import EpisodeSet
    from recap.hashing import canonical_json, sha256_hex

    outcomes = {episode: plan.annotations["annotations"][episode]["outcome"] for episode in plan.ids}
    return sha256_hex(canonical_json([EpisodeSet.of(plan.ids).root, outcomes]))
