"""The long-lived worker that plays attempts of policies: for checkpoint selection, the gate and the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the policy model imports torch: only the worker's own process pays for it
    from pipelines.attempts import Start
    from recap.protocols import Policy, SimulatedRobot


class Evaluator:
    """Plays one attempt per job. Job: (key, policy bundle, start, record it as an episode?). Result: its row."""

    def __init__(self, renderer: str, image_size: int, noise_seed: int, store_root: str) -> None:
        from data.episodes import EpisodeStore

        self._renderer, self._image_size = renderer, image_size
        self._robots: dict[str, SimulatedRobot] = {}
        self._policies: dict[str, Policy] = {}
        self._noise_seed = noise_seed
        self._store = EpisodeStore(Path(store_root))

    def run(self, job: tuple[str | int, str, Start, bool]) -> dict[str, Any]:
        from data.rollout import rollout
        from data.tasks import TASKS

        key, policy_dir, (task, seed), film = job
        policy = self._policy(policy_dir)
        attempt, draft, truth = rollout(
            TASKS.get(task),
            self._robot(task),
            policy,
            seed,
            noise_seed=self._noise_seed,
            execute=policy.execute,
            record=film,
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
            "policy_id": policy.policy_id,
        }

    def _robot(self, task: str) -> SimulatedRobot:
        """The robot before a task's scene, made when the first attempt at it comes."""
        from data.tasks import TASKS

        if task not in self._robots:
            self._robots[task] = TASKS.get(task).make_robot(renderer=self._renderer, image_size=self._image_size)
        return self._robots[task]

    def _policy(self, folder: str) -> Policy:
        """The policy of a bundle; two are kept, because the gate plays two in turn."""
        from policy.models import load_policy

        if folder not in self._policies:
            while len(self._policies) >= 2:
                del self._policies[next(iter(self._policies))]
            self._policies[folder] = load_policy(Path(folder))
        return self._policies[folder]

    def close(self) -> None:
        for robot in self._robots.values():
            robot.close()
