"""The long-lived worker that plays attempts of policies: for all steps that measure how policies act."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.attempts import play_missing

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from pipelines.attempts import Start
    from pipelines.facts import ActingFacts
    from pipelines.ledger import Ledger
    from recap.protocols import PolicyClient, SimulatedEnv
    from recap.step import StepContext
    from recap.training.config import RuntimeConfig

Job = tuple[str | int, str, "Start", bool]
"""(key, policy bundle, start, record it as an episode?)"""


def play_policies(
    ctx: StepContext, facts: ActingFacts, ledger: Ledger, jobs: Mapping[Any, Job], renderer: str
) -> dict[Any, dict[str, Any]]:
    """Plays the attempts that the ledger does not hold yet; see `play_missing`."""
    return play_missing(
        ctx,
        ledger,
        jobs,
        role="evaluator",
        make_worker=Evaluator,
        worker_args=(renderer, facts.env.image_size, facts.noise_seed, facts.runtime, str(ctx.workspace.episodes)),
        workers=facts.workers,
    )


class Evaluator:
    """Plays one attempt per Job. Result: its row."""

    def __init__(
        self, renderer: str, image_size: int, noise_seed: int, runtime: RuntimeConfig, store_root: str
    ) -> None:
        from data.episodes import EpisodeStore
        from recap.training.runtime import Runtime

        self._renderer, self._image_size = renderer, image_size
        self._envs: dict[str, SimulatedEnv] = {}
        self._clients: dict[str, PolicyClient] = {}
        self._noise_seed, self._runtime = noise_seed, Runtime.of(runtime)
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: Job) -> dict[str, Any]:
        from data.rollout import rollout
        from data.tasks import TASKS

        key, policy_dir, (task, seed), film = job
        client = self._client(policy_dir)
        attempt, draft, truth = rollout(
            TASKS.simulated(task), self._env(task), client, seed, noise_seed=self._noise_seed, record=film
        )
        episode_id = self._store.commit(draft, truth) if draft is not None else None
        return {
            "key": key,
            "start_seed": seed,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "inference_s": attempt.inference_s,
            "human_steps": attempt.human_steps,
            "metrics": dict(attempt.metrics),
            "episode_id": episode_id,
            "policy_id": client.policy_id,
        }

    def _env(self, task: str) -> SimulatedEnv:
        """The environment of a task, made when the first attempt at it comes."""
        from data.tasks import TASKS

        if task not in self._envs:
            self._envs[task] = TASKS.simulated(task).make_env(renderer=self._renderer, image_size=self._image_size)
        return self._envs[task]

    def _client(self, folder: str) -> PolicyClient:
        """The policy of a bundle; two are kept, because the gate plays two in turn."""
        from policy.client import LocalClient
        from policy.models import load_policy

        if folder not in self._clients:
            while len(self._clients) >= 2:
                del self._clients[next(iter(self._clients))]
            self._clients[folder] = LocalClient(load_policy(Path(folder), runtime=self._runtime))
        return self._clients[folder]

    def close(self) -> None:
        for env in self._envs.values():
            env.close()
