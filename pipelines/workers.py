"""The long-lived workers of the loop: each is built once, in its own process, and then given one job after another.

A worker composes the layers below (a simulator, an expert or a policy, the episode store) and returns plain rows.
Heavy imports happen inside, in the process that needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from data.sim.flaws import FlawConfig
    from recap.protocols import Policy


class Collector:
    """Records one scripted-expert demonstration per job. Job: start seed. Result: a row of the collect summary."""

    def __init__(self, task: str, renderer: str, image_size: int, flaws: FlawConfig, store_root: str) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS

        self._task = TASKS.get(task)
        self._robot = self._task.make_robot(renderer=renderer, image_size=image_size)
        self._flaws = flaws
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: int) -> dict[str, Any]:
        from data.rollout import record_demo
        from data.sim.flaws import draw_flaws

        draft, truth = record_demo(self._task, self._robot, job, self._flaws)
        episode_id = self._store.commit(draft, truth)
        return {
            "start_seed": job,
            "episode_id": episode_id,
            "outcome": truth.outcome.value,
            "steps": draft.length,
            "flaw": draw_flaws(self._flaws, job).mode,
        }

    def close(self) -> None:
        self._robot.close()


class Evaluator:
    """Plays one attempt per job. Job: (start seed, record it as an episode?). Result: a row of the evaluation."""

    def __init__(
        self, task: str, renderer: str, image_size: int, policy_dir: str, noise_seed: int, store_root: str
    ) -> None:
        from data.episodes import EpisodeStore
        from data.tasks import TASKS
        from policy.models import load_policy

        self._task = TASKS.get(task)
        self._robot = self._task.make_robot(renderer=renderer, image_size=image_size)
        self._policy: Policy = load_policy(Path(policy_dir))
        self._noise_seed = noise_seed
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[int, bool]) -> dict[str, Any]:
        from data.rollout import rollout

        seed, film = job
        attempt, draft, truth = rollout(
            self._task, self._robot, self._policy, seed, noise_seed=self._noise_seed, record=film
        )
        episode_id = self._store.commit(draft, truth) if draft is not None else None
        return {
            "start_seed": seed,
            "outcome": attempt.outcome.value,
            "steps": attempt.steps,
            "inference_s": attempt.inference_s,
            "human_steps": attempt.human_steps,
            "metrics": dict(attempt.metrics),
            "episode_id": episode_id,
            "policy_id": self._policy.policy_id,
        }

    def close(self) -> None:
        self._robot.close()


def make_collector(*args: Any) -> Collector:
    """A Collector; arguments as its constructor's."""
    return Collector(*args)


def make_evaluator(*args: Any) -> Evaluator:
    """An Evaluator; arguments as its constructor's."""
    return Evaluator(*args)
