"""The long-lived workers that record: each is built once, in its own process, then given job after job.

A worker composes the layers below (an environment, an expert or a policy, the episode store) and returns plain rows.
Heavy imports happen inside, in the process that needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.errors import ConfigError, EpisodeCorrupt

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from data.corrections import CorrectionConfig
    from data.sim.flaws import FlawConfig
    from recap.training.config import RuntimeConfig


class Collector:
    """Records one scripted-expert demonstration per job. Job: start seed. Result: a row of the collect summary."""

    def __init__(self, task: str, renderer: str, image_size: int, flaws: FlawConfig, store_root: str) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS

        self._task = TASKS.simulated(task)
        self._env = self._task.make_env(renderer=renderer, image_size=image_size)
        self._flaws = flaws
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: int) -> dict[str, Any]:
        from data.rollout import record_demo
        from data.tasks import flaws_of

        draft, truth = record_demo(self._task, self._env, job, self._flaws)
        episode_id = self._store.commit(draft, truth)
        return {
            "start_seed": job,
            "episode_id": episode_id,
            "source": draft.source.value,
            "outcome": truth.outcome.value,
            "steps": draft.length,
            "human_steps": draft.length,
            "flaw": flaws_of(self._task, self._flaws, job).mode,
        }

    def close(self) -> None:
        self._env.close()


class RolloutCollector:
    """Records one attempt of a policy per job. Job: (start seed, with a supervisor?). Result: a row of the summary."""

    def __init__(
        self,
        task: str,
        renderer: str,
        image_size: int,
        policy_dir: str,
        noise_seed: int,
        correction: CorrectionConfig,
        runtime: RuntimeConfig,
        store_root: str,
    ) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS
        from policy.client import LocalClient
        from policy.models import load_policy
        from recap.training.runtime import Runtime

        self._task = TASKS.simulated(task)
        self._env = self._task.make_env(renderer=renderer, image_size=image_size)
        self._client = LocalClient(load_policy(Path(policy_dir), runtime=Runtime.of(runtime)))
        self._noise_seed = noise_seed
        self._correction = correction
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[int, bool]) -> dict[str, Any]:
        from data.rollout import rollout

        seed, supervised = job
        correction = self._correction if supervised else None
        attempt, draft, truth = rollout(
            self._task, self._env, self._client, seed, noise_seed=self._noise_seed, correction=correction
        )
        assert draft is not None, "it is recorded"
        return {
            "start_seed": seed,
            "episode_id": self._store.commit(draft, truth),
            "source": draft.source.value,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "human_steps": attempt.human_steps,
            "supervised": supervised,
        }

    def close(self) -> None:
        self._env.close()


class Importer:
    """Takes over one episode per job: reads it in full, proves it, commits it here. Job: episode id. Result: its row.

    An episode that cannot be taken over gives a row with `problem`, so that all of them can be named at once.
    """

    def __init__(self, source_root: str, store_root: str) -> None:
        from data.episodes import EpisodeStore

        self._source = EpisodeStore(Path(source_root))
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: str) -> dict[str, Any]:
        try:
            truth = self._source.truth(job) if self._source.has_truth(job) else None
            episode = self._store.import_episode(self._source.path(job), truth)
        except (EpisodeCorrupt, ConfigError) as error:
            return {"episode_id": job, "problem": error.message}
        assert episode.id == job, "the id is the digest of what was proved"
        return {
            "episode_id": job,
            "problem": "",
            "truth": truth is not None,
            "start_seed": episode.start_seed,
            "source": episode.source.value,
            "steps": episode.length,
            "human_steps": int(episode.intervened.sum()),
        }

    def close(self) -> None:
        """Nothing is held."""
